"""The pace of calls: under Stripe's limits, whoever calls, and a buyer before what can wait."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from marketplace import access
from marketplace.errors import PaymentProviderUnavailable
from marketplace.models import Organization
from payments import stripe_events, stripe_gateway, stripe_pace, sync
from payments.models import Order, StripeEvent, StripePace
from tests.payments.racing import at_once
from tests.payments.rows import make_offer_row, make_order_row, make_quote_row
from tests.payments.signing import event_body, signature
from tests.payments.simulating import Stripe
from tests.payments.simulator_account import client_of, session_params

ClientFor = Callable[..., Any]


@pytest.mark.parametrize(
    ("url", "is_called"),
    [
        ("https://api.stripe.com/v1/checkout/sessions", "GET /v1/checkout/sessions"),
        ("https://api.stripe.com/v1/charges/ch_3Nabc", "GET /v1/charges/{}"),
        ("http://127.0.0.1:1/v1/payment_intents?limit=3", "GET /v1/payment_intents"),
        ("http://127.0.0.1/v1/transfers/tr_1/reversals/trr_2", "GET /v1/transfers/{}/reversals/{}"),
        ("http://127.0.0.1:1/v2/core/account_links", "GET /v2/core/account_links"),
    ],
)  # fmt: skip
def test_an_endpoint_is_one_whatever_object_it_is_asked_for(url: str, is_called: str) -> None:
    assert stripe_pace.endpoint("get", url) == is_called


@pytest.fixture
def orders(archive: Organization, lab: Organization, stripe: Stripe) -> list[Order]:
    """200 orders that are due, each with a pay page at Stripe that nobody has paid."""
    client = client_of(stripe.url)
    with access.system("make many orders"):
        offer = make_offer_row(archive)
        return [
            make_order_row(
                make_quote_row(lab, offer),
                checkout_session=client.v1.checkout.sessions.create(session_params()).id,  # type: ignore[arg-type]
                next_sync_at=timezone.now(),
            )
            for _each in range(200)
        ]


def limited(stripe: Stripe) -> int:
    return sum(each["verdict"] == "limited" for each in stripe.requests())


def fetches(stripe: Stripe) -> Counter[str]:
    prefix = "/v1/checkout/sessions/"
    return Counter(
        each["path"].removeprefix(prefix)
        for each in stripe.requests()
        if each["method"] == "GET" and each["path"].startswith(prefix)
    )


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_a_burst_of_200_due_orders_meets_no_limit_and_each_is_fetched_once(
    orders: list[Order], stripe: Stripe, settings: Any
) -> None:
    settings.STRIPE_REQUESTS_PER_SECOND = settings.STRIPE_ENDPOINT_REQUESTS_PER_SECOND = 100
    stripe._control("limits", {"global_per_second": 100, "endpoint_per_second": 100})

    def drain() -> None:
        with stripe_pace.background():
            for _batch in range(3):
                sync.complete_due(limit=20)

    # As several workers would.
    at_once(*[drain] * 4)

    assert limited(stripe) == 0
    assert fetches(stripe) == Counter(str(order.checkout_session) for order in orders)


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_without_the_pace_the_same_burst_does_meet_the_limit(
    orders: list[Order], stripe: Stripe, settings: Any
) -> None:
    settings.STRIPE_REQUESTS_PER_SECOND = 0
    stripe._control("limits", {"global_per_second": 5, "endpoint_per_second": 5})

    sync.complete_due(limit=40)

    assert limited(stripe) > 0


@pytest.mark.django_db(transaction=True)
def test_a_buyer_goes_first_and_background_work_waits(stripe: Stripe, settings: Any) -> None:
    settings.STRIPE_REQUESTS_PER_SECOND = settings.STRIPE_ENDPOINT_REQUESTS_PER_SECOND = 20
    took: dict[str, list[float]] = {"background": [], "buyer": []}
    ending = threading.Event()

    def work() -> None:
        try:
            with stripe_pace.background():
                while not ending.is_set():
                    began = time.monotonic()
                    stripe_gateway.balance_line("txn_1")
                    took["background"].append(time.monotonic() - began)
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _each in range(3)]
    for worker in workers:
        worker.start()
    time.sleep(0.5)
    for _each in range(4):
        began = time.monotonic()
        stripe_gateway.payment_of("charge", "ch_1")
        took["buyer"].append(time.monotonic() - began)
    ending.set()
    for worker in workers:
        worker.join()

    # Three workers share 15 calls a second: each waits for about 200 ms.
    assert sum(took["background"]) / len(took["background"]) > 0.1
    assert sorted(took["buyer"])[1] < 0.1


@pytest.mark.django_db
def test_no_second_has_more_calls_than_were_allowed(settings: Any) -> None:
    settings.STRIPE_REQUESTS_PER_SECOND = settings.STRIPE_ENDPOINT_REQUESTS_PER_SECOND = 40
    times = []
    until = time.monotonic() + 1.6
    while time.monotonic() < until:
        stripe_pace.wait("GET", "http://127.0.0.1/v1/charges")
        times.append(time.monotonic())

    most = max(sum(start <= at < start + 1 for at in times) for start in times)
    assert 25 <= most <= 40


@pytest.mark.django_db
def test_who_would_wait_for_too_long_is_put_off(settings: Any) -> None:
    settings.STRIPE_REQUESTS_PER_SECOND = 10
    with access.system("many calls are ahead"):
        StripePace.objects.create(name="*", next_at=timezone.now() + timedelta(minutes=1))

    with pytest.raises(PaymentProviderUnavailable), stripe_pace.background():
        stripe_pace.wait("GET", "http://127.0.0.1/v1/charges")

    with access.system("no turn was taken"):
        assert [row.name for row in StripePace.objects.all()] == ["*"]


@pytest.mark.django_db
def test_without_a_limit_nothing_is_written(settings: Any) -> None:
    settings.STRIPE_REQUESTS_PER_SECOND = 0

    stripe_pace.wait("GET", "http://127.0.0.1/v1/charges")

    with access.system("no row"):
        assert not StripePace.objects.exists()


# --- one order, several events ----------------------------------------------------------------


@pytest.mark.django_db
def test_events_of_one_order_within_two_seconds_cost_one_fetch(
    archive: Organization, lab: Organization, stripe: Stripe, settings: Any
) -> None:
    settings.STRIPE_REQUESTS_PER_SECOND = 100
    session = client_of(stripe.url).v1.checkout.sessions.create(session_params()).id  # type: ignore[arg-type]
    with access.system("an order"):
        order = make_order_row(
            make_quote_row(lab, make_offer_row(archive)), checkout_session=session
        )

    def deliver(number: int) -> None:
        raw = event_body(id=f"evt_{number}", data={"object": {"id": session}})
        stripe_events.receive(raw, signature(raw, settings.STRIPE_WEBHOOK_SECRETS[0]))

    with stripe_pace.background():
        for number in range(5):
            deliver(number)
            stripe_events.handle_due()
    assert fetches(stripe) == {session: 1}
    with access.system("the others wait, and did not fail"):
        waiting = StripeEvent.objects.filter(handled_at=None)
        assert waiting.count() == 4
        assert {event.last_error for event in waiting} == {""}
        assert all(
            event.next_attempt_at <= timezone.now() + stripe_pace.FETCH_GAP for event in waiting
        )
        Order.objects.update(asked_at=timezone.now() - stripe_pace.FETCH_GAP)
        waiting.update(next_attempt_at=timezone.now())

    with stripe_pace.background():
        stripe_events.handle_due()

    assert fetches(stripe) == {session: 2}
    # Whoever comes back from the pay page does not wait for that.
    sync.sync_order(order.pk)
    assert fetches(stripe) == {session: 3}
