"""Metrics for Prometheus: what is counted in this process, and what is read of the market.

Off, and free, unless LICET_METRICS_TOKEN is set. All processes that share PROMETHEUS_MULTIPROC_DIR
count into files there, and any of them tells of all:
https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.signals import request_finished
from django.db import Error, connection

logger = logging.getLogger(__name__)

# Seconds. A page is a few hundredths; a call to Stripe, a few tenths; a work's delivery, minutes.
_REQUEST_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)
_JOB_BUCKETS: Final = (0.01, 0.05, 0.25, 1, 5, 30, 300)
# What is read of the market costs queries: so long it is told again to whoever asks.
READ_EVERY_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of the market, read when it is asked for. The same in every process."""

    name: str
    help: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


# What each app reads: a function of it is added when the app is ready.
READINGS: list[Callable[[], Iterable[Reading]]] = []


class Instruments:
    """What this process counts. The labels are bounded: routes, and never paths or ids."""

    def __init__(self) -> None:
        place = Path(settings.METRICS_DIR)
        place.mkdir(parents=True, exist_ok=True)
        # The library decides at its import how it keeps values, and reads nothing but this.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(place)
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        kept = CollectorRegistry()
        self._requests = Counter(
            "licet_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=kept,
        )
        self._seconds = Histogram(
            "licet_request_seconds",
            "From a request to the end of its answer.",
            ("method", "route"),
            buckets=_REQUEST_BUCKETS,
            registry=kept,
        )
        self._in_flight = Gauge(
            "licet_requests_in_flight",
            "Requests under way.",
            registry=kept,
            multiprocess_mode="livesum",
        )
        self._pool = Gauge(
            "licet_database_pool",
            "Connections of the pools by their state, and threads that wait for one.",
            ("state",),
            registry=kept,
            multiprocess_mode="livesum",
        )
        self._runs = Counter(
            "licet_job_runs", "Runs of the worker's jobs.", ("job", "outcome"), registry=kept
        )
        self._job_seconds = Histogram(
            "licet_job_seconds",
            "How long a run of a job took.",
            ("job",),
            buckets=_JOB_BUCKETS,
            registry=kept,
        )
        self._succeeded = Gauge(
            "licet_job_last_success_timestamp_seconds",
            "When a job last succeeded (Unix time).",
            ("job",),
            registry=kept,
            multiprocess_mode="max",
        )
        self._stripe = Counter(
            "licet_stripe_calls",
            "Calls to Stripe: answered, refused for good, unavailable, or failed here.",
            ("outcome",),
            registry=kept,
        )
        request_finished.connect(self._connections_came_back, weak=False)

    def request_begins(self) -> None:
        self._in_flight.inc()

    def request_ends(self, method: str, route: str, status: int, seconds: float) -> None:
        self._in_flight.dec()
        self._requests.labels(method, route, f"{status // 100}xx").inc()
        self._seconds.labels(method, route).observe(seconds)

    def job_ran(self, job: str, *, is_done: bool, seconds: float) -> None:
        self._runs.labels(job, "done" if is_done else "failed").inc()
        self._job_seconds.labels(job).observe(seconds)
        if is_done:
            self._succeeded.labels(job).set(time.time())
        self._note_pool()

    def stripe_answered(self, outcome: str) -> None:
        self._stripe.labels(outcome).inc()

    def _connections_came_back(self, **_signal: Any) -> None:
        self._note_pool()

    def _note_pool(self) -> None:
        pool = connection.pool  # type: ignore[attr-defined]
        if pool is None:
            return
        stand = pool.get_stats()
        size, idle = stand.get("pool_size", 0), stand.get("pool_available", 0)
        self._pool.labels("in_use").set(size - idle)
        self._pool.labels("idle").set(idle)
        self._pool.labels("waiting").set(stand.get("requests_waiting", 0))


_making = threading.Lock()
_made: Instruments | None = None


def instruments() -> Instruments | None:
    """What this process counts with; None where metrics are off."""
    global _made
    if _made is None and settings.METRICS_TOKEN:
        with _making:
            if _made is None:
                _made = Instruments()
    return _made if settings.METRICS_TOKEN else None


@contextmanager
def job(name: str) -> Iterator[None]:
    """Count a run of a job, done or failed."""
    counted = instruments()
    if counted is None:
        yield
        return
    begun, is_done = time.perf_counter(), False
    try:
        yield
        is_done = True
    finally:
        counted.job_ran(name, is_done=is_done, seconds=time.perf_counter() - begun)


def stripe_answered(outcome: str) -> None:
    """Count a call to Stripe: "answered", "refused", "unavailable" or "failed"."""
    counted = instruments()
    if counted is not None:
        counted.stripe_answered(outcome)


# --- telling ----------------------------------------------------------------------------------


def exposition() -> tuple[bytes, str]:
    """All metrics in Prometheus's text format, and its media type."""
    instruments()
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST
    from prometheus_client.multiprocess import MultiProcessCollector

    place = Path(settings.METRICS_DIR)
    _forget_the_dead(place)
    told = CollectorRegistry()
    MultiProcessCollector(told, path=str(place))  # type: ignore[no-untyped-call]
    told.register(_Market())
    return generate_latest(told), CONTENT_TYPE_LATEST


def _forget_the_dead(place: Path) -> None:
    """Drop what a process that is gone was at. What it counted stays: a counter must not fall."""
    for file in place.glob("gauge_live*_*.db"):
        number = file.stem.rpartition("_")[2]
        if not number.isdecimal():
            continue
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            file.unlink(missing_ok=True)
        except PermissionError:
            continue  # it is another user's, and alive


class _Market:
    """What the apps read of the market, in the form of the library's collectors."""

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        read = _market.read()
        yield GaugeMetricFamily(
            "licet_market_readable",
            "Whether the database told what is read of the market.",
            0 if read is None else 1,
        )
        families: dict[str, Any] = {}
        for each in read or ():
            names = tuple(each.labels)
            family = families.setdefault(
                each.name, GaugeMetricFamily(each.name, each.help, labels=names)
            )
            family.add_metric(tuple(each.labels.values()), each.value)
        yield from families.values()


class _Kept:
    """The market's readings, read by one thread at a time and kept for a moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._read: list[Reading] | None = None

    def read(self) -> list[Reading] | None:
        """All readings; None where the database does not answer."""
        with self._lock:
            if time.monotonic() >= self._until:
                try:
                    self._read = [each for read in READINGS for each in read()]
                except Error:
                    logger.warning("the market cannot be read for its metrics", exc_info=True)
                    self._read = None
                    if not connection.in_atomic_block:
                        # It may be the connection that is broken.
                        connection.close()
                self._until = time.monotonic() + READ_EVERY_SECONDS
            return self._read


_market = _Kept()
