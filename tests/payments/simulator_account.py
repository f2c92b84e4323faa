"""A simulated Stripe account for the simulator's own tests: the unmodified SDK on one side."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import stripe

from payments.simulator.server import Simulator, in_thread

KEY = "sk_test_devstripe_tests"
SECRET = "whsec_of_these_tests"
WAIT_SECONDS = 10


class Receiver:
    """The application's webhook endpoint, which answers as a test wants."""

    def __init__(self) -> None:
        self.raws: list[bytes] = []
        self.signatures: list[str] = []
        # Answered one after another; 200 once they are used up.
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.signatures.append(self.headers["Stripe-Signature"])
                receiver.raws.append(raw)
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/stripe/webhook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def types(self) -> list[str]:
        return [json.loads(raw)["type"] for raw in list(self.raws)]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Account:
    """The simulator, the SDK's client pointed at it, and where its events arrive."""

    def __init__(self, simulator: Simulator, receiver: Receiver) -> None:
        self.simulator, self.receiver = simulator, receiver
        self.url = simulator.url
        self.client = client_of(simulator.url)

    def open(self, **changed: Any) -> stripe.checkout.Session:
        return self.create(session_params() | changed)

    def create(self, params: Any, *, key: str | None = None) -> stripe.checkout.Session:
        options: Any = {} if key is None else {"idempotency_key": key}
        return self.client.v1.checkout.sessions.create(params, options)

    def retrieve(self, session: str, *expand: str) -> stripe.checkout.Session:
        return self.client.v1.checkout.sessions.retrieve(session, {"expand": list(expand)})

    def paid(self, **changed: Any) -> stripe.checkout.Session:
        """A session that somebody paid, with its payment intent and charge expanded."""
        session = self.open(**changed)
        self.control(f"sessions/{session.id}/pay", {})
        return self.retrieve(session.id, "payment_intent.latest_charge")

    def control(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Use one of the simulator's own endpoints: POST, or GET without a body."""
        return self.http(f"/_simulator/{path}", None if body is None else json.dumps(body).encode())

    def http(self, path: str, body: bytes | None = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data=body, headers=named)
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as response:
            return json.load(response)

    def refusal(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """The status and error of a request that must fail."""
        with pytest.raises(urllib.error.HTTPError) as refused:
            self.http(path, body, **headers)
        with refused.value as answer:
            return answer.code, json.load(answer)["error"]

    def wait_for_events(self, *types: str) -> None:
        """Wait until exactly these were delivered, in this order."""
        wait_until(lambda: self.receiver.types == list(types), lambda: self.receiver.types)


def client_of(url: str, *, retries: int = 2) -> stripe.StripeClient:
    return stripe.StripeClient(KEY, base_addresses={"api": url}, max_network_retries=retries)


def session_params() -> dict[str, Any]:
    """A Checkout session as a market opens it."""
    return {
        "mode": "payment",
        "client_reference_id": "ord_1",
        "metadata": {"order": "ord_1"},
        "payment_intent_data": {
            "metadata": {"order": "ord_1"},
            "transfer_group": "ord_1",
            "description": "License ord_1",
        },
        "success_url": "https://market.example/return?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://market.example/cancel",
        "adaptive_pricing": {"enabled": False},
        "line_items": [line("License", 50_000), line("Tax", 9_500)],
    }


def line(name: str, amount: int, *, currency: str = "usd", quantity: int = 1) -> dict[str, Any]:
    return {
        "quantity": quantity,
        "price_data": {
            "currency": currency,
            "unit_amount": amount,
            "product_data": {"name": name},
        },
    }


def wait_until(is_so: Callable[[], bool], show: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, show()
        time.sleep(0.005)


@pytest.fixture
def account() -> Iterator[Account]:
    """A new account of its own."""
    receiver = Receiver()
    simulator = Simulator(webhook_url=receiver.url, webhook_secret=SECRET)
    thread = in_thread(simulator)
    try:
        yield Account(simulator, receiver)
    finally:
        simulator.stop()
        thread.join()
        receiver.close()
