"""The web process is killed at each point between payment and grant; one grant comes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from marketplace import access
from marketplace.models import Organization
from payments import checkouts
from payments.models import Order, StripeEvent
from tests.chaos.dying_web import NOWHERE, POINTS
from tests.database import TestDatabase
from tests.make import make_offer
from tests.payments.buying import GRANTED_ONCE, balances, made_of, order_for, order_now
from tests.payments.simulating import Delivery, Stripe, work
from tests.payments.test_sync import SOLD
from tests.people import ApiClient

pytestmark = pytest.mark.chaos
WEB = Path(__file__).with_name("dying_web.py")
ROOT = WEB.parents[2]
# Each point is tried so often: with every order once.
TIMES = int(os.environ.get("LICET_KILLS", "20"))


class Webs:
    """Web processes, one after another, from a program that has the application loaded."""

    def __init__(self, database: TestDatabase) -> None:
        self.program = subprocess.Popen(
            [sys.executable, str(WEB)],
            cwd=ROOT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "marketplace.settings",
                "LICET_DEBUG": "1",
                "LICET_DATABASE_ROLE": "licet_app",
                "DATABASE_URL": database.url,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, point: str, stripe: Stripe) -> tuple[str, int]:
        """A web process that dies at `point`: its address, and its id."""
        assert self.program.stdin is not None
        self.program.stdin.write(f"{point}\t{stripe.url}\n")
        self.program.stdin.flush()
        pid, port = self._line().split()
        return f"http://127.0.0.1:{port}", int(pid)

    def ended(self) -> int:
        """The exit code of the process that was started, once it has ended."""
        return int(self._line())

    def close(self) -> None:
        self.program.kill()
        self.program.communicate()

    def _line(self) -> str:
        assert self.program.stdout is not None
        line = self.program.stdout.readline()
        assert line, "the program that starts web processes ended"
        return line


@pytest.fixture(scope="module")
def webs(test_database: TestDatabase) -> Iterator[Webs]:
    opened = Webs(test_database)
    yield opened
    opened.close()


def send(address: str, path: str, delivery: Delivery | None = None) -> int | None:
    """The status of an answer; None where the connection died without one."""
    request = urllib.request.Request(
        address + path,
        data=None if delivery is None else delivery.raw,
        headers={}
        if delivery is None
        else {"Content-Type": "application/json", "Stripe-Signature": delivery.signature},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except (OSError, HTTPException):
        return None


@pytest.mark.django_db(transaction=True)
def test_one_grant_comes_of_a_payment_wherever_the_web_process_is_killed(
    archive: Organization,
    lab: Organization,
    client_for: Callable[..., ApiClient],
    stripe: Stripe,
    webs: Webs,
) -> None:
    """Each order's web process is killed at each point, one after the other."""
    client = client_for(lab)
    offer = make_offer(archive, price_minor=50_000)
    sold = [paid_order(client, offer, stripe) for _time in range(TIMES)]

    for order in sold:
        for point in POINTS:
            address, _pid = webs.start(point, stripe)
            answers = [
                send(address, "/stripe/webhook", order.delivery),
                send(address, order.back),
            ]
            assert answers in ([None, None], [200, None]), f"it did not die at “{point}”"
            assert webs.ended() == -signal.SIGKILL

    # Restarted: Stripe delivers what was not answered, the buyers reload, the worker works.
    address, pid = webs.start(NOWHERE, stripe)
    for order in sold:
        assert send(address, "/stripe/webhook", order.delivery) == 200
        assert send(address, order.back) == 200
    os.kill(pid, signal.SIGKILL)
    assert webs.ended() == -signal.SIGKILL
    work()

    for order in sold:
        assert order_now(client, order.placed)["status"] == "granted"
        assert made_of(order.placed) == {**GRANTED_ONCE, "entries": TIMES}
    assert balances() == {code: TIMES * amount for code, amount in SOLD.items()}
    with access.system("read the events"):
        assert StripeEvent.objects.filter(handled_at__isnull=False).count() == TIMES


@dataclass(frozen=True, slots=True)
class Sold:
    """An order that was paid at Stripe, what Stripe delivers, and where the buyer comes back."""

    placed: dict[str, Any]
    delivery: Delivery
    back: str


def paid_order(client: ApiClient, offer: Any, stripe: Stripe) -> Sold:
    order = order_for(client, offer)
    with access.system("find the return address"):
        back = urlsplit(checkouts.return_url(Order.objects.get(pk=order["id"]))).path
    stripe.pay(order)
    delivered = list(stripe.mailbox.deliveries)
    stripe.mailbox.deliveries.clear()
    delivery = next(d for d in delivered if d.type == "checkout.session.completed")
    return Sold(order, delivery, back)


def test_web_processes_are_killed_at_ten_points() -> None:
    assert len(POINTS) >= 10
