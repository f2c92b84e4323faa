"""A large pool over a million contributors, small ones over many, and a journal of a million."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from operator import add
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import connection

from licensing.models import Offer
from marketplace import access
from marketplace.models import Organization
from payments import journal, payouts, royalties, royalty_shares
from payments.journal import Code, Key
from payments.models import Order, RoyaltyAllocation
from payments.royalty_shares import MICRO_IN_MINOR
from tests.benchmarks import snapshots
from tests.benchmarks.measure import Figure, owner, progress
from tests.payments import rows
from tests.payments.royalty_sales import allocations, sell, set_rule
from tests.people import caller_for, found

CONTRIBUTORS = 1_000_000
POOL_MINOR = 1_600_000_000
SHARE_SECONDS_GOAL = 60.0
PAYOUT_SECONDS_GOAL = 60.0
LINES = 1_000_000
LINES_SECONDS_GOAL = 30.0
WORKS = 100_000
SALE_MINOR = 5_000
# One that divides no pool: every sale leaves remainders that somebody gets.
ODD_WORKS = 99_991
SALES = 1_000
# Of these, so many are shared out to the end, and compared with what was computed.
WRITTEN = 5

CONTRIBUTORS_SQL = """
INSERT INTO marketplace_contributor (id, organization_id, external_id, consent,
    consent_changed_at, created_at)
SELECT ('0199' || lpad(to_hex(n), 28, '0'))::uuid, %(organization)s, 'c' || n, 'granted', now(),
    now()
FROM generate_series(%(first)s::bigint, %(last)s) n
"""
WORKS_SQL = """
INSERT INTO marketplace_work (id, organization_id, external_id, title, source_url, language,
    contributor_id, created_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, %(organization)s, 'work/' || n, 'Work ' || n, '', 'en',
    ('0199' || lpad(to_hex(n), 28, '0'))::uuid, now()
FROM generate_series(%(first)s::bigint, %(last)s) n
"""

OWED_SQL = """
SELECT id AS contributor_id, 1 AS amount_minor FROM marketplace_contributor
ORDER BY id LIMIT %(people)s
"""


def run(quick: bool) -> Iterator[Figure]:
    """Each beside a bare COPY of as many rows into a copy of the table, with its indexes."""
    part = 10 if quick else 1
    buyer = found("Lab", "lab", jurisdiction="US-DE")
    archive, small = found("Archive", "platform"), found("Journal", "platform")
    odd = found("Review", "platform")
    offer = _load(archive, 1, CONTRIBUTORS // part)
    yield _large(archive, buyer, offer, CONTRIBUTORS // part)
    yield _payout(archive, CONTRIBUTORS // part)
    yield _lines(archive, LINES // part)
    first = CONTRIBUTORS + 1
    for seller, works in ((small, WORKS // part), (odd, ODD_WORKS // part)):
        offer = _load(seller, first, first + works - 1)
        yield _small(seller, buyer, offer, works, SALES // part)
        first += works


def _load(seller: Organization, first: int, last: int) -> Offer:
    """An offer of a collection of one work by each contributor."""
    with access.system("fill a market to measure it"):
        offer = rows.make_offer_row(seller)
    collection = offer.collection
    collection.refresh_from_db()
    values = {
        "organization": seller.pk,
        "collection": collection.number,
        "added_in": 1,
        "first": first,
        "last": last,
    }
    started = time.monotonic()
    for statement in (
        CONTRIBUTORS_SQL,
        WORKS_SQL,
        snapshots.REPRESENTATIONS_SQL,
        snapshots.ITEMS_SQL,
    ):
        with access.system("fill a market to measure it"), connection.cursor() as cursor:
            cursor.execute(statement, values)
        progress(f"royalties: loaded after {time.monotonic() - started:.1f} s")
    with owner() as opened:
        for table in ("contributor", "work", "representation", "collectionitem"):
            opened.execute(f"VACUUM ANALYZE marketplace_{table}")
    return offer


def _timed(what: str, act: Callable[[], Any]) -> float:
    """How long an act takes; on the side also the processor time of it, and the machine's load."""
    spent, own, started = _processor_seconds(), time.process_time(), time.monotonic()
    act()
    seconds = time.monotonic() - started
    spent, own = _processor_seconds() - spent, time.process_time() - own
    progress(
        f"royalties: {what} in {seconds:.1f} s; {spent:.1f} s of the backend's processor time,"
        f" {own:.1f} s of ours; load {os.getloadavg()[0]:.1f}"
    )
    return seconds


def _drain() -> None:
    while royalties.allocate_due():
        pass


def _large(seller: Organization, buyer: Organization, offer: Offer, people: int) -> Figure:
    """In proportion to bytes, so that every remainder differs from its neighbors'."""
    set_rule(seller, offer.collection, basis_points=10_000, method="pro_rata", unit="bytes")
    order = sell(buyer, offer, price_minor=POOL_MINOR)
    seconds = _timed(f"{people:,} contributors", _drain)
    _check_replay(order, people)
    bare = _bare("royaltyaccrual", people)
    goal = SHARE_SECONDS_GOAL
    return Figure(
        figure=f"$16 M shared out over {people:,} contributors, by bytes",
        value=seconds,
        unit="s",
        limit=bare,
        ratio=bare / seconds,
        goal=f"value <= {goal:g} s",
        holds=seconds <= goal,
    )


def _check_replay(order: Order, people: int) -> None:
    """Everything again in Python, from the weights alone: equal to the micro-unit."""
    [made] = allocations(order)
    weights, found_ = {}, {}
    with access.system("compare"), connection.cursor() as cursor:
        cursor.execute(
            "SELECT contributor_id, weight, amount_micro FROM payments_royaltyaccrual"
            " WHERE allocation_id = %s",
            [made.pk],
        )
        for contributor, weight, amount in cursor.fetchall():
            weights[contributor], found_[contributor] = weight, amount
    assert len(found_) == people, "not everybody has a share"
    expected = royalty_shares.split(made.pool_minor * MICRO_IN_MINOR, weights, made.pk)
    assert found_ == expected, "the replay differs"


def _payout(seller: Organization, people: int) -> Figure:
    caller = caller_for(seller)
    now = payouts.preview(caller, currency="USD")
    assert now.contributors == people

    def pay() -> None:
        payouts.confirm(
            caller,
            currency="USD",
            contributors=now.contributors,
            paid_minor=now.paid_minor,
            recouped_minor=now.recouped_minor,
        )
        while payouts.write_due():
            pass

    seconds = _timed("a payout, confirmed and written,", pay)
    tables = ("royaltypayment", "royaltybalance", "posting", "account")
    bare = sum(_bare(table, people) for table in tables)
    goal = PAYOUT_SECONDS_GOAL
    return Figure(
        figure=f"payout to {people:,} contributors: payments, balances, accounts and postings",
        value=seconds,
        unit="s",
        limit=bare,
        ratio=bare / seconds,
        goal=f"value <= {goal:g} s",
        holds=seconds <= goal,
    )


def _lines(organization: Organization, count: int) -> Figure:
    """A journal of as many lines, written as a batch of a payout is, on accounts that are there.

    A debit of everything, and a credit for each contributor.
    """
    people = count - 1

    def post() -> None:
        with access.system("post a large journal"):
            with connection.cursor() as cursor:
                cursor.execute(journal.PLANNED)
            posted = journal.begin(organization.pk, livemode=False, kind="benchmark", reference="1")
            pool = Key(Code.ROYALTY_PAYABLE, organization.pk, None, "USD")
            journal.write(posted, [(pool, people)])
            journal.post_owed(
                posted,
                OWED_SQL,
                {"people": people},
                organization_id=organization.pk,
                currency="USD",
            )

    seconds = _timed(f"a journal of {count:,} postings", post)
    with access.system("count postings"), connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), sum(amount_minor), count(DISTINCT account_id)"
            " FROM payments_posting posting JOIN payments_journal made ON made.id = journal_id"
            " WHERE kind = 'benchmark'"
        )
        assert cursor.fetchone() == (count, 0, count), "a line is missing, or twice there"
    bare = _bare("posting", count)
    goal = LINES_SECONDS_GOAL
    return Figure(
        figure=f"one journal of {count:,} postings, checked and committed",
        value=seconds,
        unit="s",
        limit=bare,
        ratio=bare / seconds,
        goal=f"value <= {goal:g} s",
        holds=seconds <= goal,
    )


def _small(
    seller: Organization, buyer: Organization, offer: Offer, works: int, sales: int
) -> Figure:
    """How far anybody is from the ideal after a thousand sales, in micro-units for each of them.

    All are begun: the base is found, and the cut. Their shares are asked for as an allocation asks,
    in one batch each, and added up here: to write a hundred million accruals would take hours. Some
    are written, too, and hold the same.
    """
    set_rule(seller, offer.collection, basis_points=10_000, method="equal_per_work")
    ideal, sums, spent = SALE_MINOR * MICRO_IN_MINOR, [0] * works, _processor_seconds()
    written, started = [], time.monotonic()
    for number in range(sales):
        [made] = allocations(sell(buyer, offer, price_minor=SALE_MINOR))
        assert royalties.step(made.pk), "somebody else shares it out"
        amounts = _shares(made.pk, works)
        assert sum(amounts) == ideal, "a sale's shares do not add up to its pool"
        assert {*amounts} <= {ideal // works, -(-ideal // works)}, (
            "a share is not next to its ideal"
        )
        sums = [*map(add, sums, amounts)]
        if number < WRITTEN:
            written.append((made.pk, amounts))
        if number % 100 == 99:
            progress(f"royalties: {number + 1} sales after {time.monotonic() - started:.0f} s")
    seconds, spent = time.monotonic() - started, _processor_seconds() - spent
    _check_written(written)
    deviation = max(abs(each * works - ideal * sales) for each in sums) / works / sales
    return Figure(
        figure=f"{sales:,} sales of $50 over {works:,} equal works, in {seconds:.0f} s"
        f" ({spent:.0f} s of the backend's processor time): the largest distance from the ideal",
        value=deviation,
        unit="micro-units per sale",
        limit=1.0,
        ratio=deviation,
        goal="value <= 1 micro-unit per sale",
        holds=deviation <= 1,
    )


def _shares(allocation_id: UUID, works: int) -> list[int]:
    with access.system("compute shares"), connection.cursor() as cursor:
        made = RoyaltyAllocation.objects.select_related("base").get(pk=allocation_id)
        cursor.execute(
            f"SELECT string_agg(amount::text, ' ' ORDER BY id) FROM ({royalties.SHARES}) share",
            royalties.values_of(made) | {"batch": works},
        )
        amounts = [*map(int, cursor.fetchone()[0].split())]
    assert len(amounts) == works, "not everybody has a share"
    return amounts


def _check_written(computed: Sequence[tuple[UUID, list[int]]]) -> None:
    """Share some out to the end: their accruals are what was computed, one by one."""
    for allocation_id, amounts in computed:
        while royalties.step(allocation_id):
            pass
        with access.system("compare"), connection.cursor() as cursor:
            cursor.execute(
                "SELECT accrual.amount_micro FROM payments_royaltyallocation made"
                " JOIN payments_royaltyweight weight ON weight.base_id = made.base_id"
                " JOIN payments_royaltyaccrual accrual ON accrual.allocation_id = made.id"
                "    AND accrual.contributor_id = weight.contributor_id"
                " WHERE made.id = %s AND made.state = 'done' ORDER BY weight.id",
                [allocation_id],
            )
            assert [amount for (amount,) in cursor.fetchall()] == amounts, (
                "it was written otherwise"
            )


def _processor_seconds() -> float:
    """What this connection's backend has used, where it runs on this machine; else 0."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        stat = Path("/proc", str(cursor.fetchone()[0]), "stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _bare(table: str, count: int) -> float:
    """Seconds that a COPY of as many rows into a copy of a table takes."""
    with owner() as opened:
        opened.execute("SELECT set_config('licet.system', 'measure', false)")
        opened.execute(f"DROP TABLE IF EXISTS raw_{table}")
        opened.execute(
            f"CREATE TABLE raw_{table} (LIKE payments_{table} INCLUDING DEFAULTS INCLUDING INDEXES)"
        )
        with opened.cursor().copy(
            f"COPY (SELECT * FROM payments_{table} ORDER BY id DESC LIMIT {count}) TO STDOUT"
        ) as out:
            lines = list(out)
        started = time.monotonic()
        with opened.cursor().copy(f"COPY raw_{table} FROM STDIN") as copy:
            for line in lines:
                copy.write(line)
        return time.monotonic() - started
