"""Check that saved pages of one's own ledger entries leave nothing out."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from licensing.ledger import commitments, tree

SOUND, NOT_SOUND, CANNOT_TELL, SOUND_TEST = 0, 1, 2, 3

# What numbers do not tell.
LIMITS = (
    "By the numbers that the entries commit to. That an entry stands in the log is what its"
    " receipt proves."
)


class NotSound(Exception):
    """A page, an entry or the order of numbers is not sound. `where` says which."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where, self.reason = where, reason

    def report(self) -> dict[str, Any]:
        return {"sound": False, "broken": self.where, "reason": self.reason}

    def describe(self) -> str:
        return _printable(f"NOT SOUND: {self}")


@dataclass(frozen=True, slots=True)
class Found:
    """Entries that follow each other without a gap."""

    log: str | None
    organization: str | None
    first: int
    count: int
    # Whose openings were erased: the number is only said, and the entry does not prove it.
    unproven: tuple[int, ...]
    has_more: bool

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    def exit_code(self, *, allow_test: bool) -> int:
        if self.unproven:
            return CANNOT_TELL
        return SOUND_TEST if self.log == "test" and not allow_test else SOUND

    def report(self) -> dict[str, Any]:
        return {
            "sound": None if self.unproven else True,
            "test": self.log == "test",
            "organization": self.organization,
            "log": self.log,
            "first": self.first if self.count else None,
            "last": self.last,
            "count": self.count,
            "unproven": list(self.unproven),
            "has_more": self.has_more,
            "limits": LIMITS,
        }

    def describe(self) -> str:
        if not self.count:
            return f"no entry after number {self.last}"
        lines = ["TEST LOG, no money moved"] if self.log == "test" else []
        whose = self.organization or "nobody who can be told"
        said = "cannot tell" if self.unproven else "sound"
        lines.append(
            f"{said}: entries {self.first} to {self.last} of {whose} in the {self.log} log, no gap"
        )
        if self.unproven:
            lines.append(f"  erased, so only said: {', '.join(map(str, self.unproven))}")
        if self.has_more:
            lines.append(f"  more follow: fetch on with after={self.last}")
        return "\n".join(map(_printable, [*lines, LIMITS]))


def check(pages: Sequence[tuple[str, bytes]], after: int = 0) -> Found:
    """Check (name, page) in the order in which they were read. Raises NotSound.

    `after` is the last number of the pages before these.
    """
    count, unproven, has_more = 0, [], False
    log = organization = None
    for name, data in pages:
        page = _page(name, data)
        has_more = page["has_more"]
        for place, item in enumerate(page["data"]):
            expected = after + count + 1
            where = f"{name}, item {place}"
            body, slot = _entry(where, item)
            _check_follows(where, item["sequence"], expected)
            log = log or body.log
            if body.log != log:
                raise NotSound(where, "it is of another log than the ones before")
            if slot is None:
                unproven.append(expected)
            elif slot.sequence != expected:
                raise NotSound(where, f"it commits to number {slot.sequence}, not to {expected}")
            elif slot.organization != (organization := organization or slot.organization):
                raise NotSound(where, "it is numbered for another organization")
            count += 1
    return Found(log, organization, after + 1, count, tuple(unproven), has_more)


def _page(name: str, data: bytes) -> dict[str, Any]:
    try:
        page = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotSound(name, f"it is no JSON: {error}") from None
    if (
        not isinstance(page, dict)
        or not isinstance(page.get("data"), list)
        or not isinstance(page.get("has_more"), bool)
    ):
        raise NotSound(name, "it is no page of /v1/ledger/entries")
    return page


def _check_follows(where: str, sequence: int, expected: int) -> None:
    if sequence > expected:
        missing = f"{expected}" if sequence == expected + 1 else f"{expected} to {sequence - 1}"
        raise NotSound(where, f"number {sequence} comes where {missing} should: a gap")
    if sequence < expected:
        raise NotSound(
            where, f"number {sequence} comes again, or too late: {expected} should be next"
        )


def _entry(where: str, item: Any) -> tuple[commitments.EntryBody, commitments.Slot | None]:
    """Check one item by itself."""
    if not isinstance(item, dict) or item.get("object") != "ledger_entry":
        raise NotSound(where, "it is no ledger entry")
    sequence, openings = item.get("sequence"), item.get("openings")
    if not isinstance(sequence, int) or isinstance(sequence, bool):
        raise NotSound(where, "it has no number")
    try:
        entry = base64.b64decode(str(item.get("entry")), validate=True)
        body = commitments.parse_body(entry)
        if openings is None:
            slot = None
        elif isinstance(openings, dict):
            commitments.check_openings(body, openings)
            slot = commitments.check_party(body, openings)
            if slot is None:
                raise commitments.CommitmentError("its openings do not open its number")
        else:
            raise commitments.CommitmentError("its openings are no object")
    except binascii.Error:
        raise NotSound(where, "its entry is no base64") from None
    except ValueError as error:
        raise NotSound(where, str(error)) from None
    for name, shown in (
        ("leaf_hash", tree.leaf_hash(entry).hex()),
        ("log", body.log),
        ("kind", body.kind),
        ("subject_ref", body.subject_ref.hex()),
    ):
        if item.get(name) != shown:
            raise NotSound(where, f"its {name} is not the one of its entry")
    return body, slot


def _printable(text: str) -> str:
    """Names come from other people: no control sequence of theirs may reach a terminal."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
