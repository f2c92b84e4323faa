"""What buyer and seller are told of a sale, each in its own feed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from marketplace.models import Organization
from tests.make import make_offer
from tests.payments.buying import order_for
from tests.payments.selling import request_refund
from tests.payments.simulating import Stripe, work
from tests.payments.test_transfers import bought, settled
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


def told(client: ApiClient) -> list[tuple[str, dict[str, Any]]]:
    """The whole feed of a client, but what was there to be sold."""
    found = client.get("/v1/events?limit=200").json()["data"]
    return [
        (each["type"], each["data"])
        for each in found
        if not each["type"].startswith(("import.", "offer."))
    ]


def test_a_sale_that_is_given_back_is_told_to_both_parties_in_order(
    client_for: ClientFor, archive: Organization, lab: Organization, stripe: Stripe
) -> None:
    buyer, seller = client_for(lab), client_for(archive)
    order = bought(buyer, archive, stripe)
    refund = request_refund(buyer, order).json()
    settled(order)
    of_order = {"order": order["id"], "quote": order["quote"]}
    of_refund = {
        "refund": refund["id"],
        "order": order["id"],
        "amount_minor": 50_000,
        "currency": "USD",
    }
    expected = [
        ("order.paid", of_order),
        ("grant.issued", {"grant": order["grant"], "made_by": order["id"]}),
        ("refund.requested", of_refund),
        ("order.refunded", of_order),
        ("refund.succeeded", of_refund),
    ]
    for client in (buyer, seller):
        said = told(client)
        # For the time that the money is on its way back, the license is suspended.
        ended = ("grant.suspended", "grant.revoked")
        assert [each for each in said if each[0] not in ended] == expected
        assert [type for type, _data in said if type in ended] == list(ended)
        [revoked] = [data for type, data in said if type == "grant.revoked"]
        assert revoked.keys() == {"grant", "cause", "effective_at"}
        assert (revoked["grant"], revoked["cause"]) == (order["grant"], "refunded")
    assert told(client_for(lab, livemode=True)) == []


def test_an_order_that_nobody_pays_is_told_to_have_expired(
    client_for: ClientFor, archive: Organization, lab: Organization, stripe: Stripe
) -> None:
    buyer = client_for(lab)
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.expire(order)
    stripe.deliver()
    work()
    work()
    assert told(buyer) == [("order.expired", {"order": order["id"], "quote": order["quote"]})]


def test_a_dispute_is_told_with_its_end(
    client_for: ClientFor, archive: Organization, lab: Organization, stripe: Stripe
) -> None:
    buyer, seller = client_for(lab), client_for(archive)
    order = bought(buyer, archive, stripe)
    dispute = stripe.dispute(order)
    settled(order)
    stripe.decide(dispute["id"], "lose")
    settled(order)
    settled(order)
    for client in (buyer, seller):
        types = [type for type, _data in told(client) if type.startswith(("dispute", "grant"))]
        assert types == [
            "grant.issued",
            "dispute.opened",
            "grant.suspended",
            "dispute.lost",
            "grant.revoked",
        ]
