"""Times as API version 2 writes them: `2026-11-27T02:40:00.000Z`."""

from __future__ import annotations

from datetime import UTC, datetime

from payments.simulator.errors import ApiError


def text(seconds: int) -> str:
    """A time of the account's clock, in RFC 3339 with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def seconds(value: str, *, param: str) -> float:
    """A caller's time. Raises for what is no time in RFC 3339."""
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ApiError(f"Invalid timestamp: {value}", param=param)
    return at.timestamp()
