"""Which generation of a log is current, and what each says of the one that it continues."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection

from licensing.ledger import commitments, generations, keychain, notes, signer, tiles
from licensing.ledger.log import LOGS, LedgerCorrupted
from licensing.models import LedgerCheckpoint, LedgerContinuation, LedgerEntry, LedgerTree

# By hand: each signing asks.
_IS_BEGUN = """
SELECT EXISTS (SELECT FROM licensing_ledgercontinuation WHERE log = %s AND number = %s)
"""


def current(log: str) -> str:
    """The name of the generation that grows: what is recorded in the log gets its place there."""
    number = (
        LedgerContinuation.objects.filter(log=log)
        .order_by("-number")
        .values_list("number", flat=True)
        .first()
    )
    return generations.name(log, number or 1)


def names(log: str) -> list[str]:
    """Every generation of a log, the frozen ones first."""
    last = generations.number_of(current(log))
    return [generations.name(log, number) for number in range(1, last + 1)]


def all_names() -> list[str]:
    """Every generation of every log."""
    return [name for log in LOGS for name in names(log)]


def is_current(name: str) -> bool:
    """Whether this generation was not frozen, as far as the database knows."""
    following = generations.next_of(name)
    with connection.cursor() as cursor:
        cursor.execute(_IS_BEGUN, [generations.log_of(following), generations.number_of(following)])
        return not cursor.fetchone()[0]


def next_of(name: str) -> LedgerContinuation | None:
    """What continues a generation; None as long as it is current."""
    following = generations.next_of(name)
    return _row(following)


def beginning_of(name: str) -> LedgerContinuation | None:
    """How a generation began: which one it continues. None of the first."""
    return _row(name)


def last_checkpoint(name: str) -> str | None:
    """The last known note of a generation that was frozen; None where it is current."""
    row = next_of(name)
    return None if row is None else row.checkpoint


def row_of(entry: LedgerEntry, number: int, known: int) -> LedgerContinuation:
    """The row that an entry of this kind is about; not written yet.

    `known` is of the database that it is written to: it may hold less than another one did.
    """
    public = commitments.parse_body(bytes(entry.body)).public
    return LedgerContinuation(
        log=entry.log,
        number=number,
        ref=entry.subject_ref,
        size=public["size"],
        checkpoint=public["checkpoint"],
        known=known,
        entry=entry,
    )


# --- ending one, and beginning the next -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stand:
    """What the database has of a generation that is to end at a signed tree."""

    stored: tiles.StoredTree
    # The size of its newest checkpoint here.
    signed: int
    # Of these entries a signed tree is known that begins the stored one: they keep their places.
    known: int

    @property
    def unsigned(self) -> int:
        return max(0, self.stored.size - self.known)


def stand(name: str, trusted: notes.Checkpoint) -> Stand:
    """Find out how many entries stand in places that were signed. Raises LedgerCorrupted."""
    newest, last = tiles.newest_tree(name), tiles.newest_checkpoint(name)
    stored = tiles.StoredTree(name, 0 if newest is None else newest.size)
    known = 0
    if last is not None:
        try:
            signed, _note = notes.open_checkpoint(last.note, signer.verifiers(name))
        except notes.NoteError as error:
            raise LedgerCorrupted(f"The newest checkpoint of “{name}” here: {error}.") from error
        if not begins(stored, signed):
            raise LedgerCorrupted(
                f"The stored log “{name}” is not what it signed at size {signed.size}."
            )
        known = signed.size
    is_within = begins(stored, trusted)
    return Stand(stored, known, max(known, trusted.size) if is_within else known)


def begins(stored: tiles.StoredTree, state: notes.Checkpoint) -> bool:
    """Whether the stored tree begins with a signed one. Raises LedgerCorrupted."""
    if state.size > stored.size:
        return False
    try:
        return tiles.StoredTree(stored.log, state.size).root() == state.root
    except LookupError as error:
        raise LedgerCorrupted(str(error)) from error


def begin(name: str, entry: LedgerEntry, trusted: notes.Checkpoint, known: int) -> None:
    """Have a generation begin by its entry, which waits for its place: the one before ends.

    That one keeps `known` entries in their places; the others wait for a place in this one.
    """
    ended = generations.before(name)
    assert ended is not None, "The first generation continues none."
    row = row_of(entry, generations.number_of(name), known)
    if known == trusted.size:
        # The tree up to which entries keep their places is one that was signed, here too.
        LedgerTree.objects.get_or_create(log=ended, size=known, defaults={"root": trusted.root})
        LedgerCheckpoint.objects.get_or_create(
            log=ended, size=known, defaults={"note": row.checkpoint}
        )
    row.save(force_insert=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT ledger_set_free(%s, %s)", [ended, known])


# --- checking ---------------------------------------------------------------------------------


def check(name: str) -> None:
    """Check how a generation began, by its first entry. Raises LedgerCorrupted."""
    row = beginning_of(name)
    if row is None:
        return
    said = f"The generation “{name}”"
    try:
        begun = keychain.read_continuation(bytes(row.entry.body))
    except ValueError as error:
        raise LedgerCorrupted(f"{said} does not begin as it should: {error}.") from error
    before = generations.before(name)
    leaf = getattr(row.entry, "leaf", None)
    if leaf is None or (leaf.log, leaf.index) != (name, 0):
        raise LedgerCorrupted(f"{said} does not begin with its entry.")
    if before is None or begun.frozen.origin != signer.origin(before):
        raise LedgerCorrupted(f"{said} does not continue “{before}”.")
    if (begun.frozen.size, begun.note) != (row.size, row.checkpoint):
        raise LedgerCorrupted(f"{said}: its row says something else than its entry.")
    try:
        notes.open_checkpoint(begun.note, signer.verifiers(before))
    except notes.NoteError as error:
        raise LedgerCorrupted(f"{said} continues what was not signed: {error}.") from error


def _row(name: str) -> LedgerContinuation | None:
    log, number = generations.log_of(name), generations.number_of(name)
    return LedgerContinuation.objects.filter(log=log, number=number).select_related("entry").first()
