"""Delivery summaries: what left under each grant on a day, recorded in the ledger afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from uuid import UUID

from django.db import connection
from django.db.models import Max
from django.utils import timezone

from licensing import snapshots
from licensing.ledger import guard, log, succession
from licensing.models import Coverage, DeliveryCount, DeliverySummary, LedgerEntry
from licensing.parties import party
from marketplace import access

KIND = "delivery.summarized"

# How long after a day's end it is taken to be over: processes have written their counts by then.
GRACE = timedelta(hours=1)

# Grants in one transaction: their parties' other recordings wait until it ends.
_AT_ONCE = 200
# Of the advisory lock.
_LOCK = (0x11CEA, 0)

# One day of each grant at a time: a chain's next entry has the hash of the one before.
_DUE = """
SELECT DISTINCT ON (coverage.grant_id) counted.coverage_id, counted.day
FROM licensing_deliverycount counted
JOIN licensing_coverage coverage ON coverage.id = counted.coverage_id
WHERE counted.day < %s AND coverage.livemode = ANY(%s)
ORDER BY coverage.grant_id, counted.day, counted.coverage_id
LIMIT %s
"""
_TAKE = """
DELETE FROM licensing_deliverycount counted
USING unnest(%s::uuid[], %s::date[]) AS due (coverage_id, day)
WHERE counted.coverage_id = due.coverage_id AND counted.day = due.day
RETURNING counted.coverage_id, counted.what, counted.answers, counted.bytes
"""

Delivered = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class _Due:
    """What is to be recorded next in one grant's chain of summaries."""

    coverage: Coverage
    day: date
    part: int
    delivery_ref: bytes
    previous: LedgerEntry | None


def record_due() -> int:
    """Record what was delivered on days that are over. Gives the number of entries. A worker's job.

    An entry for each grant, day and coverage, with the deletion of what was counted. Any number of
    processes may call it: one does the work.
    """
    recorded = 0
    while made := _record_some():
        recorded += made
    return recorded


def has_left(grant: UUID) -> bool:
    """Whether anything was delivered under a grant that is known of by now. Under `system`."""
    return (
        DeliveryCount.objects.filter(coverage__grant=grant).exists()
        or DeliverySummary.objects.filter(coverage__grant=grant).exists()
    )


def log_of(grant: UUID) -> list[tuple[date, str, int, int]]:
    """What left under a grant, at least: day, sort, answers and bytes, by day. Under `system`.

    What was recorded is read from what opens its entries; of erased openings only the day is left.
    """
    rows = [
        (row.day, str(row.what), row.answers, row.bytes)
        for row in DeliveryCount.objects.filter(coverage__grant=grant)
    ]
    for summary in DeliverySummary.objects.filter(coverage__grant=grant).select_related(
        "entry__opening"
    ):
        opening = getattr(summary.entry, "opening", None)
        delivered = {} if opening is None else json.loads(opening.values)["delivered"]
        rows += [
            (summary.day, what, counted["answers"], counted["bytes"])
            for what, counted in delivered.items()
            if counted["answers"]
        ]
    return sorted(rows)


def _record_some() -> int:
    with access.system("record what was delivered"):
        if not _elected():
            return 0
        logs = [name for name in log.LOGS if not guard.is_ahead(succession.current(name))]
        found = _due(logs)
        if not found:
            return 0
        taken = _take(found)
        facts = [_fact(each, taken[each.coverage.pk]) for each in found]
        entries = log.append_many(facts)
        DeliverySummary.objects.bulk_create(
            DeliverySummary(
                coverage=each.coverage,
                day=each.day,
                part=each.part,
                delivery_ref=each.delivery_ref,
                entry=entry,
            )
            for each, entry in zip(found, entries, strict=True)
        )
        return len(found)


def _elected() -> bool:
    """Whether this transaction alone records now. Two would begin two chains of one grant."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", _LOCK)
        return bool(cursor.fetchone()[0])


def _due(logs: Sequence[str]) -> list[_Due]:
    """What is due, in an order that tells nothing of the grants: strangers see it."""
    over = (timezone.now() - GRACE).date()
    with connection.cursor() as cursor:
        cursor.execute(_DUE, [over, [name == "live" for name in logs], _AT_ONCE])
        days: dict[UUID, date] = dict(cursor.fetchall())
    coverages = Coverage.objects.filter(pk__in=days).select_related(
        "grant__licensor", "grant__licensee", "snapshot"
    )
    refs = _refs([each.grant_id for each in coverages])
    previous = _newest([*refs.values()])
    parts = {
        (coverage, day): last + 1
        for coverage, day, last in DeliverySummary.objects.filter(coverage__in=days)
        .values("coverage", "day")
        .annotate(last=Max("part"))
        .values_list("coverage", "day", "last")
    }
    due = []
    for each in coverages:
        ref = refs.get(each.grant_id) or os.urandom(16)
        day = days[each.pk]
        part = parts.get((each.pk, day), 0)
        due.append(_Due(each, day, part, ref, previous.get((_log(each), ref))))
    return sorted(due, key=lambda each: each.delivery_ref)


def _refs(grants: Sequence[UUID]) -> dict[UUID, bytes]:
    """By which reference each grant's summaries go; none where there was no summary yet."""
    rows = (
        DeliverySummary.objects.filter(coverage__grant__in=grants)
        .order_by("coverage__grant", "-pk")
        .distinct("coverage__grant")
    )
    return {grant: bytes(ref) for grant, ref in rows.values_list("coverage__grant", "delivery_ref")}


def _newest(refs: Sequence[bytes]) -> dict[tuple[str, bytes], LedgerEntry]:
    """The last entry of each chain.

    By the chain and not by our own rows: what `ledger_recover` brought back has none.
    """
    rows = LedgerEntry.objects.filter(log__in=log.LOGS, subject_ref__in=refs)
    newest = rows.order_by("log", "subject_ref", "-seq").distinct("log", "subject_ref")
    return {(entry.log, bytes(entry.subject_ref)): entry for entry in newest}


def _take(due: Sequence[_Due]) -> dict[UUID, Delivered]:
    """Take out what was counted: by coverage, and by sort."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [[each.coverage.pk for each in due], [each.day for each in due]])
        rows = cursor.fetchall()
    taken: dict[UUID, Delivered] = {
        each.coverage.pk: {what: {"answers": 0, "bytes": 0} for what in DeliveryCount.What.values}
        for each in due
    }
    for coverage, what, answers, size in rows:
        taken[coverage][what] = {"answers": answers, "bytes": size}
    return taken


def _fact(due: _Due, delivered: Mapping[str, Mapping[str, int]]) -> log.Fact:
    """What is recorded of a grant's day. The fields are published: they never change."""
    grant, previous = due.coverage.grant, due.previous
    return log.Fact(
        log=_log(due.coverage),
        kind=KIND,
        subject_ref=due.delivery_ref,
        seq=0 if previous is None else previous.seq + 1,
        prev=None if previous is None else bytes(previous.leaf_hash),
        values={
            "licensor": party(grant.licensor),
            "licensee": party(grant.licensee),
            "grant": {"id": str(grant.pk), "grant_ref": bytes(grant.grant_ref).hex()},
            "day": due.day.isoformat(),
            "part": due.part,
            "coverage": [snapshots.cited(due.coverage.snapshot)],
            "delivered": delivered,
        },
        parties=[grant.licensor_id, grant.licensee_id],
        at=timezone.now(),
    )


def _log(coverage: Coverage) -> str:
    return log.name(livemode=coverage.livemode)
