"""No secret and no card number in any log, however much is logged; no server without its keys."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from marketplace import access
from marketplace.models import Organization
from payments import processes, sync
from payments.models import Order
from tests.database import TestDatabase
from tests.make import make_offer
from tests.payments.buying import acceptance, order_for, order_now, quote_for
from tests.payments.signing import event_body, signature
from tests.payments.simulating import Stripe, work
from tests.people import ApiClient

ROOT = Path(__file__).resolve().parents[2]
ClientFor = Callable[..., ApiClient]
# Stripe's, and our own keys. That the simulator's begin so is no secret.
SECRET = re.compile(
    r"\b(?!sk_test_devstripe\b)(?:[sr]k_(?:live|test)_|whsec_|licet_(?:live|test)_)\w{8,}"
)
# What stands for a login: a payment's own secret, and the way back from its page.
LOGIN = re.compile(r"_secret_[A-Za-z0-9]+|/checkout/return/ord_\w+:\S+")
# As issuers number cards: https://en.wikipedia.org/wiki/Payment_card_number
CARD = re.compile(r"(?<![\w.-])[2-6](?:[ -]?\d){12,18}(?![\w-])")


def leaks(text: str) -> list[str]:
    """The secrets and card numbers in a text."""
    cards = (re.sub(r"\D", "", found) for found in CARD.findall(text))
    return SECRET.findall(text) + [digits for digits in cards if _is_card(digits)]


def _is_card(digits: str) -> bool:
    """Luhn's check, which every card number passes, and one other number in ten."""
    kept, doubled = digits[::-2], digits[-2::-2]
    return (sum(map(int, kept)) + sum(sum(divmod(2 * int(d), 10)) for d in doubled)) % 10 == 0


@pytest.mark.parametrize(
    "leak",
    [
        "sk_test_devstripe_licet",
        "rk_live_51abcdefgh",
        "whsec_simulator",
        "licet_test_0123456789abcdef",
        "4242424242424242",
        "4242 4242 4242 4242",
        "5555-5555-5555-4444",
        "378282246310005",
        "6011111111111117",
    ],
)
def test_the_scan_finds_what_must_not_be_there(leak: str) -> None:
    assert len(leaks(f"2026-11-27 DEBUG header: '{leak}', and so on")) == 1


@pytest.mark.parametrize(
    "harmless",
    [
        "sk_test_****cret",
        "4242424242424241",
        "1790000000000 ms",
        "evt_4242424242424242",
        "ord_01m8dg0ng5e0fre4d11ek7e0bz",
        "0.4242424242424242",
    ],
)
def test_the_scan_takes_nothing_else_for_a_secret(harmless: str) -> None:
    assert leaks(harmless) == []


class Everything(logging.Handler):
    """Every record of every logger, as text, with its traceback and its arguments."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def everything() -> Iterator[Everything]:
    """Have all loggers tell all they know."""
    handler, root = Everything(), logging.getLogger()
    named = [root, *(logging.getLogger(name) for name in list(root.manager.loggerDict))]
    before = [(logger, logger.level, logger.propagate, logger.disabled) for logger in named]
    for logger in named:
        logger.setLevel(logging.DEBUG)
        logger.propagate, logger.disabled = True, False
    root.addHandler(handler)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        for logger, level, propagate, is_disabled in before:
            logger.setLevel(level)
            logger.propagate, logger.disabled = propagate, is_disabled


@pytest.mark.django_db
def test_a_purchase_logs_no_secret_and_no_card_number(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe, settings: Any
) -> None:
    settings.STRIPE_API_KEY = f"sk_test_devstripe_{secrets.token_hex(12)}"
    client, offer = client_for(lab), make_offer(archive, price_minor=50_000)

    with everything() as log:
        order = order_for(client, offer)
        stripe.decline(order)
        stripe.pay(order)
        stripe.deliver()
        # What is refused is logged too: a forged delivery, a wrong key, a lost answer.
        forged = event_body()
        refused = stripe_post(forged, signature(forged, f"whsec_{secrets.token_hex(12)}"))
        settings.STRIPE_API_KEY = f"sk_test_{secrets.token_hex(12)}"
        work()
        settings.STRIPE_API_KEY = f"sk_test_devstripe_{secrets.token_hex(12)}"
        stripe.drop_responses(1)
        with access.system("find the order"):
            row = Order.objects.get(pk=order["id"])
        assert sync.sync_order(row.pk).status == "granted"

    assert refused == 400
    text = "\n".join(log.lines)
    # It did listen: to the SDK, to what carries it, and to us.
    assert "stripe DEBUG" in text
    assert "urllib3.connectionpool DEBUG" in text
    assert "payments.stripe_events ERROR" in text
    assert leaks(text) == []


def stripe_post(raw: bytes, header: str) -> int:
    client = ApiClient()._client
    answer = client.post(
        "/stripe/webhook",
        data=raw,
        content_type="application/json",
        headers={"Stripe-Signature": header},
    )
    return int(answer.status_code)


@pytest.mark.django_db(transaction=True)
def test_the_processes_write_no_secret_and_no_card_number(
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    stripe: Stripe,
    test_database: TestDatabase,
    ledger_keys: Path,
    tmp_path: Path,
) -> None:
    client, offer = client_for(lab), make_offer(archive, price_minor=50_000)
    body = acceptance(quote_for(client, offer))
    webhook_secret = f"whsec_{secrets.token_hex(12)}"
    [port] = processes.free_ports(1)
    web = f"http://127.0.0.1:{port}"
    world = stripe.simulator.world
    world.webhook_url, world.webhook_secret = f"{web}/stripe/webhook", webhook_secret
    environment = {
        **test_database.environ,
        "LICET_DATABASE_ROLE": "licet_app",
        "LICET_LEDGER_KEY_DIR": str(ledger_keys),
        "LICET_LOG_LEVEL": "DEBUG",
        "STRIPE_API_KEY": f"sk_test_devstripe_{secrets.token_hex(12)}",
        "STRIPE_API_BASE": stripe.url,
        "STRIPE_WEBHOOK_SECRET": webhook_secret,
    }
    commands = [processes.served(port, threads=4), [sys.executable, "manage.py", "worker"]]
    log = tmp_path / "log"
    with log.open("wb") as output:
        running = [
            subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
            for command in commands
        ]
        try:
            order = bought(web, client.secret or "", body)
            stripe._control(f"sessions/{stripe.session_of(order)}/pay", {})
            forged = event_body()
            request = urllib.request.Request(
                f"{web}/stripe/webhook",
                data=forged,
                headers={"Stripe-Signature": signature(forged, f"whsec_{secrets.token_hex(12)}")},
            )
            with pytest.raises(urllib.error.HTTPError) as refusal:
                urllib.request.urlopen(request, timeout=20)
            refusal.value.close()
            wait_for(lambda: order_now(client, order)["status"] == "granted")
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)
            for process in running:
                process.wait(20)

    text = log.read_text(errors="replace")
    assert "DEBUG urllib3" in text
    assert "INFO stripe" in text
    assert leaks(text) == []
    # The SDK would tell whole answers.
    assert LOGIN.findall(text) == []


def bought(web: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    """An order placed at a web process, once that answers."""
    request = urllib.request.Request(
        f"{web}/v1/orders",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )

    def is_up() -> bool:
        try:
            with urllib.request.urlopen(f"{web}/health", timeout=2):
                return True
        except OSError:
            return False

    wait_for(is_up)
    with urllib.request.urlopen(request, timeout=20) as response:
        order: dict[str, Any] = json.load(response)
        return order


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not is_so():
        assert time.monotonic() < deadline, "it never was so"
        time.sleep(0.1)


# --- keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRET"])
@pytest.mark.parametrize("program", [["manage.py", "check"], ["-c", "import marketplace.wsgi"]])
def test_without_its_keys_a_server_in_production_does_not_start(
    program: list[str], missing: str
) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "marketplace.settings",
        "LICET_SECRET_KEY": secrets.token_hex(32),
        "DATABASE_URL": "postgresql://licet@127.0.0.1:9/licet",
        "STRIPE_API_KEY": "sk_test_somebody",
        "STRIPE_WEBHOOK_SECRET": "whsec_somebody",
    }
    del environment[missing]

    done = subprocess.run(
        [sys.executable, *program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode != 0
    assert f"Set {missing}, or LICET_DEBUG=1 to try Licet out on this machine." in done.stderr
