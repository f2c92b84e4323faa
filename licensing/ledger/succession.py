"""Which generation of a log is current, and what each says of the one that it continues."""

from __future__ import annotations

from licensing.ledger import commitments, generations, keychain, notes, signer
from licensing.ledger.log import LOGS, LedgerCorrupted
from licensing.models import LedgerContinuation, LedgerEntry


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
    return next_of(name) is None


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
