"""Things done at once, in threads that start together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.db import connection


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Do things in threads that start together; returns what each returned or raised."""
    barrier = threading.Barrier(len(acts))
    results: list[Any] = [None] * len(acts)

    def run(index: int, act: Callable[[], Any]) -> None:
        try:
            barrier.wait()
            results[index] = act()
        except Exception as error:
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def meeting_after(verb: Callable[..., Any]) -> Callable[..., Any]:
    """A verb after which two threads wait for each other, or for a second.

    Where each holds then what the other one needs next, they are sure to meet in it.
    """
    met = threading.Barrier(2)

    def run(*arguments: Any, **named: Any) -> Any:
        result = verb(*arguments, **named)
        with suppress(threading.BrokenBarrierError):
            met.wait(timeout=1)
        return result

    return run
