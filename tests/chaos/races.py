"""Many at once: calls about one order, and buyers of the same exclusive rights."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone

from licensing import scope_claims
from licensing.models import ScopeClaim
from marketplace import access
from marketplace.access import Caller
from marketplace.errors import RightsTaken
from payments import checkouts, commands, stripe_events, sync, transfers
from payments.models import Order
from tests.chaos import market, stripe_truth
from tests.chaos.simulator_process import Stripe
from tests.chaos.webhook_storm import DeadlockCounter
from tests.make import EXCLUSIVE, make_offer
from tests.payments.signing import event_body, signature
from tests.people import caller_for, found

PRICE_MINOR = 50_000
# At once, about one order: presses of the pay button, returns, deliveries, and workers.
PRESSES, RETURNS, DELIVERIES, WORKERS = 10, 18, 18, 4
BUYERS = 8
# Exclusive rights are sold by country: so many sales for each offer.
COUNTRIES = (
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT",
    "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK", "US",
)  # fmt: skip


class Crowd:
    """Threads that live through the whole run, with a connection each, and start together."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pool = ThreadPoolExecutor(size)
        self._barrier = threading.Barrier(size)
        self._local = threading.local()

    def do(self, acts: Sequence[Callable[[], Any]]) -> list[Any]:
        """Do one thing in each thread; returns what each returned or raised."""
        assert len(acts) == self.size
        return [each.result() for each in [self._pool.submit(self._do, act) for act in acts]]

    def client(self) -> Client:
        """This thread's own client."""
        if not hasattr(self._local, "client"):
            self._local.client = Client()
        client: Client = self._local.client
        return client

    def close(self) -> None:
        # Each its own: which connection is meant is known in the thread alone.
        self.do([lambda: connection.close()] * self.size)
        self._pool.shutdown()

    def _do(self, act: Callable[[], Any]) -> Any:
        self._barrier.wait(60)
        try:
            return act()
        except Exception as error:
            return error


@contextlib.contextmanager
def crowd(size: int) -> Iterator[tuple[Crowd, DeadlockCounter]]:
    """A crowd, and what the log told of deadlocks meanwhile."""
    opened, log, logger = Crowd(size), DeadlockCounter(), logging.getLogger()
    before, logger.handlers = logger.handlers, [log]
    try:
        yield opened, log
    finally:
        logger.handlers = before
        opened.close()


def calls_about_each(stripe: Stripe, *, orders: int, seed: int) -> dict[str, Any]:
    """Fifty calls at once about each order: what went wrong, and what came of all of them."""
    chance, began, deadlocks = random.Random(seed), time.monotonic(), _deadlocks()
    buyer = caller_for(found("Lab", "lab"))
    offer = str(make_offer(market.paid_seller(stripe), price_minor=PRICE_MINOR).pk)
    strange: list[Any] = []
    with crowd(PRESSES + RETURNS + DELIVERIES + WORKERS) as (people, log):
        for number in range(orders):
            order = market.place(buyer, offer)
            acts = _calls(stripe, people, order, number)
            chance.shuffle(acts)
            strange += [each for each in people.do(acts) if each not in _EXPECTED]
            _finish()
    return {
        **_outcome(stripe, strange, began),
        "calls": orders * people.size,
        "deadlocks": log.seen + _deadlocks() - deadlocks,
    }


# What a call is answered with: 400 for a press of the button after the first.
_EXPECTED = (200, 400, "worked")


def _calls(stripe: Stripe, people: Crowd, order: Order, number: int) -> list[Callable[[], Any]]:
    back = urlsplit(checkouts.return_url(order)).path

    def press() -> int:
        try:
            stripe.control(f"sessions/{order.checkout_session}/pay")
        except HTTPError as refusal:
            refusal.close()
            return refusal.code
        return 200

    def come_back() -> int:
        return int(people.client().get(back).status_code)

    def deliver(event: int) -> int:
        body = event_body(
            id=f"evt_{number}_{event}",
            data={"object": {"id": order.checkout_session, "client_reference_id": str(order.pk)}},
        )
        signed = signature(body, settings.STRIPE_WEBHOOK_SECRETS[0])
        answer = people.client().post(
            "/stripe/webhook",
            data=body,
            content_type="application/json",
            headers={"Stripe-Signature": signed},
        )
        assert answer.status_code != 200 or json.loads(answer.content)
        return int(answer.status_code)

    def work() -> str:
        stripe_events.handle_due()
        return "worked"

    return [
        *[press] * PRESSES,
        *[come_back] * RETURNS,
        # Of three events, each is delivered six times.
        *[lambda event=event % 3: deliver(event) for event in range(DELIVERIES)],
        *[work] * WORKERS,
    ]


def buyers_of_the_same(stripe: Stripe, *, sales: int) -> dict[str, Any]:
    """Eight buyers at once of each exclusive right; in every second sale two of them pay.

    That one pays who may, and one whose hold had run out before the payment was heard of.
    """
    began, deadlocks = time.monotonic(), _deadlocks()
    buyers = [caller_for(found(f"Lab {number}", "lab")) for number in range(BUYERS)]
    seller = market.paid_seller(stripe)
    offers = [
        str(make_offer(seller, price_minor=PRICE_MINOR, typed=EXCLUSIVE).pk)
        for _offer in range(0, sales, len(COUNTRIES))
    ]
    strange: list[Any] = []
    refused = 0
    with crowd(BUYERS) as (people, log):
        for sale in range(sales):
            offer, country = offers[sale // len(COUNTRIES)], COUNTRIES[sale % len(COUNTRIES)]
            won: list[Order] = []
            for _round in range(1 + sale % 2):
                _let_holds_run_out(won)
                results = people.do(_purchases(buyers, offer, country))
                won += [each for each in results if isinstance(each, Order)]
                refused += sum(isinstance(each, RightsTaken) for each in results)
                strange += [each for each in results if not isinstance(each, Order | RightsTaken)]
                stripe.control(f"sessions/{won[-1].checkout_session}/pay")
            if len(won) != 1 + sale % 2:
                strange.append(f"{len(won)} might pay")
            settled = people.do([*_settlements(won), *[lambda: None] * (BUYERS - len(won))])
            strange += [each for each in settled if isinstance(each, Exception)]
            _finish()
    return {
        **_outcome(stripe, strange, began),
        "refused_before_paying": refused,
        "deadlocks": log.seen + _deadlocks() - deadlocks,
    }


def _purchases(buyers: list[Caller], offer: str, country: str) -> list[Callable[[], Any]]:
    return [lambda buyer=buyer: market.place(buyer, offer, territory=country) for buyer in buyers]


def _settlements(orders: list[Order]) -> list[Callable[[], Any]]:
    return [lambda id=order.pk: sync.sync_order(id) for order in orders]


def _let_holds_run_out(orders: list[Order]) -> None:
    with access.system("let the time pass"):
        ScopeClaim.objects.filter(held_by__in=[str(order.pk) for order in orders]).update(
            held_until=timezone.now() - timedelta(seconds=1)
        )
    scope_claims.release_overdue()


def _finish() -> None:
    """What the worker would do in the next minutes."""
    while any([stripe_events.handle_due(), commands.complete_due(), transfers.start_waiting()]):
        pass
    with access.system("let the time pass"):
        Order.objects.filter(next_sync_at__isnull=False).update(next_sync_at=timezone.now())
    sync.complete_due()
    commands.complete_due()


def _outcome(stripe: Stripe, strange: list[Any], began: float) -> dict[str, Any]:
    """How all orders ended, what Stripe says otherwise, and what nobody expected."""
    _finish()
    with access.system("see how orders ended"):
        statuses = Counter(Order.objects.values_list("status", flat=True))
        stuck = Order.objects.exclude(next_sync_at=None).count()
    return {
        "statuses": dict(statuses),
        "stuck": stuck,
        "strange": [str(each) for each in strange[:5]],
        "mistakes": stripe_truth.mistakes_of_ours(stripe_truth.read(stripe)),
        "seconds": round(time.monotonic() - began, 1),
    }


def _deadlocks() -> int:
    """How many this database has seen. Told to its views a moment after they happen."""
    time.sleep(1.1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])
