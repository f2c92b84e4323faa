"""The stored tree of a log, read as tiles (C2SP tlog-tiles)."""

from __future__ import annotations

import re
from typing import Any

from django.db import connection

from licensing.ledger import tree
from licensing.ledger.tree import TILE_HEIGHT, TILE_WIDTH
from licensing.ledger.tree import index_path as index_path
from licensing.models import LedgerCheckpoint, LedgerLeaf, LedgerTree

# The levels of tiles that a tree can have while its indexes fit a bigint.
LEVELS_MAX = 8
# Six groups of three digits: more than a log will hold, and always a bigint.
_PATH = re.compile(r"(?:x[0-9]{3}/){0,5}[0-9]{3}")

# A proof reads five tiles, and making the statements anew took most of its time.
_TILE = "SELECT hashes FROM licensing_ledgertile WHERE log = %s AND level = %s AND index = %s"
# Hashes of a partial tile stand one a row: of leaves, or of the full tiles one level down.
_LEAVES = """
SELECT leaf_hash FROM licensing_ledgerleaf
WHERE log = %s AND index >= %s AND index < %s ORDER BY index
"""
_ROOTS = """
SELECT root FROM licensing_ledgertile
WHERE log = %s AND level = %s AND index >= %s AND index < %s ORDER BY index
"""
# The partial tile of each level of a tree, one a row: all that it takes to append.
_EDGE = """
SELECT grown.size, grown.root, part.level, CASE part.level WHEN 0 THEN ARRAY(
    SELECT leaf_hash FROM licensing_ledgerleaf
    WHERE log = %(log)s AND index >= part.past - part.width AND index < part.past ORDER BY index
) ELSE ARRAY(
    SELECT root FROM licensing_ledgertile
    WHERE log = %(log)s AND level = part.level - 1
    AND index >= part.past - part.width AND index < part.past ORDER BY index
) END
FROM ({grown}) grown LEFT JOIN LATERAL (
    SELECT level, grown.size >> level * %(height)s AS past,
        (grown.size >> level * %(height)s) & ((1 << %(height)s) - 1) AS width
    FROM generate_series(0, %(levels)s - 1) AS each (level)
) part ON part.width > 0
"""
_EDGE_OF_SIZE = _EDGE.format(grown="SELECT %(size)s::bigint AS size, NULL::bytea AS root")
_EDGE_OF_NEWEST = _EDGE.format(
    grown="SELECT size, root FROM licensing_ledgertree WHERE log = %(log)s"
    " ORDER BY size DESC LIMIT 1"
)

# Every pass asks, and every receipt.
_TREE = ("log", "size", "root", "integrated_at")
_CHECKPOINT = ("log", "size", "note", "signed_at")
_NEWEST_TREE = f"""
SELECT {", ".join(_TREE)} FROM licensing_ledgertree WHERE log = %s ORDER BY size DESC LIMIT 1
"""
_NEWEST_CHECKPOINT = f"""
SELECT {", ".join(_CHECKPOINT)} FROM licensing_ledgercheckpoint
WHERE log = %s ORDER BY size DESC LIMIT 1
"""


def newest_tree(log: str) -> LedgerTree | None:
    """Everything that is integrated, signed or not."""
    row = _row(_NEWEST_TREE, log)
    return None if row is None else LedgerTree.from_db(connection.alias, _TREE, row)


def newest_checkpoint(log: str) -> LedgerCheckpoint | None:
    """Everything that is published."""
    row = _row(_NEWEST_CHECKPOINT, log)
    return None if row is None else LedgerCheckpoint.from_db(connection.alias, _CHECKPOINT, row)


class StoredTree:
    """The nodes of a log's tree of `size` leaves: the `GetNode` of proofs. Reads each tile once."""

    def __init__(self, log: str, size: int) -> None:
        self.log = log
        self.size = size
        self._read: dict[tuple[int, int], list[bytes]] = {}
        self._has_edge = False

    @classmethod
    def newest(cls, log: str) -> tuple[StoredTree, bytes]:
        """Everything that is integrated, its right edge read with it; and its recorded root.

        Raises LookupError.
        """
        rows = _edge(_EDGE_OF_NEWEST, log)
        size, root = rows[0][:2] if rows else (0, tree.EMPTY_ROOT)
        stored = cls(log, size)
        stored._keep_edge(rows)
        return stored, bytes(root)

    def node(self, level: int, index: int) -> bytes:
        """The root of the complete subtree (level, index), folded from the tile that holds it."""
        part = tree.tile_part(level, index)
        hashes = self.tile(part.level, part.index)
        return tree.fold(hashes[part.start : part.start + part.count])

    def tile(self, level: int, index: int) -> list[bytes]:
        """The hashes of a tile, as far as this tree fills it."""
        key = (level, index)
        if key not in self._read:
            self._keep(level, index, self._load(level, index, self.width(level, index)))
        return self._read[key]

    def width(self, level: int, index: int) -> int:
        """How many hashes of a tile this tree has: 0 to 256."""
        return max(0, min(TILE_WIDTH, (self.size >> TILE_HEIGHT * level) - index * TILE_WIDTH))

    def root(self) -> bytes:
        """The root of the whole tree, from what is stored."""
        self._load_edge()
        return tree.Frontier.load(self.size, self.node).root()

    def right_edge(self) -> list[list[bytes]]:
        """The partial tile of each level, empty where a tile has just filled: what grows next."""
        self._load_edge()
        edge = []
        for level in range(LEVELS_MAX):
            index = self._edge_index(level)
            edge.append(list(self.tile(level, index)) if self.width(level, index) else [])
        return edge

    def _edge_index(self, level: int) -> int:
        return (self.size >> TILE_HEIGHT * level) // TILE_WIDTH

    def _load_edge(self) -> None:
        if not self._has_edge:
            self._keep_edge(_edge(_EDGE_OF_SIZE, self.log, self.size))

    def _keep_edge(self, rows: list[tuple[Any, ...]]) -> None:
        for _size, _root, level, hashes in rows:
            if level is not None:
                index = self._edge_index(level)
                self._keep(level, index, [bytes(value) for value in hashes])
        self._has_edge = True

    def _load(self, level: int, index: int, width: int) -> list[bytes]:
        first = index * TILE_WIDTH
        if width == TILE_WIDTH:
            hashes = split(b"".join(_column(_TILE, self.log, level, index)))
        elif level == 0:
            hashes = _column(_LEAVES, self.log, first, first + width)
        else:
            hashes = _column(_ROOTS, self.log, level - 1, first, first + width)
        return hashes

    def _keep(self, level: int, index: int, hashes: list[bytes]) -> None:
        if len(hashes) != self.width(level, index):
            raise LookupError(f"tile {level}/{index} of the log {self.log} is not whole")
        self._read[level, index] = hashes


def split(hashes: bytes) -> list[bytes]:
    return [
        hashes[start : start + tree.HASH_LENGTH]
        for start in range(0, len(hashes), tree.HASH_LENGTH)
    ]


def tile(log: str, level: int, index: int, width: int) -> bytes | None:
    """The bytes of a tile of `width` hashes; None where no checkpoint vouches for them yet."""
    if not _is_published(log, level, index, width):
        return None
    published = StoredTree(log, (index * TILE_WIDTH + width) << TILE_HEIGHT * level)
    return b"".join(published.tile(level, index))


def entry_bundle(log: str, index: int, width: int) -> bytes | None:
    """Entries behind their lengths, for the tile of level 0 with the same index and width."""
    if not _is_published(log, 0, index, width):
        return None
    first = index * TILE_WIDTH
    bodies = (
        LedgerLeaf.objects.filter(log=log, index__gte=first, index__lt=first + width)
        .order_by("index")
        .values_list("entry__body", flat=True)
    )
    return b"".join(len(body).to_bytes(2) + bytes(body) for body in bodies)


def parse_index(path: str) -> int | None:
    """Read `x001/x234/067`; None for any other spelling than the one that the format gives."""
    if not _PATH.fullmatch(path):
        return None
    index = int(path.replace("x", "").replace("/", ""))
    return index if index_path(index) == path else None


def _is_published(log: str, level: int, index: int, width: int) -> bool:
    checkpoint = newest_checkpoint(log)
    # Shifting a level of 63 into a size is harmless: Python's integers grow.
    end = (index * TILE_WIDTH + width) << TILE_HEIGHT * level
    return checkpoint is not None and end <= checkpoint.size


def _row(statement: str, log: str) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [log])
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def _edge(statement: str, log: str, size: int | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(
            statement, {"log": log, "height": TILE_HEIGHT, "levels": LEVELS_MAX, "size": size}
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _column(statement: str, *parameters: str | int) -> list[bytes]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [bytes(value) for (value,) in cursor.fetchall()]
