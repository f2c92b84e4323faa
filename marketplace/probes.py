"""What machines ask of a process: whether it answers, whether it can serve, what it counted.

Answered before every other middleware: by whichever name or address a process is reached, without
a session, and without asking the database more than once a second, however often somebody asks.
"""

from __future__ import annotations

import hmac
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from marketplace import metrics, schema_guard
from marketplace.errors import MethodNotAllowed, NotReady
from marketplace.http import problem

logger = logging.getLogger(__name__)

# What was found is told again for so long.
KEPT_SECONDS: Final = 1
# So long a probe waits for a connection of the pool: whoever probes waits a few seconds at most.
_POOL_SECONDS: Final = 2


class NotWell(Exception):
    """A check found something wrong. For the log alone: it may name files and addresses."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a process needs to serve. Raises where it lacks it."""

    name: str
    look: Callable[[], None]
    # The delivery process serves neither receipts nor keys.
    processes: tuple[str, ...] = ("web", "delivery")
    # Where the database is away, it is not asked once more, and fails as well.
    asks_database: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What a check found, fit for anybody's eyes."""

    name: str
    is_ok: bool
    duration_ms: float


class Probes:
    """The middleware that answers them."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return answer(request) or self.get_response(request)


def answer(request: HttpRequest) -> HttpResponse | None:
    """The answer to a probe; None where it is another request, or may not know of the metrics."""
    asked = ANSWERS.get(request.path_info)
    return asked(request) if asked else None


def healthz(request: HttpRequest) -> HttpResponse:
    """200 while this process answers. Touches nothing."""
    return _only_read(request) or _untouched(JsonResponse({"status": "ok"}))


def readyz(request: HttpRequest) -> HttpResponse:
    """200 while this process can serve, with what was looked at; 503 and a problem document else.

    Names and durations alone are told: what is wrong stands in the log.
    """
    if (refusal := _only_read(request)) is not None:
        return refusal
    found = _latest.found()
    shown = [asdict(each) for each in found]
    if all(each.is_ok for each in found):
        return _untouched(JsonResponse({"status": "ready", "checks": shown}))
    names = ", ".join(each.name for each in found if not each.is_ok)
    error = NotReady(_("This process cannot serve now: %(names)s.") % {"names": names})
    error.data["checks"] = shown
    return _untouched(problem(request, error))


def metrics_page(request: HttpRequest) -> HttpResponse | None:
    """Prometheus's page, for whoever has LICET_METRICS_TOKEN; to all others it is not there."""
    token = settings.METRICS_TOKEN
    scheme, _space, given = request.headers.get("Authorization", "").partition(" ")
    is_known = hmac.compare_digest(given.strip().encode(), token.encode())
    if not token or scheme.lower() != "bearer" or not is_known:
        return None
    text, media_type = metrics.exposition()
    return _only_read(request) or _untouched(HttpResponse(text, content_type=media_type))


ANSWERS: Final[dict[str, Callable[[HttpRequest], HttpResponse | None]]] = {
    "/healthz": healthz,
    "/readyz": readyz,
    "/metrics": metrics_page,
}


def _only_read(request: HttpRequest) -> HttpResponse | None:
    if request.method in {"GET", "HEAD"}:
        return None
    response = problem(request, MethodNotAllowed(_("Use GET.")))
    response["Allow"] = "GET, HEAD"
    return response


def _untouched(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "no-store"
    return response


# --- what is looked at ------------------------------------------------------------------------


def database() -> None:
    """A connection is to be had, and answers."""
    pool = connection.pool  # type: ignore[attr-defined]
    if pool is not None:
        # Django itself would wait for longer than whoever probes.
        with pool.connection(timeout=_POOL_SECONDS) as lent:
            lent.execute("SELECT 1")
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def schema() -> None:
    """The tables are those of this code, or of the release after it."""
    schema_guard.check(serves=True)


def storage() -> None:
    """Works can be read and kept: their directory is there, or can be made at the first upload."""
    place = Path(settings.STORAGE_DIR)
    there = place if place.exists() else place.parent
    if not there.is_dir() or not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        if settings.DEVELOPMENT and not there.exists():
            return  # made with the first file
        raise NotWell(f"{there} is no directory that this process may read and write.")


# Apps above add theirs when they are ready.
CHECKS: list[Check] = [
    Check("database", database),
    Check("schema", schema, asks_database=True),
    Check("storage", storage),
]


class _Latest:
    """What the checks found last: looked at by one thread at a time, and kept for a moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._found: tuple[Found, ...] = ()
        self._failing: tuple[str, ...] = ()

    def found(self) -> tuple[Found, ...]:
        if self._found and time.monotonic() < self._until:
            return self._found
        # While one thread looks, others tell what was so before: they must not all wait with it.
        if not self._lock.acquire(blocking=not self._found):
            return self._found
        try:
            if not self._found or time.monotonic() >= self._until:
                self._found = self._look()
                self._until = time.monotonic() + KEPT_SECONDS
        finally:
            self._lock.release()
        return self._found

    def forget(self) -> None:
        self._found, self._failing = (), ()

    def _look(self) -> tuple[Found, ...]:
        found, errors = [], {}
        is_away = False
        for check in CHECKS:
            if settings.PROCESS not in check.processes:
                continue
            begun = time.perf_counter()
            error = "no database" if is_away and check.asks_database else _failure(check)
            is_away |= check.name == "database" and error is not None
            if error is not None:
                errors[check.name] = error
            took = round((time.perf_counter() - begun) * 1000, 1)
            found.append(Found(check.name, error is None, took))
        if tuple(errors) != self._failing:
            # Once for each change: whoever probes asks every few seconds.
            self._failing = tuple(errors)
            said = "; ".join(f"{name}: {error}" for name, error in errors.items())
            logger.warning("%s", f"not ready: {said}" if errors else "ready again")
        return tuple(found)


def _failure(check: Check) -> str | None:
    """Why a check failed, for the log; None where it did not."""
    try:
        check.look()
    except (Error, OSError, NotWell, schema_guard.SchemaRefused) as error:
        return _said(error)
    except Exception as error:
        # A pool that is closed or empty has errors of its own, and so may what an app looks at.
        return _said(error)
    return None


def _said(error: Any) -> str:
    if isinstance(error, Error) and not connection.in_atomic_block:
        # It may be the connection that is broken.
        connection.close()
    return str(error).strip() or repr(error)


_latest = _Latest()
