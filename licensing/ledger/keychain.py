"""How a log's signing key gives way to the next: what its own entries say of that."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from licensing.ledger import commitments, notes, receipts

KIND = commitments.KEY_CHANGED

# In an entry these bytes are its kind: inside a text the quotes would be escaped.
_MARK = f'"kind":"{KIND}"'.encode()


class KeyChangeError(ValueError):
    """An entry that should change the log's key does not, or a checkpoint ignores one."""


@dataclass(frozen=True)
class KeyChange:
    """An entry of a log that names the key that signs from there on."""

    # Its place; None while it has none.
    index: int | None
    old: notes.Verifier
    new: notes.Verifier


def may_change(entries: bytes) -> bool:
    """Whether one of these entries, one or a bundle of them, could be a change of the key."""
    return _MARK in entries


def read(entry: bytes, index: int | None) -> KeyChange | None:
    """Read an entry; None where it is of another kind. Raises KeyChangeError."""
    if not may_change(entry):
        return None
    try:
        body = commitments.parse_body(entry)
        if body.kind != KIND:
            return None
        old, new = (notes.Verifier.parse(str(body.public[name])) for name in ("old", "new"))
    except ValueError as error:
        raise KeyChangeError(f"it names no keys: {error}") from None
    if old.name != new.name or old == new:
        raise KeyChangeError("it does not name two keys of one log")
    return KeyChange(index, old, new)


def expected(changes: Iterable[KeyChange], size: int) -> notes.Verifier | None:
    """The key that has to sign a tree of this size: the newest that it names. None: it has none."""
    key = None
    for change in changes:
        if change.index is not None and change.index < size:
            key = change.new
    return key


def check_chain(changes: Sequence[KeyChange]) -> None:
    """Check that each change is from the key before it. Raises KeyChangeError."""
    for before, after in itertools.pairwise(changes):
        if after.old != before.new:
            raise KeyChangeError(f"entry {after.index} changes from a key that is not the log's")


def check_signed(key: notes.Verifier, note: notes.Note) -> None:
    """Check that a key, trusted or only just learned, has signed a note. Raises SignatureError."""
    for signature in (*note.verified, *note.unverified):
        if (signature.name, signature.key_id) == (key.name, key.key_id):
            if key.has_signed(note.text, signature.value):
                return
            raise notes.SignatureError(f"the signature of {key.name} is wrong")
    raise notes.SignatureError(
        f"the key {key.key_id.hex()} has not signed it, which is the log's at this size"
    )


# --- following a log, from a key that one trusts ----------------------------------------------

# Gives the proof that the key of this id gave way to another; None where there is none.
Proofs = Callable[[str], bytes | None]

# A log that changes its key every month for a working life, and then some.
_CHANGES_MAX = 1000


@dataclass(frozen=True)
class Followed:
    """A change of key that was proven by the old key alone: its entry stands in this tree."""

    change: KeyChange
    checkpoint: notes.Checkpoint


def follow(keys: Iterable[notes.Verifier], proofs: Proofs) -> list[Followed]:
    """Go from trusted keys to those that they gave way to, as far as there are proofs.

    Each is a receipt of the change's entry, under a checkpoint that both keys signed. Raises
    KeyChangeError.
    """
    known = list(keys)
    found: list[Followed] = []
    for key in known:
        data = proofs(key.key_id.hex())
        if data is None:
            continue
        try:
            receipt = receipts.parse(data)
            change = read(receipt.entry, receipt.index)
            if change is None or change.old != key:
                raise KeyChangeError("it is of another entry")
            proven = receipts.verify(receipt, [key])
            note = notes.Note(proven.checkpoint.text(), proven.verified, proven.unverified)
            check_signed(change.new, note)
        except ValueError as error:
            raise KeyChangeError(
                f"the proof that the key {key.key_id.hex()} gave way is not sound: {error}"
            ) from None
        found.append(Followed(change, proven.checkpoint))
        if change.new not in known and len(found) < _CHANGES_MAX:
            known.append(change.new)
    return found


class Reader:
    """What a reader of a whole log learns of its keys."""

    def __init__(self, followed: Sequence[Followed] = ()) -> None:
        self.changes: list[KeyChange] = []
        self._followed = {each.checkpoint.size: each for each in followed}

    def sizes(self, start: int, end: int) -> set[int]:
        """The trees beyond `start` and up to `end` whose roots are to be compared."""
        return {size for size in self._followed if start < size <= end}

    def see(self, bundle: bytes, first: int, roots: Mapping[int, bytes]) -> None:
        """Read a well-formed bundle of entries. Raises KeyChangeError."""
        for size, root in roots.items():
            followed = self._followed.get(size)
            if followed is not None and followed.checkpoint.root != root:
                raise KeyChangeError(
                    f"the old key signed the next one in another tree of {size} entries"
                )
        if not may_change(bundle):
            return
        at = 0
        for index in itertools.count(first):
            if at >= len(bundle):
                return
            end = at + 2 + int.from_bytes(bundle[at : at + 2])
            try:
                change = read(bundle[at + 2 : end], index)
                if change is not None:
                    self.changes.append(change)
                    check_chain(self.changes)
            except KeyChangeError as error:
                raise KeyChangeError(f"entry {index}: {error}") from None
            at = end

    def check(self, note: notes.Note) -> None:
        """Check that the log's newest key signed its checkpoint, once all entries were seen.

        Raises SignatureError.
        """
        first = min(self._followed.values(), key=lambda each: each.checkpoint.size, default=None)
        if self.changes:
            check_signed(self.changes[-1].new, note)
        elif first is not None:
            check_signed(first.change.old, note)
        chain = {key for each in self.changes for key in (each.old, each.new)}
        named = {(each.name, each.key_id) for each in chain}
        if chain and not any((each.name, each.key_id) in named for each in note.verified):
            raise notes.SignatureError("the key that is trusted never was the log's")
