"""The guard of a log: what its key signed last, kept where no restored database takes it back."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from django.conf import settings
from django.utils.translation import gettext as _

from licensing.ledger import generations, notes, rotation, signer, tiles, tree
from licensing.ledger.log import LedgerCorrupted
from licensing.ledger.stores import Store, StoreConflict, StoreUnavailable, open_store
from marketplace import access

# Gives the consistency proof from an older size of the log to the one that is to be signed.
Prove = Callable[[int], Sequence[bytes]]

# The fourth line of the guard of a log that signs nothing any more. Releases from before it take
# such a file for a spoiled one, and sign nothing either.
_FROZEN = "frozen\n"

# Others that may get in between before this one gives up.
_ATTEMPTS = 5


class GuardRefused(Exception):
    """A log does not continue what its key signed, or might not: nothing may be signed.

    Says what happened, and what to do.
    """


class GuardUnreadable(GuardRefused):
    """What the key signed last cannot be known now: the guard is spoiled, or out of reach."""


class GuardFrozen(GuardRefused):
    """The log was frozen: its key signs nothing any more, for good."""


@dataclass(frozen=True, slots=True)
class Guard:
    """One log's guard in its store: the text of a checkpoint, as it was or was about to be signed.

    No signed state is newer than it. Written by `advance`, `adopt` and `freeze` only.
    """

    log: str
    store: Store

    @property
    def path(self) -> str:
        return f"{generations.file_name(self.log)}.guard"

    def read(self) -> notes.Checkpoint | None:
        """Give its state; None where there is no guard. Raises GuardUnreadable, GuardFrozen."""
        state, is_frozen = self.look()
        if is_frozen:
            _refuse_frozen(self)
        return state

    def look(self) -> tuple[notes.Checkpoint | None, bool]:
        """Give its state, and whether the log was frozen at it. Raises GuardUnreadable."""
        with self._reached():
            data = self.store.read(self.path)
        if data is None:
            return None, False
        try:
            text = data.decode()
            is_frozen = text.endswith(f"\n{_FROZEN}")
            state = notes.parse_checkpoint(text.removesuffix(_FROZEN) if is_frozen else text)
        except ValueError as error:
            _refuse_spoiled(self, _("it is torn or was edited (%(error)s)") % {"error": error})
        if state.origin != signer.origin(self.log):
            _refuse_spoiled(self, _("it is of the log “%(name)s”") % {"name": state.origin})
        return state, is_frozen

    def write(
        self,
        state: notes.Checkpoint,
        *,
        expected: notes.Checkpoint | None,
        is_frozen: bool = False,
    ) -> None:
        """Make it durable. Raises StoreConflict when it is not as expected any more."""
        with self._reached():
            self.store.replace(
                self.path,
                (state.text() + (_FROZEN if is_frozen else "")).encode(),
                # The one spelling of a checkpoint: what was read is what was parsed.
                expected=None if expected is None else expected.text().encode(),
            )

    def __str__(self) -> str:
        return f"{str(self.store).rstrip('/')}/{self.path}"

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except StoreUnavailable as error:
            raise GuardUnreadable(
                _("The guard of the log “%(log)s” is out of reach. Nothing was signed. %(error)s")
                % {"log": self.log, "error": error}
            ) from error


def open_guard(log: str) -> Guard:
    """Where LEDGER_GUARD says, or else beside the keys."""
    try:
        return Guard(log, _opened(settings.LEDGER_GUARD or str(settings.LEDGER_KEY_DIR)))
    except StoreUnavailable as error:
        raise GuardUnreadable(str(error)) from error


# Once a process: a bucket's client takes long to make, and tries the bucket at first.
_opened = functools.cache(open_store)


def advance(log: str, size: int, root: bytes, prove: Prove) -> None:
    """Have the guard remember a tree that is about to be signed. It is durable on return.

    The same tree again is fine: a note that a crash prevented is signed anew. Raises
    GuardRefused, having changed nothing, when the tree does not continue what the guard holds,
    and when there is no guard though the log has a checkpoint.
    """
    new = notes.Checkpoint(signer.origin(log), size, root)
    guard = open_guard(log)
    for _attempt in range(_ATTEMPTS):
        old = guard.read()
        if old is not None:
            _check_continues(guard, old, new, prove)
        elif tiles.newest_checkpoint(log) is not None:
            _refuse_missing(guard)
        try:
            # An equal state too: whoever wrote it may have died before it was durable.
            guard.write(new, expected=old)
        except StoreConflict:
            continue
        return
    _refuse_changing(guard)


def ahead_of(log: str, size: int) -> notes.Checkpoint | None:
    """What the key signed last, if that is more than `size` entries. Raises GuardUnreadable."""
    state = open_guard(log).read()
    return state if state is not None and state.size > size else None


def is_ahead(log: str) -> bool:
    """Whether this database lacks what was signed: it was restored, or the log frozen meanwhile.

    Whoever records what need not be recorded now waits: an entry would be in the way of the one
    that `ledger_recover` is to bring back. Raises GuardUnreadable.
    """
    try:
        # First: a guard that is read after the log may know of what grew in between.
        state = open_guard(log).read()
    except GuardFrozen:
        return True
    newest = tiles.newest_tree(log)
    return state is not None and state.size > (newest.size if newest else 0)


def check_reached(log: str, state: notes.Checkpoint, size: int, grown: int) -> None:
    """Check that the log, grown from `size` to `grown`, now has what was signed: the same tree.

    Raises GuardRefused.
    """
    try:
        if grown >= state.size and tiles.StoredTree(log, state.size).root() == state.root:
            return
    except LookupError as error:
        raise LedgerCorrupted(str(error)) from error
    _refuse_restored(open_guard(log), state.size, size)


def check(log: str) -> None:
    """Raise at once what `advance` would raise once the log grows. Changes nothing."""
    guard = open_guard(log)
    old = guard.read()
    with access.system("compare the ledger with its guard"):
        newest = tiles.newest_tree(log)
        if old is not None:
            size, root = (newest.size, bytes(newest.root)) if newest else (0, tree.EMPTY_ROOT)
            now = notes.Checkpoint(old.origin, size, root)
            _check_continues(guard, old, now, _prove_by(tiles.StoredTree(log, size)))
        elif tiles.newest_checkpoint(log) is not None:
            _refuse_missing(guard)


def freeze(log: str, state: notes.Checkpoint, *, expected: notes.Checkpoint | None) -> None:
    """Have the log's key sign nothing any more, by any release. Durable on return; for good.

    `state` is the newest that was signed, as far as anybody knows. Raises GuardUnreadable when the
    guard is not as expected any more.
    """
    guard = open_guard(log)
    try:
        guard.write(state, expected=expected, is_frozen=True)
    except StoreConflict:
        _refuse_changing(guard)


# --- adopting ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Adoption:
    """What `adopt` did: the guard's state before and after."""

    guard: Guard
    trusted: notes.Checkpoint
    before: notes.Checkpoint | None
    after: notes.Checkpoint


def adopt(log: str, note: str) -> Adoption:
    """Set the guard to the newest signed state, by the word of a person who trusts `note`.

    The note is a checkpoint that the log's key signed. The stored tree must begin with its tree,
    and with that of the newest stored checkpoint. A guard never goes back. Raises NoteError,
    KeyUnusable or GuardUnreadable where that cannot be told, GuardRefused where it is not so.
    """
    keys = rotation.keys_of(log)
    trusted, _note = keys.open(note)
    guard = open_guard(log)
    before = guard.read()
    with access.system("compare the ledger with a trusted checkpoint"):
        newest, last = tiles.newest_tree(log), tiles.newest_checkpoint(log)
        stored = tiles.StoredTree(log, newest.size if newest is not None else 0)
        _check_begins(stored, trusted, _("the checkpoint"))
        after = trusted
        if last is not None:
            try:
                signed, _note = keys.open(last.note)
            except notes.NoteError as error:
                raise GuardRefused(
                    _(
                        "The newest stored checkpoint of the log “%(log)s” is not its key's:"
                        " %(error)s. The guard was left as it was."
                    )
                    % {"log": log, "error": error}
                ) from error
            _check_begins(stored, signed, _("the newest stored checkpoint"))
            after = max(trusted, signed, key=lambda state: state.size)
        if before is not None:
            _check_begins(stored, before, _("the guard"))
            after = max(before, after, key=lambda state: state.size)
    try:
        guard.write(after, expected=before)
    except StoreConflict:
        _refuse_changing(guard)
    return Adoption(guard, trusted, before, after)


def _check_begins(stored: tiles.StoredTree, state: notes.Checkpoint, whose: str) -> None:
    """Prove, from what is stored, that the stored tree begins with the one of `state`."""
    try:
        proof = tree.consistency_proof(state.size, stored.size, stored.node)
        tree.verify_consistency(state.size, stored.size, proof, state.root, stored.root())
    except (LookupError, tree.ProofError) as error:
        raise GuardRefused(
            _(
                "The log “%(log)s” has %(stored)s entries here, and does not continue %(whose)s of"
                " size %(size)s: %(error)s. Restore a database that has what was signed. The guard"
                " was left as it was."
            )
            % {
                "log": stored.log,
                "stored": stored.size,
                "whose": whose,
                "size": state.size,
                "error": error,
            }
        ) from error


def _prove_by(stored: tiles.StoredTree) -> Prove:
    return lambda size: tree.consistency_proof(size, stored.size, stored.node)


# --- refusing ---------------------------------------------------------------------------------


def _check_continues(
    guard: Guard, old: notes.Checkpoint, new: notes.Checkpoint, prove: Prove
) -> None:
    """Check that signing `new` would not contradict `old`. Raises GuardRefused."""
    said = {"log": guard.log, "guard": guard, "old": old.size, "new": new.size}
    if new.size < old.size:
        _refuse_restored(guard, old.size, new.size)
    if new.size == old.size and new.root != old.root:
        raise GuardRefused(
            _(
                "The key of the log “%(log)s” signed another root for size %(old)s (%(guard)s): two"
                " histories under one name. Nothing was signed."
            )
            % said
            + _way_out(guard)
        )
    try:
        proof = prove(old.size) if new.size > old.size else []
        tree.verify_consistency(old.size, new.size, proof, old.root, new.root)
    except (LookupError, tree.ProofError) as error:
        raise GuardRefused(
            _(
                "The log “%(log)s” of size %(new)s does not continue what its key signed at size"
                " %(old)s (%(guard)s): %(error)s. An older backup was restored and has grown, or"
                " its past was changed. Nothing was signed."
            )
            % {**said, "error": error}
            + _way_out(guard)
        ) from error


def _refuse_restored(guard: Guard, signed: int, size: int) -> NoReturn:
    raise GuardRefused(
        _(
            "The key of the log “%(log)s” signed size %(old)s (%(guard)s), and the log has only"
            " %(new)s entries: an older backup was restored, or this is another database."
            " Nothing was signed."
        )
        % {"log": guard.log, "guard": guard, "old": signed, "new": size}
        + _way_out(guard)
    )


def _way_out(guard: Guard) -> str:
    return " " + (
        _begin_anew(guard)
        or _(
            "Stop the worker. Restore a database that has what was signed, or rebuild the lost"
            " tail from the log's copy: manage.py ledger_recover --log %(log)s. Never delete the"
            " guard, and never restore it."
        )
        % {"log": generations.log_of(guard.log)}
    )


def _refuse_frozen(guard: Guard) -> NoReturn:
    raise GuardFrozen(
        _(
            "The log “%(log)s” was frozen (%(guard)s): its key signs nothing any more. Another log"
            " continues it. Finish what began that one: manage.py ledger_freeze --log %(name)s; or,"
            " if it had grown and this is an older backup: manage.py ledger_recover --log %(name)s"
        )
        % {"guard": guard, "log": guard.log, "name": generations.log_of(guard.log)}
    )


def _refuse_missing(guard: Guard) -> NoReturn:
    raise GuardRefused(
        _(
            "The log “%(log)s” was signed before, and its guard %(guard)s is missing. Is"
            " LICET_LEDGER_GUARD right, and its volume mounted? If the guard is lost, name a"
            " checkpoint of the log that you trust: manage.py ledger_adopt --log %(name)s"
            " --checkpoint FILE"
        )
        % {"log": guard.log, "guard": guard, "name": generations.log_of(guard.log)}
        + (f"\n{anew}" if (anew := _begin_anew(guard)) else "")
    )


def _refuse_spoiled(guard: Guard, why: str) -> NoReturn:
    raise GuardUnreadable(
        _(
            "The guard %(guard)s of the log “%(log)s” cannot be used: %(why)s. Nothing was signed."
            " Look at it, move it away, and name a checkpoint that you trust: manage.py"
            " ledger_adopt --log %(name)s --checkpoint FILE"
        )
        % {
            "guard": guard,
            "log": guard.log,
            "why": why,
            "name": generations.log_of(guard.log),
        }
    )


def _refuse_changing(guard: Guard) -> NoReturn:
    raise GuardUnreadable(
        _("Somebody else changes the guard %(guard)s. Only one database may sign a log.")
        % {"guard": guard}
    )


def _begin_anew(guard: Guard) -> str:
    """How a developer begins the test log again; "" where nobody may. With another key: no fork."""
    if not settings.DEVELOPMENT or guard.log != "test" or settings.LEDGER_GUARD.startswith("s3:"):
        return ""
    keys = Path(settings.LEDGER_KEY_DIR)
    files = shlex.join([*map(str, sorted(keys.glob("test.*key"))), str(guard)])
    if tiles.newest_checkpoint(guard.log) is None:
        return _("In development, begin a new log with a new key: rm -f %(files)s") % {
            "files": files
        }
    if settings.DEVDB.data_dir is None:
        return ""
    return _(
        "In development, begin anew: LICET_DEBUG=1 .venv/bin/python manage.py devdb reset --yes"
        " && rm -f %(files)s"
    ) % {"files": files}
