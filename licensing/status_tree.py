"""The status tree: the state of every grant of a log, under one hash (ledger_format.md, Status)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from licensing.ledger import tree
from licensing.ledger.tree import ProofError

TREE = "licet/status/v1"
KIND = "status.root"

# The byte that says a grant's state in its leaf. Never reused, never renumbered.
STATES: dict[str, int] = {"active": 1, "suspended": 2, "revoked": 3, "expired": 4}
IN_FORCE = "active"

REF_LENGTH = 16

# Leaves of one block, a complete subtree of the tree but for the last one. For each block the
# first reference and the root are kept, so that a proof reads the leaves of one block only.
BLOCK = 256
_BLOCK_LENGTH = REF_LENGTH + tree.HASH_LENGTH


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a tree says of one grant."""

    grant_ref: bytes
    state: str
    # The leaf hash, in the log, of the grant's newest entry at that moment.
    last_leaf: bytes

    def hash(self) -> bytes:
        """Hash the leaf. Raises ProofError where it is none."""
        if len(self.grant_ref) != REF_LENGTH or len(self.last_leaf) != tree.HASH_LENGTH:
            raise ProofError("a status leaf has a reference of 16 bytes and a hash of 32")
        if self.state not in STATES:
            raise ProofError(f"no state of a grant is “{self.state}”")
        return leaf_hash(self.grant_ref, STATES[self.state], self.last_leaf)


@dataclass(frozen=True, slots=True)
class Placed:
    """A leaf, and the hashes from its place up to the root."""

    leaf: Leaf
    index: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A subtree of up to BLOCK leaves: the first one's reference, and the root."""

    first: bytes
    root: bytes


@dataclass(frozen=True, slots=True)
class Built:
    size: int
    root: bytes
    blocks: tuple[Block, ...]


def subject_ref(log: str) -> bytes:
    """Name the one chain of status roots that a log has.

    Fixed, where other subjects are random: with a name of the market's choice there could be two
    chains, and each reader be shown another.
    """
    return hashlib.sha256(f"{TREE}/{log}".encode()).digest()[:REF_LENGTH]


def leaf_hash(grant_ref: bytes, state: int, last_leaf: bytes) -> bytes:
    return tree.leaf_hash(TREE.encode() + grant_ref + bytes([state]) + last_leaf)


def build(rows: Iterable[tuple[bytes, int, bytes]]) -> Built:
    """Make a tree of (grant_ref, byte of the state, last leaf), ascending by grant_ref.

    Keeps one block and the roots in memory. Raises ValueError where a reference repeats or
    descends, which no proof of absence would survive.
    """
    sha256, head = hashlib.sha256, b"\x00" + TREE.encode()
    blocks: list[Block] = []
    hashes: list[bytes] = []
    first, before, size = b"", b"", 0
    for grant_ref, state, last_leaf in rows:
        if grant_ref <= before:
            raise ValueError(f"{grant_ref.hex()} does not follow {before.hex()}")
        before = grant_ref
        if not hashes:
            first = grant_ref
        hashes.append(sha256(b"%b%b%c%b" % (head, grant_ref, state, last_leaf)).digest())
        size += 1
        if len(hashes) == BLOCK:
            blocks.append(Block(first, root_of(hashes)))
            hashes = []
    if hashes:
        blocks.append(Block(first, root_of(hashes)))
    return Built(size, root_of([block.root for block in blocks]), tuple(blocks))


def root_of(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962, 2.1, over leaf hashes, or over the roots of equal complete subtrees."""
    return tree.subtree_root(0, len(hashes), _nodes(hashes))


def place(leaves: Sequence[Leaf], at: int, block: int, blocks: Sequence[Block]) -> Placed:
    """Prove leaf `at` of the `leaves` of a block. Raises ProofError where they do not make it."""
    hashes = [leaf.hash() for leaf in leaves]
    if root_of(hashes) != blocks[block].root:
        raise ProofError(f"the leaves of block {block} are not those that it was made of")
    roots = [each.root for each in blocks]
    path = [
        *tree.inclusion_proof(at, len(hashes), _nodes(hashes)),
        *tree.inclusion_proof(block, len(roots), _nodes(roots)),
    ]
    return Placed(leaves[at], block * BLOCK + at, tuple(path))


def verify(placed: Placed, size: int, root: bytes) -> None:
    """Check that a leaf stands in the tree of this size and root. Raises ProofError."""
    tree.verify_inclusion(placed.index, size, placed.leaf.hash(), placed.path, root)


def verify_absence(
    grant_ref: bytes, before: Placed | None, after: Placed | None, size: int, root: bytes
) -> None:
    """Check that a tree has no leaf of a grant: its two neighbors stand side by side.

    One of them is None where the reference would stand first or last. Raises ProofError.
    """
    for neighbor in (before, after):
        if neighbor is not None:
            verify(neighbor, size, root)
    if size == 0 and root != tree.EMPTY_ROOT:
        raise ProofError("a tree without leaves has another root")
    left = -1 if before is None else before.index
    right = size if after is None else after.index
    if right != left + 1:
        raise ProofError("the neighbors do not stand side by side")
    if before is not None and before.leaf.grant_ref >= grant_ref:
        raise ProofError("the reference does not lie between its neighbors")
    if after is not None and after.leaf.grant_ref <= grant_ref:
        raise ProofError("the reference does not lie between its neighbors")


def pack(blocks: Iterable[Block]) -> bytes:
    """Write blocks for a row of the database."""
    return b"".join(block.first + block.root for block in blocks)


def unpack(packed: bytes) -> Iterator[Block]:
    for start in range(0, len(packed), _BLOCK_LENGTH):
        one = packed[start : start + _BLOCK_LENGTH]
        yield Block(one[:REF_LENGTH], one[REF_LENGTH:])


def _nodes(hashes: Sequence[bytes]) -> tree.GetNode:
    return lambda level, index: tree.fold(hashes[index << level : (index + 1) << level])
