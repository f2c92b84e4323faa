"""Says on standard error how far a long command is."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from django.core.management.base import OutputWrapper

# Short work says nothing.
FIRST_SECONDS = 1.0
EVERY_SECONDS = 2.0


class Meter:
    """A line every two seconds: how many of how many, and how fast."""

    def __init__(self, output: OutputWrapper, name: str, unit: str) -> None:
        self._output, self._name, self._unit = output, name, unit
        self._start = time.monotonic()
        self._next = self._start + FIRST_SECONDS
        self._first: int | None = None
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown and error is None:
            self._output.write(
                f"{self._name}: done in {time.monotonic() - self._start:.1f} s", ending="\n"
            )

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if now < self._next:
            return
        self._next, self._shown = now + EVERY_SECONDS, True
        rate = (done - self._first) / (now - self._start)
        self._output.write(f"{self._name}: {done:,} of {total:,} {self._unit}, {rate:,.0f}/s")
