"""From a log's key to the one that has followed it, by what the old one signed."""

from __future__ import annotations

from collections.abc import Sequence

from licensing.ledger import keychain, notes
from licensing.offline.logs import Log, LogUnavailable


def follow(log: Log, published: str, keys: Sequence[notes.Verifier]) -> list[keychain.Followed]:
    """The changes of key that lead to the one that signed a log's checkpoint.

    None where a trusted key signed it. Raises LogUnavailable where a proof is not sound.
    """
    try:
        notes.open_note(published, keys)
    except notes.SignatureError:
        try:
            return keychain.follow(keys, log.key_change)
        except keychain.KeyChangeError as error:
            raise LogUnavailable(f"{log.place}: {error}") from None
    except notes.NoteError:
        pass  # whoever opens it says what is wrong with it
    return []


def known(place: str, keys: Sequence[notes.Verifier]) -> list[notes.Verifier]:
    """The given keys, and those that a log proves to have followed. Raises LogUnavailable."""
    log = Log(place)
    try:
        followed = follow(log, log.checkpoint(), keys)
    finally:
        log.close()
    return [*keys, *(each.change.new for each in followed)]
