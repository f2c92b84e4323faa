"""What befalls deliveries on their way, on request: lost, late, out of order, or repeated."""

from __future__ import annotations

import json
import random
import threading
from typing import Any

from payments.simulator.errors import ApiError
from payments.simulator.state import Resource

ORDERS = ("lose_about", "lose_next", "lose_percent", "repeat", "seed", "shuffle")
REPEAT_MAX, REPEATED_MS_MAX = 20, 200


class Mishaps:
    """The mishaps that were asked for. The same seed and events meet with the same ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        with self._lock:
            self._next, self._percent, self._repeat = 0, 0, 1
            self._about: set[str] = set()
            # How often each event that was taken once is still to come.
            self._left: dict[str, int] = {}
            self._is_shuffled = False
            self._random = random.Random(0)

    def ask(self, wanted: dict[str, Any]) -> None:
        """Take an order such as {"lose_percent": 3, "repeat": 4, "shuffle": true, "seed": 7}.

        {"lose_next": 2} loses the next two events, {"lose_about": "ord_1"} each one whose object
        holds this text as a value, {"repeat": 4} delivers each one to four times.
        """
        counts = {name: wanted[name] for name in ORDERS if name in wanted}
        about, is_shuffled = counts.pop("lose_about", None), counts.pop("shuffle", None)
        if any(type(value) is not int or value < 0 for value in counts.values()):
            raise ApiError(f"{', '.join(counts)} are integers, 0 or more.")
        if counts.get("lose_percent", 0) > 100 or not 1 <= counts.get("repeat", 1) <= REPEAT_MAX:
            raise ApiError(f"lose_percent is at most 100, repeat from 1 to {REPEAT_MAX}.")
        if not isinstance(about, str | None) or not isinstance(is_shuffled, bool | None):
            raise ApiError("lose_about is a text, shuffle true or false.")
        with self._lock:
            self._next = counts.get("lose_next", self._next)
            self._percent = counts.get("lose_percent", self._percent)
            self._repeat = counts.get("repeat", self._repeat)
            self._is_shuffled = self._is_shuffled if is_shuffled is None else is_shuffled
            if about:
                self._about.add(about)
            if "seed" in counts:
                self._random = random.Random(counts["seed"])

    def is_lost(self, event: Resource) -> bool:
        """Whether this event never arrives, in whatever attempt. Asked once for each."""
        with self._lock:
            if self._about:
                text = json.dumps(event, ensure_ascii=False)
                if any(json.dumps(about, ensure_ascii=False) in text for about in self._about):
                    return True
            if self._next:
                self._next -= 1
                return True
            return bool(self._percent) and self._random.randrange(100) < self._percent

    def ordered(self, ids: list[str]) -> list[str]:
        """Events that are due, in the order in which they are sent."""
        with self._lock:
            if self._is_shuffled:
                self._random.shuffle(ids)
        return ids

    def again_after(self, id: str) -> float | None:
        """In how many seconds an event that was taken comes again; None for never."""
        with self._lock:
            if id not in self._left and self._repeat > 1:
                self._left[id] = self._random.randrange(self._repeat)
            if not self._left.get(id):
                return None
            self._left[id] -= 1
            return self._random.randrange(REPEATED_MS_MAX) / 1000
