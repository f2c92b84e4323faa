"""Web processes are killed amid hundreds of purchases: each is made once, and answered the same."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from licensing.models import Grant
from marketplace import access, api_keys
from marketplace.access import Scope
from marketplace.models import IdempotencyKey
from payments import sync
from payments.models import Command, Order, Quote
from tests.chaos import market, stripe_truth
from tests.chaos.purchases import Buyer, Web, environ_of
from tests.chaos.simulator_process import Stripe, simulated_stripe
from tests.database import TestDatabase
from tests.make import make_offer
from tests.people import caller_for, found

pytestmark = pytest.mark.chaos
# At least: the buyers go on until so many processes were killed, and some requests died half done.
PURCHASES = int(os.environ.get("LICET_PURCHASES", "500"))
KILLS, HALF_DONE = max(1, PURCHASES // 25), max(1, PURCHASES // 100)
# And then end, that it was none.
STORM_SECONDS_MAX = 120 + 2 * PURCHASES
BUYERS = 8
NO_MISTAKE = {
    "double": 0,
    "lost": 0,
    "wrongly_active": 0,
    "wrongly_inactive": 0,
    "unbalanced": 0,
}


@pytest.fixture
def stripe() -> Iterator[Stripe]:
    with simulated_stripe() as opened:
        yield opened


@pytest.fixture
def web(test_database: TestDatabase, stripe: Stripe, tmp_path: Path) -> Iterator[Web]:
    opened = Web(environ_of(test_database.environ, stripe.url, tmp_path), tmp_path / "web.log")
    yield opened
    opened.close()


@pytest.mark.django_db(transaction=True)
def test_each_purchase_is_made_once_and_answered_the_same_whoever_is_killed(
    stripe: Stripe, web: Web
) -> None:
    offer = str(make_offer(market.paid_seller(stripe), price_minor=50_000).pk)
    scopes = [Scope.QUOTES_WRITE.value, Scope.ORDERS_WRITE.value]
    _key, secret = api_keys.create(caller_for(found("Lab", "lab")), name="buyer", scopes=scopes)
    buyers = [Buyer(web, secret) for _each in range(BUYERS)]

    web.wait()
    ends = time.monotonic() + STORM_SECONDS_MAX

    def buy(number: int) -> None:
        for purchase in itertools.count(number, BUYERS):
            is_over = was_a_storm(web, buyers) or time.monotonic() > ends
            if purchase >= PURCHASES and is_over:
                return
            buyers[number].buy(str(purchase), offer)

    with web.being_killed(random.Random(PURCHASES)), ThreadPoolExecutor(BUYERS) as pool:
        for done in [pool.submit(buy, number) for number in range(BUYERS)]:
            done.result()
    assert_each_was_made_once(buyers)
    assert_each_is_paid_once(stripe)
    # What was bought has changed since: every retry gets the very answer that came first.
    differing = [
        key
        for buyer in buyers
        for key, first in buyer.first.items()
        if ((again := buyer.again(key)).status, again.body) != (first.status, first.body)
        or not again.replayed
    ]
    assert differing == []
    assert was_a_storm(web, buyers)


def was_a_storm(web: Web, buyers: list[Buyer]) -> bool:
    """Requests died with their processes: some before they had an effect, and some after it."""
    half_done = sum(each.replayed for buyer in buyers for each in list(buyer.first.values()))
    return web.kills >= KILLS and half_done >= HALF_DONE


def assert_each_was_made_once(buyers: list[Buyer]) -> None:
    answered = {key: answer for buyer in buyers for key, answer in buyer.first.items()}
    purchases = [key.removeprefix("order ") for key in answered if key.startswith("order")]
    assert len(answered) == 2 * len(purchases) >= 2 * PURCHASES
    with access.system("count what was bought"):
        rows = {row.key: row.effect for row in IdempotencyKey.objects.all()}
        quotes = {str(pk) for pk in Quote.objects.values_list("pk", flat=True)}
        orders = dict(Order.objects.values_list("pk", "quote"))
        calls = Command.objects.filter(kind=Command.Kind.CREATE_CHECKOUT)
        opened = list(calls.values_list("order", "state"))
    assert set(rows) == set(answered)
    # No quote and no order but those that somebody was told of, and each by one key.
    assert sorted(rows[key] or "" for key in rows if key.startswith("quote")) == sorted(quotes)
    assert sorted(rows[key] or "" for key in rows if key.startswith("order")) == sorted(
        str(pk) for pk in orders
    )
    assert len(quotes) == len(orders) == len(purchases)
    for key, answer in answered.items():
        assert f'"{rows[key]}"'.encode() in answer.body
    assert {(str(order), str(quote)) for order, quote in orders.items()} == {
        (rows[f"order {name}"], rows[f"quote {name}"]) for name in purchases
    }
    assert sorted(opened) == sorted((order, Command.State.DONE) for order in orders)


def assert_each_is_paid_once(stripe: Stripe) -> None:
    """Stripe has one pay page for each order; paid, it is one payment, and one license."""
    sessions = stripe.all("/v1/checkout/sessions")
    with access.system("find what was bought"):
        orders = list(Order.objects.all())
    assert sorted(each["client_reference_id"] for each in sessions) == sorted(
        str(order.pk) for order in orders
    )
    for session in sessions:
        stripe.control(f"sessions/{session['id']}/pay")
    assert {sync.sync_order(order.pk).status for order in orders} == {"granted"}
    books = stripe_truth.read(stripe)
    assert stripe_truth.mistakes_of_ours(books) == NO_MISTAKE
    assert {truth.payments for truth in books.orders.values()} == {1}
    with access.system("count licenses"):
        assert Grant.objects.count() == len(books.orders) == len(orders)
