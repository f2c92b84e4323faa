"""The set tree: one hash over a set of works (api_docs/set_tree.md is its specification)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from json.encoder import encode_basestring
from typing import Any

from licensing import jcs

TREE = "licet/set/v1"

# The byte that says in each leaf what the set is. Never reused, never renumbered.
TYPES: dict[str, int] = {"snapshot": 1, "manifest": 2, "opt_outs": 3, "training_run": 4}

HASH_LENGTH = 32
SECRET_LENGTH = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

# Leaves hashed before they fold into one subtree: large enough to amortize the loop, small
# enough (32 KiB of hashes) to stay in the processor's cache.
_BLOCK = 1024


class SetTreeError(ValueError):
    """The set, or a proof about it, is not what it claims to be."""


@dataclass(frozen=True, slots=True)
class SetRoot:
    """All that a set commits to. Cite `citation()`, never the bare root."""

    tree: str
    type: str
    size: int
    root: bytes
    totals: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The cited object: canonical JSON of this is what the citation hashes."""
        return {
            "tree": self.tree,
            "type": self.type,
            "size": self.size,
            "root": self.root.hex(),
            "totals": dict(self.totals),
        }

    def citation(self) -> bytes:
        """A bare root also verifies true proofs under false sizes; this fixes the size too."""
        return hashlib.sha256(jcs.dumps(self.as_dict())).digest()

    def cited(self) -> dict[str, Any]:
        """The cited object beside its citation, as ledger entries carry it."""
        return {**self.as_dict(), "citation": self.citation().hex()}


@dataclass(frozen=True, slots=True)
class ItemProof:
    """That one item stands at one place of a set. Reveals nothing about the other items."""

    index: int
    key: bytes
    # SHA-256(secret || key): lets a proof go to people who must not learn the secret.
    blind: bytes
    metadata_sha256: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AbsenceProof:
    """That a key is not in a set: its neighbors stand side by side. Reveals their two keys."""

    before: ItemProof | None
    after: ItemProof | None


class SetTree:
    """Builds a set's root from its items in ascending order of key, in O(log n) memory."""

    def __init__(self, type: str, secret: bytes) -> None:
        self._head = _leaf_head(type)
        if len(secret) != SECRET_LENGTH:
            raise ValueError("a set's secret has 32 bytes")
        self.type = type
        self._secret = secret
        self._last = b""
        # Leaf hashes of the block being filled, and the roots of full subtrees by their level.
        self._block: list[bytes] = []
        self._subtrees: list[tuple[int, bytes]] = []

    @property
    def size(self) -> int:
        """How many items were added so far."""
        return sum(1 << level for level, _ in self._subtrees) + len(self._block)

    def add(self, key: bytes, metadata: Mapping[str, Any] | bytes) -> None:
        """Add one item: its metadata object, or the SHA-256 of that object's canonical JSON."""
        if not isinstance(metadata, bytes):
            metadata = hashlib.sha256(jcs.dumps(metadata)).digest()
        self.extend([(key, metadata)])

    def extend(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Add many items: (key, SHA-256 of the metadata's canonical JSON), ascending by key.

        Raises SetTreeError at the first that repeats or descends; those before it stay added.
        """
        sha256 = hashlib.sha256
        head, secret, last, block = self._head, self._secret, self._last, self._block
        try:
            for key, metadata_sha256 in items:
                if key <= last or len(key) != 32 or len(metadata_sha256) != 32:
                    _refuse_item(last, key, metadata_sha256)
                last = key
                blind = sha256(secret + key).digest()
                block.append(sha256(head + key + blind + metadata_sha256).digest())
                if len(block) == _BLOCK:
                    self._fold_block()
        finally:
            self._last = last

    def finish(self, totals: Mapping[str, int]) -> SetRoot:
        """Give the root. More items may follow; each call answers for what was added so far."""
        for name, total in totals.items():
            # A bool would be written as true, a float not at all.
            if type(total) is not int or total < 0:
                raise ValueError(f"total {name} is not a whole number")
        return SetRoot(TREE, self.type, self.size, self._root(), dict(totals))

    def _fold_block(self) -> None:
        (folded,) = _fold(self._block)
        self._block.clear()
        level = _BLOCK.bit_length() - 1
        while self._subtrees and self._subtrees[-1][0] == level:
            folded = _node(self._subtrees.pop()[1], folded)
            level += 1
        self._subtrees.append((level, folded))

    def _root(self) -> bytes:
        if not self.size:
            return EMPTY_ROOT
        parts = [root for _, root in self._subtrees]
        if self._block:
            parts.append(_root_of(self._block))
        root = parts.pop()
        while parts:
            root = _node(parts.pop(), root)
        return root


class UnitTotals:
    """Sums what is counted in a set's items; a unit has a total where every item says it.

    A sum over some of the items would be taken for one over all, by whoever pays for each unit.
    """

    def __init__(self) -> None:
        self._sums: dict[str, int] = {}
        self._items: dict[str, int] = {}

    def add(self, units: Mapping[str, int]) -> None:
        """Count one item. Those that say nothing need not come here."""
        for name, count in units.items():
            self._sums[name] = self._sums.get(name, 0) + count
            self._items[name] = self._items.get(name, 0) + 1

    def of(self, size: int) -> dict[str, int]:
        """The totals of a set of `size` items. A sum too large for JSON is no total."""
        return {
            name: self._sums[name]
            for name, items in sorted(self._items.items())
            if items == size and self._sums[name] <= jcs.INTEGER_MAX
        }


def item_metadata(
    *,
    media_type: str,
    length: int,
    canonicalization: str = "raw",
    contributor: str | None = None,
    rights_layers: Sequence[str] = (),
    units: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Describe an item as its leaf commits to it. `contributor` is a commitment in hex, or None."""
    if contributor is not None:
        _check_hex32(contributor)
    return {
        "contributor": contributor,
        "representation": {
            "canonicalization": canonicalization,
            "length": length,
            "media_type": media_type,
        },
        "rights_layers": list(rights_layers),
        "units": dict(units or {}),
    }


def metadata_sha256(
    *,
    media_type: str,
    length: int,
    canonicalization: str = "raw",
    contributor: str | None = None,
    rights_layers: Sequence[str] = (),
    units: Mapping[str, int] | None = None,
) -> bytes:
    """Hash what `item_metadata` describes; for millions of items, without building objects."""
    if not 0 <= length <= jcs.INTEGER_MAX:
        raise ValueError(f"length out of range: {length}")
    if contributor is None:
        by = "null"
    else:
        _check_hex32(contributor)
        by = f'"{contributor}"'
    layers = jcs.dumps(rights_layers).decode() if rights_layers else "[]"
    counted = _counted(units) if units else "{}"
    # The keys stand in their canonical order; a test proves these bytes equal to jcs.dumps.
    return hashlib.sha256(
        f'{{"contributor":{by},"representation":{{"canonicalization":{_quoted(canonicalization)}'
        f',"length":{length:d},"media_type":{_quoted(media_type)}}}'
        f',"rights_layers":{layers},"units":{counted}}}'.encode()
    ).digest()


def prove(type: str, secret: bytes, items: Sequence[tuple[bytes, bytes]], key: bytes) -> ItemProof:
    """Prove that `key` is among `items` (key, metadata SHA-256). Raises KeyError when it is not."""
    keys = [item[0] for item in items]
    if key not in keys:
        raise KeyError(key.hex())
    return _proof_at(keys.index(key), type, secret, items)


def prove_absence(
    type: str, secret: bytes, items: Sequence[tuple[bytes, bytes]], key: bytes
) -> AbsenceProof:
    """Prove that `key` is not among `items`. Raises KeyError when it is."""
    if any(item[0] == key for item in items):
        raise KeyError(key.hex())
    place = sum(item[0] < key for item in items)
    return AbsenceProof(
        before=_proof_at(place - 1, type, secret, items) if place > 0 else None,
        after=_proof_at(place, type, secret, items) if place < len(items) else None,
    )


def verify_inclusion(proof: ItemProof, root: SetRoot) -> None:
    """Check a proof against a set whose citation the caller has checked. Raises SetTreeError."""
    if root.tree != TREE or root.type not in TYPES:
        raise SetTreeError("this is no set tree that is known here")
    if not 0 <= proof.index < root.size:
        raise SetTreeError("the item's place is outside the set")
    for part in (proof.key, proof.blind, proof.metadata_sha256, root.root, *proof.path):
        if len(part) != HASH_LENGTH:
            raise SetTreeError("a hash in the proof has not 32 bytes")
    data = _leaf_head(root.type) + proof.key + proof.blind + proof.metadata_sha256
    path = list(proof.path)
    found = _climb(proof.index, root.size, hashlib.sha256(data).digest(), path)
    if path or found != root.root:
        raise SetTreeError("the proof does not lead to the set's root")


def verify_absence(key: bytes, proof: AbsenceProof, root: SetRoot) -> None:
    """Check that a key is not in a set. Raises SetTreeError."""
    before, after = proof.before, proof.after
    if len(key) != HASH_LENGTH:
        raise SetTreeError("a key has 32 bytes")
    for neighbor in (before, after):
        if neighbor is not None:
            verify_inclusion(neighbor, root)
    after_index = root.size if after is None else after.index
    before_index = -1 if before is None else before.index
    if after_index != before_index + 1:
        raise SetTreeError("the neighbors do not stand side by side")
    if (before is not None and before.key >= key) or (after is not None and after.key <= key):
        raise SetTreeError("the key does not lie between its neighbors")


def _leaf_head(type: str) -> bytes:
    """What each leaf's hash starts with: RFC 6962's leaf byte, then tree and type."""
    if type not in TYPES:
        raise ValueError(f"unknown type of set: {type}")
    return b"\x00" + TREE.encode() + bytes([TYPES[type]])


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _fold(hashes: list[bytes]) -> list[bytes]:
    """Hash pairs, level by level, while the count is even."""
    sha256 = hashlib.sha256
    while len(hashes) > 1 and len(hashes) % 2 == 0:
        pairs = zip(hashes[::2], hashes[1::2], strict=True)
        hashes = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
    return hashes


def _root_of(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962, 2.1: split at the largest power of two below the size."""
    if len(hashes) == 1:
        return hashes[0]
    split = _split(len(hashes))
    return _node(_root_of(hashes[:split]), _root_of(hashes[split:]))


def _split(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)


def _path(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1: the sibling hashes from the leaf up."""
    if len(hashes) == 1:
        return []
    split = _split(len(hashes))
    if index < split:
        return [*_path(index, hashes[:split]), _root_of(hashes[split:])]
    return [*_path(index - split, hashes[split:]), _root_of(hashes[:split])]


def _climb(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """Recompute the root from a leaf, taking siblings off the end of `path`, top first."""
    if size == 1:
        return leaf
    if not path:
        raise SetTreeError("the proof is too short")
    sibling = path.pop()
    split = _split(size)
    if index < split:
        return _node(_climb(index, split, leaf, path), sibling)
    return _node(sibling, _climb(index - split, size - split, leaf, path))


def _proof_at(
    index: int, type: str, secret: bytes, items: Sequence[tuple[bytes, bytes]]
) -> ItemProof:
    for (key, _), (following, _) in pairwise(items):
        if key >= following:
            raise SetTreeError("the items do not ascend by key")
    head = _leaf_head(type)
    blinds = [hashlib.sha256(secret + key).digest() for key, _ in items]
    hashes = [
        hashlib.sha256(head + key + blind + metadata).digest()
        for (key, metadata), blind in zip(items, blinds, strict=True)
    ]
    key, metadata = items[index]
    return ItemProof(index, key, blinds[index], metadata, tuple(_path(index, hashes)))


def _counted(units: Mapping[str, int]) -> str:
    """Canonical JSON of units, as `jcs.dumps` makes it, in a third of the time."""
    written = []
    for name in sorted(units):
        count = units[name]
        if type(count) is not int or not 0 <= count <= jcs.INTEGER_MAX or not name.isascii():
            # It sorts other names, and says what is wrong.
            return jcs.dumps(units).decode()
        written.append(f"{_quoted(name)}:{count}")
    return f"{{{','.join(written)}}}"


def _refuse_item(last: bytes, key: bytes, metadata_sha256: bytes) -> None:
    if len(key) != HASH_LENGTH or len(metadata_sha256) != HASH_LENGTH:
        raise SetTreeError("an item is a key and a hash of 32 bytes each")
    if key == last:
        raise SetTreeError(f"key {key.hex()} stands twice in the set")
    raise SetTreeError(f"key {key.hex()} does not follow {last.hex()} in ascending order")


def _check_hex32(value: str) -> None:
    if len(value) != 64 or value.strip("0123456789abcdef"):
        raise ValueError("a contributor commitment is 64 lowercase hexadecimal digits")


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    # A lone surrogate passes here and is refused when the whole object is encoded.
    return encode_basestring(text)
