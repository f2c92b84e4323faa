"""Reading ahead: the next batch is made while the database takes the one before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
# How soon the reader sees that nobody wants more.
_LOOK_EVERY_SECONDS = 0.1


class _End:
    """What comes after the last item: the failure that ended them, or none."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure = failure


def ahead(items: Iterable[T]) -> Generator[T, None, None]:
    """The same items, each made by another thread while the one before is worked on.

    That thread runs all of `items`, which must not touch the database. What it raises is raised
    here. Close this generator to stop it.
    """
    made: queue.Queue[T | _End] = queue.Queue(maxsize=1)
    is_closed = threading.Event()

    def put(item: T | _End) -> bool:
        while not is_closed.is_set():
            try:
                made.put(item, timeout=_LOOK_EVERY_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as failure:
            put(_End(failure))
        else:
            put(_End())

    reader = threading.Thread(target=make, name="reading ahead", daemon=True)
    reader.start()
    try:
        while not isinstance(item := made.get(), _End):
            yield item
        if item.failure is not None:
            raise item.failure
    finally:
        is_closed.set()
        reader.join()
