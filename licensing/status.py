"""Status roots: what state every grant is in, committed to in the ledger, and proofs of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from licensing import status_proofs, status_tree
from licensing.ledger import commitments, guard, proofs, succession, tiles
from licensing.ledger import log as ledger
from licensing.ledger.log import LOGS, LedgerCorrupted
from licensing.ledger.tree import ProofError
from licensing.models import Grant, LedgerEntry, StatusChange, StatusRoot
from licensing.status_tree import STATES, Leaf
from marketplace import access

# The first key of the advisory locks; the second is the log's place in LOGS.
_LOCK_SPACE = 0x57A70

# What can have changed since the root before: chains that grew, by the gapless order of the log
# (an entry that waits for its place, or got it since), and states, by their queue. Of those, what
# is not as the tree has it already. A grant whose entry is kept back does not exist yet in public,
# and an entry that a root names must stand before it.
_CHANGED = """
INSERT INTO licensing_statusleaf (log, grant_ref, number, state, last_leaf)
SELECT %(log)s, stands.grant_ref, %(number)s, stands.state, stands.last_leaf
FROM (
    SELECT issued.grant_ref, (%(states)s::jsonb ->> issued.status)::smallint AS state,
        newest.leaf_hash AS last_leaf
    FROM (
        SELECT entry.subject_ref AS grant_ref
        FROM licensing_ledgerleaf leaf JOIN licensing_ledgerentry entry ON entry.id = leaf.entry_id
        WHERE leaf.log = %(generation)s AND leaf.index >= %(since)s
            AND starts_with(entry.kind, 'grant.')
        UNION
        SELECT entry.subject_ref
        FROM licensing_ledgerpending pending
        JOIN licensing_ledgerentry entry ON entry.id = pending.entry_id
        WHERE pending.log = %(log)s AND starts_with(entry.kind, 'grant.')
        UNION
        SELECT changed.grant_ref FROM licensing_statuschange changed WHERE changed.log = %(log)s
    ) touched
    JOIN licensing_grant issued
        ON issued.grant_ref = touched.grant_ref AND issued.livemode = (%(log)s = 'live')
    CROSS JOIN LATERAL (
        SELECT leaf_hash FROM licensing_ledgerentry
        WHERE log = %(log)s AND subject_ref = touched.grant_ref ORDER BY seq DESC LIMIT 1
    ) newest
    WHERE NOT EXISTS (
        SELECT FROM licensing_ledgerpending held
        JOIN licensing_ledgerentry entry ON entry.id = held.entry_id
        WHERE held.log = %(log)s AND held.not_before > statement_timestamp()
            AND entry.subject_ref = touched.grant_ref
    )
) stands
LEFT JOIN LATERAL (
    SELECT state, last_leaf FROM licensing_statusleaf
    WHERE log = %(log)s AND grant_ref = stands.grant_ref ORDER BY number DESC LIMIT 1
) known ON true
WHERE (known.state, known.last_leaf) IS DISTINCT FROM (stands.state, stands.last_leaf)
"""

# The tree of a root, or a stretch of it.
_LEAVES = """
SELECT DISTINCT ON (grant_ref) grant_ref, state, last_leaf FROM licensing_statusleaf
WHERE log = %(log)s AND number <= %(number)s
    AND grant_ref >= %(first)s AND grant_ref < %(end)s
ORDER BY grant_ref, number DESC
"""

# Above every reference.
_BEYOND = b"\xff" * (status_tree.REF_LENGTH + 1)

_NAMES = {byte: name for name, byte in STATES.items()}


@dataclass(frozen=True, slots=True)
class _Due:
    """Why a log is to have a root now."""

    changes: list[int]
    is_daily: bool


def record_due() -> list[StatusRoot]:
    """Record a root in every log that is due. The worker's; any number of processes may."""
    return [root for log in LOGS if (root := record(log)) is not None]


def due(log: str) -> bool:
    """Whether a log is to have a root: of a new day (UTC), or for a status that changed."""
    found = _due(log)
    return found.is_daily or bool(found.changes)


def next_due(log: str) -> datetime:
    """When the next root is made at the latest, if no grant changes its status before."""
    now = timezone.now().astimezone(UTC)
    if due(log):
        return now
    return datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)


def record(log: str) -> StatusRoot | None:
    """Commit to the state of every grant of a log, if that is due. None where it is not.

    Also None where another process does it now, where a change has been taken back before a root
    had it, where the log has no grant yet, and while the guard knows more than this database.
    """
    if not due(log):
        return None
    with access.system("commit to the state of every grant"):
        # Under the lock it may be due no more.
        if not _elected(log) or not ((found := _due(log)).is_daily or found.changes):
            return None
        return _record(log, found)


def newest(log: str, at: datetime | int | None = None) -> StatusRoot | None:
    """The newest root of a log: of all, or up to a moment or a number."""
    rows = StatusRoot.objects.filter(log=log).select_related("entry")
    if isinstance(at, int):
        rows = rows.filter(number__lte=at)
    elif at is not None:
        rows = rows.filter(as_of__lte=at)
    return rows.order_by("-number").first()


def contains(root: StatusRoot, grant: Grant) -> bool:
    """Whether the grant was there when the root was made."""
    return _find(root, bytes(grant.grant_ref)) is not None


def proof(root: StatusRoot, grant: Grant) -> bytes | None:
    """Make the file that proves how a grant stood at a root that contains it.

    None while the root's entry is not signed yet. Verified before it is handed out. Raises
    LedgerCorrupted where the stored leaves are not those that the root was made of.
    """
    receipt = proofs.receipt(root.entry, None)
    if receipt is None:
        return None
    data = _proof(root, bytes(grant.grant_ref), receipt)
    assert data is not None, "Ask `contains` first."
    return data


def newest_proof(log: str, grant_ref: bytes) -> bytes | None:
    """The file that says how a grant stood at the newest root of a log that is signed.

    None where there is no such root, or it does not know the grant. Raises as `proof`.
    """
    root = newest(log)
    while root is not None:
        receipt = proofs.receipt(root.entry, None)
        if receipt is not None:
            return _proof(root, grant_ref, receipt)
        # Recorded a moment ago: the one before is what anybody can check.
        root = newest(log, root.number - 1)
    return None


def _proof(root: StatusRoot, grant_ref: bytes, receipt: bytes) -> bytes | None:
    found = _find(root, grant_ref)
    if found is None:
        return None
    try:
        placed = status_tree.place(*found)
        status_tree.verify(placed, root.size, bytes(root.root))
    except ProofError as error:
        raise LedgerCorrupted(
            f"Status root {root.number} of the log “{root.log}” cannot be proven: {error}."
        ) from error
    return status_proofs.build(placed, receipt)


def _due(log: str) -> _Due:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT max(as_of), (SELECT array_agg(id) FROM licensing_statuschange WHERE log = %s),"
            " EXISTS (SELECT FROM licensing_ledgerentry WHERE log = %s)"
            " FROM (SELECT as_of FROM licensing_statusroot"
            " WHERE log = %s ORDER BY number DESC LIMIT 1) newest",
            [log, log, log],
        )
        as_of, changes, is_begun = cursor.fetchone()
    if as_of is None:
        return _Due(changes or [], is_begun)
    return _Due(changes or [], as_of.astimezone(UTC).date() < timezone.now().date())


def _elected(log: str) -> bool:
    """Whether this transaction alone makes a root now. Two would make two of one number."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [_LOCK_SPACE, LOGS.index(log)])
        return bool(cursor.fetchone()[0])


def _record(log: str, found: _Due) -> StatusRoot | None:
    # In this order: what committed before `as_of`, and every entry below `log_size`, is read.
    as_of = timezone.now()
    generation = succession.current(log)
    if guard.is_ahead(generation):
        return None
    newest_tree, before = tiles.newest_tree(generation), newest(log)
    log_size = newest_tree.size if newest_tree is not None else 0
    chain = _chain(log)
    number = 0 if chain is None else chain.seq + 1
    changed = _change(log, number, since=_read_to(generation, before))
    # Each was committed before the statement above, so it has been looked at.
    StatusChange.objects.filter(pk__in=found.changes).delete()
    if not changed and (before is None or not found.is_daily):
        return None
    built = status_tree.build(_leaves(log, number))
    entry = ledger.append(
        log=log,
        kind=status_tree.KIND,
        subject_ref=status_tree.subject_ref(log),
        seq=number,
        prev=None if chain is None else bytes(chain.leaf_hash),
        values={},
        parties=[],
        at=timezone.now(),
        public={
            "tree": status_tree.TREE,
            "size": built.size,
            "root": built.root.hex(),
            "as_of": commitments.timestamp(as_of),
            "log_size": log_size,
        },
    )
    root = StatusRoot(
        log=log,
        number=number,
        as_of=as_of,
        log_size=log_size,
        size=built.size,
        root=built.root,
        blocks=status_tree.pack(built.blocks),
        entry=entry,
    )
    root.save(force_insert=True)
    return root


def _read_to(generation: str, before: StatusRoot | None) -> int:
    """How many entries of the generation that grows were read by the root before."""
    begun = succession.beginning_of(generation)
    if before is None or (begun is not None and before.entry_id < begun.entry_id):
        return 0
    return before.log_size


def _chain(log: str) -> LedgerEntry | None:
    """The newest entry of the log's status roots.

    By the chain and not by our own rows: what `ledger_recover` brought back has none.
    """
    rows = LedgerEntry.objects.filter(log=log, subject_ref=status_tree.subject_ref(log))
    return rows.order_by("-seq").first()


def _change(log: str, number: int, *, since: int) -> int:
    """Write the leaves that are not as the root before has them. Gives how many."""
    states = "{" + ",".join(f'"{name}":{byte}' for name, byte in STATES.items()) + "}"
    with connection.cursor() as cursor:
        given: dict[str, Any] = {"log": log, "number": number, "since": since, "states": states}
        cursor.execute(_CHANGED, {**given, "generation": succession.current(log)})
        return int(cursor.rowcount)


def _leaves(
    log: str, number: int, first: bytes = b"", end: bytes = _BEYOND
) -> Iterator[tuple[bytes, int, bytes]]:
    """The leaves of a root in order, of the references from `first` up to below `end`."""
    given: dict[str, Any] = {"log": log, "number": number, "first": first, "end": end}
    # A cursor of the server: a million rows are not held here at once.
    with connection.chunked_cursor() as cursor:
        cursor.execute(_LEAVES, given)
        while rows := cursor.fetchmany(10_000):
            for grant_ref, state, last_leaf in rows:
                yield bytes(grant_ref), state, bytes(last_leaf)


def _find(
    root: StatusRoot, grant_ref: bytes
) -> tuple[list[Leaf], int, int, list[status_tree.Block]] | None:
    """A grant's place in a root: its block's leaves, its place among them, and the blocks."""
    blocks = list(status_tree.unpack(bytes(root.blocks)))
    block = bisect_right([each.first for each in blocks], grant_ref) - 1
    if block < 0:
        return None
    end = blocks[block + 1].first if block + 1 < len(blocks) else _BEYOND
    rows = _leaves(root.log, root.number, blocks[block].first, end)
    leaves = [Leaf(ref, _NAMES[state], last_leaf) for ref, state, last_leaf in rows]
    places = [place for place, leaf in enumerate(leaves) if leaf.grant_ref == grant_ref]
    return (leaves, places[0], block, blocks) if places else None
