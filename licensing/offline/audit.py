"""Recompute a whole log from its entries upward: a directory or a server, and a trusted key."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from licensing.ledger import cosignatures, keychain, notes, tree
from licensing.ledger.regrowth import BundleError, Regrowth, bundle_leaves, first_difference
from licensing.ledger.tree import HASH_LENGTH, TILE_HEIGHT, TILE_WIDTH
from licensing.offline import following
from licensing.offline.logs import Log, LogUnavailable


class AuditError(ValueError):
    """A log is not what was signed. `place` names the first file that shows it."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place


@dataclass(frozen=True)
class Audited:
    """A log whose every entry and tile was recomputed up to what was signed."""

    checkpoint: notes.Checkpoint
    # Of the witnesses that were named, earliest first.
    cosignatures: Sequence[cosignatures.Cosignature]
    # Of the log's key, in their order.
    changes: Sequence[keychain.KeyChange] = ()
    # The log that continues it, since it was frozen.
    onward: following.Onward | None = None
    # What of a frozen log cannot be had any more; "" where all was checked.
    missing: str = ""


def audit_on(
    place: str, keys: Sequence[notes.Verifier], witnesses: Sequence[cosignatures.Witness] = ()
) -> list[Audited]:
    """Audit a log and, where it was frozen, those that continue it.

    A frozen log whose tail is lost is not checked, and said so. Raises AuditError, LogUnavailable.
    """
    found: list[Audited] = []
    trusted, at = keys, place
    while True:
        log = Log(at)
        try:
            done = _audit_and_look(log, trusted, witnesses)
        finally:
            log.close()
        found.append(done)
        if done.onward is None:
            return found
        at, trusted = done.onward.place, [done.onward.key]


def _audit_and_look(
    log: Log, keys: Sequence[notes.Verifier], witnesses: Sequence[cosignatures.Witness]
) -> Audited:
    published = log.checkpoint()
    trail = following.follow(log, published, keys)
    try:
        shown, _note = notes.open_checkpoint(published, trail.keys)
        onward = following.onward(log, published, trail.keys)
        if onward is not None:
            following.check_frozen(onward.successor.continuation, shown)
    except (notes.NoteError, keychain.KeyChangeError) as error:
        raise AuditError("checkpoint", str(error)) from None
    if onward is None:
        return audit(log, keys, witnesses)
    try:
        return dataclasses.replace(audit(log, keys, witnesses), onward=onward)
    except LogUnavailable as error:
        return Audited(shown, (), onward=onward, missing=str(error))


def audit(
    log: Log,
    keys: Sequence[notes.Verifier],
    witnesses: Sequence[cosignatures.Witness] = (),
    progress: Callable[[int, int], None] = lambda _done, _size: None,
) -> Audited:
    """Check everything that a log's checkpoint vouches for. Raises AuditError, LogUnavailable."""
    published = log.checkpoint()
    trail = following.follow(log, published, keys)
    try:
        checkpoint, note = notes.open_checkpoint(published, trail.keys)
        seen = cosignatures.verified(checkpoint.text(), note.unverified, witnesses)
    except notes.NoteError as error:
        raise AuditError("checkpoint", str(error)) from None
    size = checkpoint.size
    grown, reader = Regrowth(), keychain.Reader(trail.followed, trail.successor)
    reader.origin = checkpoint.origin
    for index in range(-(-size // TILE_WIDTH)):
        start = index * TILE_WIDTH
        width = min(TILE_WIDTH, size - start)
        bundle, leaves = _leaves(log, index, width)
        _check_tile(log, 0, index, b"".join(leaves))
        for full in grown.grow(leaves, {size} | reader.sizes(start, start + width)):
            if full.level:
                _check_tile(log, full.level, full.index, full.hashes)
        try:
            reader.see(bundle, start, grown.roots)
        except keychain.KeyChangeError as error:
            raise AuditError(tree.bundle_path(index, width), str(error)) from None
        progress(grown.size, size)
    for level, hashes in enumerate(grown.edge):
        if level and hashes:
            _check_tile(log, level, size >> TILE_HEIGHT * (level + 1), b"".join(hashes))
    if (grown.roots.get(size) if size else tree.EMPTY_ROOT) != checkpoint.root:
        raise AuditError("checkpoint", "the entries have another root than was signed")
    try:
        reader.check(note)
    except notes.SignatureError as error:
        raise AuditError("checkpoint", str(error)) from None
    return Audited(checkpoint, seen, reader.changes)


def _leaves(log: Log, index: int, width: int) -> tuple[bytes, list[bytes]]:
    bundle = log.bundle(index, width)
    try:
        return bundle, bundle_leaves(bundle, width)
    except BundleError as error:
        raise AuditError(tree.bundle_path(index, width), str(error)) from None


def _check_tile(log: Log, level: int, index: int, hashes: bytes) -> None:
    width = len(hashes) // HASH_LENGTH
    found = log.tile(level, index, width)
    if found != hashes:
        place = tree.tile_path(level, index, width)
        below = "entry" if level == 0 else f"tile of level {level - 1}"
        number = index * TILE_WIDTH + first_difference(found, hashes)
        raise AuditError(place, f"its hash of {below} {number} is another")


def report_all(done: Sequence[Audited]) -> dict[str, Any]:
    """What was found, for programs: of the log, and within it of each that continues it."""
    first, *others = done
    return report(first) | {"continued_by": report_all(others) if others else None}


def report(done: Audited) -> dict[str, Any]:
    """What was found, for programs."""
    return {
        "sound": None if done.missing else True,
        "origin": done.checkpoint.origin,
        "size": done.checkpoint.size,
        "root": done.checkpoint.root.hex(),
        "witnesses": [each.name for each in done.cosignatures],
        "key_changes": [
            {"index": each.index, "old": each.old.vkey(), "new": each.new.vkey()}
            for each in done.changes
        ],
    }


def describe(done: Audited) -> str:
    """What was found, for people."""
    found = done.checkpoint
    seen = ", ".join(each.name for each in done.cosignatures) or "none"
    changed = "".join(
        f"\n  its key changed at entry {each.index}. Trust this one from now on, and no older one:"
        f" {each.new.vkey()}"
        for each in done.changes[-1:]
    )
    if done.onward is not None:
        changed += f"\n  frozen {done.onward.describe()}"
    if done.missing:
        return f"cannot tell: {found.size} entries of {found.origin}: {done.missing}{changed}"
    return (
        f"sound: {found.size} entries of {found.origin}, root {notes.encode_base64(found.root)},"
        f" cosigned by: {seen}{changed}"
    )
