"""Checks a whole log in the database: every hash recomputed, from the entries' bodies upward."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import OuterRef, Subquery

from licensing import packing
from licensing.ledger import (
    commitments,
    generations,
    notes,
    rotation,
    signer,
    succession,
    tiles,
    tree,
    witnessing,
)
from licensing.ledger import log as log_of
from licensing.ledger.regrowth import FullTile, Regrowth, first_difference
from licensing.ledger.tree import TILE_HEIGHT, TILE_WIDTH
from licensing.models import LedgerCheckpoint, LedgerCosignature, LedgerTile, LedgerTree
from marketplace import access
from marketplace.typeid import TypeID

# Is told how many entries of how many are checked.
Progress = Callable[[int, int], None]

# Rows that are fetched at a time.
_CHUNK = TILE_WIDTH


class Broken(Exception):
    """The first thing that is wrong: `place` names leaf, entry, tile, tree or checkpoint."""

    def __init__(self, place: str, reason: str, leaf: int | None = None) -> None:
        super().__init__(f"{place}: {reason}")
        self.place, self.reason, self.leaf = place, reason, leaf


class CannotTell(Exception):
    """Something that checking needs is not there. Says what."""


@dataclass(frozen=True)
class Sound:
    """How much was checked."""

    size: int
    # Recorded, and not integrated yet.
    pending: int = 0
    checkpoints: int = 0
    openings: int = 0
    # Files beyond the checkpoint: of a copy that is being made, or was stopped.
    ahead: int = 0


# --- the database -----------------------------------------------------------------------------

# One statement: what it says of a log that grows meanwhile belongs together.
_EXTENT = """
SELECT
    coalesce((SELECT max(size) FROM licensing_ledgertree WHERE log = %(log)s), 0),
    coalesce((SELECT max(index) + 1 FROM licensing_ledgerleaf WHERE log = %(log)s), 0),
    (SELECT max(size) FROM licensing_ledgercheckpoint WHERE log = %(log)s),
    (SELECT max(size) FROM licensing_ledgercosignature WHERE log = %(log)s)
"""

# Each level has a tile less for every TILE_HEIGHT bits of the size.
_STRAY_TILE = """
SELECT level, index FROM licensing_ledgertile
WHERE log = %(log)s AND (level < 0 OR level >= %(levels)s OR index < 0 OR index >= (
    SELECT coalesce(max(size), 0) >> (%(height)s * (level + 1))
    FROM licensing_ledgertree WHERE log = %(log)s
))
ORDER BY level, index LIMIT 1
"""

_COLUMNS = """
    entry.id, entry.log, entry.kind, encode(entry.subject_ref, 'hex'), entry.seq, entry.body,
    entry.leaf_hash,
    to_char(entry.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    chain.place, chain.before, opening.seed, opening.packed,
    opening.values,
    EXISTS (SELECT FROM licensing_ledgerrecovered back WHERE back.entry_id = entry.id),
    (
        SELECT array_agg(party.log || ' ' || party.organization_id || ' ' || party.sequence)
        FROM licensing_ledgerparty party WHERE party.entry_id = entry.id
    )
"""

_CHAINS = """
WITH chain AS (
    SELECT id, row_number() OVER subject - 1 AS place,
        encode(lag(leaf_hash) OVER subject, 'hex') AS before
    FROM licensing_ledgerentry WHERE log = %(entries)s
    WINDOW subject AS (PARTITION BY subject_ref ORDER BY seq)
)
"""

_LEAVES = f"""{_CHAINS}
SELECT leaf.index, leaf.leaf_hash, {_COLUMNS}
FROM licensing_ledgerleaf leaf
LEFT JOIN licensing_ledgerentry entry ON entry.id = leaf.entry_id
LEFT JOIN chain ON chain.id = entry.id
LEFT JOIN licensing_ledgeropening opening ON opening.entry_id = entry.id
WHERE leaf.log = %(log)s AND leaf.index < %(size)s
ORDER BY leaf.index
"""

_UNPLACED = f"""{_CHAINS}
SELECT pending.log, NULL, {_COLUMNS}
FROM licensing_ledgerentry entry
JOIN chain ON chain.id = entry.id
LEFT JOIN licensing_ledgerpending pending ON pending.entry_id = entry.id
LEFT JOIN licensing_ledgeropening opening ON opening.entry_id = entry.id
WHERE NOT EXISTS (SELECT FROM licensing_ledgerleaf leaf WHERE leaf.entry_id = entry.id)
ORDER BY entry.id
"""

# An entry that is kept back says itself until when: so long, and no longer.
_HELD_BACK = """
SELECT entry.id FROM licensing_ledgerpending pending
JOIN licensing_ledgerentry entry ON entry.id = pending.entry_id
WHERE entry.log = %(entries)s AND pending.not_before > entry.created_at
ORDER BY entry.id LIMIT 1
"""

# Each party's numbers: 1, 2, 3 … and as many as were counted.
_MISCOUNTED = """
SELECT coalesce(numbered.organization_id, counter.organization_id), numbered.highest,
    numbered.count, counter.last
FROM (
    SELECT organization_id, max(sequence) AS highest, count(*) AS count
    FROM licensing_ledgerparty WHERE log = %(log)s GROUP BY organization_id
) numbered
FULL JOIN (SELECT * FROM licensing_ledgercounter WHERE log = %(log)s) counter
    USING (organization_id)
WHERE numbered.highest IS DISTINCT FROM numbered.count
    OR coalesce(numbered.highest, 0) IS DISTINCT FROM counter.last
ORDER BY 1 LIMIT 1
"""

_WAITS_AND_STANDS = """
SELECT leaf.index FROM licensing_ledgerpending pending
JOIN licensing_ledgerleaf leaf ON leaf.entry_id = pending.entry_id
WHERE leaf.log = %(log)s ORDER BY leaf.index LIMIT 1
"""


class _Row(NamedTuple):
    """An entry as it is stored: `first` is its place, or the queue that it waits in."""

    first: Any
    leaf: bytes | None
    id: int | None
    log: str
    kind: str
    ref: str
    seq: int
    body: bytes
    leaf_hash: bytes
    at: str
    place: int
    before: str | None
    seed: bytes | None
    packed: bytes | None
    plain: str | None
    is_recovered: bool
    # Each “log organization number”.
    numbers: list[str] | None


def check_database(log: str, progress: Progress = lambda _done, _size: None) -> Sound:
    """Check all that is stored of a log. Raises Broken, and CannotTell where only a key is missing.

    One pass over the leaves; what is integrated while it runs is left to the next time.
    """
    with access.system("check the whole ledger"):
        try:
            return _Check(log, progress).run()
        except log_of.LedgerCorrupted as error:
            # What reads its changes of key finds it first, and names the row.
            raise Broken(f"log {log}", str(error)) from error


class _Check:
    def __init__(self, log: str, progress: Progress) -> None:
        self.log = log
        # What its entries call it: one chain goes through all generations.
        self.entries = generations.log_of(log)
        self.progress = progress
        self.grown = Regrowth()
        self.openings = self.checkpoints = 0
        self.unsigned = False
        self.keys = rotation.keys(log)
        self.bodies = BodyCheck()

    def run(self) -> Sound:
        size = self._extent()
        self._generation(size)
        trees = _Recorded(LedgerTree, "root", self.log, size)
        signed = _Recorded(LedgerCheckpoint, "note", self.log, size)
        leaves: list[bytes] = []
        for row in _rows(_LEAVES, {"log": self.log, "entries": self.entries, "size": size}):
            leaves.append(self._leaf(row, self.grown.size + len(leaves)))
            if len(leaves) == TILE_WIDTH:
                self._tile(leaves, trees, signed)
                leaves = []
                self.progress(self.grown.size, size)
        if leaves:
            self._tile(leaves, trees, signed)
        if self.grown.size != size:
            missing = self.grown.size
            raise Broken(f"leaf {missing}", "it is missing", missing)
        self._cosignatures(size)
        pending = 0
        if succession.is_current(self.log):
            pending = self._unplaced()
            self._counted()
        if self.unsigned:
            raise CannotTell(
                f"the log “{self.log}” has no key here, so its checkpoints' signatures were not"
                " checked; all else is sound"
            )
        return Sound(size, pending, self.checkpoints, self.openings)

    def _extent(self) -> int:
        """The log's size. Everything else is then about what was there at this moment."""
        names: dict[str, str | int] = {
            "log": self.log,
            "levels": tiles.LEVELS_MAX,
            "height": TILE_HEIGHT,
        }
        with connection.cursor() as cursor:
            cursor.execute(_EXTENT, names)
            size, end, signed, cosigned = cursor.fetchone() or (0, 0, None, None)
            cursor.execute(_STRAY_TILE, names)
            stray = cursor.fetchone()
            cursor.execute(_WAITS_AND_STANDS, names)
            twice = cursor.fetchone()
        if end > size:
            raise Broken(f"leaf {size}", f"no tree has it: the last one has size {size}", size)
        if signed is not None and signed > size:
            raise Broken(f"checkpoint {signed}", f"the log has only {size} entries")
        if cosigned is not None and cosigned > (signed or 0):
            raise Broken(f"checkpoint {cosigned}", "it is gone, and a witness has cosigned it")
        if stray is not None:
            raise Broken(f"tile {stray[0]}/{stray[1]}", "the log has no such full tile")
        if twice is not None:
            raise Broken(f"leaf {twice[0]}", "its entry still waits for a place", twice[0])
        return int(size)

    def _generation(self, size: int) -> None:
        """How it began, and where it was frozen."""
        try:
            succession.check(self.log)
        except log_of.LedgerCorrupted as error:
            raise Broken("leaf 0", str(error), 0) from None
        following = succession.next_of(self.log)
        if following is not None and size != following.known:
            raise Broken(
                f"tree {size}", f"it was frozen with {following.known} entries in their places"
            )

    def _leaf(self, row: _Row, expected: int) -> bytes:
        place = f"leaf {expected}"
        if row.first != expected:
            raise Broken(place, "it is missing", expected)
        if row.id is None:
            raise Broken(place, "its entry is gone", expected)
        found = tree.leaf_hash(row.body)
        if not found == row.leaf_hash == row.leaf:
            raise Broken(place, f"{_changed(found, row)} (entry {row.id})", expected)
        self._entry(row, place, expected)
        return found

    def _entry(self, row: _Row, place: str, index: int | None) -> None:
        try:
            if row.log != self.entries:
                raise ValueError(f"its entry is of the log “{row.log}”")
            found, parties = self.bodies.check(row)
            slots = _slots(row, parties)
            if row.seed is not None:
                _check_opening(row, found)
                _check_parties(row.seed, slots, parties)
                self.openings += 1
        except ValueError as error:
            raise Broken(place, f"{error} (entry {row.id})", index) from None

    def _tile(self, leaves: list[bytes], trees: _Recorded, signed: _Recorded) -> None:
        end = self.grown.size + len(leaves)
        roots, to_check = trees.up_to(end), signed.up_to(end)
        full = self.grown.grow(leaves, {size for size, _value in [*roots, *to_check]})
        for tile in full:
            _check_tile(self.log, tile)
        for size, root in roots:
            if bytes(root) != self.grown.roots.get(size):
                raise Broken(f"tree {size}", "its entries have another root")
        integrated = {size for size, _root in roots}
        for size, note in to_check:
            if size not in integrated:
                raise Broken(f"checkpoint {size}", "no tree of this size was integrated")
            self._checkpoint(size, note)

    def _checkpoint(self, size: int, note: str) -> None:
        self.checkpoints += 1
        try:
            if self.keys is None:
                self.unsigned = True
                found = notes.parse_checkpoint(notes.split_note(note)[0])
            else:
                found, _note = self.keys.open(note)
        except notes.NoteError as error:
            raise Broken(f"checkpoint {size}", str(error)) from None
        if found.origin != signer.origin(self.log):
            raise Broken(f"checkpoint {size}", f"it is of the log {found.origin}")
        if found.size != size:
            raise Broken(f"checkpoint {size}", f"its note is over {found.size} entries")
        if found.root != self.grown.roots.get(size):
            raise Broken(f"checkpoint {size}", "the entries have another root than was signed")

    def _cosignatures(self, size: int) -> None:
        note = LedgerCheckpoint.objects.filter(log=OuterRef("log"), size=OuterRef("size"))
        rows = LedgerCosignature.objects.filter(log=self.log, size__lte=size).order_by("size", "id")
        noted = rows.annotate(note=Subquery(note.values("note")))
        for row in noted.iterator(chunk_size=_CHUNK):
            if row.note is None:
                raise Broken(f"checkpoint {row.size}", "it is gone, and a witness has cosigned it")
            try:
                witnessing.check_kept(row, row.note)
            except (notes.NoteError, ValueError) as error:
                raise Broken(f"checkpoint {row.size}", str(error)) from None

    def _counted(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_MISCOUNTED, {"log": self.entries})
            wrong = cursor.fetchone()
        if wrong is not None:
            organization, highest, count, last = wrong
            raise Broken(
                f"numbers of {TypeID('org', organization)}",
                f"{count or 0} are given, up to {highest or 0}, and {last or 0} are counted",
            )

    def _unplaced(self) -> int:
        """Check the entries without a place: all of them wait for one."""
        count = 0
        for row in _rows(_UNPLACED, {"entries": self.entries}):
            place = f"entry {row.id}"
            if row.first is None:
                raise Broken(place, "it has no place and waits for none")
            if row.first != self.entries:
                raise Broken(place, f"it waits for a place in the log “{row.first}”")
            if tree.leaf_hash(row.body) != row.leaf_hash:
                raise Broken(place, "its body is not what was hashed")
            self._entry(row, place, None)
            count += 1
        with connection.cursor() as cursor:
            cursor.execute(_HELD_BACK, {"entries": self.entries})
            held = cursor.fetchone()
        if held is not None:
            raise Broken(f"entry {held[0]}", "it is kept back beyond the time that it names")
        return count


class _Recorded:
    """Rows with a size, read along as the log is grown anew."""

    def __init__(self, model: Any, column: str, log: str, size: int) -> None:
        rows = model.objects.filter(log=log, size__lte=size).order_by("size")
        self._rows: Iterator[tuple[int, Any]] = rows.values_list("size", column).iterator(_CHUNK)
        self._next = next(self._rows, None)

    def up_to(self, end: int) -> list[tuple[int, Any]]:
        found = []
        while self._next is not None and self._next[0] <= end:
            found.append(self._next)
            self._next = next(self._rows, None)
        return found


class BodyCheck:
    """Compares bodies with their columns: by writing them again, which is quicker than parsing."""

    def __init__(self) -> None:
        # Kinds and fields that a whole, strict reading has accepted.
        self._known: set[tuple[str, ...]] = set()

    def check(self, row: _Row) -> _Commitments:
        """Give the entry's commitments. Raises ValueError saying what is wrong."""
        try:
            body = json.loads(row.body)
            found: dict[str, str] = body["commitments"]
            parties: list[str] | None = body.get("parties")
            known = (row.kind, str(parties is None), *found)
            plain = [*found.values(), *(parties or ())]
            is_plain = (
                {len(each) for each in plain} <= {64}
                and _HEX.fullmatch("".join(plain)) is not None
                and parties in (None, sorted(set(parties or ())))
                and "public" not in body
            )
        except (ValueError, LookupError, TypeError, AttributeError):
            return self._strictly(row)
        if known not in self._known or not is_plain or _written(row, found, parties) != row.body:
            found, parties = self._strictly(row)
            self._known.add(known)
        _check_chain(row)
        return found, parties or []

    def _strictly(self, row: _Row) -> _Commitments:
        body = commitments.parse_body(row.body)
        for name, of_body, of_column in (
            ("log", body.log, row.log),
            ("kind", body.kind, row.kind),
            ("subject_ref", body.subject_ref.hex(), row.ref),
            ("seq", body.seq, row.seq),
            ("created_at", commitments.timestamp(body.at), row.at),
        ):
            if of_body != of_column:
                raise ValueError(f"its {name} is {of_column}, and its body says {of_body}")
        prev = None if body.prev is None else body.prev.hex()
        if prev != row.before:
            raise ValueError("it does not follow from its subject's entry before")
        found = {field: value.hex() for field, value in body.commitments.items()}
        return found, [party.hex() for party in body.parties]


# Of the fields, and of the parties.
_Commitments = tuple[dict[str, str], list[str]]

# One encoder for all: making it takes longer than using it.
_write = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode

_HEX = re.compile(r"[0-9a-f]*")


def _written(row: _Row, found: dict[str, str], parties: list[str] | None) -> bytes:
    """The body that these columns and commitments make; in ASCII, sorting keys is canonical."""
    body: dict[str, Any] = {
        "v": 1 if parties is None else 2,
        "kind": row.kind,
        "log": row.log,
        "at": row.at,
        commitments.ref_name(row.kind): row.ref,
        "seq": row.seq,
        "prev": row.before,
        "commitments": found,
    }
    if parties is not None:
        body["parties"] = parties
    return _write(body).encode()


def _check_chain(row: _Row) -> None:
    if row.seq != row.place:
        raise ValueError(f"its subject has no entry {row.place}, and this is entry {row.seq}")


def _slots(row: _Row, parties: list[str]) -> list[commitments.Slot]:
    """The parties' numbers as they are stored: of every party, unless all were lost once."""
    slots = []
    for log, organization, sequence in map(str.split, row.numbers or ()):
        if log != row.log:
            raise ValueError(f"a party's number of it is of the log “{log}”")
        slots.append(log_of.slot(UUID(organization), int(sequence)))
    # What a copy brings back has neither numbers nor an opening.
    if len(slots) != len(parties) and (slots or row.seed is not None or not row.is_recovered):
        raise ValueError(f"it has {len(parties)} parties, and {len(slots)} numbers are stored")
    return slots


def _check_parties(seed: bytes, slots: list[commitments.Slot], parties: list[str]) -> None:
    if slots and commitments.commit_parties(seed, slots) != parties:
        raise ValueError("its parties' stored numbers are not what it commits to")


def _check_opening(row: _Row, found: dict[str, str]) -> None:
    seed = row.seed or b""
    try:
        values = json.loads(row.plain or "" if row.packed is None else packing.unpack(row.packed))
        if values.keys() == found.keys() and all(
            _opens(seed, row.kind, field, value, found[field]) for field, value in values.items()
        ):
            return
    except (ValueError, TypeError, AttributeError):
        pass
    raise ValueError("its opening does not open its commitments")


def _opens(seed: bytes, kind: str, field: str, value: Any, expected: str) -> bool:
    """Try the quick writing of a value first: it is the canonical one of nearly every value."""
    salt = commitments.salt(seed, kind, field)
    text = _write(value).encode()
    if commitments.commitment_of_text(salt, kind, field, text).hex() == expected:
        return True
    return commitments.commitment(salt, kind, field, value).hex() == expected


def _check_tile(log: str, tile: FullTile) -> None:
    place = f"tile {tile.level}/{tile.index}"
    stored = LedgerTile.objects.filter(log=log, level=tile.level, index=tile.index)
    row = stored.values_list("hashes", "root").first()
    if row is None:
        raise Broken(place, "it is missing")
    hashes, root = bytes(row[0]), bytes(row[1])
    if hashes != tile.hashes:
        within = first_difference(hashes, tile.hashes)
        leaf = (tile.index * TILE_WIDTH + within) << TILE_HEIGHT * tile.level
        raise Broken(place, f"its hash {within}, from leaf {leaf}, is not what was hashed", leaf)
    if root != tile.root:
        raise Broken(place, "its root is not the one of its hashes")


def _changed(found: bytes, row: _Row) -> str:
    if row.leaf_hash == row.leaf:
        return "its entry's body is not what was hashed"
    if row.leaf_hash == found:
        return "its stored leaf hash is not its entry's"
    if row.leaf == found:
        return "its entry's stored leaf hash is not the one of the body"
    return "body, entry's leaf hash and leaf are three different things"


def _rows(statement: str, names: dict[str, Any]) -> Iterator[_Row]:
    """Stream the rows by a cursor of the server's: a log is longer than memory."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(statement, names)
        while rows := cursor.fetchmany(_CHUNK):
            yield from map(_row, rows)


def _row(row: Sequence[Any]) -> _Row:
    columns: Sequence[Any] = [
        bytes(value) if isinstance(value, memoryview) else value for value in row
    ]
    made = _Row(*columns)
    if made.id is None:
        return made  # there is no such entry
    return made._replace(body=packing.unpack_body(made.body))
