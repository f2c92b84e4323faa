"""The log's Merkle tree: hashes, proofs, their verification, and growth (RFC 6962, RFC 9162)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

HASH_LENGTH = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

# C2SP tlog-tiles: a tile holds 2**8 hashes, eight levels of the tree.
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT

# Gives the root of the complete subtree `index` of `level`: leaves index << level up to
# (index + 1) << level. Level 0 is the leaf hashes.
GetNode = Callable[[int, int], bytes]


class ProofError(ValueError):
    """A proof does not show what it is meant to show."""


def leaf_hash(data: bytes) -> bytes:
    """Hash an entry's bytes."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into their parent."""
    return hashlib.sha256(b"\x01" + left + right).digest()


# --- verifying --------------------------------------------------------------------------------


def verify_inclusion(
    index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that a leaf stands at `index` of the tree (RFC 9162, 2.1.3.2). Raises ProofError."""
    if not 0 <= index < size:
        raise ProofError(f"index {index} is outside a tree of size {size}")
    _check_lengths([leaf_hash, root, *proof])
    node, last, found = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            raise ProofError("the inclusion proof is too long")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            # At the right edge a subtree without sibling moves up unchanged.
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            found = node_hash(found, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise ProofError("the inclusion proof is too short")
    if found != root:
        raise ProofError("the inclusion proof leads to another root")


def verify_consistency(
    size1: int, size2: int, proof: Sequence[bytes], root1: bytes, root2: bytes
) -> None:
    """Check that the larger tree only appended to the smaller (RFC 9162, 2.1.4.2).

    Raises ProofError. Size 0 is refused: everything is consistent with nothing, so such a
    proof proves nothing.
    """
    if not 0 < size1 <= size2:
        raise ProofError(f"no consistency from size {size1} to size {size2}")
    if size1 == size2:
        if proof:
            raise ProofError("equal sizes take an empty consistency proof")
        if root1 != root2:
            raise ProofError("equal sizes have different roots")
        return
    _check_lengths([root1, root2, *proof])
    path = list(proof)
    # A smaller tree that is one complete subtree is its own first step.
    if size1 & (size1 - 1) == 0:
        path.insert(0, root1)
    if not path:
        raise ProofError("the consistency proof is too short")
    node, last = size1 - 1, size2 - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("the consistency proof is too long")
        if node & 1 or node == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise ProofError("the consistency proof is too short")
    if old != root1:
        raise ProofError("the consistency proof leads to another root of the smaller tree")
    if new != root2:
        raise ProofError("the consistency proof leads to another root of the larger tree")


# --- proving ----------------------------------------------------------------------------------


def inclusion_proof(index: int, size: int, get_node: GetNode) -> list[bytes]:
    """Prove that leaf `index` is in the tree of `size` leaves, by O(log n) calls of `get_node`."""
    if not 0 <= index < size:
        raise ProofError(f"index {index} is outside a tree of size {size}")
    proof: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(subtree_root(middle, high, get_node))
            high = middle
        else:
            proof.append(subtree_root(low, middle, get_node))
            low = middle
    proof.reverse()
    return proof


def consistency_proof(size1: int, size2: int, get_node: GetNode) -> list[bytes]:
    """Prove that the tree of `size2` leaves begins with the tree of `size1` leaves."""
    if not 0 < size1 <= size2:
        raise ProofError(f"no consistency from size {size1} to size {size2}")
    proof: list[bytes] = []
    low, high = 0, size2
    while size1 != high:
        middle = low + _split(high - low)
        if size1 <= middle:
            proof.append(subtree_root(middle, high, get_node))
            high = middle
        else:
            proof.append(subtree_root(low, middle, get_node))
            low = middle
    # What is left is a part of both trees. At low == 0 it is the smaller tree itself,
    # whose root the verifier already holds.
    if low:
        proof.append(subtree_root(low, high, get_node))
    proof.reverse()
    return proof


def subtree_root(low: int, high: int, get_node: GetNode) -> bytes:
    """Hash leaves low..high of a tree, where `low` is where such a subtree can begin."""
    parts: list[bytes] = []
    while low < high:
        level = (high - low).bit_length() - 1
        parts.append(get_node(level, low >> level))
        low += 1 << level
    return _fold_right(parts)


# --- growing ----------------------------------------------------------------------------------


class Frontier:
    """The roots of a tree's complete subtrees, largest first: all that it takes to append."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """Take up a tree where it was left: `hashes` is what `hashes()` gave at that size."""
        self._size = size
        self._hashes = list(hashes)
        if size < 0 or len(self._hashes) != size.bit_count():
            raise ValueError(f"a tree of size {size} has other subtrees than these")
        _check_lengths(self._hashes)

    @classmethod
    def load(cls, size: int, get_node: GetNode) -> Frontier:
        """Read the subtrees of a stored tree: one call of `get_node` for each bit of its size."""
        return cls(size, [get_node(level, index) for level, index in complete_subtrees(size)])

    @property
    def size(self) -> int:
        return self._size

    def hashes(self) -> list[bytes]:
        return list(self._hashes)

    def push(self, leaf_hash: bytes) -> list[tuple[int, int, bytes]]:
        """Append a leaf. Gives every subtree that it completed: (level, index, root), level > 0."""
        if len(leaf_hash) != HASH_LENGTH:
            raise ValueError("a leaf hash has 32 bytes")
        completed: list[tuple[int, int, bytes]] = []
        index, level, found = self._size, 0, leaf_hash
        while index & 1:
            found = node_hash(self._hashes.pop(), found)
            index >>= 1
            level += 1
            completed.append((level, index, found))
        self._hashes.append(found)
        self._size += 1
        return completed

    def root(self) -> bytes:
        return _fold_right(self._hashes)


def complete_subtrees(size: int) -> list[tuple[int, int]]:
    """List (level, index) of a tree's complete subtrees, largest first: the frontier's places."""
    places: list[tuple[int, int]] = []
    low = 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            places.append((level, low >> level))
            low += 1 << level
    return places


# --- tiles ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TilePart:
    """Where a subtree's root comes from: `count` hashes of one tile, folded together."""

    level: int
    index: int
    start: int
    count: int


def tile_part(level: int, index: int) -> TilePart:
    """Find the tile and the hashes in it that make up the complete subtree (level, index)."""
    tile_level, up = divmod(level, TILE_HEIGHT)
    first = index << up
    return TilePart(tile_level, first // TILE_WIDTH, first % TILE_WIDTH, 1 << up)


def index_path(index: int) -> str:
    """Write a tile's index in groups of three digits."""
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])


def tile_path(level: int, index: int, width: int) -> str:
    """Where a tile of `width` hashes stands below its log's prefix (C2SP tlog-tiles)."""
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{index_path(index)}{partial}"


def bundle_path(index: int, width: int) -> str:
    """Where the entries of a tile of level 0 stand below their log."""
    return tile_path(0, index, width).replace("tile/0/", "tile/entries/", 1)


def fold(hashes: Sequence[bytes]) -> bytes:
    """Hash 2**n neighboring nodes of one level into the root above them."""
    level = list(hashes)
    if not level or len(level) & (len(level) - 1):
        raise ValueError("only a power of two of nodes folds into one root")
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [node_hash(left, right) for left, right in pairs]
    return level[0]


def _fold_right(parts: Sequence[bytes]) -> bytes:
    if not parts:
        return EMPTY_ROOT
    *rest, root = parts
    for part in reversed(rest):
        root = node_hash(part, root)
    return root


def _split(size: int) -> int:
    """The largest power of two below `size`: where RFC 6962 splits a tree."""
    return 1 << ((size - 1).bit_length() - 1)


def _check_lengths(hashes: Iterable[bytes]) -> None:
    if any(len(item) != HASH_LENGTH for item in hashes):
        raise ProofError("a hash in the proof has not 32 bytes")
