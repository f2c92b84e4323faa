"""Audit roots: what was done to organizations and to the market, committed to in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from licensing import audit_tree
from licensing.audit_tree import Act
from licensing.ledger import commitments, guard, succession, tiles, tree
from licensing.ledger import log as ledger
from licensing.ledger.log import LOGS, LedgerCorrupted
from licensing.models import AuditRoot, LedgerEntry
from marketplace import access

# Of the advisory lock: there is one tree for both logs.
_LOCK = (0x11CE9, 0)

# Acts that get their places in one transaction.
_AT_ONCE = 5_000
# Before every id.
_FIRST = UUID(int=0)

# The columns of an Act.
COLUMNS = "act.id, act.organization_id, act.actor, act.action, act.subject, act.data::text, act.at"
_WITHOUT_PLACE = f"""
SELECT {COLUMNS} FROM marketplace_audit act
WHERE act.id > %s
    AND NOT EXISTS (SELECT FROM licensing_auditleaf leaf WHERE leaf.audit_id = act.id)
ORDER BY act.id LIMIT %s
"""
_END = "SELECT coalesce(max(position) + 1, 0) FROM licensing_auditleaf"
_PLACE = """
INSERT INTO licensing_auditleaf (position, audit_id, leaf_hash)
SELECT %s + place - 1, audit_id, leaf_hash
FROM unnest(%s::uuid[], %s::bytea[]) WITH ORDINALITY AS each (audit_id, leaf_hash, place)
"""
_HASHES = """
SELECT position, leaf_hash FROM licensing_auditleaf WHERE position >= %s ORDER BY position
"""


def record_due() -> list[AuditRoot]:
    """Give acts their places, and record the root in every log that is due. The worker's job.

    A log is due when it has entries, and its newest root is a day old (LEDGER_AUDIT_SECONDS).
    Where nothing was done since, nothing is recorded. Any number of processes may call it: one
    does the work. Acts get their places here and not as they are done: who acts waits for nobody,
    and no place is left empty by an act that is taken back.
    """
    if not any(map(is_due, LOGS)):
        return []
    if not _place_most():
        return []
    with access.system("commit to what was done to organizations' things"):
        if not _elected():
            return []
        # In this order: what was committed before `until` is read, and has its place.
        until = _now()
        last: UUID | None = _FIRST
        while last is not None:
            last = _place(last)
        return [root for log in LOGS if is_due(log) and (root := _record(log, until)) is not None]


def is_due(log: str) -> bool:
    """Whether a log is to have a root now, if anything was done."""
    newest = _newest(log)
    if newest is None:
        return LedgerEntry.objects.filter(log=log).exists()
    return _now() - newest.until >= timedelta(seconds=settings.LEDGER_AUDIT_SECONDS)


def stream(sql: str, parameters: Any = ()) -> Iterator[tuple[Any, ...]]:
    """Stream rows from the server, a batch at a time. Needs an open transaction throughout."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql, parameters)
        while rows := cursor.fetchmany(_AT_ONCE):
            yield from rows


def _elected() -> bool:
    """Whether this transaction alone gives places now. Two would give one place twice."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", _LOCK)
        return bool(cursor.fetchone()[0])


def _place_most() -> bool:
    """Give acts their places, and commit now and then. False where another process is at it."""
    last: UUID | None = _FIRST
    while last is not None:
        with access.system("give acts their places in the audit's tree"):
            if not _elected():
                return False
            last = _place(last)
    return True


def _place(after: UUID) -> UUID | None:
    """Give the next acts without a place theirs, by their ids. The last one's, if there are more.

    Ids ascend with time, so that one way through all of them finds most; who commits later than
    others after it is found by the next.
    """
    with connection.cursor() as cursor:
        cursor.execute(_WITHOUT_PLACE, [after, _AT_ONCE])
        found = [Act(*row) for row in cursor.fetchall()]
        if found:
            cursor.execute(_END)
            (end,) = cursor.fetchone()
            hashes = [audit_tree.leaf_hash(act) for act in found]
            cursor.execute(_PLACE, [end, [act.id for act in found], hashes])
    return found[-1].id if len(found) == _AT_ONCE else None


def _record(log: str, until: datetime) -> AuditRoot | None:
    if guard.is_ahead(succession.current(log)):
        return None
    frontier = _grown(_newest(log))
    if frontier is None:
        return None
    chain = _chain(log)
    before = None if chain is None else commitments.parse_body(bytes(chain.body)).public["to"]
    number = 0 if chain is None else chain.seq + 1
    entry = ledger.append(
        log=log,
        kind=audit_tree.KIND,
        subject_ref=audit_tree.subject_ref(log),
        seq=number,
        prev=None if chain is None else bytes(chain.leaf_hash),
        values={},
        parties=[],
        at=_now(),
        public={
            "tree": audit_tree.TREE,
            "size": frontier.size,
            "root": frontier.root().hex(),
            "from": before,
            "to": commitments.timestamp(until),
        },
    )
    root = AuditRoot(
        log=log,
        number=number,
        size=frontier.size,
        root=frontier.root(),
        until=until,
        frontier=b"".join(frontier.hashes()),
        entry=entry,
    )
    root.save(force_insert=True)
    return root


def _grown(newest: AuditRoot | None) -> tree.Frontier | None:
    """The tree as it is now, grown from a root before. None where nothing was added."""
    frontier = tree.Frontier()
    if newest is not None:
        frontier = tree.Frontier(newest.size, tiles.split(bytes(newest.frontier)))
        if frontier.root() != bytes(newest.root):
            raise LedgerCorrupted(f"Audit root {newest} is not that of its own subtrees.")
    before = frontier.size
    for position, leaf in stream(_HASHES, [before]):
        if position != frontier.size:
            raise LedgerCorrupted(f"The audit has no leaf {frontier.size}.")
        frontier.push(bytes(leaf))
    return frontier if frontier.size > before else None


def _newest(log: str) -> AuditRoot | None:
    return AuditRoot.objects.filter(log=log).order_by("-number").first()


def _chain(log: str) -> LedgerEntry | None:
    """The newest entry of the log's audit roots.

    By the chain and not by our own rows: what `ledger_recover` brought back has none.
    """
    rows = LedgerEntry.objects.filter(log=log, subject_ref=audit_tree.subject_ref(log))
    return rows.order_by("-seq").first()


def _now() -> datetime:
    """The database's clock, whose commits are meant."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now
