"""A market that client programs talk to: processes on loopback, a buyer who pays, a bad line."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from licensing.ledger import signer
from marketplace import api_keys
from marketplace.access import Scope
from marketplace.models import Organization
from payments import processes
from tests.chaos.simulator_process import Stripe
from tests.database import TestDatabase
from tests.make import TYPED_2, make_collection, make_offer
from tests.people import caller_for

# What a program of a buyer needs, and no more.
SCOPES = (
    Scope.QUOTES_READ,
    Scope.QUOTES_WRITE,
    Scope.ORDERS_READ,
    Scope.ORDERS_WRITE,
    Scope.GRANTS_READ,
    Scope.EVENTS_READ,
    Scope.WEBHOOKS_READ,
    Scope.WEBHOOKS_WRITE,
)
LISTINGS = 5
# Headers of one connection, which the line has two of.
_OF_THE_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@dataclass
class Line:
    """Carries requests to the market and answers back; loses the answer to the first order."""

    market_port: int
    port: int = 0
    is_bad: bool = True
    # The Idempotency-Key of each order that was sent, and what the market answered.
    orders: list[tuple[str, int, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def carry(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length) if length else None
        there = http.client.HTTPConnection("127.0.0.1", self.market_port, timeout=60)
        headers = {
            name: value
            for name, value in handler.headers.items()
            if name.lower() not in _OF_THE_CONNECTION
        }
        there.request(handler.command, handler.path, body, headers)
        answer = there.getresponse()
        content = answer.read()
        there.close()
        if (handler.command, handler.path) == ("POST", "/v1/orders"):
            replayed = answer.headers.get("Idempotent-Replayed", "")
            key = handler.headers.get("Idempotency-Key") or ""
            self.orders.append((key, answer.status, replayed))
            if self.is_bad and len(self.orders) == 1:
                handler.close_connection = True
                return
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in {*_OF_THE_CONNECTION, "date", "server"}:
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        with contextlib.suppress(OSError):  # A client may have stopped listening.
            handler.wfile.write(content)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Line]:
        line = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                line.carry(self)

            do_POST = do_PATCH = do_GET

            def log_message(self, *_arguments: Any) -> None:
                """Tests tell nobody."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@contextlib.contextmanager
def paying(stripe: Stripe) -> Iterator[None]:
    """Somebody at the buyer's who pays on each page that opens, as a person in a browser would."""
    over = threading.Event()

    def pay() -> None:
        while not over.wait(0.2):
            for session in stripe.all("/v1/checkout/sessions"):
                if session["status"] == "open":
                    stripe.control(f"sessions/{session['id']}/pay")

    thread = threading.Thread(target=pay)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@dataclass(frozen=True)
class Market:
    """What a program is given, and what a test looks at afterwards."""

    line: Line
    key: str
    vkey: str
    offers: tuple[str, ...]

    def environ(self) -> dict[str, str]:
        """How a program finds the market. The log's key came over a way that it trusts."""
        return {"LICET_URL": self.line.url, "LICET_KEY": self.key, "LICET_VKEY": self.vkey}


@pytest.fixture
def market(
    test_database: TestDatabase,
    transactional_db: None,
    archive: Organization,
    lab: Organization,
    settings: Any,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Market]:
    """Listings of two kinds of terms, of which one is about herbs; a lab's key; processes."""
    herbs = make_collection(archive, name="Herbarium sheets")
    offers = [make_offer(archive, collection=herbs, typed=TYPED_2)]
    offers += [make_offer(archive, price_minor=1_000 * each) for each in range(1, LISTINGS)]
    scopes = [scope.value for scope in SCOPES]
    _row, key = api_keys.create(caller_for(lab), name="client", scopes=scopes)
    settings.DATA_DIR = tmp_path
    for name, value in test_database.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LICET_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LICET_LEDGER_KEY_DIR", str(settings.LEDGER_KEY_DIR))
    monkeypatch.setenv("LICET_WEBHOOKS_TO_LOOPBACK", "1")
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    vkey = signer.load("test").verifier.vkey()
    with (
        processes.running(processes.free_ports(3)) as world,
        paying(Stripe(world.simulator_url, [])),
        Line(world.web_port).opened() as line,
    ):
        yield Market(line, key, vkey, tuple(str(offer.pk) for offer in offers))
        world.check()
