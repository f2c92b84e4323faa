"""Which of a grant's periods counts when: its windows, and who takes over from whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from licensing.models import Period

NAMES = ("access_window", "training_window", "use_window")

# When something begins and ends: half-open; no end is None.
Interval = tuple[datetime, datetime | None]


def begins(periods: Iterable[Period]) -> datetime:
    """When the first window of all opens."""
    found: list[datetime] = [window.lower for window in _windows(periods)]
    return min(found)


def ends(periods: Iterable[Period]) -> datetime | None:
    """When the last window of all closes; None: never."""
    found = [window.upper for window in _windows(periods)]
    return None if None in found else max(found)


def counting(periods: Iterable[Period], name: str, at: datetime) -> Period | None:
    """The period whose window counts at an instant: of those that hold it, the newest."""
    holding = [period for period in periods if _holds(getattr(period, name), at)]
    return max(holding, key=lambda period: period.number, default=None)


def last(periods: Iterable[Period], name: str) -> Period:
    """The period whose window ends last; of several, the newest."""
    opened = [period for period in periods if not getattr(period, name).isempty]
    endless = [period for period in opened if getattr(period, name).upper is None]
    return max(
        endless or opened,
        key=lambda period: (not endless and getattr(period, name).upper, period.number),
    )


def in_turn(windows: Sequence[Any]) -> list[Interval | None]:
    """How far each of a grant's windows of one name counts, in the order of their periods.

    Where a later period's begins within it, it ends; where that began before it, it never counts.
    """
    found: list[Interval | None] = []
    for place, window in enumerate(windows):
        if window.isempty:
            found.append(None)
            continue
        starts, stops = window.lower, window.upper
        for later in windows[place + 1 :]:
            overlaps = (
                not later.isempty
                and (stops is None or later.lower < stops)
                and (later.upper is None or later.upper > starts)
            )
            # An amendment's window ends with the one that it takes over from.
            if overlaps:
                stops = later.lower
        found.append((starts, stops) if stops is None or starts < stops else None)
    return found


def _windows(periods: Iterable[Period]) -> list[Any]:
    found = [getattr(period, name) for period in periods for name in NAMES]
    return [window for window in found if not window.isempty]


def _holds(window: Any, at: datetime) -> bool:
    if window.isempty or at < window.lower:
        return False
    return window.upper is None or at < window.upper
