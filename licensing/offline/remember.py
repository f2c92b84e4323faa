"""Checkpoints that were seen: a log that shows other people another tree must show it here too."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from licensing.ledger import notes, receipts, tree
from licensing.offline.logs import Log, LogUnavailable, check_consistent

FORMAT = "licet/remembered/v1"


class MemoryUnusable(Exception):
    """The file of remembered checkpoints cannot be read or written; says why."""


@dataclass(frozen=True)
class Seen:
    """A log's signed checkpoint, as somebody here came by it."""

    source: str
    note: str
    checkpoint: notes.Checkpoint

    @classmethod
    def parse(cls, source: str, note: str) -> Seen:
        """Raises NoteError."""
        text, _signatures = notes.split_note(note)
        return cls(source, note, notes.parse_checkpoint(text))


@dataclass(frozen=True)
class Consistency:
    """How a receipt's checkpoint stands to others of its log. Never: against them."""

    # first, same, continues; or not_checked.
    result: str
    text: str
    # What was compared, and may be remembered.
    compared: Sequence[Seen] = ()

    @property
    def is_checked(self) -> bool:
        return self.result != "not_checked"


def check(
    receipt: Seen, keys: Sequence[notes.Verifier], *, file: Path | None, place: str | None
) -> Consistency | None:
    """Compare a receipt's checkpoint with what is remembered and with what the log shows now.

    None when neither is given. Raises ReceiptError where the log contradicts itself,
    MemoryUnusable. The newest checkpoint is remembered once all are consistent.
    """
    if file is None:
        return None if place is None else _compare(receipt, None, keys, place)
    with _locked(file):
        logs = _load(file)
        remembered = logs.get(receipt.checkpoint.origin)
        result = _compare(receipt, remembered, keys, place)
        if result.is_checked:
            newest = max(result.compared, key=lambda each: each.checkpoint.size)
            if newest != remembered:
                _save(file, {**logs, receipt.checkpoint.origin: newest})
    return result


def _compare(
    receipt: Seen, remembered: Seen | None, keys: Sequence[notes.Verifier], place: str | None
) -> Consistency:
    others = [] if remembered is None else [remembered]
    try:
        if place is not None:
            log = Log(place)
            others.append(_published(log, receipt.checkpoint.origin, keys))
            _check_all(log, [each.checkpoint for each in (*others, receipt)], others[-1])
        elif remembered is not None:
            _check_equal(remembered.checkpoint, receipt.checkpoint)
    except LogUnavailable as error:
        return Consistency("not_checked", f"not checked: {error}")
    except tree.ProofError as error:
        raise receipts.ReceiptError("consistency", str(error)) from None
    if not others:
        return Consistency("first", "the first checkpoint seen of this log", [receipt])
    same = all(each.checkpoint == receipt.checkpoint for each in others)
    text = f"{'the same tree as' if same else 'one log with'} {_named(others)}"
    # In this order, so that of equals the one that was remembered stays.
    return Consistency("same" if same else "continues", text, [*others, receipt])


def _check_all(log: Log, known: Sequence[notes.Checkpoint], published: Seen) -> None:
    """Raises ProofError, LogUnavailable."""
    try:
        check_consistent(log, known)
    except LogUnavailable as error:
        shown, largest = published.checkpoint.size, max(each.size for each in known)
        if shown == largest:
            raise
        raise LogUnavailable(
            f"{log.place} shows a tree of {shown} entries, and {largest} were signed before: it is"
            f" an old copy, or the log went back ({error})"
        ) from None
    finally:
        log.close()


def _named(others: Sequence[Seen]) -> str:
    return " and ".join(
        f"the {each.source} tree of {each.checkpoint.size} entries" for each in others
    )


def _published(log: Log, origin: str, keys: Sequence[notes.Verifier]) -> Seen:
    """The checkpoint that a log shows now, verified. Raises LogUnavailable for another log."""
    note = log.checkpoint()
    try:
        checkpoint, _note = notes.open_checkpoint(note, keys)
    except notes.NoteError as error:
        raise LogUnavailable(f"{log.place}/checkpoint: {error}") from None
    if checkpoint.origin != origin:
        raise LogUnavailable(f"{log.place} is the log {checkpoint.origin}")
    return Seen("published", note, checkpoint)


def _check_equal(remembered: notes.Checkpoint, shown: notes.Checkpoint) -> None:
    """Two roots of one size need no proof to be a lie. Raises ReceiptError, LogUnavailable."""
    if remembered.size != shown.size:
        raise LogUnavailable(
            f"the remembered tree has {remembered.size} entries. Give --log URL|DIR"
        )
    if remembered.root != shown.root:
        raise receipts.ReceiptError(
            "consistency",
            f"{shown.origin} signed another tree of {shown.size} entries before. Keep the receipt "
            "and the file of remembered checkpoints: they prove it",
        )


# --- the file ---------------------------------------------------------------------------------


def _load(file: Path) -> dict[str, Seen]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"its format is {data['format']}")
        logs = {
            origin: Seen.parse("remembered", "\n".join(kept["checkpoint"]) + "\n")
            for origin, kept in data["logs"].items()
        }
        if any(seen.checkpoint.origin != origin for origin, seen in logs.items()):
            raise ValueError("a checkpoint stands under another log's name")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise MemoryUnusable(f"{file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MemoryUnusable(
            f"{file} is no file of remembered checkpoints ({error}). Name another one."
        ) from None
    return logs


def _save(file: Path, logs: dict[str, Seen]) -> None:
    """Replace the file as a whole, durably: half of one would forget what it is kept for."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    data: dict[str, Any] = {"format": FORMAT, "written_at": now, "logs": {}}
    for origin, seen in sorted(logs.items()):
        data["logs"][origin] = {"checkpoint": seen.note.removesuffix("\n").split("\n")}
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as opened:
            json.dump(data, opened, ensure_ascii=False, indent=2)
            opened.write("\n")
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(file)
        directory = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise MemoryUnusable(f"{file}: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold the file for one reader and writer at a time: the later would undo the earlier."""
    try:
        import fcntl
    except ModuleNotFoundError:
        raise MemoryUnusable("--remember needs the file locks of Linux or macOS") from None
    try:
        # Not the file itself, which is replaced: a lock on what was replaced holds nobody.
        descriptor = os.open(file.with_name(f"{file.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise MemoryUnusable(f"{file}.lock: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
