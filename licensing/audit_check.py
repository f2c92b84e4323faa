"""Checks the audit: every act against its leaf, every root against the acts and the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from licensing import audit_tree
from licensing.audit_roots import COLUMNS, stream
from licensing.audit_tree import Act
from licensing.ledger import commitments, tree
from licensing.ledger.fsck import Broken, CannotTell
from licensing.ledger.log import LOGS
from licensing.models import AuditLeaf, AuditRoot, LedgerEntry, LedgerRecovered
from marketplace import access
from marketplace.typeid import TypeID

# Between the time that an act says and its commit nothing takes as long as this, clocks included.
LATE = timedelta(hours=1)

_PLACED = f"""
SELECT leaf.position, leaf.audit_id, leaf.leaf_hash, {COLUMNS}
FROM licensing_auditleaf leaf LEFT JOIN marketplace_audit act ON act.id = leaf.audit_id
ORDER BY leaf.position
"""
_WAITING = f"""
SELECT {COLUMNS} FROM marketplace_audit act
WHERE NOT EXISTS (SELECT FROM licensing_auditleaf leaf WHERE leaf.audit_id = act.id)
ORDER BY act.at, act.id
"""
_SHOW_EVERY = 1_000

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Checked:
    """How much was found sound."""

    acts: int
    roots: int
    # Done since the newest root, or without a place yet: nothing vouches for them.
    since: int


@dataclass(frozen=True, slots=True)
class _Root:
    """A root as a log says it."""

    name: str
    size: int
    root: str
    until: datetime
    is_recovered: bool


def check(progress: Progress = lambda _done, _all: None) -> Checked:
    """Recompute every leaf and every root from the acts.

    Changes nothing. The ledger's entries are taken as they are stored: `ledger_fsck` checks them.
    Raises Broken naming the first act or root that is not what was recorded, and CannotTell.
    """
    with access.system("compare the audit with the ledger"):
        # First: what is read after it holds everything that these are of.
        roots = [root for log in LOGS for root in _roots(log)]
        return _compare(roots, progress)


def _compare(roots: list[_Root], progress: Progress) -> Checked:
    by_size: dict[int, list[_Root]] = defaultdict(list)
    for root in roots:
        by_size[root.size].append(root)
    frontier, count = tree.Frontier(), AuditLeaf.objects.count()
    passed: _Root | None = None
    lost: list[_Root] = []
    for act, leaf in _placed():
        _check_is_in_time(act, passed)
        frontier.push(leaf)
        for root in by_size.get(frontier.size, []):
            if root.root == frontier.root().hex():
                passed = root if passed is None or root.until > passed.until else passed
            elif root.is_recovered:
                lost.append(root)
            else:
                raise Broken(root.name, "the acts do not make it: one is not what it was, or gone")
        if frontier.size % _SHOW_EVERY == 0:
            progress(frontier.size, count)
    for root in roots:
        if root.size > frontier.size:
            if not root.is_recovered:
                raise Broken(root.name, f"it is of {root.size} acts, and {frontier.size} are left")
            lost.append(root)
    return _judged(roots, lost, passed, frontier.size)


def _judged(roots: list[_Root], lost: list[_Root], passed: _Root | None, placed: int) -> Checked:
    waiting = 0
    oldest: datetime | None = None
    for row in stream(_WAITING):
        act = Act(*row)
        _check_is_in_time(act, passed)
        waiting, oldest = waiting + 1, oldest or act.at
    if lost:
        raise CannotTell(
            f"{lost[0].name} came back with a lost tail, and acts that it is of did not: the"
            " database was restored from a backup."
        )
    since = placed + waiting - (0 if passed is None else passed.size)
    if passed is None and since:
        raise CannotTell(f"No root vouches for the {since} acts yet: let a worker run.")
    due = timezone.now() - timedelta(seconds=settings.LEDGER_AUDIT_SECONDS) - LATE
    if oldest is not None and oldest < due:
        raise CannotTell(
            f"{waiting} acts wait for their places, the oldest since {oldest.isoformat()}: no"
            " worker runs, or it fails."
        )
    return Checked(acts=placed + waiting - since, roots=len(roots), since=since)


def _placed() -> Iterator[tuple[Act, bytes]]:
    """Every act that has a place, in their order, with the hash that it was found to have."""
    for expected, (position, id, leaf, *row) in enumerate(stream(_PLACED)):
        if position != expected:
            raise Broken(f"leaf {expected}", f"it is gone: {position} follows")
        name = f"{TypeID('aud', id)} (leaf {position})"
        if row[0] is None:
            raise Broken(name, "the act was deleted")
        act = Act(*row)
        found = audit_tree.leaf_hash(act)
        if found != bytes(leaf):
            raise Broken(name, "the act is not what it was, or its leaf is another one's")
        yield act, found


def _check_is_in_time(act: Act, passed: _Root | None) -> None:
    """An act that came after a root, and says that it was done well before, was put there later."""
    if passed is not None and act.at < passed.until - LATE:
        raise Broken(
            f"{TypeID('aud', act.id)}",
            f"it says {act.at.isoformat()}, and {passed.name} of {passed.until.isoformat()} has"
            " nothing of it: it was inserted later",
        )


def _roots(log: str) -> Iterator[_Root]:
    """A log's roots, by their entries, each checked against the one before and its row."""
    # In this order: the audit grows meanwhile, and a root's row is there as soon as its entry is.
    entries = list(LedgerEntry.objects.filter(log=log, kind=audit_tree.KIND).order_by("seq", "id"))
    rows = {row.entry_id: row for row in AuditRoot.objects.filter(log=log).select_related("entry")}
    found = LedgerRecovered.objects.filter(entry__in=[entry.pk for entry in entries])
    recovered = set(found.values_list("entry", flat=True))
    before: tuple[LedgerEntry, dict[str, Any]] | None = None
    for number, entry in enumerate(entries):
        name = f"root {number} of the log “{log}”"
        try:
            body = commitments.parse_body(bytes(entry.body))
            public = dict(body.public)
            root = _Root(
                name,
                int(public["size"]),
                str(public["root"]),
                commitments.parse_timestamp(public["to"]),
                entry.pk in recovered,
            )
        except (commitments.CommitmentError, TypeError, ValueError) as error:
            raise Broken(name, f"its entry cannot be read: {error}") from error
        said = (body.log, body.kind, body.subject_ref, body.seq, public["tree"])
        if said != (log, audit_tree.KIND, audit_tree.subject_ref(log), number, audit_tree.TREE):
            raise Broken(name, "its entry is of another chain, number or tree")
        follows = (None, None) if before is None else (bytes(before[0].leaf_hash), before[1]["to"])
        if (body.prev, public["from"]) != follows:
            raise Broken(name, "its entry does not follow the one before")
        row = rows.pop(entry.pk, None)
        if row is None and not root.is_recovered:
            raise Broken(name, "its row is gone")
        if row is not None and not _agree(row, root, number):
            raise Broken(name, "its row says another thing than its entry")
        yield root
        before = entry, public
    for row in rows.values():
        if (row.entry.log, row.entry.kind) == (log, audit_tree.KIND):
            continue  # made since
        raise Broken(f"root {row}", "its entry is of another kind or log")


def _agree(row: AuditRoot, root: _Root, number: int) -> bool:
    return (row.number, row.size, bytes(row.root).hex(), row.until) == (
        number,
        root.size,
        root.root,
        root.until,
    )
