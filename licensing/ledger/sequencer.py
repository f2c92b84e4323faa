"""Gives committed entries their place in a log, and has the grown tree signed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, connection
from django.utils import timezone

from licensing import packing
from licensing.ledger import (
    export,
    generations,
    guard,
    notes,
    rotation,
    signer,
    succession,
    tiles,
    tree,
)
from licensing.ledger.log import LOGS, LedgerCorrupted
from licensing.ledger.stores import StoreConflict, StoreUnavailable
from licensing.ledger.tree import TILE_HEIGHT
from licensing.models import (
    LedgerCheckpoint,
    LedgerEntry,
    LedgerPending,
    LedgerTile,
    LedgerTree,
)
from marketplace import access

# Entries that one transaction integrates at most: about a second of work.
BATCH = 4096

# Why a log stops while the other goes on.
STOPS = (
    LedgerCorrupted,
    signer.KeyUnusable,
    guard.GuardRefused,
    StoreConflict,
    StoreUnavailable,
)

# Whole sets at once, and no object for each: this is paid for every entry.
_WAITING = """
SELECT entry.id, entry.log, entry.body, entry.leaf_hash
FROM licensing_ledgerpending pending JOIN licensing_ledgerentry entry ON entry.id = pending.entry_id
WHERE pending.log = %(log)s
    AND (pending.not_before IS NULL OR pending.not_before <= statement_timestamp())
    AND (entry.seq = 0 OR NOT EXISTS (
        SELECT FROM licensing_ledgerpending held
        JOIN licensing_ledgerentry earlier ON earlier.id = held.entry_id
        WHERE held.log = %(log)s AND held.not_before > statement_timestamp()
            AND earlier.subject_ref = entry.subject_ref
    ))
    -- What is frozen has grown for the last time.
    AND NOT EXISTS (
        SELECT FROM licensing_ledgercontinuation
        WHERE log = %(log)s AND number > %(generation)s
    )
ORDER BY pending.entry_id LIMIT %(limit)s
"""
_GROW = """
WITH leaf AS (
    INSERT INTO licensing_ledgerleaf (log, index, entry_id, leaf_hash)
    SELECT %(log)s, %(start)s::bigint + place - 1, id, leaf
    FROM unnest(%(entries)b::bigint[], %(leaves)b::bytea[])
        WITH ORDINALITY AS each (id, leaf, place)
)
INSERT INTO licensing_ledgertree (log, size, root, integrated_at)
VALUES (%(log)s, %(size)s, %(root)s, %(now)s)
"""
_TAKE = "DELETE FROM licensing_ledgerpending WHERE entry_id = ANY(%b::bigint[])"

# Seconds from one pass to the next, and while somebody waits for a receipt.
PASS_SECONDS = 0.1
HURRIED_SECONDS = 0.05
# Seconds between two notes of a log, unless somebody waits for a receipt.
NOTE_SECONDS = 1.0

# A row of one's own for each entry: who comes while the note is made that contains it need not be
# told, and who waits for a later entry leaves a row that this note does not take.
_AWAIT = """
INSERT INTO licensing_ledgerawaited (entry_id, log) VALUES (%s, %s) ON CONFLICT DO NOTHING
"""
# For all logs at once: a process that finds nothing to do asks ten times a second.
_STANDS = """
SELECT each.log, current.name, pending.log IS NOT NULL, grown.size, signed.size, EXISTS (
    SELECT FROM licensing_ledgerawaited awaited
    JOIN licensing_ledgerleaf leaf ON leaf.entry_id = awaited.entry_id
    WHERE awaited.log = each.log AND leaf.log = current.name AND leaf.index >= signed.size
)
FROM unnest(%s::text[]) each (log)
LEFT JOIN (SELECT DISTINCT log FROM licensing_ledgerpending) pending ON pending.log = each.log
CROSS JOIN LATERAL (
    SELECT each.log || coalesce('/' || max(number), '') AS name
    FROM licensing_ledgercontinuation WHERE log = each.log
) current
CROSS JOIN LATERAL (
    SELECT coalesce(max(size), 0) AS size FROM licensing_ledgertree WHERE log = current.name
) grown
CROSS JOIN LATERAL (
    SELECT coalesce(max(size), 0) AS size FROM licensing_ledgercheckpoint WHERE log = current.name
) signed
"""
_ANSWER = """
DELETE FROM licensing_ledgerawaited awaited USING licensing_ledgerleaf leaf
WHERE leaf.entry_id = awaited.entry_id AND awaited.log = %s AND leaf.log = %s AND leaf.index < %s
"""

# The first key of the advisory locks; the second is the log's place in LOGS.
_LOCK_SPACE = 0x11CE7


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a log stood when it was looked at."""

    # The generation that grows.
    name: str
    # Whether entries wait for their places.
    has_waiting: bool
    # How many have theirs, and how many of these are signed.
    size: int
    signed: int
    # Whether somebody waits for a receipt of what has its place and is not signed.
    is_awaited: bool


class Pace:
    """When a process that makes pass after pass makes one and signs: sooner while somebody waits.

    Times are of its own monotonic clock. What it has not seen yet is due: it may have been the
    signing that the process before this one died at.
    """

    def __init__(self) -> None:
        # Of each log: the size of the newest note, by whomever, and when it was seen first.
        self._seen: dict[str, tuple[int, float]] = {}
        self._begun = -PASS_SECONDS
        self._is_hurried = False

    def begin(self) -> None:
        """Say that a pass begins."""
        self._begun, self._is_hurried = time.monotonic(), False

    def rest(self) -> float:
        """How many seconds it is until the next pass.

        Who gets a receipt is likely to ask for another: a pass that found somebody waiting is
        followed sooner.
        """
        seconds = HURRIED_SECONDS if self._is_hurried else PASS_SECONDS
        return max(0.0, self._begun + seconds - time.monotonic())

    def is_due(self, log: str, stand: Stand) -> bool:
        """Whether the newest tree of a log, if it has no note, is to have one now."""
        now = time.monotonic()
        if log not in self._seen:
            # Due until there is a note that this process has seen being made.
            self._seen[log] = (stand.signed, now - NOTE_SECONDS)
        elif self._seen[log][0] != stand.signed:
            self._seen[log] = (stand.signed, now)
        self._is_hurried |= stand.is_awaited
        return stand.is_awaited or now - self._seen[log][1] >= NOTE_SECONDS


def run_once(pace: Pace | None = None) -> int:
    """Integrate what waits, in every log, and sign it. Gives the number of entries integrated.

    With a pace, what was integrated is signed by the pass that finds it due. A log that must stop
    does not hold up the other; its failure is raised at the end.
    """
    integrated, failures = 0, []
    if pace is not None:
        pace.begin()
    stands = _look(LOGS)
    for log in LOGS:
        try:
            stand = stands[log]
            if stand.has_waiting:
                integrated += integrate(stand.name, _ahead(stand.name, stand.size))
                # Whoever came meanwhile is answered now, not by the next pass.
                stand = _look([log])[log]
            if pace is None or pace.is_due(log, stand):
                if stand.size > stand.signed:
                    sign(stand.name)
                export.publish_newest(stand.name)
        except STOPS as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
    return integrated


def integrate(log: str, ahead: notes.Checkpoint | None = None) -> int:
    """Give up to BATCH waiting entries their places, in one transaction.

    `log` names its generation that grows; a frozen one gives no place any more.
    `ahead` is what was signed and this database lacks: a restored backup gives no place unless
    that very tree comes of it. Places that were other entries' could never be taken back.

    Any number of processes may call it; one at a time works, the others return 0. Raises
    LedgerCorrupted, having changed nothing, when an entry or the tree is not what was hashed, and
    GuardRefused when what is ahead does not come of it.
    """
    with access.system("integrate the ledger"):
        if not elected(log):
            return 0
        entries = _waiting(log)
        if not entries:
            return 0
        size = grow(log, entries)
        if ahead is not None:
            guard.check_reached(log, ahead, size - len(entries), size)
        with connection.cursor() as cursor:
            cursor.execute(_TAKE, [list(entries)])
            assert cursor.rowcount == len(entries), "Each waiting entry leaves the queue once."
        return len(entries)


def sign(log: str) -> LedgerCheckpoint | None:
    """Sign the newest integrated tree. None when there is nothing new.

    In a transaction after the one that integrated: a signature over what is then rolled back
    could never be taken back. A crash in between leaves a tree without a note, signed next time.
    Before that, and in no transaction, what is signed is made durable in the second place: it is
    that tree which is signed, though another process may have integrated more by then. Raises
    LedgerCorrupted when the tree does not continue what was signed before, GuardRefused when that
    was something else than this database knows, and what `export.secure` raises.
    """
    newest, last = tiles.newest_tree(log), tiles.newest_checkpoint(log)
    if newest is None or (last is not None and last.size >= newest.size):
        return None
    export.secure(log, newest.size)
    with access.system("sign the ledger's newest tree"):
        if not elected(log):
            return None
        last = tiles.newest_checkpoint(log)
        if last is not None and last.size >= newest.size:
            return None
        if not succession.is_current(log) or _is_overtaken(log, newest.size):
            return None
        stored = tiles.StoredTree(log, newest.size)
        keys, signers = rotation.signing(log, newest.size, first=last is None)
        _check_continues(stored, newest, last, keys)
        checkpoint = notes.Checkpoint(signer.origin(log), newest.size, bytes(newest.root))
        # Before the note can be seen. The election must hold until it is there, so this is in the
        # transaction; it holds no row that others wait for.
        guard.advance(
            log,
            checkpoint.size,
            checkpoint.root,
            lambda size: tree.consistency_proof(size, stored.size, stored.node),
        )
        signed = LedgerCheckpoint.objects.create(
            log=log, size=newest.size, note=notes.sign(checkpoint.text(), *signers)
        )
        with connection.cursor() as cursor:
            cursor.execute(_ANSWER, [generations.log_of(log), log, newest.size])
        return signed


def await_receipt(entry: LedgerEntry) -> None:
    """Say that somebody waits until an entry is signed, in the current transaction.

    Saying it again changes nothing. Once the entry has its place, the next pass signs.
    """
    with connection.cursor() as cursor:
        cursor.execute(_AWAIT, [entry.pk, entry.log])


def held_until(entry: LedgerEntry) -> datetime | None:
    """Until when an entry that waits for its place is kept back. None: it is not."""
    waiting = LedgerPending.objects.filter(entry=entry, not_before__isnull=False)
    return waiting.values_list("not_before", flat=True).first()


def _is_overtaken(log: str, size: int) -> bool:
    """Whether another grew the log past `size` meanwhile, told the guard, and died unsigned.

    Its tree, or a longer one, is what the next pass signs; a smaller one may not be any more.
    """
    newest = tiles.newest_tree(log)
    assert newest is not None, "A tree that was integrated stays."
    return newest.size > size and guard.ahead_of(log, size) is not None


def _look(logs: Sequence[str]) -> dict[str, Stand]:
    with connection.cursor() as cursor:
        cursor.execute(_STANDS, [list(logs)])
        return {log: Stand(*stand) for log, *stand in cursor.fetchall()}


def _ahead(log: str, size: int) -> notes.Checkpoint | None:
    """What the guard knows of a longer log than this database, when places are to be given."""
    try:
        return guard.ahead_of(log, size)
    except guard.GuardUnreadable:
        return None  # signing says it


def elected(log: str) -> bool:
    """Whether this transaction is the one that may work on the log now.

    PostgreSQL lets go of the lock after the commit can be seen, so the next holder's first
    statement reads a whole state. Two holders would give one place to two entries.
    """
    with connection.cursor() as cursor:
        place = LOGS.index(generations.log_of(log))
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [_LOCK_SPACE, place])
        return bool(cursor.fetchone()[0])


def _waiting(log: str) -> dict[int, bytes]:
    """The oldest waiting entries' keys and leaf hashes, each compared with its body once more.

    The row that is read now is what everybody will hash from now on: a log once died for ever of
    one bit that had flipped in a stored leaf hash.
    """
    log, generation = generations.log_of(log), generations.number_of(log)
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, {"log": log, "generation": generation, "limit": BATCH})
        rows = cursor.fetchall()
    entries = {}
    for key, recorded_in, body, leaf in rows:
        if tree.leaf_hash(packing.unpack_body(body)) != leaf:
            raise LedgerCorrupted(
                f"Entry {key} of the log “{log}” is not what was hashed when it was recorded."
            )
        if recorded_in != log:
            raise LedgerCorrupted(f"Entry {key} of the log “{recorded_in}” waits for “{log}”.")
        entries[key] = bytes(leaf)
    return entries


def grow(log: str, entries: dict[int, bytes]) -> int:
    """Append the entries' leaf hashes to the stored tree; write leaves, full tiles and root.

    `entries` maps their keys to their leaf hashes, in the order of their places. Gives the new
    size. Raises LedgerCorrupted where one of the places, or of the entries, is already taken.
    """
    start, edge, frontier = _take_up(log)
    full: list[LedgerTile] = []
    for leaf in entries.values():
        edge[0].append(leaf)
        for level, index, root in frontier.push(leaf):
            tile_level, within = divmod(level, TILE_HEIGHT)
            if within == 0:
                hashes = b"".join(edge[tile_level - 1])
                full.append(
                    LedgerTile(log=log, level=tile_level - 1, index=index, hashes=hashes, root=root)
                )
                edge[tile_level - 1].clear()
                edge[tile_level].append(root)
    try:
        if full:
            LedgerTile.objects.bulk_create(full)
        with connection.cursor() as cursor:
            cursor.execute(
                _GROW,
                {
                    "log": log,
                    "start": start,
                    "entries": list(entries),
                    "leaves": list(entries.values()),
                    "size": frontier.size,
                    "root": frontier.root(),
                    "now": timezone.now(),
                },
            )
    except IntegrityError as error:
        # The election lets one work at a time: somebody else than a sequencer wrote here.
        raise LedgerCorrupted(
            f"The log “{log}” of size {start} cannot grow by its waiting entries: {error}"
        ) from error
    return frontier.size


def _take_up(log: str) -> tuple[int, list[list[bytes]], tree.Frontier]:
    """Where the stored tree ends: its size, partial tiles and frontier.

    Derived from leaves and tiles each time, and compared with the root that was integrated last:
    a frontier kept as state of its own could drift from them unseen.
    """
    try:
        stored, root = tiles.StoredTree.newest(log)
        edge = stored.right_edge()
        frontier = tree.Frontier.load(stored.size, stored.node)
    except LookupError as error:
        raise LedgerCorrupted(str(error)) from error
    if frontier.root() != root:
        raise LedgerCorrupted(
            f"The stored leaves and tiles of the log “{log}” do not make its root at size"
            f" {stored.size}."
        )
    return stored.size, edge, frontier


def _check_continues(
    stored: tiles.StoredTree,
    newest: LedgerTree,
    last: LedgerCheckpoint | None,
    keys: rotation.Keys,
) -> None:
    """Prove, from what is stored, that the tree has its root and begins with the signed one."""
    log, size, root = newest.log, newest.size, bytes(newest.root)
    try:
        if stored.root() != root:
            raise tree.ProofError("the stored tree has another root than was integrated")
        if last is not None:
            signed, _note = keys.open(last.note)
            proof = tree.consistency_proof(signed.size, size, stored.node)
            tree.verify_consistency(signed.size, size, proof, signed.root, root)
    except (LookupError, tree.ProofError, notes.NoteError) as error:
        raise LedgerCorrupted(
            f"The log “{log}” of size {size} does not continue what was signed: {error}."
        ) from error
