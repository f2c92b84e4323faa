"""A log's tree grown anew from its leaves, a tile at a time: what checking a whole log takes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from licensing.ledger import tree
from licensing.ledger.tree import HASH_LENGTH, TILE_HEIGHT, TILE_WIDTH

# Hashes that have begun: copying one is faster than making one of a prefixed text.
_LEAF, _NODE = sha256(b"\x00"), sha256(b"\x01")


@dataclass(frozen=True, slots=True)
class FullTile:
    """A tile that has just filled."""

    level: int
    index: int
    hashes: bytes
    root: bytes


class Regrowth:
    """The tree over all leaves so far: a few hashes for each level."""

    def __init__(self) -> None:
        self.size = 0
        # Over the roots of full tiles of level 0: most leaves are never pushed one by one.
        self._tiles = tree.Frontier()
        # The hashes of each level that fill no tile yet.
        self.edge: list[list[bytes]] = [[]]
        # The root of the tree of each size that was asked for in the last `grow`.
        self.roots: dict[int, bytes] = {}

    def grow(self, leaves: Sequence[bytes], sizes: Collection[int]) -> list[FullTile]:
        """Append a whole tile of leaf hashes, or the log's last ones.

        `sizes` are those, beyond the size so far and up to the new one, whose roots are wanted.
        """
        assert self.size % TILE_WIDTH == 0, "Only the last leaves do not fill a tile."
        assert 0 < len(leaves) <= TILE_WIDTH
        end = self.size + len(leaves)
        is_full = len(leaves) == TILE_WIDTH
        self.roots = {}
        if any(size < end or not is_full for size in sizes):
            frontier = tree.Frontier(self.size, self._tiles.hashes())
            for leaf in leaves:
                frontier.push(leaf)
                if frontier.size in sizes:
                    self.roots[frontier.size] = frontier.root()
        self.size = end
        if not is_full:
            self.edge[0] = list(leaves)
            return []
        full = list(self._fill(b"".join(leaves)))
        if end in sizes:
            self.roots[end] = self._tiles.root()
        return full

    def root_with(self, leaves: Sequence[bytes]) -> bytes:
        """The root that the tree would have with these leaves appended."""
        frontier = tree.Frontier(self.size, self._tiles.hashes())
        for leaf in leaves:
            frontier.push(leaf)
        return frontier.root()

    def _fill(self, hashes: bytes) -> Iterator[FullTile]:
        root = fold(hashes)
        yield FullTile(0, self.size // TILE_WIDTH - 1, hashes, root)
        self._append(1, root)
        for level, index, above in self._tiles.push(root):
            tile_level, within = divmod(level, TILE_HEIGHT)
            if within == 0:
                yield FullTile(tile_level, index, b"".join(self.edge[tile_level]), above)
                self.edge[tile_level].clear()
                self._append(tile_level + 1, above)

    def _append(self, level: int, root: bytes) -> None:
        if len(self.edge) == level:
            self.edge.append([])
        self.edge[level].append(root)


def fold(hashes: bytes) -> bytes:
    """Hash 2**n neighboring nodes into the root above them, as `tree.fold`, but all in one text."""
    width, begin = 2 * HASH_LENGTH, _NODE.copy
    while len(hashes) > HASH_LENGTH:
        above = []
        for start in range(0, len(hashes), width):
            node = begin()
            node.update(hashes[start : start + width])
            above.append(node.digest())
        hashes = b"".join(above)
    return hashes


def first_difference(one: bytes, other: bytes) -> int:
    """The number of the first hash in which two tiles differ."""
    for start in range(0, max(len(one), len(other)), HASH_LENGTH):
        if one[start : start + HASH_LENGTH] != other[start : start + HASH_LENGTH]:
            return start // HASH_LENGTH
    raise AssertionError("The tiles do not differ.")


class BundleError(ValueError):
    """A bundle of entries is not as long as its entries say: `leaves` are those before."""

    def __init__(self, message: str, leaves: list[bytes]) -> None:
        super().__init__(message)
        self.leaves = leaves


def bundle_leaves(bundle: bytes, count: int) -> list[bytes]:
    """The leaf hashes of the `count` entries of a bundle, which holds nothing else."""
    leaves: list[bytes] = []
    start, length, view, begin = 0, len(bundle), memoryview(bundle), _LEAF.copy
    for _number in range(count):
        body = start + 2
        end = body + (bundle[start] << 8) + bundle[start + 1] if body <= length else body
        if end > length:
            raise BundleError(f"it ends in its entry {len(leaves)}", leaves)
        leaf = begin()
        leaf.update(view[body:end])
        leaves.append(leaf.digest())
        start = end
    if start != length:
        raise BundleError(f"{length - start} bytes follow its last entry", leaves)
    return leaves


def bundle_length(bundle: bytes, count: int) -> int:
    """Where the first `count` entries of a well-formed bundle end."""
    end = 0
    for _number in range(count):
        end += 2 + int.from_bytes(bundle[end : end + 2])
    return end
