"""Freezes a log whose signed tail is lost for good, and begins the log that continues it.

In this order, so that a crash leaves nothing that the same command cannot go on from: the
successor's key; the frozen guard, after which nobody signs; in one transaction the successor's
first entry, and the places that were never signed set free; then the first signature.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext as _

from licensing.ledger import (
    cosignatures,
    generations,
    guard,
    notes,
    recovery,
    sequencer,
    signer,
    succession,
    tiles,
    witnessing,
)
from licensing.ledger import log as log_of
from licensing.ledger.commitments import CONTINUED
from licensing.ledger.recovery import CopyLacking, RecoveryBusy, RecoveryRefused
from licensing.ledger.stores import Store
from licensing.models import LedgerPending
from marketplace import access


@dataclass(frozen=True, slots=True)
class Plan:
    """A log that is to be frozen, or that was: checked, and nothing changed."""

    # The generation that ends, and the one that continues it.
    name: str
    successor: str
    # The last known signed tree, and its note without what is not verified here.
    trusted: notes.Checkpoint
    note: str
    # What the guard says that the key signed last; None where it is missing.
    guarded: notes.Checkpoint | None
    # Whether the guard is frozen already, and whether the successor has begun.
    is_frozen: bool
    is_begun: bool
    # Entries that keep their places here.
    known: int
    # Entries that had places which were never signed, as far as is known here; and that have none.
    unsigned: int
    waiting: int
    # Why the copy does not help; "" where none was looked at.
    copy: str

    @property
    def signed(self) -> int:
        """How many entries the key may have signed."""
        return max(self.trusted.size, 0 if self.guarded is None else self.guarded.size)

    @property
    def lost(self) -> int:
        return self.signed - self.known


def plan(log: str, note: str, store: Store | None) -> Plan:
    """Check that a log has to be frozen, and can be. Changes nothing.

    `note` is the last known checkpoint, `store` the log's copy; None where there is none. Raises
    RecoveryRefused where nothing is lost, where the copy can bring it back, or where the note is
    not the last one; NoteError where it is not of this log's key; KeyUnusable, GuardUnreadable and
    StoreUnavailable where that cannot be told.
    """
    name = succession.current(log)
    begun = _begun(name, note)
    if begun is not None:
        return begun
    trusted, opened = _opened(name, note)
    kept = _canonical(opened)
    guarded, is_frozen = guard.open_guard(name).look()
    following = guard.open_guard(generations.next_of(name)).look()[0]
    if following is not None:
        raise RecoveryRefused(
            _(
                "The log “%(log)s” was frozen before, and “%(next)s” was signed up to %(size)s"
                " entries: this database is from before that. Bring that one back: manage.py"
                " ledger_recover --log %(name)s"
            )
            % {
                "log": name,
                "next": generations.next_of(name),
                "size": following.size,
                "name": log,
            }
        )
    copy = "" if is_frozen else _copy(name, store)
    with access.system("look whether a log has to be frozen"):
        stand = _stand(name, trusted)
        if not is_frozen:
            _check_lost(stand.stored, trusted, guarded)
    return Plan(
        name=name,
        successor=generations.next_of(name),
        trusted=trusted,
        note=kept,
        guarded=guarded,
        is_frozen=is_frozen,
        is_begun=False,
        known=stand.known,
        unsigned=stand.unsigned,
        waiting=LedgerPending.objects.filter(log=log).count(),
        copy=copy,
    )


def apply(plan: Plan) -> None:
    """Freeze the log, and begin its successor. Done again, it changes nothing.

    Raises RecoveryBusy while a sequencer is at work, RecoveryRefused when the log is not what was
    planned any more, and what the guard raises.
    """
    if not plan.is_begun:
        signer.load(plan.name)
        signer.create(plan.successor)
        with _alone(plan):
            _freeze(plan)
            _begin(plan)
    sequencer.sign(plan.successor)


# --- looking ----------------------------------------------------------------------------------


def _begun(current: str, note: str) -> Plan | None:
    """What was done before, by the same checkpoint; None where it is of the current generation."""
    row, frozen = succession.beginning_of(current), generations.before(current)
    if row is None or frozen is None:
        return None
    said = notes.parse_checkpoint(notes.split_note(note)[0])
    if said.origin != signer.origin(frozen):
        return None
    done = notes.parse_checkpoint(notes.split_note(row.checkpoint)[0])
    if said != done:
        raise RecoveryRefused(
            _(
                "The log “%(log)s” was frozen before, with another checkpoint, of %(size)s entries."
                " “%(next)s” continues it, and what that says of it stays."
            )
            % {"log": frozen, "size": done.size, "next": current}
        )
    guarded, is_frozen = guard.open_guard(frozen).look()
    return Plan(
        name=frozen,
        successor=current,
        trusted=done,
        note=row.checkpoint,
        guarded=guarded,
        is_frozen=is_frozen,
        is_begun=True,
        known=row.known,
        unsigned=0,
        waiting=LedgerPending.objects.filter(log=row.log).count(),
        copy="",
    )


def _opened(name: str, note: str) -> tuple[notes.Checkpoint, notes.Note]:
    trusted, opened = notes.open_checkpoint(note, signer.verifiers(name))
    if trusted.origin != signer.origin(name):
        raise notes.SignatureError(f"it is of the log {trusted.origin}")
    return trusted, opened


def _canonical(opened: notes.Note) -> str:
    """The note with what is verified of it: what else stood there would be public for ever."""
    lines = [each.line() for each in opened.verified]
    try:
        known = [each.key for each in witnessing.servers()]
    except witnessing.WitnessesMisconfigured:
        known = []
    for signature in opened.unverified:
        try:
            if cosignatures.verified(opened.text, [signature], known):
                lines.append(signature.line())
        except notes.SignatureError:
            continue
    return opened.text + "\n" + "".join(lines)


def _copy(name: str, store: Store | None) -> str:
    """Say why the copy cannot bring the tail back. Raises RecoveryRefused where it can."""
    if store is None:
        return ""
    try:
        found = recovery.plan(name, store)
    except CopyLacking as error:
        return str(error)
    if found.is_needed:
        raise RecoveryRefused(
            _(
                "The copy in %(store)s has what was signed, up to %(size)s entries. Nothing has to"
                " be frozen: manage.py ledger_recover --log %(log)s --apply"
            )
            % {"store": store, "size": found.target.size, "log": generations.log_of(name)}
        )
    return _("%(store)s has no more than this database.") % {"store": store}


def _stand(name: str, trusted: notes.Checkpoint) -> succession.Stand:
    stand = succession.stand(name, trusted)
    if stand.signed > trusted.size:
        raise RecoveryRefused(
            _(
                "This database itself has a newer checkpoint of the log “%(log)s”, of %(size)s"
                " entries. Name the last one that is known anywhere."
            )
            % {"log": name, "size": stand.signed}
        )
    return stand


def _check_lost(
    stored: tiles.StoredTree, trusted: notes.Checkpoint, guarded: notes.Checkpoint | None
) -> None:
    states = [trusted] if guarded is None else [trusted, guarded]
    if all(succession.begins(stored, state) for state in states):
        raise RecoveryRefused(
            _(
                "Nothing of the log “%(log)s” is lost: its %(size)s entries here begin with all"
                " that was signed, by this checkpoint and by the guard. A log is frozen only when"
                " it cannot go on."
            )
            % {"log": stored.log, "size": stored.size}
        )


# --- doing ------------------------------------------------------------------------------------


@contextmanager
def _alone(plan: Plan) -> Iterator[None]:
    """A transaction that no sequencer shares, over a log that is still what was planned."""
    with access.system("freeze a log and begin its successor"):
        if not sequencer.elected(plan.name):
            raise RecoveryBusy(
                _("A worker works on the log “%(log)s” now. Stop it, and run this again.")
                % {"log": plan.name}
            )
        stand = _stand(plan.name, plan.trusted)
        guarded = guard.open_guard(plan.name).look()
        if (
            not succession.is_current(plan.name)
            or (stand.known, stand.unsigned) != (plan.known, plan.unsigned)
            or guarded != (plan.guarded, plan.is_frozen)
        ):
            raise RecoveryRefused(
                _(
                    "The log “%(log)s” has changed since it was checked. Stop the worker, and run"
                    " this again."
                )
                % {"log": plan.name}
            )
        yield


def _freeze(plan: Plan) -> None:
    if plan.is_frozen:
        return
    last = plan.trusted
    if plan.guarded is not None and plan.guarded.size > last.size:
        last = plan.guarded
    guard.freeze(plan.name, last, expected=plan.guarded)


def _begin(plan: Plan) -> None:
    """Record the successor's first entry and give it its place; set free what was never signed."""
    log = generations.log_of(plan.name)
    key = signer.load(plan.successor).verifier
    entry = log_of.append(
        log=log,
        kind=CONTINUED,
        subject_ref=os.urandom(16),
        seq=0,
        prev=None,
        values={},
        parties=[],
        at=timezone.now(),
        public={
            "origin": plan.trusted.origin,
            "size": plan.trusted.size,
            "root": plan.trusted.root.hex(),
            "checkpoint": plan.note,
            "known": plan.known,
            "signed": plan.signed,
            "key": key.vkey(),
        },
    )
    succession.begin(plan.successor, entry, plan.trusted, plan.known)
    LedgerPending.objects.filter(entry=entry).delete()
    sequencer.grow(plan.successor, {entry.pk: bytes(entry.leaf_hash)})
