"""How many requests a caller may send: a bucket each, which all processes share.

GCRA, the leaky bucket as a meter: of a bucket one instant is known, until which its quota is spent.
A request moves it on by what it costs; one that would move it further ahead than the quota lasts
is refused, and costs nothing. A process keeps its own tally, and tells it to the table, and hears
of the others', when it first meets a caller, once a second, and once it spent an eighth. So of N
processes each may let through an eighth of a quota too much, and most requests ask no database.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import ipaddress
import logging
import math
import threading
import time
from dataclasses import dataclass

from django.conf import settings
from django.db import Error, connection, transaction
from django.http import HttpRequest

from marketplace.access import Caller

logger = logging.getLogger(__name__)

SYNCED_SECONDS = 1.0
SYNCED_PARTS = 8
# Of one process. Those that are full again are forgotten first.
BUCKETS_MAX = 50_000
# Rows whose quota is full again say nothing.
_SWEPT_AFTER = "1 hour"


@dataclass(frozen=True, slots=True)
class Policy:
    """A quota: `burst` units at once, which come back at `per_second`."""

    name: str
    per_second: float
    burst: int

    @property
    def window(self) -> float:
        """In how many seconds all of it comes back."""
        return self.burst / self.per_second


@dataclass(frozen=True, slots=True)
class Standing:
    """How a caller stands after a request. `wait`: refused, for so many seconds."""

    policy: Policy
    left: int
    reset: int
    wait: int

    def headers(self) -> dict[str, str]:
        """Structured fields of draft-ietf-httpapi-ratelimit-headers-11."""
        policy = self.policy
        return {
            "RateLimit-Policy": f'"{policy.name}";q={policy.burst};w={math.ceil(policy.window)}',
            "RateLimit": f'"{policy.name}";r={self.left};t={self.reset}',
        }


class Bucket:
    """What one process knows of one caller's quota. In seconds, by its own clock."""

    def __init__(self, key: bytes, policy: Policy) -> None:
        self.key, self.policy = key, policy
        self._lock = threading.Lock()
        self._spent_until = time.monotonic()
        # What the table does not know yet, and since when.
        self._untold, self._since = 0.0, 0.0
        self._synced = -math.inf

    def spend(self, cost: int) -> Standing:
        """Take a request's cost, or say for how long to wait. Never fails."""
        policy, now = self.policy, time.monotonic()
        self._sync_if_due(now)
        step = cost / policy.per_second
        with self._lock:
            until = max(self._spent_until, now) + step
            over = until - now - policy.window
            # A request that costs more than the whole quota waits for a full one.
            if over > 1e-9 and self._spent_until > now:
                wait = max(1, math.ceil(min(over, self._spent_until - now)))
                return Standing(policy, self._left(self._spent_until - now), wait, wait)
            self._spent_until = until
            if not self._untold:
                self._since = now
            self._untold += step
        return Standing(policy, self._left(until - now), math.ceil(until - now), 0)

    def is_idle(self, now: float) -> bool:
        """Whether to forget it loses nothing."""
        return self._spent_until <= now

    def _left(self, ahead: float) -> int:
        return max(0, math.floor((self.policy.window - ahead) * self.policy.per_second + 1e-6))

    def _sync_if_due(self, now: float) -> None:
        with self._lock:
            is_due = (
                now - self._synced >= SYNCED_SECONDS
                or self._untold >= self.policy.window / SYNCED_PARTS
            )
            if not is_due:
                return
            # One thread of a process goes; the others go by what is known meanwhile.
            told, age, ahead = self._untold, now - self._since, self._spent_until - now
            self._untold, self._synced = 0.0, now
        try:
            shared = _tell(self.key, told, age, ahead) if told else _ask(self.key)
        except Error as error:
            # Whoever cannot count together counts alone, and fails no request.
            _tell_failure(error)
            with self._lock:
                self._untold += told
                # Not at once again, however much is spent.
                self._synced = time.monotonic()
            return
        with self._lock:
            # From before the question: the way there and back is nobody's spending.
            self._spent_until = max(self._spent_until, now + shared + self._untold)


class Buckets:
    """The buckets that one process knows."""

    def __init__(self) -> None:
        self._known: dict[bytes, Bucket] = {}

    def find(self, key: bytes) -> Bucket | None:
        return self._known.get(key)

    def make(self, key: bytes, policy: Policy) -> Bucket:
        if len(self._known) >= BUCKETS_MAX:
            self._forget()
        return self._known.setdefault(key, Bucket(key, policy))

    def _forget(self) -> None:
        now = time.monotonic()
        kept = {key: each for key, each in list(self._known.items()) if not each.is_idle(now)}
        # All at work: what each of them told stands in the table.
        self._known = kept if len(kept) < BUCKETS_MAX else {}


here = Buckets()


def spend(request: HttpRequest, caller: Caller | None, *, is_writing: bool) -> Standing | None:
    """Count a request against its caller's quota, or its address's. None: it has no limit."""
    rate = settings.RATE_ADDRESS if caller is None else settings.RATE_KEY
    if rate is None:
        return None
    if caller is None:
        key, name = _address_key(client_address(request)), "address"
    elif caller.api_key is not None:
        key, name = b"k" + caller.api_key.pk.bytes, "key"
    else:
        assert caller.user is not None
        key, name = b"u" + caller.user.pk.bytes, "member"
    bucket = here.find(key)
    if bucket is None:
        of = "" if caller is None else str(caller.organization.pk)
        factor = settings.RATE_PLANS.get(of, 1)
        bucket = here.make(key, Policy(name, rate[0] * factor, int(rate[1] * factor)))
    return bucket.spend(settings.RATE_WRITE_COST if is_writing else 1)


def client_address(request: HttpRequest) -> str:
    """Whoever sends, as the connection says it, or the first of the operator's own proxies."""
    proxies: int = settings.ALLAUTH_TRUSTED_PROXY_COUNT
    if proxies:
        # What stands before what our proxies added, the client wrote itself.
        said = request.headers.get("X-Forwarded-For", "").split(",")
        return said[-proxies:][0].strip()
    return str(request.META.get("REMOTE_ADDR", ""))


def sweep() -> int:
    """Delete the rows of quotas that are full again: how many. The worker's job."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM marketplace_ratetally"
            f" WHERE spent_until < clock_timestamp() - interval '{_SWEPT_AFTER}'"
        )
        return int(cursor.rowcount)


@functools.lru_cache(maxsize=10_000)
def _address_key(text: str) -> bytes:
    """A keyed hash: the table tells nobody who asked. Of IPv6, a subscriber's 64 bits."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        name = text.encode("utf-8", "replace")
    else:
        mapped = getattr(address, "ipv4_mapped", None)
        packed = (mapped or address).packed
        name = packed if len(packed) == 4 else packed[:8]
    secret = b"rate limits by address:" + settings.SECRET_KEY.encode()
    return b"a" + hmac.digest(hashlib.sha256(secret).digest(), name, "sha256")[:16]


_failed = -math.inf


def _tell_failure(error: Error) -> None:
    """Log it, once a minute: each caller's bucket finds the same."""
    global _failed
    now = time.monotonic()
    if now - _failed >= 60:
        _failed = now
        logger.warning("Each process counts requests alone for now: %s", error)


# --- the table --------------------------------------------------------------------------------

# All by the database's clock and in differences: the clocks of hosts need not agree. What was spent
# over `age` is added to what stood then; and nothing that a process knows is forgotten.
_TELL = """
INSERT INTO marketplace_ratetally AS kept (bucket, spent_until)
VALUES (%(bucket)s, clock_timestamp() + make_interval(secs => %(ahead)s))
ON CONFLICT (bucket) DO UPDATE SET spent_until = greatest(
    greatest(kept.spent_until, clock_timestamp() - make_interval(secs => %(age)s))
        + make_interval(secs => %(told)s),
    clock_timestamp() + make_interval(secs => %(ahead)s))
RETURNING extract(epoch FROM spent_until - clock_timestamp())::float8
"""
_ASK = """
SELECT extract(epoch FROM spent_until - clock_timestamp())::float8
FROM marketplace_ratetally WHERE bucket = %(bucket)s
"""


def _tell(bucket: bytes, told: float, age: float, ahead: float) -> float:
    """Add what was spent. How far ahead of now the quota is spent, by all processes."""
    values: dict[str, bytes | float] = {
        "bucket": bucket,
        "told": told,
        "age": max(age, 0.0),
        "ahead": ahead,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        # Whoever holds the row, or the table, holds up no request.
        cursor.execute("SET LOCAL lock_timeout = '100ms'")
        cursor.execute(_TELL, values)
        return float(cursor.fetchone()[0])


def _ask(bucket: bytes) -> float:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '100ms'")
        cursor.execute(_ASK, {"bucket": bucket})
        found = cursor.fetchone()
    return 0.0 if found is None else float(found[0])
