"""A server that webhooks are sent to, on this machine; and a webhook that was sent something."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.utils import timezone

from marketplace import webhook_deliveries, webhooks
from marketplace.access import Caller, acting
from marketplace.models import WebhookAttempt, WebhookDelivery


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers 200, or what `answers` says, one after the other; keeps what came."""

    def __init__(self, *, takes_seconds: float = 0) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.requests: list[Received] = []
        self.connections = 0
        # Takes requests, and says nothing until it ends.
        self.is_silent = False
        self._ended = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                owner.connections += 1
                super().setup()

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                if len(body) < length:
                    # Whoever sent it died on the way: a server takes no part of a request.
                    self.close_connection = True
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                owner.requests.append(Received(self.path, headers, body))
                if owner.is_silent:
                    owner._ended.wait(10)
                    return
                time.sleep(takes_seconds)
                status, more, answer = owner.answers.pop(0) if owner.answers else (200, {}, b"ok")
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                try:
                    self.end_headers()
                    self.wfile.write(answer)
                except OSError:
                    # The client has read enough, or died.
                    self.close_connection = True

            def log_message(self, *_arguments: Any) -> None:
                """Tests tell nobody."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def came(self, id: str) -> list[bytes]:
        """The bodies that came with a `webhook-id`."""
        return [each.body for each in self.requests if each.headers["webhook-id"] == id]

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server on this machine."""
    made = Receiver()
    yield made
    made.close()


def hear(caller: Caller, url: str, words: str) -> None:
    """Have a webhook, and one delivery to it that its server did not take."""
    endpoint, _secret = webhooks.create(caller, url=url, types=[webhooks.TESTED], description=words)
    event = webhooks.test(caller, endpoint.pk)
    webhook_deliveries.queue_new()
    with acting(caller):
        WebhookAttempt.objects.create(
            organization=caller.organization,
            delivery=WebhookDelivery.objects.get(event=event),
            number=1,
            started_at=timezone.now(),
            duration_ms=15,
            status=500,
            answer=words,
        )
