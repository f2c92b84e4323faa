"""The simulated Stripe in a process of its own, and a mailbox for what it delivers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from django.conf import settings

from tests.payments.signing import signature

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 60
# Signed longer ago, a letter is signed again, as Stripe signs each attempt anew.
FRESH_SECONDS = 200


@dataclass(frozen=True, slots=True)
class Letter:
    """An event as it was delivered: its raw body, and its signature."""

    raw: bytes
    signed: str
    at: float

    @property
    def header(self) -> str:
        if time.time() - self.at < FRESH_SECONDS:
            return self.signed
        return signature(self.raw, settings.STRIPE_WEBHOOK_SECRETS[0])


class Stripe:
    """Stripe's side: what buyers and banks do there, its objects, and its letters."""

    def __init__(self, url: str, letters: list[Letter]) -> None:
        self.url, self._letters = url, letters

    def control(self, path: str, **body: Any) -> Any:
        """Have something happen at Stripe; answers the object as it stands then."""
        return self._ask(f"/_simulator/{path}", json.dumps(body).encode(), "application/json")

    def post(self, path: str, form: str) -> Any:
        """Call the API, as somebody at Stripe's dashboard would."""
        return self._ask(path, form.encode(), "application/x-www-form-urlencoded")

    def get(self, path: str) -> Any:
        return self._ask(path, None, "")

    def all(self, path: str) -> list[dict[str, Any]]:
        """Every object of a list of the API, the newest first."""
        found: list[dict[str, Any]] = []
        more = "?" if "?" not in path else "&"
        while True:
            after = f"&starting_after={found[-1]['id']}" if found else ""
            page = self.get(f"{path}{more}limit=100{after}")
            found += page["data"]
            if not page["has_more"]:
                return found

    def letters(self) -> list[Letter]:
        """What was delivered since the last call, once nothing is under way any more."""
        deadline = time.monotonic() + WAIT_SECONDS
        while any(each["is_pending"] for each in self.get("/_simulator/deliveries")["data"]):
            assert time.monotonic() < deadline, "deliveries do not end"
            time.sleep(0.05)
        taken, self._letters[:] = list(self._letters), []
        return taken

    def _ask(self, path: str, body: bytes | None, type_: str) -> Any:
        headers = {"Authorization": f"Bearer {settings.STRIPE_API_KEY}"}
        if body is not None:
            headers["Content-Type"] = type_
        request = urllib.request.Request(self.url + path, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as response:
            return json.load(response)


@contextmanager
def simulated_stripe() -> Iterator[Stripe]:
    """Start it, with the application pointed at it; end it."""
    letters: list[Letter] = []
    mailbox = ThreadingHTTPServer(("127.0.0.1", 0), _handler(letters))
    threading.Thread(target=mailbox.serve_forever, args=(0.02,), daemon=True).start()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "payments.simulator", "--port", "0"),
            *("--webhook-url", f"http://127.0.0.1:{mailbox.server_port}/"),
            *("--webhook-secret", settings.STRIPE_WEBHOOK_SECRETS[0]),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    before = settings.STRIPE_API_BASE
    try:
        assert process.stdout is not None
        settings.STRIPE_API_BASE = process.stdout.readline().split()[-1]
        yield Stripe(settings.STRIPE_API_BASE, letters)
    finally:
        settings.STRIPE_API_BASE = before
        process.kill()
        process.communicate()
        mailbox.shutdown()
        mailbox.server_close()


def _handler(letters: list[Letter]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            letters.append(Letter(raw, self.headers["Stripe-Signature"], time.time()))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    return Handler
