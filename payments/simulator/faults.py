"""Faults that a test asks for: lost answers, slow ones, and failures."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Any

from payments.simulator.errors import ApiError

SLOW_MS_MAX = 60_000


@dataclass(slots=True)
class Fault:
    """What shall go wrong with the next requests below a path."""

    left: int
    # Answered instead of carrying the request out; 0 where it is carried out.
    status: int
    # Carried out, and the connection closed without an answer.
    is_dropped: bool
    path: str
    method: str
    # How long it takes before it is carried out.
    slow_ms: int = 0
    # Of an answered failure: what its error says of itself.
    type: str = "api_error"


class Faults:
    """The faults that are still to happen, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def ask(self, wanted: dict[str, Any]) -> None:
        """Take an order such as {"drop_response": 1, "path": "/v1/refunds"}. Raises if unreadable.

        {"status": 500, "times": 2} answers two requests so, without carrying them out, with the
        `type` of error that is named;
        {"slow_ms": 500} carries one out after a while, and keeps its idempotency key in use. In a
        path, * stands for one name, as in /v1/invoices/*/send.
        """
        dropped, status = wanted.get("drop_response", 0), wanted.get("status", 0)
        times, slow_ms = wanted.get("times", 1), wanted.get("slow_ms", 0)
        numbers = (dropped, status, times, slow_ms)
        if not all(type(value) is int for value in numbers) or min(numbers) < 0:
            raise ApiError("drop_response, slow_ms, status and times are integers.")
        if [bool(dropped), bool(status), bool(slow_ms)].count(True) != 1:
            raise ApiError("Ask for drop_response, for slow_ms or for status.")
        if slow_ms > SLOW_MS_MAX:
            raise ApiError(f"slow_ms is at most {SLOW_MS_MAX}.", param="slow_ms")
        if status and not 400 <= status <= 599:
            raise ApiError("status is from 400 to 599.", param="status")
        fault = Fault(
            left=dropped or times,
            status=status,
            is_dropped=bool(dropped),
            path=str(wanted.get("path", "/")),
            method=str(wanted.get("method", "")).upper(),
            slow_ms=slow_ms,
            type=str(wanted.get("type", "api_error")),
        )
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that befalls this request, if any."""
        with self._lock:
            for fault in self._faults:
                if _is_below(path, fault.path) and fault.method in {"", method}:
                    fault.left -= 1
                    if fault.left <= 0:
                        self._faults.remove(fault)
                    return fault
        return None


def _is_below(path: str, wanted: str) -> bool:
    return re.match(re.escape(wanted).replace(r"\*", "[^/]+"), path) is not None
