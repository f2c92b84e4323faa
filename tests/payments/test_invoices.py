"""Buying on invoice: sent, paid late or never, and what becomes of the license."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from marketplace import access
from marketplace.models import Organization
from payments.models import Order
from tests.make import EXCLUSIVE
from tests.payments.buying import (
    GRANTED_ONCE,
    balances,
    made_of,
    order_now,
)
from tests.payments.invoicing import (
    at_stripe,
    invoice_of,
    invoiced_offer,
    look_at,
    ordered_on_invoice,
    pay_invoice,
    travel,
)
from tests.payments.selling import onboarded, transfer_of
from tests.payments.simulating import Stripe, work
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def buyer(lab: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(lab)


def settled(order: dict[str, Any]) -> None:
    look_at(order)
    work()


# --- the way through --------------------------------------------------------------------------


def test_an_invoice_is_sent_paid_granted_and_passed_on(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    onboarded(archive, stripe)

    order = ordered_on_invoice(buyer, invoiced_offer(archive), purchase_order="PO-4711")

    assert (order["status"], order["method"]) == ("awaiting_payment", "invoice")
    assert (order["checkout_url"], order["grant"]) == (None, None)
    invoice = order["invoice"]
    assert invoice["hosted_url"].startswith(f"{stripe.url}/")
    assert invoice["number"]
    assert (invoice["status"], invoice["net_days"]) == ("open", 30)
    assert invoice["purchase_order"] == "PO-4711"
    assert made_of(order)["claims"] == 1
    sent = at_stripe(stripe, order)
    assert (sent["status"], sent["total"], sent["currency"]) == ("open", 50_000, "usd")
    assert sent["custom_fields"] == [{"name": "Purchase order", "value": "PO-4711"}]
    assert sent["customer_email"] == "legal@example.org"
    assert sent["due_date"] == int(invoice_of(order).due_at.timestamp())

    pay_invoice(stripe, order)
    stripe.deliver()
    work()
    work()

    paid = order_now(buyer, order)
    assert (paid["status"], paid["paid_minor"]) == ("granted", 50_000)
    assert paid["invoice"]["status"] == "paid"
    assert made_of(order) == GRANTED_ONCE
    transfer = transfer_of(order)
    assert (transfer.state, transfer.sent_minor) == ("sent", 50_000)
    [sent_on] = stripe.list("/v1/transfers")
    assert sent_on["source_transaction"] == row_of(order).charge
    assert balances()["buyer_receivable"] == 0
    assert balances()["stripe_clearing"] == 0


def row_of(order: dict[str, Any]) -> Order:
    with access.system("read an order in a test"):
        return Order.objects.get(pk=order["id"])


def test_the_rights_are_held_until_the_invoice_is_overdue(
    archive: Organization,
    buyer: ApiClient,
    stranger: Organization,
    client_for: ClientFor,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer = invoiced_offer(archive, typed=EXCLUSIVE)
    late = ordered_on_invoice(buyer, offer)
    travel(monkeypatch, days=36)
    work()
    assert made_of(late)["claims"] == 1

    travel(monkeypatch, days=2)
    settled(late)

    assert order_now(buyer, late)["status"] == "past_due"
    assert made_of(late)["claims"] == 0
    assert ordered_on_invoice(client_for(stranger), offer)["status"] == "awaiting_payment"
