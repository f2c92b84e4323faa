"""Reading ahead: the same items, one at a time, and nothing after the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from marketplace.imports.ahead import ahead


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "reading ahead"]


def test_the_items_come_in_their_order_and_the_reader_ends() -> None:
    assert list(ahead(iter(range(100)))) == list(range(100))
    assert list(ahead(())) == []
    assert readers() == []


def test_it_is_never_more_than_two_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for n in range(20):
            made.append(n)
            yield n

    with closing(ahead(items())) as found:
        for n in found:
            time.sleep(0.01)
            # One waits to be taken, one waits for its place.
            assert len(made) <= n + 3


def test_what_the_reader_raises_comes_after_its_items() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError(5, "Input/output error")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(OSError, match="Input/output error"):
        next(found)
    assert readers() == []


def test_closing_stops_the_reader() -> None:
    def items() -> Iterator[int]:
        n = 0
        while True:
            yield n
            n += 1

    with closing(ahead(items())) as found:
        assert next(found) == 0
        assert readers() == ["reading ahead"]
    assert readers() == []
