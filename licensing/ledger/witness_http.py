"""One request to a witness: no redirects, a bounded answer, and an end in bounded time."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

# For a connection, and for each wait of it.
TIMEOUT_SECONDS = 5.0
# For all of an exchange, however steadily the other side sends.
DEADLINE_SECONDS = 10.0

# A note has 16 signatures; the longest that are in use have 2.5 kB each, before base64.
_ANSWER_MAX = 64 * 1024


class Unreachable(Exception):
    """A witness did not answer, or not in HTTP, or too late, or too much; says which."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


def add_checkpoint(url: str, request: bytes) -> Answer:
    """Submit to the witness at the submission prefix `url`. Raises Unreachable."""
    return _exchange(url, "POST", f"{url}/add-checkpoint", request)


def latest_checkpoint(url: str, origin: str) -> Answer:
    """Ask what the witness cosigned last of a log. Raises Unreachable.

    Where monitors ask (C2SP tlog-witness): many witnesses have one prefix for both.
    """
    return _exchange(url, "GET", f"{url}/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint")


def _exchange(url: str, method: str, address: str, request: bytes | None = None) -> Answer:
    headers = {"User-Agent": "licet"}
    if request is not None:
        headers["Content-Type"] = "text/plain; charset=utf-8"
    try:
        with _connected(url) as connection:
            connection.request(method, urlsplit(address).path, request, headers)
            response = connection.getresponse()
            body = response.read(_ANSWER_MAX + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(f"{address}: {str(error) or type(error).__name__}") from None
    if len(body) > _ANSWER_MAX:
        raise Unreachable(f"{address}: an answer larger than {_ANSWER_MAX} bytes")
    return Answer(response.status, body)


@contextlib.contextmanager
def _connected(url: str) -> Iterator[http.client.HTTPConnection]:
    """A connection that is cut at the deadline: a socket's own time-out begins anew each byte."""
    parts = urlsplit(url)
    assert parts.hostname, "Addresses are checked when the setting is read."
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    # Given the socket that is cut: a connection that opened its own would be cut too late.
    connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS)
    opened = socket.create_connection((parts.hostname, port), TIMEOUT_SECONDS)
    late = threading.Event()
    if secure:
        opened = ssl.create_default_context().wrap_socket(
            opened, server_hostname=parts.hostname, do_handshake_on_connect=False
        )

    def cut() -> None:
        late.set()
        with contextlib.suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(DEADLINE_SECONDS, cut)
    timer.daemon = True
    timer.start()
    try:
        if isinstance(opened, ssl.SSLSocket):
            opened.do_handshake()
        connection.sock = opened
        yield connection
        if late.is_set():
            raise TimeoutError("cut")
    except (OSError, http.client.HTTPException, ValueError):
        if late.is_set():
            raise TimeoutError(f"no whole answer within {DEADLINE_SECONDS:g} seconds") from None
        raise
    finally:
        timer.cancel()
        connection.close()
        opened.close()
