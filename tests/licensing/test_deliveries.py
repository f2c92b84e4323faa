"""What leaves by delivery links is counted, and stands in the ledger once its day is over."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from licensing import coverage, delivery, delivery_counts, delivery_summaries, links, snapshots
from licensing.delivery_counts import Meter, What
from licensing.ledger import commitments, fsck, guard, sequencer
from licensing.models import (
    Coverage,
    DeliveryCount,
    DeliverySummary,
    Grant,
    LedgerEntry,
    LedgerLeaf,
    LedgerOpening,
    LedgerRecovered,
)
from marketplace import access, reservations
from marketplace.models import Organization
from payments.management.commands import worker
from tests.licensing.rows import WORKS, make_grant_row, make_snapshot_row
from tests.licensing.test_delivery import (
    BASE,
    content_of,
    expires,
    fetch,
    link_to,
    process,
    work_link,
)
from tests.licensing.test_ledger_numbers import together
from tests.people import caller_for

__all__ = ["process"]

# Of the delivery process alone.
delivers = pytest.mark.urls("licensing.delivery_urls")

DAY = date(2027, 3, 1)
NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
NEXT_MORNING = datetime(2027, 3, 2, 1, 0, 1, tzinfo=UTC)

NOTHING = {what: {"answers": 0, "bytes": 0} for what in What.values}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of its own, and nothing that another test has counted."""
    settings.STORAGE_DIR = tmp_path / "store"
    settings.DELIVERY_URL = BASE
    monkeypatch.setattr(delivery_counts, "_held", {})


@pytest.fixture
def grant(archive: Organization, lab: Organization) -> Grant:
    return make_grant_row(archive, lab)


class Clock:
    """What these modules take to be now."""

    def __init__(self, now: datetime) -> None:
        self.at = now

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(NOON)
    for module in (delivery_counts, delivery_summaries):
        monkeypatch.setattr(module, "timezone", made)
    return made


def coverage_of(grant: Grant) -> Coverage:
    with access.system("a test looks at a grant"):
        return Coverage.objects.filter(grant=grant).latest("snapshot__number")


def cover(grant: Grant, at: datetime) -> Coverage:
    """Add coverage from an instant on, of whatever snapshot."""
    with access.system("a test adds coverage"):
        snapshot = make_snapshot_row(grant.licensor, [b"new"])
        said = {"additions": None, "by": "licensor", "reference": None}
        return coverage._record(grant, snapshot, at, timezone.now(), said)


def count(
    grant: Grant, size: int = 10, what: What = What.WORKS, under: Coverage | None = None
) -> None:
    """As an answer with so many bytes would, and written."""
    meter = Meter((under or coverage_of(grant)).pk, what)
    assert [*meter.counted(piece for piece in [bytes(size)])] == [bytes(size)]
    delivery_counts.flush()


def counted() -> dict[str, tuple[int, int]]:
    """What is counted and not recorded, of all days: sort -> answers, bytes."""
    with access.system("a test looks at what was counted"):
        rows = DeliveryCount.objects.values_list("what", "answers", "bytes")
        found: dict[str, tuple[int, int]] = {}
        for what, answers, size in rows:
            before = found.get(what, (0, 0))
            found[what] = (before[0] + answers, before[1] + size)
        return found


def summaries() -> list[DeliverySummary]:
    with access.system("a test looks at what was recorded"):
        rows = DeliverySummary.objects.select_related("entry", "coverage").order_by("pk")
        return list(rows)


def values(summary: DeliverySummary, organization: Organization) -> dict[str, Any]:
    """What a party opens."""
    caller = caller_for(organization, livemode=summary.entry.log == "live")
    with access.acting(caller, writing=False):
        opening = LedgerOpening.objects.visible_to(caller).get(entry=summary.entry)
    found: dict[str, Any] = json.loads(opening.values)
    return found


# --- what is counted --------------------------------------------------------------------------


@delivers
@pytest.mark.django_db
def test_what_leaves_is_counted_by_sort(grant: Grant) -> None:
    text = content_of(fetch(link_to(grant, links.MANIFEST)))
    head = json.loads(text.splitlines()[0])
    work = content_of(fetch(work_link(grant)))
    part = content_of(fetch(work_link(grant, WORKS[1]), Range="bytes=2-5"))
    index = content_of(fetch(head["shards"]["index"]))
    shard = content_of(fetch(head["shards"]["url"].format(shard=0)))

    assert delivery_counts.flush() == 3

    assert counted() == {
        "manifests": (2, len(text) + len(index)),
        "works": (2, len(work) + len(part)),
        "shards": (1, len(shard)),
    }
    assert (work, part) == (WORKS[0], WORKS[1][2:6])
    assert delivery_counts.flush() == 0


@delivers
@pytest.mark.django_db
def test_what_sends_no_content_counts_nothing(grant: Grant) -> None:
    url = work_link(grant)
    digest = hashlib.sha256(WORKS[0]).hexdigest()
    answers = [
        fetch(link_to(grant, links.MANIFEST), "HEAD"),
        fetch(url, "HEAD"),
        fetch(url, If_None_Match=f'"{digest}"'),
        fetch(url, Range="bytes=1000-"),
        fetch(url.replace("signature=", "signature=x")),
        fetch(work_link(grant, b"never licensed")),
    ]
    with access.system("a test takes a work out"):
        reservations.reserve(
            [bytes.fromhex(digest)], organization=None, reason="opted_out", cause="test"
        )
    answers.append(fetch(url))

    assert [answer.status_code for answer in answers] == [200, 200, 304, 416, 403, 404, 410]
    assert [content_of(answer) for answer in answers[:3]] == [b"", b"", b""]
    assert (delivery_counts.flush(), counted()) == (0, {})


@pytest.mark.django_db
def test_a_piece_counts_once_the_next_is_asked_for(grant: Grant) -> None:
    closed = []

    def pieces() -> Iterator[bytes]:
        try:
            yield from (b"first", b"second", b"third")
        finally:
            closed.append(True)

    content: Any = Meter(coverage_of(grant).pk, What.WORKS).counted(pieces())  # type: ignore[arg-type]
    next(content)
    assert delivery_counts.flush() == 0
    next(content)
    assert (delivery_counts.flush(), counted()) == (1, {"works": (1, 5)})
    # The reader is gone: what it was handed last may not have left.
    content.close()
    assert closed == [True]
    assert (delivery_counts.flush(), counted()) == (0, {"works": (1, 5)})


@pytest.mark.django_db(transaction=True)
def test_what_many_count_together_adds_up(grant: Grant, lab: Organization) -> None:
    coverages = [
        coverage_of(grant),
        coverage_of(make_grant_row(grant.licensor, lab, works=[b"more"])),
    ]

    def send(turn: int) -> None:
        for each in coverages if turn % 2 else coverages[::-1]:
            for what in What:
                assert [*Meter(each.pk, what).counted(piece for piece in [b"1234"])]
            delivery_counts.flush()

    together([lambda turn=turn: send(turn) for turn in range(8)])  # type: ignore[misc]
    delivery_counts.flush()

    assert counted() == dict.fromkeys(What.values, (16, 64))


@pytest.mark.django_db
def test_what_cannot_be_written_is_kept_for_the_next_time(
    grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    covered = coverage_of(grant)
    [*Meter(covered.pk, What.WORKS).counted(piece for piece in [b"12345"])]
    with monkeypatch.context() as patch:
        patch.setattr(delivery_counts, "_COUNT", "SELECT 1 / 0, %s, %s, %s, %s, %s")
        with pytest.raises(Exception, match="division"), transaction.atomic():
            delivery_counts.flush()
    assert counted() == {}
    # Something else has left meanwhile.
    [*Meter(covered.pk, What.WORKS).counted(piece for piece in [b"678"])]

    assert delivery_counts.flush() == 1
    assert counted() == {"works": (2, 8)}


@pytest.mark.django_db
def test_what_may_have_been_written_is_not_written_again(
    grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a commit can be lost: to count twice would make “at least” a lie."""
    [*Meter(coverage_of(grant).pk, What.WORKS).counted(piece for piece in [b"12345"])]
    system = access.system

    class Lost:
        def __init__(self, reason: str) -> None:
            self._inner = system(reason)

        def __enter__(self) -> None:
            self._inner.__enter__()

        def __exit__(self, *failure: Any) -> None:
            self._inner.__exit__(*failure)
            raise OSError("the connection was closed")

    with monkeypatch.context() as patch:
        patch.setattr(access, "system", Lost)
        with pytest.raises(OSError, match="closed"):
            delivery_counts.flush()

    assert (delivery_counts.flush(), counted()) == (0, {"works": (1, 5)})


# --- what is recorded -------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("livemode", [False, True])
def test_a_day_that_is_over_is_recorded_for_both_parties(
    archive: Organization, lab: Organization, clock: Clock, livemode: bool
) -> None:
    grant = make_grant_row(archive, lab, livemode=livemode)
    covered = coverage_of(grant)
    count(grant, 10)
    count(grant, 32)
    count(grant, 500, What.REDIRECTS)
    clock.at = NEXT_MORNING

    assert delivery_summaries.record_due() == 1

    [summary] = summaries()
    assert (summary.day, summary.part, summary.coverage) == (DAY, 0, covered)
    body = commitments.parse_body(bytes(summary.entry.body))
    assert (body.kind, body.log) == ("delivery.summarized", "live" if livemode else "test")
    assert (body.seq, body.prev, body.public) == (0, None, {})
    # Its chain has a name of its own: strangers do not see which grant it is about.
    assert body.subject_ref == bytes(summary.delivery_ref) != bytes(grant.grant_ref)
    for organization in (archive, lab):
        assert values(summary, organization) == {
            "licensor": {
                "legal_name": archive.legal_name,
                "jurisdiction": archive.jurisdiction,
                "registration_number": archive.registration_number,
                "id": str(archive.pk),
            },
            "licensee": {
                "legal_name": lab.legal_name,
                "jurisdiction": lab.jurisdiction,
                "registration_number": lab.registration_number,
                "id": str(lab.pk),
            },
            "grant": {"id": str(grant.pk), "grant_ref": bytes(grant.grant_ref).hex()},
            "day": "2027-03-01",
            "part": 0,
            "coverage": [snapshots.cited(covered.snapshot)],
            "delivered": NOTHING
            | {
                "works": {"answers": 2, "bytes": 42},
                "redirects": {"answers": 1, "bytes": 500},
            },
        }
    assert (counted(), delivery_summaries.record_due()) == ({}, 0)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("now", "recorded"),
    [
        (NOON, 0),
        (datetime(2027, 3, 1, 23, 59, tzinfo=UTC), 0),
        # Some processes may not have written what they counted before midnight.
        (datetime(2027, 3, 2, 0, 59, 59, tzinfo=UTC), 0),
        (datetime(2027, 3, 2, 1, 0, 1, tzinfo=UTC), 1),
        (datetime(2027, 4, 20, tzinfo=UTC), 1),
    ],
)
def test_a_day_is_over_an_hour_after_its_midnight(
    grant: Grant, clock: Clock, now: datetime, recorded: int
) -> None:
    count(grant)
    clock.at = now
    assert delivery_summaries.record_due() == recorded
    assert len(summaries()) == recorded
    assert counted() == ({} if recorded else {"works": (1, 10)})


@pytest.mark.django_db
def test_a_grants_days_make_one_chain(grant: Grant, clock: Clock, archive: Organization) -> None:
    for number in range(3):
        clock.at = NOON + timedelta(days=number)
        count(grant, 10 + number)
    clock.at = NEXT_MORNING + timedelta(days=5)

    assert delivery_summaries.record_due() == 3

    made = summaries()
    bodies = [commitments.parse_body(bytes(each.entry.body)) for each in made]
    assert [body.seq for body in bodies] == [0, 1, 2]
    assert len({body.subject_ref for body in bodies}) == 1
    assert [body.prev for body in bodies] == [
        None,
        *[bytes(each.entry.leaf_hash) for each in made[:-1]],
    ]
    opened = [values(each, archive) for each in made]
    assert [each["day"] for each in opened] == ["2027-03-01", "2027-03-02", "2027-03-03"]
    assert [each["delivered"]["works"]["bytes"] for each in opened] == [10, 11, 12]


@pytest.mark.django_db
def test_what_is_counted_late_makes_another_part(
    grant: Grant, clock: Clock, archive: Organization
) -> None:
    count(grant, 10)
    clock.at = NEXT_MORNING
    assert delivery_summaries.record_due() == 1
    clock.at = NOON
    count(grant, 7)
    clock.at = NEXT_MORNING
    assert delivery_summaries.record_due() == 1

    made = summaries()
    assert [(each.day, each.part, each.entry.seq) for each in made] == [(DAY, 0, 0), (DAY, 1, 1)]
    sizes = [values(each, archive)["delivered"]["works"]["bytes"] for each in made]
    assert sizes == [10, 7]


@pytest.mark.django_db
def test_each_coverage_is_said_apart(grant: Grant, clock: Clock, archive: Organization) -> None:
    """What was fetched before works came in was fetched from less."""
    count(grant, 10)
    first = coverage_of(grant)
    added = cover(grant, timezone.now())
    count(grant, 20, under=added)
    clock.at = NEXT_MORNING
    assert delivery_summaries.record_due() == 2

    said = {
        values(each, archive)["coverage"][0]["citation"]: values(each, archive)["delivered"][
            "works"
        ]["bytes"]
        for each in summaries()
    }
    assert said == {
        bytes(first.snapshot.citation).hex(): 10,
        bytes(added.snapshot.citation).hex(): 20,
    }


@delivers
@pytest.mark.django_db
def test_an_answer_counts_for_the_newest_coverage_of_its_moment(
    grant: Grant,
) -> None:
    now = coverage_of(grant)
    cover(grant, timezone.now() + timedelta(hours=1))
    assert content_of(fetch(work_link(grant))) == WORKS[0]
    delivery_counts.flush()
    with access.system("a test looks at what was counted"):
        assert DeliveryCount.objects.get().coverage_id == now.pk


@pytest.mark.django_db
def test_what_strangers_see_comes_in_no_order_of_the_grants(
    archive: Organization, lab: Organization, clock: Clock
) -> None:
    grants = [make_grant_row(archive, lab, works=[bytes([n])]) for n in range(12)]
    for grant in grants:
        count(grant)
    clock.at = NEXT_MORNING
    assert delivery_summaries.record_due() == 12

    made = summaries()
    refs = [bytes(each.delivery_ref) for each in made]
    assert refs == sorted(refs)
    assert len(set(refs)) == 12
    with access.system("a test looks at what was recorded"):
        assert [each.coverage.grant_id for each in made] != [grant.pk for grant in grants]


@pytest.mark.django_db
def test_a_log_that_its_guard_is_ahead_of_gets_no_summary(
    grant: Grant, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restored backup: what the lost tail said of the day would be said twice."""
    count(grant)
    clock.at = NEXT_MORNING
    with monkeypatch.context() as patch:
        patch.setattr(guard, "is_ahead", lambda _log: True)
        assert delivery_summaries.record_due() == 0
    assert (summaries(), counted()) == ([], {"works": (1, 10)})
    assert delivery_summaries.record_due() == 1


@pytest.mark.django_db
def test_a_chain_goes_on_after_what_came_back_from_the_copy(grant: Grant, clock: Clock) -> None:
    """Such an entry has no row of ours."""
    count(grant)
    clock.at = NEXT_MORNING
    delivery_summaries.record_due()
    [first] = summaries()
    with access.system("a test brings an entry back"):
        back = LedgerEntry.objects.get(pk=first.entry_id)
        back.pk, back.seq, back.leaf_hash = None, 1, bytes(32)
        back.save(force_insert=True)
        LedgerLeaf(log="test", index=0, entry=back, leaf_hash=bytes(32)).save(force_insert=True)
        LedgerRecovered(entry=back).save(force_insert=True)
    clock.at = NOON + timedelta(days=1)
    count(grant)
    clock.at = NEXT_MORNING + timedelta(days=1)

    assert delivery_summaries.record_due() == 1

    body = commitments.parse_body(bytes(summaries()[-1].entry.body))
    assert (body.seq, body.prev) == (2, bytes(32))


@pytest.mark.django_db
def test_a_summary_that_fails_leaves_what_was_counted(
    grant: Grant, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    count(grant)
    clock.at = NEXT_MORNING
    entries = LedgerEntry.objects.count()
    with monkeypatch.context() as patch:
        patch.setattr(DeliverySummary.objects, "bulk_create", lambda rows: list(rows))
        with pytest.raises(IntegrityError, match="has no subject"), transaction.atomic():
            delivery_summaries.record_due()

    assert (summaries(), LedgerEntry.objects.count()) == ([], entries)
    assert counted() == {"works": (1, 10)}
    assert delivery_summaries.record_due() == 1


@pytest.mark.django_db
def test_the_ledger_is_sound_with_summaries_in_it(grant: Grant, clock: Clock) -> None:
    for number in range(2):
        clock.at = NOON + timedelta(days=number)
        count(grant)
    clock.at = NEXT_MORNING + timedelta(days=1)
    assert delivery_summaries.record_due() == 2
    sequencer.run_once()
    assert fsck.check_database("test").size == LedgerEntry.objects.filter(log="test").count()


# --- races ------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_workers_that_record_together_record_once(
    archive: Organization, lab: Organization, clock: Clock
) -> None:
    """Seen to fail without the election: “delivery_is_summarized_once”, or two chains."""
    grants = [make_grant_row(archive, lab, works=[bytes([n])]) for n in range(20)]
    for grant in grants:
        count(grant)
    clock.at = NEXT_MORNING

    recorded = together([delivery_summaries.record_due for _worker in range(4)])

    assert sum(recorded) == 20
    made = summaries()
    assert [(each.entry.seq, each.part) for each in made] == [(0, 0)] * 20
    assert len({each.coverage_id for each in made}) == 20
    assert counted() == {}


@pytest.mark.django_db(transaction=True)
def test_what_is_counted_while_a_day_is_recorded_is_not_lost(
    grant: Grant, clock: Clock, archive: Organization
) -> None:
    """A part for what came first, and another for the rest: together they are all of it."""
    covered = coverage_of(grant)
    days = threading.local()
    monkey = delivery_counts.timezone

    class Apart:
        """The counting threads are in the day before; the recording one in the next."""

        @staticmethod
        def now() -> datetime:
            return NOON if getattr(days, "is_before", False) else NEXT_MORNING

    delivery_counts.timezone = delivery_summaries.timezone = Apart  # type: ignore[assignment,attr-defined]
    try:

        def send() -> int:
            days.is_before = True
            for _answer in range(25):
                assert [*Meter(covered.pk, What.WORKS).counted(piece for piece in [b"123"])]
                delivery_counts.flush()
            return 0

        def record() -> int:
            return sum(delivery_summaries.record_due() for _time in range(25))

        recorded = together([send, send, record])
        delivery_counts.flush()
        last = delivery_summaries.record_due()
    finally:
        delivery_counts.timezone = delivery_summaries.timezone = monkey  # type: ignore[attr-defined]

    made = summaries()
    assert len(made) == sum(recorded) + last
    assert [each.part for each in made] == [*range(len(made))]
    said = [values(each, archive)["delivered"]["works"] for each in made]
    assert sum(each["answers"] for each in said) == 50
    assert sum(each["bytes"] for each in said) == 150
    assert counted() == {}


# --- where it runs ----------------------------------------------------------------------------


def test_the_worker_records_what_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    monkeypatch.setattr(delivery_summaries, "record_due", lambda: done.append(True))
    [job] = [job for job in worker.JOBS if job.name == "delivery summaries"]
    assert worker.run_safely(job)
    assert done == [True]


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_the_delivery_process_writes_what_it_counts(
    process: str, archive: Organization, lab: Organization, settings: Any
) -> None:
    settings.DELIVERY_URL = process
    large = os.urandom(3_000_000)
    grant = make_grant_row(archive, lab, works=[*WORKS, large])
    link = delivery.Link(str(grant.pk), False, hashlib.sha256(large).hexdigest(), expires()).url()
    for _again in range(2):
        with urllib.request.urlopen(link, timeout=10) as answer:
            assert answer.read() == large

    deadline = time.monotonic() + 30
    while counted() != {"works": (2, 6_000_000)}:
        assert time.monotonic() < deadline, counted()
        time.sleep(0.1)
