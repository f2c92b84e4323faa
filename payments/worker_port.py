"""The worker's port, where it has one: probes and metrics over HTTP, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse

from marketplace import probes
from marketplace.errors import NotFound
from marketplace.http import problem

# Whoever connects and says nothing is let go.
_TIMEOUT_SECONDS = 10


@contextmanager
def serving() -> Iterator[int | None]:
    """Answer at LICET_WORKER_PORT while the block runs. Gives the port; None where there is none.

    Raises OSError where somebody else listens there.
    """
    if not settings.WORKER_PORT:
        yield None
        return
    server = ThreadingHTTPServer((settings.WORKER_HOST, settings.WORKER_PORT), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="worker port", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "licet", ""
    timeout = _TIMEOUT_SECONDS

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_said: Any) -> None:
        """Nothing: the library would write the address as it was sent."""

    def _answer(self) -> None:
        request = HttpRequest()
        request.method = self.command
        request.path = request.path_info = urlsplit(self.path).path
        request.META["HTTP_AUTHORIZATION"] = self.headers.get("Authorization", "")
        try:
            found = probes.answer(request)
        finally:
            connection.close()
        response: HttpResponse = found or problem(request, NotFound())
        self.send_response(response.status_code)
        for name, value in response.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.content)
