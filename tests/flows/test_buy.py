"""Buying a license, from the listing to the receipt, as the two parties see it through the API."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from marketplace.models import Organization
from tests.make import make_offer
from tests.payments.buying import ACCEPTANCE, GRANTED_ONCE, balances, made_of
from tests.payments.simulating import Stripe, work
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


def test_a_lab_buys_a_license_and_both_parties_hold_the_proof(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    make_offer(archive, price_minor=50_000)
    buyer, seller = client_for(lab), client_for(archive)

    # The lab finds the listing, asks for a price, and reads the contract.
    [listing] = buyer.get("/v1/listings").json()["data"]
    quote = buyer.post(
        "/v1/quotes", {"offer": listing["id"], "uses": ["pretrain"], "territories": ["EU"]}
    ).json()
    assert quote["total_minor"] == 50_000

    # It accepts, and pays on the hosted page.
    order = buyer.post(
        "/v1/orders",
        {
            "quote": quote["id"],
            "accept": {"document_sha256": quote["document_sha256"], **ACCEPTANCE},
        },
        Idempotency_Key="order-1",
    ).json()
    assert order["status"] == "awaiting_payment"
    stripe.pay(order)
    assert {delivery.type for delivery in stripe.deliver()} >= {
        "checkout.session.completed",
        "payment_intent.succeeded",
        "charge.succeeded",
    }
    work()

    # The grant is there, for both parties, and the money stands where it belongs.
    order = buyer.get(f"/v1/orders/{order['id']}").json()
    assert order["status"] == "granted"
    assert made_of(order) == GRANTED_ONCE
    # The seller has no account to be paid with yet.
    assert balances() == {
        "buyer_receivable": 0,
        "seller_payable": -50_000,
        "stripe_balance": 48_520,
        "stripe_clearing": 0,
        "stripe_fees": 1_480,
    }
    grant = buyer.get(f"/v1/grants/{order['grant']}").json()
    assert seller.get(f"/v1/grants/{order['grant']}").json() == grant
    assert (grant["licensor"], grant["licensee"]) == (str(archive.pk), str(lab.pk))
    assert grant["status"] == "active"

    # The worker has sequenced its entry: the receipt proves it, to both.
    for party in (buyer, seller):
        receipt = party.get(f"/v1/grants/{order['grant']}/receipt")
        assert receipt.status_code == 200
        assert receipt["Content-Type"].startswith("text/plain")
        assert b"ledger/test" in receipt.content


def test_an_order_is_the_buyers_alone(
    archive: Organization,
    lab: Organization,
    stranger: Organization,
    client_for: ClientFor,
    stripe: Stripe,
) -> None:
    offer = make_offer(archive, price_minor=0)
    buyer = client_for(lab)
    quote = buyer.post(
        "/v1/quotes", {"offer": str(offer.pk), "uses": ["pretrain"], "territories": ["DE"]}
    ).json()
    order = buyer.post(
        "/v1/orders",
        {
            "quote": quote["id"],
            "accept": {"document_sha256": quote["document_sha256"], **ACCEPTANCE},
        },
    ).json()

    outsider = client_for(stranger)
    for path in (f"quotes/{quote['id']}", f"orders/{order['id']}", f"grants/{order['grant']}"):
        assert outsider.get(f"/v1/{path}").status_code == 404
    assert client_for(lab, livemode=True).get(f"/v1/orders/{order['id']}").status_code == 404
