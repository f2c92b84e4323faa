"""What leaves by delivery links, counted by the process that sends it, then in the database.

What is counted has left; what a process holds when it is killed, at most some seconds of it, is
not counted. So every number means “at least”.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.utils import timezone

from licensing.models import DeliveryCount
from marketplace import access

logger = logging.getLogger(__name__)

What = DeliveryCount.What

# Seconds from one writing of the counts to the next: what a killed process loses.
FLUSH_SECONDS = 2.0

# In one order for all, or two processes could wait for each other.
_COUNT = """
INSERT INTO licensing_deliverycount AS counted (coverage_id, day, what, answers, bytes)
SELECT * FROM unnest(%s::uuid[], %s::date[], %s::text[], %s::bigint[], %s::bigint[])
    AS each (coverage, day, what, answers, bytes)
ORDER BY coverage, day, what
ON CONFLICT (coverage_id, day, what) DO UPDATE SET
    answers = counted.answers + EXCLUDED.answers, bytes = counted.bytes + EXCLUDED.bytes
"""

_Key = tuple[UUID, date, str]

_lock = threading.Lock()
# By coverage, day and sort: how many answers, and how many bytes.
_held: dict[_Key, list[int]] = {}
_writer: threading.Thread | None = None


@dataclass(frozen=True, slots=True)
class Meter:
    """Counts what one answer sends, for the coverage by which it may."""

    coverage: UUID
    what: DeliveryCount.What

    def counted(self, content: Generator[bytes]) -> Iterator[bytes]:
        """The same pieces. One counts once the next is asked for: until then it may not have left.

        The answer counts with the first of them.
        """
        answers = 1
        with contextlib.closing(content):
            for piece in content:
                yield piece
                _add(self, answers, len(piece))
                answers = 0

    def redirected(self, length: int) -> None:
        """Count that somebody was sent on to the seller's own store, for so many bytes."""
        _add(self, 1, length)


def flush() -> int:
    """Write what this process has counted. Gives how many rows that counted up.

    What could not be written is kept for the next time, unless it may have been written all the
    same: then it is given up, because nothing may count twice. Raises what the database raises.
    """
    with _lock:
        taken = dict(_held)
        _held.clear()
    if not taken:
        return 0
    is_sent = False
    try:
        with access.system("count what was delivered"):
            _write(taken)
            is_sent = True
    except Exception:
        if is_sent:
            logger.warning("what was delivered is not counted: %d rows", len(taken))
        else:
            _put_back(taken)
        raise
    return len(taken)


def _write(taken: dict[_Key, list[int]]) -> None:
    coverages, days, sorts = zip(*taken, strict=True)
    answers, sizes = zip(*taken.values(), strict=True)
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [[*coverages], [*days], [*sorts], [*answers], [*sizes]])


def _add(meter: Meter, answers: int, size: int) -> None:
    key = (meter.coverage, timezone.now().date(), str(meter.what))
    with _lock:
        counts = _held.setdefault(key, [0, 0])
        counts[0] += answers
        counts[1] += size
        _begin()


def _put_back(taken: dict[_Key, list[int]]) -> None:
    with _lock:
        for key, (answers, size) in taken.items():
            counts = _held.setdefault(key, [0, 0])
            counts[0] += answers
            counts[1] += size


def _begin() -> None:
    """Have the counts written from now on, in a process that is there to deliver."""
    global _writer
    if _writer is None and settings.PROCESS == "delivery":
        _writer = threading.Thread(target=_write_again, name="delivery counts", daemon=True)
        _writer.start()


def _write_again() -> None:
    while True:
        time.sleep(FLUSH_SECONDS)
        try:
            flush()
        except Exception:
            logger.exception("what was delivered could not be counted")
        finally:
            # Between two writings no connection is kept from others.
            connection.close()
