"""Gives a log another key: announced by its own entry, then signing beside the old one, then alone.

Which key has to sign follows from the tree alone: from the first that contains the announcement,
the new one. The old one signs beside it for who knows no other yet, as long as it is here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing.ledger import (
    commitments,
    generations,
    keychain,
    notes,
    proofs,
    signer,
    succession,
    tiles,
)
from licensing.ledger import log as log_of
from licensing.ledger.keychain import KeyChange
from licensing.models import LedgerCheckpoint, LedgerEntry, LedgerKeyChange
from marketplace import access

# The first key of the advisory locks; the second is the log's place in LOGS.
_LOCK_SPACE = 0x11CE8


class RotationRefused(Exception):
    """The next step cannot be done yet, or not at all. Says why, and what to do."""


class Step(StrEnum):
    """What was done last of a change of the key."""

    NONE = "none"
    MADE = "made"
    ANNOUNCED = "announced"
    # Both keys sign.
    SIGNED = "signed"


@dataclass(frozen=True, slots=True)
class Status:
    """How far the change of a log's key has come."""

    step: Step
    current: notes.Verifier
    following: notes.Verifier | None
    # The announcement's place, once it has one.
    index: int | None


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a log that are known here, and what the log says of their turns."""

    # The newest first.
    trusted: tuple[notes.Verifier, ...]
    # What signs until the log names another.
    first: notes.Verifier
    # What signs on this host.
    current: notes.Verifier
    changes: tuple[KeyChange, ...]

    def expected(self, size: int) -> notes.Verifier:
        """The key that has to sign a tree of this size."""
        return keychain.expected(self.changes, size) or self.first

    def open(self, note: str) -> tuple[notes.Checkpoint, notes.Note]:
        """Check a checkpoint: the key whose turn it was must have signed it. Raises NoteError."""
        checkpoint, opened = notes.open_checkpoint(note, self.trusted)
        expected = self.expected(checkpoint.size)
        if expected not in self.trusted:
            raise notes.SignatureError(
                f"the key {expected.key_id.hex()}, which signs at this size, is not known here"
            )
        keychain.check_signed(expected, opened)
        return checkpoint, opened


def keys(log: str) -> Keys | None:
    """Read a log's keys, from their files and from its entries. None where it has no key here."""
    trusted = signer.verifiers(log)
    current = signer.verifier(log)
    if current is None:
        return None
    changes = tuple(_changes(log))
    # A database from before the announcement waits for the key of then.
    first = changes[0].old if changes else [current, *signer.retired(log)][-1]
    return Keys(tuple(trusted), first, current, changes)


def keys_of(log: str) -> Keys:
    """The same, where nothing can be done without. Raises KeyUnusable."""
    found = keys(log)
    if found is None:
        raise signer.KeyUnusable(
            _("The log “%(log)s” has no key here. Put it back from its own backup.") % {"log": log}
        )
    return found


def signing(log: str, size: int, *, first: bool = False) -> tuple[Keys, list[notes.Signer]]:
    """The log's keys, and those that sign a tree of this size: the one whose turn it is last, and
    before it the one that it replaces, as long as that is here.

    The first tree of a generation is also signed by the key of the frozen one: whoever trusts that
    one learns of the successor. Raises KeyUnusable.
    """
    # Before the announcements: a key that is named in one of them was made before.
    here = {each.verifier: each for each in signer.load_all(log)}
    known = keys_of(log)
    expected = known.expected(size)
    if expected not in here:
        raise signer.KeyUnusable(
            _(
                "Trees of the log “%(log)s” of %(size)s entries are to be signed by the key"
                " %(key)s, and it is not here. Copy %(log)s.next.key or %(log)s.key from where"
                " the key was changed, or from its backup."
            )
            % {"log": log, "size": size, "key": expected.key_id.hex()}
        )
    replaced = [each.old for each in known.changes if each.new == expected]
    return known, [
        *(_of_frozen(log) if first else []),
        *(here[each] for each in replaced if each in here),
        here[expected],
    ]


def _of_frozen(log: str) -> list[notes.Signer]:
    """The key of the frozen log that a generation continues; none of the first."""
    frozen = generations.before(log)
    if frozen is None:
        return []
    try:
        return [signer.load(frozen)]
    except signer.KeyUnusable as error:
        raise signer.KeyUnusable(
            _(
                "The first tree of the log “%(log)s” is signed by the key of the frozen log, too,"
                " and that is not here. Sign on the host where the log was frozen. (%(error)s)"
            )
            % {"log": log, "error": error}
        ) from error


def published(log: str) -> list[notes.Verifier]:
    """The keys that strangers are shown, the newest first: announced ones, once that is signed."""
    current = signer.verifier(log)
    newest = tiles.newest_checkpoint(log)
    size = 0 if newest is None else newest.size
    seen = [each for each in _changes(log) if each.index is not None and each.index < size]
    chain = [each.new for each in reversed(seen)] + [each.old for each in seen[:1]]
    if current is None or current in chain:
        return chain
    return list(dict.fromkeys([current, *signer.retired(log)]))


def proof(log: str, key_id: str) -> bytes | None:
    """The proof that a key gave way to another, for who trusts it: a receipt of that entry.

    Its checkpoint is the first that contains the entry, which both keys signed; its bytes never
    change. None where that key did not give way, or no checkpoint says so yet.
    """
    for row in _rows(log):
        if notes.Verifier.parse(row.old_vkey).key_id.hex() == key_id:
            first = _first_checkpoint(_change(row, log).index, log)
            return None if first is None else proofs.receipt_at(row.entry, first)
    return continued(log).get(key_id)


def proofs_of(log: str) -> dict[str, bytes]:
    """Every such proof that there is: key id -> receipt."""
    found = continued(log)
    for change in _changes(log):
        receipt = proof(log, change.old.key_id.hex())
        if receipt is not None:
            found[change.old.key_id.hex()] = receipt
    return found


def continued(log: str) -> dict[str, bytes]:
    """The proof that a generation continues a frozen one, by the id of the key that signed so."""
    began = succession.beginning_of(log)
    first = None if began is None else _first_checkpoint(0, log)
    if began is None or first is None:
        return {}
    frozen = signer.origin(generations.before(log) or log)
    receipt = proofs.receipt_at(began.entry, first)
    _text, signatures = notes.split_note(first.note)
    return {each.key_id.hex(): receipt for each in signatures if each.name == frozen}


# --- the steps --------------------------------------------------------------------------------


def status(log: str) -> Status:
    """Say how far a log's change of key has come. Raises KeyUnusable."""
    current, following = signer.load(log).verifier, signer.load_next(log)
    if following is None:
        return Status(Step.NONE, current, None, None)
    change = _announced(log, following.verifier)
    if change is None:
        return Status(Step.MADE, current, following.verifier, None)
    is_signed = _first_checkpoint(change.index, log) is not None
    step = Step.SIGNED if is_signed else Step.ANNOUNCED
    return Status(step, current, following.verifier, change.index)


def announce(log: str) -> LedgerKeyChange:
    """Record that the next key follows the log's. Done again, it gives what was recorded.

    Raises RotationRefused, KeyUnusable.
    """
    current, following = signer.load(log).verifier, signer.load_next(log)
    if following is None:
        raise RotationRefused(
            _("There is no next key. Make it first: manage.py ledger_rotate_key --log %(log)s")
            % {"log": log}
        )
    new = following.verifier
    with access.system("announce a log's next key"):
        _lock(log)
        last = next(reversed(_rows(log)), None)
        if last is not None and last.new_vkey == new.vkey():
            return last
        if last is not None and last.new_vkey != current.vkey():
            raise RotationRefused(
                _(
                    "The log “%(log)s” announced another key before, %(key)s, and the key here is"
                    " not that one. Finish that change on this host first."
                )
                % {"log": log, "key": last.new_vkey}
            )
        ref = os.urandom(16) if last is None else bytes(last.ref)
        entry = log_of.append(
            log=generations.log_of(log),
            kind=keychain.KIND,
            subject_ref=ref,
            seq=0 if last is None else last.entry.seq + 1,
            prev=None if last is None else bytes(last.entry.leaf_hash),
            values={},
            parties=[],
            at=timezone.now(),
            public={"old": current.vkey(), "new": new.vkey()},
        )
        row = row_of(entry)
        row.save(force_insert=True)
        return row


def finish(log: str) -> notes.Verifier:
    """Have the announced key sign alone, and list the former one. Done again, it changes nothing.

    Raises RotationRefused while the newest checkpoint does not carry both signatures, KeyUnusable.
    """
    following = signer.load_next(log)
    if following is not None:
        _check_signs(log, signer.load(log).verifier, following.verifier)
    return signer.promote_next(log)


def _check_signs(log: str, current: notes.Verifier, following: notes.Verifier) -> None:
    newest, change = tiles.newest_checkpoint(log), _announced(log, following)
    if change is None:
        raise RotationRefused(
            _(
                "The next key is not announced yet: manage.py ledger_rotate_key --log %(log)s"
                " --announce"
            )
            % {"log": log}
        )
    first = _first_checkpoint(change.index, log)
    try:
        if newest is None or first is None or change.old != current:
            raise notes.SignatureError(_("no checkpoint contains the announcement"))
        # Where another host has finished already, the old key signs the newest no more.
        for note, signed_by in ((first.note, current), (first.note, following)):
            keychain.check_signed(signed_by, notes.open_note(note, [signed_by]))
        keychain.check_signed(following, notes.open_note(newest.note, [following]))
    except notes.NoteError as error:
        raise RotationRefused(
            _(
                "Both keys have not signed the log “%(log)s” yet (%(error)s). Let a worker, or"
                " manage.py ledger_sequence --once, sign it; then run this again."
            )
            % {"log": log, "error": error}
        ) from error


def _lock(log: str) -> None:
    """Two that announce at once would take one number of the log's own chain."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s, %s)",
            [_LOCK_SPACE, log_of.LOGS.index(generations.log_of(log))],
        )


def row_of(entry: LedgerEntry) -> LedgerKeyChange:
    """The row that an entry of this kind is about, from the entry alone; not written yet."""
    public = commitments.parse_body(bytes(entry.body)).public
    return LedgerKeyChange(
        log=entry.log,
        ref=entry.subject_ref,
        old_vkey=public["old"],
        new_vkey=public["new"],
        entry=entry,
    )


# --- what is recorded -------------------------------------------------------------------------


_IS_ANY = "SELECT EXISTS (SELECT FROM licensing_ledgerkeychange WHERE log = %s)"


def _rows(log: str) -> list[LedgerKeyChange]:
    """What was announced in a generation, in its order: each has keys of its own name."""
    rows = LedgerKeyChange.objects.filter(log=generations.log_of(log))
    rows = rows.select_related("entry", "entry__leaf").order_by("entry__seq")
    return [row for row in rows if _change(row, log).old.name == signer.origin(log)]


def _changes(log: str) -> list[KeyChange]:
    """A log's changes of key in their order, read from the entries and not from the columns."""
    with connection.cursor() as cursor:
        # Each signing asks, and most logs never had one.
        cursor.execute(_IS_ANY, [generations.log_of(log)])
        if cursor.fetchone() == (False,):
            return []
    found = [_change(row, log) for row in _rows(log)]
    try:
        keychain.check_chain(found)
    except keychain.KeyChangeError as error:
        raise log_of.LedgerCorrupted(f"The log “{log}”: {error}.") from error
    return found


def _change(row: LedgerKeyChange, log: str) -> KeyChange:
    leaf = getattr(row.entry, "leaf", None)
    # In another generation it changes nothing: its place in its own was lost.
    index = None if leaf is None or leaf.log != log else leaf.index
    try:
        found = keychain.read(bytes(row.entry.body), index)
        if found is None or (found.old.vkey(), found.new.vkey()) != (row.old_vkey, row.new_vkey):
            raise keychain.KeyChangeError("it names other keys than its entry")
    except keychain.KeyChangeError as error:
        raise log_of.LedgerCorrupted(f"The {row} cannot be used: {error}.") from error
    return found


def _announced(log: str, key: notes.Verifier) -> KeyChange | None:
    return next((each for each in _changes(log) if each.new == key), None)


def _first_checkpoint(index: int | None, log: str) -> LedgerCheckpoint | None:
    """The first that contains a leaf."""
    if index is None:
        return None
    rows = LedgerCheckpoint.objects.filter(log=log, size__gt=index)
    return rows.order_by("size").first()
