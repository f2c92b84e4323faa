"""One line, one count and one span for each request, and its id. Never its query, or a secret."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

from django.conf import settings
from django.http import FileResponse, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import Resolver404, ResolverMatch, resolve

from marketplace import log_lines, metrics, traces
from marketplace.typeid import SUFFIX_PATTERN, TypeID

access = logging.getLogger("licet.access")

REQUEST_ID_HEADER: Final = "Request-Id"
# Asked every few seconds by machines: their lines are worth reading only when they fail.
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
STATIC: Final = "/static/{file}"
# An address that there is not. One name for all of them, since anybody can make up more.
NOWHERE: Final = "(none)"

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# What may be shown of a path that leads nowhere: its beginning, if that is no token.
_FIRST = re.compile(r"/[a-z0-9._-]{1,16}(?=/|$)")
# Ids and numbers are shown, since no right goes with them. All else in a path may be a secret.
_HARMLESS = re.compile(rf"[a-z]{{2,5}}_{SUFFIX_PATTERN}|[0-9]{{1,12}}|test|live")
_PLACE = re.compile(r"\{(\w+)\}")


class RequestLog:
    """Give each request an id, each answer its header, and tell of both once it has ended.

    An answer that is streamed ends with its last byte, or with the client's leaving.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.is_traced = settings.OTEL

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        doing = log_lines.Doing(request_id=str(TypeID.new("req")))
        request.request_id = doing.request_id  # type: ignore[attr-defined]
        seen = _Seen(request, doing, metrics.instruments())
        with log_lines.during(doing):
            try:
                response = self._traced(request, doing) if self.is_traced else self._answer(request)
            except BaseException:
                seen.end(500)
                raise
            response[REQUEST_ID_HEADER] = doing.request_id
            # Files of ours are sent by the server itself, which tells nobody when it is done.
            if isinstance(response, StreamingHttpResponse) and not isinstance(
                response, FileResponse
            ):
                response.streaming_content = _Stream(response, seen)
            else:
                seen.end(response.status_code)
        return response

    def _answer(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def _traced(self, request: HttpRequest, doing: log_lines.Doing) -> HttpResponseBase:
        with traces.of_request(request.headers) as span:
            response = self.get_response(request)
            if span is not None:
                method, route = bounded(request.method), route_of(request, response.status_code)
                traces.finish_request(
                    span, method=method, route=route, status=response.status_code, doing=doing
                )
        return response


class _Seen:
    """A request under way, to be told of once."""

    __slots__ = ("begun", "doing", "has_ended", "instruments", "request")

    def __init__(
        self,
        request: HttpRequest,
        doing: log_lines.Doing,
        instruments: metrics.Instruments | None,
    ) -> None:
        self.request = request
        self.doing = doing
        self.instruments = instruments
        self.has_ended = False
        self.begun = time.perf_counter()
        if instruments is not None:
            instruments.request_begins()

    def end(self, status: int) -> None:
        if self.has_ended:
            return
        self.has_ended = True
        seconds = time.perf_counter() - self.begun
        request = self.request
        is_probe = request.path_info in PROBES and status < 500
        level = logging.DEBUG if is_probe else logging.INFO
        is_told = access.isEnabledFor(level)
        if self.instruments is None and not is_told:
            return
        method, route = bounded(request.method), route_of(request, status)
        if self.instruments is not None:
            self.instruments.request_ends(method, route, status, seconds)
        if is_told:
            path = shown_path(request, route)
            members = {
                "method": method,
                "path": path,
                "route": route,
                "status": status,
                "duration_ms": round(seconds * 1000, 1),
            }
            with log_lines.during(self.doing):
                access.log(
                    level, "%s %s %d", method, path, status, extra={log_lines.MEMBERS: members}
                )


class _Stream:
    """The content of an answer, that says when it has been sent or given up."""

    def __init__(self, response: StreamingHttpResponse, seen: _Seen) -> None:
        self._parts: Iterator[Any] = iter(response.streaming_content)  # type: ignore[arg-type]
        self._status = response.status_code
        self._seen = seen

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._parts)
        except BaseException:  # its end, too
            self._seen.end(self._status)
            raise

    def close(self) -> None:
        # The parts are closed by the answer itself.
        self._seen.end(self._status)


class SafePaths(logging.Filter):
    """Django's own lines name a request's path, which may be a link that stands for a login."""

    def filter(self, record: logging.LogRecord) -> bool:
        request = getattr(record, "request", None)
        if isinstance(request, HttpRequest) and isinstance(record.args, tuple):
            shown = shown_path(request, route_of(request, getattr(record, "status_code", 0)))
            record.args = tuple(shown if each == request.path else each for each in record.args)
        return True


# --- addresses --------------------------------------------------------------------------------


def bounded(method: str | None) -> str:
    """A request's method, of a known few."""
    return method if method in _METHODS else "OTHER"


def route_of(request: Any, status: int = 0) -> str:
    """The pattern of the address that was asked for, such as /v1/orders/{pk}; never an id."""
    match: ResolverMatch | None = request.resolver_match
    if match is None:
        path = request.path_info
        if path in PROBES:
            return str(path)
        if path.startswith(settings.STATIC_URL):
            return STATIC
        if status == 404:
            return NOWHERE
        # It was answered before anybody looked where it leads, such as by the sign-in gate.
        try:
            match = request.resolver_match = resolve(path)
        except Resolver404:
            return NOWHERE
    return template(match.route)


def shown_path(request: Any, route: str) -> str:
    """A request's path as it may stand in a log: ids and numbers, and no other part of it."""
    if route == NOWHERE:
        first = _FIRST.match(request.path_info)
        return f"{first[0]}/…" if first else "/…"
    if "{" not in route or route == STATIC:
        return route
    values = request.resolver_match.captured_kwargs

    def value(place: re.Match[str]) -> str:
        found = str(values.get(place[1], ""))
        return found if _HARMLESS.fullmatch(found) else place[0]

    return _PLACE.sub(value, route)


@lru_cache(maxsize=2048)
def template(route: str) -> str:
    """A resolver's route, as paths or regular expressions, in the form of OpenAPI's paths."""
    said, at = ["/"], 0
    while at < len(route):
        if route.startswith("(?P<", at):
            name = route[at + 4 : route.index(">", at)]
            said.append(f"{{{name}}}")
            at = _end_of_group(route, at)
        elif route[at] == "(":
            said.append("…")
            at = _end_of_group(route, at)
        elif route[at] == "<":
            end = route.index(">", at)
            said.append(f"{{{route[at + 1 : end].rpartition(':')[2]}}}")
            at = end + 1
        elif route.startswith("\\Z", at):
            at += 2
        elif route[at] == "[" and route[at + 2 : at + 3] == "]":
            said.append(route[at + 1])
            at += 3
        else:
            if route[at] not in "^$?\\":
                said.append(route[at])
            at += 1
    return "".join(said)


def _end_of_group(route: str, at: int) -> int:
    """Where the group that begins here ends."""
    depth, is_class = 0, False
    while at < len(route):
        if route[at] == "\\":
            at += 1
        elif is_class:
            is_class = route[at] != "]"
        elif route[at] == "[":
            is_class = True
        elif route[at] in "()":
            depth += 1 if route[at] == "(" else -1
            if depth == 0:
                return at + 1
        at += 1
    return at
