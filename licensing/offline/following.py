"""From a log's key to the one that has followed it, by what the old one signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from licensing.ledger import generations, keychain, notes
from licensing.offline.logs import Log, LogUnavailable


@dataclass(frozen=True)
class Trail:
    """What leads from trusted keys to the one that signed a log's checkpoint."""

    keys: Sequence[notes.Verifier]
    followed: Sequence[keychain.Followed] = ()
    # Where a trusted key is of the frozen log that this one continues.
    successor: keychain.Successor | None = None


@dataclass(frozen=True)
class Onward:
    """A frozen log's successor: where it stands, and what proves that it is that."""

    place: str
    successor: keychain.Successor

    @property
    def key(self) -> notes.Verifier:
        return self.successor.continuation.key

    def report(self) -> dict[str, Any]:
        """What is known of it, for programs."""
        begun = self.successor.continuation
        return {
            "origin": begun.key.name,
            "key": begun.key.vkey(),
            "frozen_at": begun.frozen.size,
            "root": begun.frozen.root.hex(),
            "known": begun.known,
            "signed": begun.signed,
        }

    def describe(self) -> str:
        """What is known of it, for people."""
        begun = self.successor.continuation
        return (
            f"at {begun.frozen.size} entries, of which {begun.known} were kept, and"
            f" {begun.signed} signed. It goes on as {begun.key.name}: {begun.key.vkey()}"
        )


def check_frozen(begun: keychain.Continuation, shown: notes.Checkpoint) -> None:
    """Check what a frozen log shows against what its successor says of it.

    Raises KeyChangeError where it signed more, or another tree.
    """
    if shown.size > begun.signed:
        raise keychain.KeyChangeError(
            f"{shown.origin} signed a tree of {shown.size} entries, and its successor says that it"
            f" was frozen with {begun.signed} signed"
        )
    if shown.size == begun.frozen.size and shown.root != begun.frozen.root:
        raise keychain.KeyChangeError(
            f"{shown.origin} signed another tree of {shown.size} entries than the one that its"
            " successor continues"
        )


def follow(log: Log, published: str, keys: Sequence[notes.Verifier]) -> Trail:
    """Find the keys that vouch for a log's checkpoint, from those that are trusted.

    Only these where one of them signed it. Raises LogUnavailable where a proof is not sound.
    """
    try:
        notes.open_checkpoint(published, keys)
    except notes.SignatureError:
        try:
            successor = keychain.follow_frozen(keys, log.key_change)
            known = [*keys, *([] if successor is None else [successor.continuation.key])]
            followed = keychain.follow(known, log.key_change)
        except keychain.KeyChangeError as error:
            raise LogUnavailable(f"{log.place}: {error}") from None
        return Trail([*known, *(each.change.new for each in followed)], followed, successor)
    except notes.NoteError:
        pass  # whoever opens it says what is wrong with it
    return Trail(keys)


def known(place: str, keys: Sequence[notes.Verifier]) -> list[notes.Verifier]:
    """The given keys, and those that a log proves to have followed. Raises LogUnavailable."""
    log = Log(place)
    try:
        return list(follow(log, log.checkpoint(), keys).keys)
    finally:
        log.close()


def onward_of(place: str, origin: str, keys: Sequence[notes.Verifier]) -> Onward | None:
    """The same of the log at a place, if it is the one of this origin.

    Raises LogUnavailable, NoteError.
    """
    log = Log(place)
    try:
        published = log.checkpoint()
        if notes.parse_checkpoint(notes.split_note(published)[0]).origin != origin:
            return None
        return onward(log, published, keys)
    finally:
        log.close()


def onward(log: Log, published: str, keys: Sequence[notes.Verifier]) -> Onward | None:
    """Find the log that continues this one, if it was frozen. Raises LogUnavailable.

    `published` is its checkpoint, signed by one of the keys.
    """
    origin = notes.parse_checkpoint(notes.split_note(published)[0]).origin
    place = log.beside(int(generations.next_origin(origin).rpartition("/")[2]))
    if place is None:
        return None
    beside = Log(place)
    try:
        found = keychain.follow_frozen(keys, beside.key_change)
    except keychain.KeyChangeError as error:
        raise LogUnavailable(f"{place}: {error}") from None
    finally:
        beside.close()
    if found is None or found.continuation.frozen.origin != origin:
        return None
    return Onward(place, found)
