"""Rate limits, on request: as many calls a second as Stripe takes in a sandbox."""

from __future__ import annotations

import threading
import time
from typing import Any

from payments.simulator.errors import ApiError
from payments.simulator.state import Resource

# https://docs.stripe.com/rate-limits: in a sandbox, and for each endpoint.
PER_SECOND = 25
_NAMES = {"global_per_second", "endpoint_per_second", "lock_timeouts", "method", "off", "path"}


class Bucket:
    """Calls that may be made now: as many as a second's, filled up evenly."""

    def __init__(self, per_second: int) -> None:
        self.per_second = per_second
        self._tokens, self._at = per_second * 1_000_000_000, time.monotonic_ns()

    def take(self) -> bool:
        # In whole billionths of a call, so that none is lost to rounding.
        now = time.monotonic_ns()
        full = self.per_second * 1_000_000_000
        self._tokens = min(full, self._tokens + (now - self._at) * self.per_second)
        self._at = now
        if self._tokens < 1_000_000_000:
            return False
        self._tokens -= 1_000_000_000
        return True


class Limits:
    """The limits in force: none, until a control asks for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        with self._lock:
            self._all: Bucket | None = None
            self._endpoint_per_second = 0
            self._endpoints: dict[str, Bucket] = {}
            self._timeouts, self._path, self._method = 0, "/", ""

    def choose(self, wanted: dict[str, Any]) -> Resource:
        """Take {"global_per_second": 25, "endpoint_per_second": 25}; {} takes Stripe's own.

        {"off": true} ends all; {"lock_timeouts": 2, "path": "/v1/refunds"} answers the next two
        calls below a path as if somebody else held their object, and changes no limit.
        """
        unknown = set(wanted) - _NAMES
        if unknown:
            raise ApiError(f"There is no such limit: {', '.join(sorted(unknown))}.")
        if wanted.get("off"):
            self.clear()
            return {"global_per_second": None, "endpoint_per_second": None}
        numbers = {
            name: wanted.get(name, PER_SECOND)
            for name in ("global_per_second", "endpoint_per_second")
        }
        timeouts = wanted.get("lock_timeouts", 0)
        if any(type(each) is not int or each < 1 for each in numbers.values()):
            raise ApiError("A limit is a positive integer.")
        if type(timeouts) is not int or timeouts < 0:
            raise ApiError("lock_timeouts is an integer, 0 or more.", param="lock_timeouts")
        with self._lock:
            if "lock_timeouts" in wanted:
                self._timeouts = timeouts
                self._path = str(wanted.get("path", "/"))
                self._method = str(wanted.get("method", "")).upper()
            else:
                self._all = Bucket(numbers["global_per_second"])
                self._endpoint_per_second = numbers["endpoint_per_second"]
                self._endpoints = {}
        return dict(numbers)

    def check(self, method: str, path: str, endpoint: str) -> None:
        """Raise what Stripe answers to one call too many. `endpoint` is "GET /v1/charges"."""
        with self._lock:
            self._check_rates(endpoint)
            if self._timeouts and path.startswith(self._path) and self._method in {"", method}:
                self._timeouts -= 1
                raise ApiError(
                    "This object cannot be accessed right now because another API request or"
                    " Stripe process is currently accessing it.",
                    status=429,
                    code="lock_timeout",
                    # No limit was reached, so no reason is named.
                    headers={"Stripe-Should-Retry": "true"},
                )

    def _check_rates(self, endpoint: str) -> None:
        if self._all is None:
            return
        bucket = self._endpoints.setdefault(endpoint, Bucket(self._endpoint_per_second))
        reason = "" if self._all.take() else "global-rate"
        reason = reason or ("" if bucket.take() else "endpoint-rate")
        if reason:
            raise ApiError(
                "Request rate limit exceeded. Learn more about rate limits at"
                " https://docs.stripe.com/rate-limits",
                status=429,
                code="rate_limit",
                headers={"Stripe-Rate-Limited-Reason": reason},
            )
