"""HTTP for downloads: kept connections, and errors sorted into final and passing ones."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

TIMEOUT_SECONDS = 30.0

_USER_AGENT = "licet-offline/1"
_REDIRECTS_MAX = 5
_PROBLEM_MAX = 64 * 1024
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class Refused(Exception):
    """The server answered, and the same request will get the same answer."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail or f"HTTP {status}")
        self.status = status
        self.code = code


class Interrupted(Exception):
    """The network or the server failed in a way that may pass."""

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class Transport:
    """Sends requests. Each thread keeps one connection to each server."""

    def __init__(self, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        self._local = threading.local()
        self._tls: ssl.SSLContext | None = None

    def get(
        self, url: str, headers: Mapping[str, str] | None = None, *, follow: bool = True
    ) -> http.client.HTTPResponse:
        """Give a response of status 200, 206 or 416; its reader must read it to the end.

        Raises Refused or Interrupted for everything else. Never follows a redirect when
        `follow` is off: headers that hold a secret stay with the server they were meant for.
        """
        for _ in range(_REDIRECTS_MAX):
            response = self._send("GET", url, headers or {})
            if response.status in (200, 206, 416):
                return response
            location = response.headers.get("Location")
            if response.status in (301, 302, 303, 307, 308) and location and follow:
                self._finish(response)
                url = urljoin(url, location)
                continue
            raise self._error(response)
        raise Refused(508, "too_many_redirects", "the server redirects in circles")

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> http.client.HTTPResponse:
        """Send JSON that may be sent twice. Follows no redirect. Raises Refused or Interrupted."""
        sent = {"Content-Type": "application/json", **headers}
        response = self._send("POST", url, sent, body)
        if response.status != 200:
            raise self._error(response)
        return response

    def drop(self, url: str, response: http.client.HTTPResponse | None = None) -> None:
        """Close this thread's connection to a server: its last response was not read to the end."""
        if response is not None:
            response.close()
        connection = self._connections().pop(_origin(url), None)
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close this thread's connections."""
        for connection in self._connections().values():
            connection.close()
        self._connections().clear()

    def _connections(self) -> dict[tuple[str, str], http.client.HTTPConnection]:
        if not hasattr(self._local, "connections"):
            self._local.connections = {}
        connections: dict[tuple[str, str], http.client.HTTPConnection] = self._local.connections
        return connections

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> http.client.HTTPResponse:
        origin = _origin(url)
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity", **headers}
        # A kept connection may have been closed by the server since: then one new one is tried.
        for kept in (True, False) if origin in self._connections() else (False,):
            try:
                connection = self._connection(origin)
                connection.request(method, target, body, sent)
                return connection.getresponse()
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.drop(url)
                if isinstance(error, TimeoutError) or not kept:
                    raise Interrupted(
                        f"{origin[1]}: {str(error) or type(error).__name__}"
                    ) from None
        raise AssertionError("unreachable")

    def _connection(self, origin: tuple[str, str]) -> http.client.HTTPConnection:
        connections = self._connections()
        if origin not in connections:
            scheme, netloc = origin
            if scheme == "https":
                # Only now: reading the machine's certificates takes longer than a small pull.
                self._tls = self._tls or ssl.create_default_context()
                connections[origin] = http.client.HTTPSConnection(
                    netloc, timeout=self._timeout_seconds, context=self._tls
                )
            else:
                connections[origin] = http.client.HTTPConnection(
                    netloc, timeout=self._timeout_seconds
                )
        return connections[origin]

    def _finish(self, response: http.client.HTTPResponse) -> bytes:
        """Read a short answer whole, so that its connection can be kept."""
        try:
            return response.read(_PROBLEM_MAX)
        except (OSError, http.client.HTTPException):
            return b""
        finally:
            if not response.isclosed():
                response.close()
                self.close()

    def _error(self, response: http.client.HTTPResponse) -> Refused | Interrupted:
        status = response.status
        code, detail = _problem(self._finish(response))
        shown = f"HTTP {status}" + (f" {code}" if code else "") + (f": {detail}" if detail else "")
        if status in _PASSING:
            return Interrupted(shown, _seconds(response.headers.get("Retry-After")))
        return Refused(status, code, shown)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused(400, "bad_url", f"not a web address: {url[:200]!r}")
    return parts.scheme, parts.netloc.rpartition("@")[2]


def _problem(body: bytes) -> tuple[str, str]:
    """Read an RFC 9457 problem document, if that is what came."""
    try:
        problem = json.loads(body)
        return str(problem.get("code", "")), str(problem.get("detail", ""))[:300]
    except (ValueError, AttributeError, RecursionError):
        return "", ""


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() and len(text) < 6 else None
