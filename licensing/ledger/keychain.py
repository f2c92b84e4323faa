"""How a log's signing key gives way to the next: what its own entries say of that."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from licensing.ledger import commitments, generations, notes, receipts

KIND = commitments.KEY_CHANGED
CONTINUED = commitments.CONTINUED

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
            if change is None and read_successor(data, key) is not None:
                continue  # a frozen log's: its key never signs another log
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


@dataclass(frozen=True)
class Continuation:
    """The first entry of a log that continues a frozen one."""

    # Of the frozen log: the last known signed tree, and its note.
    frozen: notes.Checkpoint
    note: str
    # How many of its entries were not lost, and how many its key may have signed.
    known: int
    signed: int
    # The key that signs the log which begins here, and so its origin.
    key: notes.Verifier


@dataclass(frozen=True)
class Successor:
    """A continuation that the frozen log's own key has signed: the first tree holds its entry."""

    continuation: Continuation
    checkpoint: notes.Checkpoint


def read_continuation(entry: bytes) -> Continuation:
    """Read the entry that begins a successor. Raises KeyChangeError."""
    try:
        body = commitments.parse_body(entry)
        if body.kind != CONTINUED:
            raise KeyChangeError("it is of another kind")
        said = body.public
        note = str(said["checkpoint"])
        frozen = notes.parse_checkpoint(notes.split_note(note)[0])
        known, signed = said["known"], said["signed"]
        key = notes.Verifier.parse(str(said["key"]))
    except ValueError as error:
        raise KeyChangeError(f"it continues no log: {error}") from None
    if (frozen.origin, frozen.size, frozen.root.hex()) != (
        said["origin"],
        said["size"],
        said["root"],
    ):
        raise KeyChangeError("it does not say what its checkpoint says")
    if key.name != generations.next_origin(frozen.origin) or (
        generations.log_of_origin(frozen.origin) != body.log
    ):
        raise KeyChangeError("it does not name the log that continues that one")
    if not (_is_size(known) and _is_size(signed) and known <= frozen.size <= signed):
        raise KeyChangeError("its sizes are none")
    return Continuation(frozen, note, known, signed, key)


def follow_frozen(
    keys: Iterable[notes.Verifier], proof: Callable[[str], bytes | None]
) -> Successor | None:
    """Go from the trusted keys of a frozen log to its successor. None where no proof is there.

    Raises KeyChangeError.
    """
    for key in keys:
        data = proof(key.key_id.hex())
        if data is not None and (found := read_successor(data, key)) is not None:
            return found
    return None


def read_successor(data: bytes, key: notes.Verifier | None) -> Successor | None:
    """Read the proof that a log continues the frozen one of this key, or of any where it is None.

    It is the receipt of the successor's first entry, under the first checkpoint, which that key
    and the successor's own have signed. None where it is of another entry. Raises KeyChangeError.
    """
    try:
        receipt = receipts.parse(data)
        if commitments.parse_body(receipt.entry).kind != CONTINUED:
            return None
        begun = read_continuation(receipt.entry)
        if receipt.index != 0 or (key is not None and begun.frozen.origin != key.name):
            raise KeyChangeError("it continues another log")
        proven = receipts.verify(receipt, [begun.key])
        if key is not None:
            note = notes.Note(proven.checkpoint.text(), proven.verified, proven.unverified)
            check_signed(key, note)
    except ValueError as error:
        raise KeyChangeError(
            f"the proof that a frozen log goes on elsewhere is not sound: {error}"
        ) from None
    return Successor(begun, proven.checkpoint)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


class Reader:
    """What a reader of a whole log learns of its keys."""

    def __init__(
        self, followed: Sequence[Followed] = (), successor: Successor | None = None
    ) -> None:
        # Whose keys count: a successor may hold the change of a key of the log that it continues,
        # whose place there was lost.
        self.origin: str | None = None
        self.changes: list[KeyChange] = []
        self._followed = {each.checkpoint.size: each for each in followed}
        self._proven = {each.checkpoint.size: each.checkpoint for each in followed}
        if successor is not None:
            self._proven[successor.checkpoint.size] = successor.checkpoint

    def sizes(self, start: int, end: int) -> set[int]:
        """The trees beyond `start` and up to `end` whose roots are to be compared."""
        return {size for size in self._proven if start < size <= end}

    def see(self, bundle: bytes, first: int, roots: Mapping[int, bytes]) -> None:
        """Read a well-formed bundle of entries. Raises KeyChangeError."""
        for size, root in roots.items():
            proven = self._proven.get(size)
            if proven is not None and proven.root != root:
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
                if change is not None and change.new.name == (self.origin or change.new.name):
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
