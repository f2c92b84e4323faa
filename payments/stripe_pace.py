"""The pace of our calls to Stripe: all processes of a market together stay under its limits.

https://docs.stripe.com/rate-limits: 100 calls a second in live mode, 25 in a sandbox, and 25 for
each endpoint. One row for all calls and one for each endpoint say when the next is on time. Who
waits at a page goes ahead by up to a quarter of a second's calls; background work goes on time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext as _

from marketplace.access import system
from marketplace.errors import PaymentProviderUnavailable

# Of the calls of a second, so many may come at once; the others are spread over it.
BURST_PARTS = 4
# Then it is put off: a page must answer, and what is due is due again.
WAIT_SECONDS_MAX, BACKGROUND_WAIT_SECONDS_MAX = 5, 20
# Background work asks Stripe for one order no more often than that.
FETCH_GAP = timedelta(seconds=2)

_is_background: ContextVar[bool] = ContextVar("is_background", default=False)
_ALL = "*"
# A part of a path that names one object: `pi_3Nabc…`, and no `payment_intents`.
_ID = re.compile(r"[A-Z0-9]")


@contextmanager
def background() -> Iterator[None]:
    """For work for which nobody waits: it lets a buyer's calls go first."""
    token = _is_background.set(True)
    try:
        yield
    finally:
        _is_background.reset(token)


def fetch_gap() -> timedelta:
    """How long after one fetch of an order the next may be made, by whoever asks now."""
    is_paced = settings.STRIPE_REQUESTS_PER_SECOND and _is_background.get()
    return FETCH_GAP if is_paced else timedelta()


def wait(method: str, url: str) -> None:
    """Wait until a call is on time. Outside any transaction, before each attempt of the SDK.

    Raises PaymentProviderUnavailable where that would take too long.
    """
    per_second = settings.STRIPE_REQUESTS_PER_SECOND
    if not per_second:
        return
    is_background = _is_background.get()
    patience = BACKGROUND_WAIT_SECONDS_MAX if is_background else WAIT_SECONDS_MAX
    deadline = time.monotonic() + patience
    limits = {
        _ALL: per_second,
        endpoint(method, url): min(per_second, settings.STRIPE_ENDPOINT_REQUESTS_PER_SECOND),
    }
    while (pause := _take(limits, is_background=is_background)) > 0:
        if time.monotonic() + pause > deadline:
            raise PaymentProviderUnavailable(
                _("Too much is being asked of the payment provider. Try again in a moment.")
            )
        time.sleep(pause)


def endpoint(method: str, url: str) -> str:
    """What Stripe counts as one endpoint: "GET /v1/charges/{}"."""
    parts = urlsplit(url).path.split("/")
    # "", the version, and then names and ids.
    parts[2:] = ["{}" if _ID.search(part) else part for part in parts[2:]]
    return f"{method.upper()} {'/'.join(parts)}"[:120]


def _take(limits: dict[str, int], *, is_background: bool) -> float:
    """Take a turn of every limit, or none and say how many seconds to wait."""
    try:
        with system("keep the pace of calls to Stripe"):
            # The one for all first, for everybody: in two orders, two rows deadlock.
            for name, per_second in limits.items():
                _take_one(name, per_second, is_background)
    except _TooEarly as early:
        # The turns that were taken before are given back.
        return max(early.seconds, 0.001)
    return 0


def _take_one(name: str, per_second: int, is_background: bool) -> None:
    burst = max(1, per_second // BURST_PARTS)
    step = 1 / max(1, per_second - burst)
    values: dict[str, Any] = {
        "name": name,
        "step": timedelta(seconds=step),
        "ahead": timedelta(seconds=0 if is_background else (burst - 1) * step),
    }
    with connection.cursor() as cursor:
        cursor.execute(_TURN, values)
        if cursor.fetchone() is None:
            cursor.execute(_PAUSE, values)
            raise _TooEarly(float(cursor.fetchone()[0]))


class _TooEarly(Exception):
    """It is not on time yet, but in so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


# Never more than a burst and a second's steps within any second: that is the limit.
_TURN = """
INSERT INTO payments_stripepace AS pace (name, next_at)
VALUES (%(name)s, clock_timestamp() + %(step)s)
ON CONFLICT (name) DO UPDATE SET next_at = greatest(pace.next_at, clock_timestamp()) + %(step)s
    WHERE pace.next_at <= clock_timestamp() + %(ahead)s
RETURNING 1
"""
_PAUSE = """
SELECT extract(epoch FROM next_at - clock_timestamp() - %(ahead)s)
FROM payments_stripepace WHERE name = %(name)s
"""
