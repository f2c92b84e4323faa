"""How the text of terms is put together: what is said, numbers, lists. No Django."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Said:
    """One clause: a line of short sentences, and the duty that it makes, if it makes one."""

    text: str
    duty: Mapping[str, Any] | None = None


Section = tuple[str, list[Said]]


def says(text: str, type: str, *, is_duty: bool = True, **parameters: Any) -> Said:
    """A clause that makes a duty. `type` and the parameters' names are promises to clients."""
    return Said(text, {"type": type, **parameters} if is_duty else None)


def days(number: int) -> str:
    return f"{number:,} day" if number == 1 else f"{number:,} days"


def hours(number: int) -> str:
    return f"{number:,} hour" if number == 1 else f"{number:,} hours"


def percent(basis_points: int) -> str:
    """Hundredths of a percent as a percentage: 250 is “2.5 %”."""
    whole, rest = divmod(basis_points, 100)
    return f"{whole}.{rest:02d}".rstrip("0").rstrip(".") + " %"


def joined(parts: Sequence[str], word: str) -> str:
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}"


def quoted(names: Sequence[str], word: str = "and") -> str:
    return joined([f"“{name}”" for name in names], word)
