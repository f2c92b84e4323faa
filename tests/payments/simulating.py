"""The payment simulator as tests use it: a process on loopback, and the deliveries it makes."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from payments.simulator.server import Simulator

WAIT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook request as the simulator made it: the raw body and its real signature."""

    raw: bytes
    signature: str

    @property
    def type(self) -> str:
        return str(json.loads(self.raw)["type"])

    def post(self) -> Any:
        """Deliver it to the application."""
        return Client().post(
            "/stripe/webhook",
            data=self.raw,
            content_type="application/json",
            headers={"Stripe-Signature": self.signature},
        )


class Mailbox:
    """Takes the simulator's deliveries, so that a test decides when they arrive, and how often."""

    def __init__(self) -> None:
        self.deliveries: deque[Delivery] = deque()
        mailbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                mailbox.deliveries.append(Delivery(raw, self.headers["Stripe-Signature"]))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Stripe:
    """Stripe's side of a test: pays, declines, expires, and delivers events."""

    def __init__(self, simulator: Simulator, mailbox: Mailbox) -> None:
        self.simulator, self.mailbox = simulator, mailbox
        self.url = simulator.url

    def pay(self, order: dict[str, Any]) -> None:
        """Pay an order as a buyer would, and wait until the events of it have been sent."""
        self._do(order, "pay", "checkout.session.completed")

    def control_pay(self, session: str) -> None:
        """Pay a session, and wait for nothing."""
        self._control(f"sessions/{session}/pay", {})

    def session(self, order: dict[str, Any], verb: str, **wanted: Any) -> None:
        """Have something else happen on a pay page: require_action, debit, settle, bounce …"""
        self._control(f"sessions/{self.session_of(order)}/{verb}", wanted)

    def decline(self, order: dict[str, Any]) -> None:
        self._do(order, "decline", "payment_intent.payment_failed")

    def expire(self, order: dict[str, Any]) -> None:
        self._do(order, "expire", "checkout.session.expired")

    def deliver(self) -> list[Delivery]:
        """Hand every delivery that arrived to the application, in the order of arrival."""
        delivered = []
        while self.mailbox.deliveries:
            delivery = self.mailbox.deliveries.popleft()
            assert delivery.post().status_code == 200
            delivered.append(delivery)
        return delivered

    def requests(self) -> list[dict[str, Any]]:
        """Every request that the API got, with its verdict."""
        found: list[dict[str, Any]] = self._control("requests", None)["data"]
        return found

    def posts(self, path: str) -> list[dict[str, Any]]:
        return [one for one in self.requests() if (one["method"], one["path"]) == ("POST", path)]

    def fail(self, path: str, status: int, times: int = 1, type: str = "api_error") -> None:
        """Answer the next requests below a path with a failure, without carrying them out."""
        self._control("faults", {"status": status, "times": times, "path": path, "type": type})

    def stop_failing(self) -> None:
        """Answer everything again."""
        self._control("faults", {"clear": True})

    def wait_for(self, event: str) -> None:
        """Wait until an event of a type has been sent."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not any(delivery.type == event for delivery in tuple(self.mailbox.deliveries)):
            assert time.monotonic() < deadline, f"{event} was never delivered"
            time.sleep(0.01)

    def advance(self, seconds: int) -> None:
        """Set Stripe's clock forward."""
        self._control("clock", {"advance_seconds": seconds})

    def settle_in(self, currency: str, **rates: str) -> None:
        """Settle everything in one currency, at these rates of others to it."""
        self._control("settlement", {"currency": currency, "rates": rates})

    def charge_of(self, order: dict[str, Any]) -> dict[str, Any]:
        """The charge that paid an order."""
        return next(
            charge
            for charge in self.list("/v1/charges")
            if charge["transfer_group"] == order["id"] and charge["paid"]
        )

    def refund(self, order: dict[str, Any], amount: int) -> dict[str, Any]:
        """Give a part of a payment back at Stripe, past our application."""
        made: dict[str, Any] = self.post(
            "/v1/refunds", {"charge": self.charge_of(order)["id"], "amount": amount}
        )
        return made

    def fail_refund(self, id: str) -> None:
        """The buyer's bank sends a refund back."""
        self._control(f"refunds/{id}/fail", {})

    def dispute(self, order: dict[str, Any], **wanted: Any) -> dict[str, Any]:
        """The buyer's bank wants a payment back."""
        opened: dict[str, Any] = self._control(
            f"charges/{self.charge_of(order)['id']}/dispute", wanted
        )
        return opened

    def decide(self, dispute: str, verb: str, **wanted: int) -> None:
        """The bank decides: win, lose, escalate, warn_close or win_appeal; or wants to `change` the
        `amount`."""
        self._control(f"disputes/{dispute}/{verb}", wanted)

    def pay_out(self, currency: str = "usd") -> dict[str, Any]:
        """Pay out what the market has available."""
        made: dict[str, Any] = self._control("payouts", {"currency": currency})
        return made

    def make_available(self) -> None:
        """Let the market have at once what waits some days for it."""
        self._control("funds", {})

    def account(self, id: str, verb: str, **wanted: Any) -> Any:
        """Have something happen to a connected account: complete, leave_out, restrict …"""
        return self._control(f"accounts/{id}/{verb}", wanted)

    def invoice(self, id: str, verb: str, **wanted: Any) -> Any:
        """Pay an invoice on its page, or decline to; or pay an `amount` of it."""
        return self._control(f"invoices/{id}/{verb}", wanted)

    def mark_paid_outside(self, invoice: str) -> None:
        """Say at Stripe, as the market's bookkeeper would, that an invoice was paid by bank."""
        self.post(f"/v1/invoices/{invoice}/pay", {"paid_out_of_band": "true"})
        self.wait_for("invoice.paid")

    def tell_thinly(self) -> None:
        """Have events delivered that only name what they are about."""
        self._control("webhooks", {"style": "thin"})

    def collect_tax(self, **percentages: str) -> None:
        """Have the account registered in countries, each with its rate: DE="19"."""
        self._control("tax", percentages)

    def lose(self, path: str, times: int) -> None:
        """Carry the next requests below a path out, and lose their answers."""
        self._control("faults", {"drop_response": times, "path": path, "method": "POST"})

    def forget_keys(self) -> None:
        """Let so much time pass at Stripe that it forgets idempotency keys."""
        self.advance(25 * 3600)

    def drop_responses(self, count: int) -> None:
        """Carry the next requests out, and lose their answers."""
        self._control("faults", {"drop_response": count})

    def list(self, path: str) -> list[dict[str, Any]]:
        """What a list of the API holds, the newest first."""
        request = urllib.request.Request(
            f"{self.url}{path}?limit=100", headers={"Authorization": "Bearer sk_test_devstripe_t"}
        )
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as response:
            found: list[dict[str, Any]] = json.load(response)["data"]
            return found

    def post(self, path: str, fields: dict[str, Any]) -> Any:
        """Call the API as somebody at Stripe's dashboard would."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            data=urllib.parse.urlencode(fields).encode(),
            headers={"Authorization": "Bearer sk_test_devstripe_t"},
        )
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as response:
            return json.load(response)

    def session_of(self, order: dict[str, Any]) -> str:
        """The Checkout session of an order, from the address of its pay page."""
        return str(order["checkout_url"]).rstrip("/").rsplit("/", 1)[-1]

    def sessions_of(self, order: dict[str, Any]) -> int:
        """How many Checkout sessions were ever opened for an order."""
        sessions = self.list("/v1/checkout/sessions")
        return sum(session["client_reference_id"] == order["id"] for session in sessions)

    def _do(self, order: dict[str, Any], verb: str, event: str) -> None:
        self._control(f"sessions/{self.session_of(order)}/{verb}", {})
        self.wait_for(event)

    def _control(self, path: str, body: dict[str, Any] | None) -> Any:
        """Call one of the simulator's own endpoints: POST, or GET without a body."""
        request = urllib.request.Request(
            f"{self.url}/_simulator/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as response:
            return json.load(response)


@pytest.fixture
def stripe(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stripe]:
    """A fresh simulated Stripe, and the application pointed at it."""
    # The SDK waits half a second before it asks again, which spares Stripe and no test.
    monkeypatch.setattr("stripe._http_client.HTTPClient.INITIAL_DELAY", 0.01)
    mailbox = Mailbox()
    simulator = Simulator(
        webhook_url=mailbox.url, webhook_secret=settings.STRIPE_WEBHOOK_SECRETS[0]
    )
    thread = threading.Thread(target=simulator.serve)
    thread.start()
    settings.STRIPE_API_BASE = simulator.url
    try:
        yield Stripe(simulator, mailbox)
    finally:
        simulator.stop()
        thread.join()
        mailbox.close()


def work() -> None:
    """Let the worker do, once, what is due."""
    call_command("worker", "--once")


__all__ = ["Delivery", "Mailbox", "Stripe", "stripe", "work"]
