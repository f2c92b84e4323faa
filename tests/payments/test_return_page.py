"""The page that Checkout sends the buyer back to: it settles, and says what happened."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client

from marketplace import access
from marketplace.errors import PaymentProviderRefused, PaymentProviderUnavailable
from marketplace.models import Organization
from payments import checkouts, orders, pages, stripe_gateway
from payments.models import Order
from tests.make import EXCLUSIVE, make_offer
from tests.payments.buying import GRANTED_ONCE, made_of, order_for, order_now
from tests.payments.simulating import Stripe, work
from tests.payments.test_sync import lose_the_rights
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def buyer(lab: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(lab)


def page_of(order: dict[str, Any], query: str = "") -> Any:
    with access.system("read an order in a test"):
        address = checkouts.return_url(Order.objects.get(pk=order["id"]))
    return Client().get(urlsplit(address).path + query)


def heading(response: Any) -> str:
    assert response.status_code == 200
    found = re.search(r"<h1>(.*?)</h1>", response.content.decode())
    assert found is not None
    return found[1]


def refreshes(response: Any) -> bool:
    return b'http-equiv="refresh"' in response.content


def test_after_paying_the_page_names_the_grant(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.pay(order)

    response = page_of(order)

    assert heading(response) == "The license is yours"
    grant = order_now(buyer, order)["grant"]
    assert f"/v1/grants/{grant}/receipt" in response.content.decode()
    assert b"Test mode: no money moved." in response.content
    assert not refreshes(response)
    assert response["Cache-Control"] == "max-age=0, no-cache, no-store, must-revalidate, private"
    assert response["Referrer-Policy"] == "no-referrer"
    # A second look, and the events that come afterward, change nothing.
    page_of(order)
    stripe.deliver()
    assert made_of(order) == GRANTED_ONCE


def test_before_paying_the_page_waits_and_looks_again(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = order_for(buyer, make_offer(archive, price_minor=50_000))

    response = page_of(order)

    assert heading(response) == "Waiting for your payment"
    assert order["checkout_url"] in response.content.decode()
    assert refreshes(response)
    assert not refreshes(page_of(order, f"?looks={pages.LOOKS_MAX}"))
    assert refreshes(page_of(order, "?looks=x"))


def test_a_declined_payment_is_told_with_its_reason(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.decline(order)

    response = page_of(order)

    assert heading(response) == "The payment was declined"
    assert b"declined" in response.content
    assert order["checkout_url"] in response.content.decode()


def test_an_expired_pay_page_is_told(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.expire(order)

    response = page_of(order)

    assert heading(response) == "The time for paying is over"
    assert not refreshes(response)


def test_a_refund_is_told_while_it_is_under_way_and_when_it_is_done(
    archive: Organization,
    buyer: ApiClient,
    stranger: Organization,
    client_for: ClientFor,
    stripe: Stripe,
) -> None:
    offer = make_offer(archive, price_minor=50_000, typed=EXCLUSIVE)
    order = order_for(buyer, offer)
    stripe.pay(order)
    lose_the_rights(order, client_for(stranger), offer)

    first = page_of(order)
    assert heading(first) == "The license could not be issued; your payment goes back"
    assert b"/docs/errors#rights_taken" in first.content
    work()

    assert heading(page_of(order)) == "Your payment was refunded"


def test_a_grant_that_is_still_to_come_is_told(
    archive: Organization, buyer: ApiClient, stripe: Stripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.pay(order)

    def fail(_order: Order) -> Any:
        raise RuntimeError("no disk")

    monkeypatch.setattr(orders, "issue_grant", fail)
    monkeypatch.setattr("payments.sync.logger.disabled", True)

    response = page_of(order)

    assert heading(response) == "Paid; the license is being issued"
    assert refreshes(response)


@pytest.mark.parametrize(
    "error", [PaymentProviderUnavailable("Away."), PaymentProviderRefused("No such session.")]
)
def test_a_stripe_that_is_away_does_not_break_the_page(
    error: Exception,
    archive: Organization,
    buyer: ApiClient,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = order_for(buyer, make_offer(archive, price_minor=50_000))

    def fail(_session: str) -> Any:
        raise error

    monkeypatch.setattr(stripe_gateway, "retrieve_checkout", fail)

    response = page_of(order)

    assert heading(response) == "Waiting for your payment"
    assert b"could not be reached" in response.content


def test_a_forged_address_is_not_there(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = order_for(buyer, make_offer(archive, price_minor=50_000))

    for token in (order["id"], f"{order['id']}:forged", "x"):
        assert Client().get(f"/checkout/return/{token}").status_code == 404
    assert Client().post(f"/checkout/return/{order['id']}").status_code in {404, 405}
