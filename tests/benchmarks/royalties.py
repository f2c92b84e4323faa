"""A large pool over a million contributors, small ones over many, and a journal of a million."""

from __future__ import annotations

import time
from collections.abc import Iterator

from django.db import connection

from licensing.models import Offer
from marketplace import access
from marketplace.models import Organization
from payments import journal, payouts, royalties, royalty_shares
from payments.journal import Code, Key
from payments.models import Order
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
# Of a thousand: each sale is shared out for itself, so that more of them tell nothing new.
SALES = 10

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


def run(quick: bool) -> Iterator[Figure]:
    """Each beside a bare COPY of as many rows into a copy of the table, with its indexes."""
    part = 10 if quick else 1
    buyer = found("Lab", "lab", jurisdiction="US-DE")
    archive, small = found("Archive", "platform"), found("Journal", "platform")
    offer = _load(archive, 1, CONTRIBUTORS // part)
    yield _large(archive, buyer, offer, CONTRIBUTORS // part)
    yield _payout(archive, CONTRIBUTORS // part)
    yield _lines(buyer, LINES // part)
    first = CONTRIBUTORS + 1
    yield _small(small, buyer, _load(small, first, first + WORKS // part - 1), WORKS // part)


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


def _drain() -> float:
    started = time.monotonic()
    while royalties.allocate_due():
        pass
    return time.monotonic() - started


def _large(seller: Organization, buyer: Organization, offer: Offer, people: int) -> Figure:
    """In proportion to bytes, so that every remainder differs from its neighbors'."""
    set_rule(seller, offer.collection, basis_points=10_000, method="pro_rata", unit="bytes")
    order = sell(buyer, offer, price_minor=POOL_MINOR)
    seconds = _drain()
    _check_replay(order, people)
    bare = _bare("royaltyaccrual", people)
    progress(f"royalties: {people:,} contributors in {seconds:.1f} s, bare {bare:.1f} s")
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
    started = time.monotonic()
    payouts.confirm(
        caller,
        currency="USD",
        contributors=now.contributors,
        paid_minor=now.paid_minor,
        recouped_minor=now.recouped_minor,
    )
    confirmed = time.monotonic() - started
    while payouts.write_due():
        pass
    seconds = time.monotonic() - started
    tables = ("royaltypayment", "royaltybalance", "posting", "account")
    bare = sum(_bare(table, people) for table in tables)
    progress(f"royalties: payout confirmed in {confirmed:.1f} s, written after {seconds:.1f} s")
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
    """A journal of as many lines, on accounts that are there already."""
    with access.system("choose accounts"), connection.cursor() as cursor:
        cursor.execute(
            "SELECT organization_id, contributor_id FROM payments_account"
            " WHERE code = 'contributor_payable' LIMIT %s",
            [count - 1],
        )
        lines = [
            (Key(Code.CONTRIBUTOR_PAYABLE, owner_, contributor, "USD"), -1)
            for owner_, contributor in cursor.fetchall()
        ]
    lines.append((Key(Code.ROYALTY_PAYABLE, organization.pk, None, "USD"), len(lines)))
    started = time.monotonic()
    with access.system("post a large journal"):
        with connection.cursor() as cursor:
            cursor.execute(journal.PLANNED)
        posted = journal.begin(organization.pk, livemode=False, kind="benchmark", reference="1")
        written = journal.post_many(posted, lines)
    seconds = time.monotonic() - started
    bare = _bare("posting", written)
    goal = LINES_SECONDS_GOAL
    return Figure(
        figure=f"one journal of {written:,} postings, checked and committed",
        value=seconds,
        unit="s",
        limit=bare,
        ratio=bare / seconds,
        goal=f"value <= {goal:g} s",
        holds=seconds <= goal,
    )


def _small(seller: Organization, buyer: Organization, offer: Offer, works: int) -> Figure:
    """How far anybody is from the ideal after some sales, in micro-units for each of them."""
    set_rule(seller, offer.collection, basis_points=10_000, method="equal_per_work")
    orders = [sell(buyer, offer, price_minor=SALE_MINOR) for _sale in range(SALES)]
    seconds = _drain()
    with access.system("add up"), connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), max(abs(sum * %(works)s - %(ideal)s::numeric)) FROM ("
            "    SELECT sum(amount_micro) FROM payments_royaltyaccrual"
            "    WHERE allocation_id = ANY(%(made)s) GROUP BY contributor_id"
            ") each",
            {
                "works": works,
                "ideal": SALES * SALE_MINOR * MICRO_IN_MINOR,
                "made": [allocations(order)[0].pk for order in orders],
            },
        )
        people, worst = cursor.fetchone()
    assert people == works
    deviation = int(worst) / works / SALES
    progress(f"royalties: {SALES} sales over {works:,} works in {seconds:.1f} s")
    return Figure(
        figure=f"{SALES} sales of $50 over {works:,} equal works, {seconds / SALES:.2f} s each:"
        " the largest distance from the ideal",
        value=deviation,
        unit="micro-units per sale",
        limit=1.0,
        ratio=deviation,
        goal="value <= 1 micro-unit per sale",
        holds=deviation <= 1,
    )


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
