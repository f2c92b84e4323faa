"""Buying on invoice in a test: the order, its invoice, and the time that passes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from licensing.models import Offer
from marketplace import access
from marketplace.models import Organization
from payments.models import Command, Invoice
from tests.make import make_offer
from tests.payments.buying import acceptance, quote_for
from tests.payments.simulating import Stripe
from tests.people import ApiClient


def invoiced_offer(seller: Organization, **fields: Any) -> Offer:
    """500.00 USD, on invoice."""
    return make_offer(seller, **{"price_minor": 50_000, "invoice_days": [14, 30, 60], **fields})


def ordered_on_invoice(client: ApiClient, offer: Offer, **fields: Any) -> dict[str, Any]:
    """An order whose invoice was sent: net 30."""
    body = {**acceptance(quote_for(client, offer)), "method": "invoice", "net_days": 30, **fields}
    response = client.post("/v1/orders", body)
    assert response.status_code == 201, response.content
    order: dict[str, Any] = response.json()
    return order


def invoice_of(order: dict[str, Any]) -> Invoice:
    with access.system("read an invoice in a test"):
        return Invoice.objects.get(order=order["id"])


def pay_invoice(stripe: Stripe, order: dict[str, Any]) -> None:
    """Pay as a buyer would on the hosted page, and wait until it was said."""
    stripe.invoice(invoice_of(order).stripe_id or "", "pay")
    stripe.wait_for("invoice_payment.paid")


def at_stripe(stripe: Stripe, order: dict[str, Any]) -> dict[str, Any]:
    """The invoice as Stripe has it."""
    invoice = invoice_of(order)
    [found] = [each for each in stripe.list("/v1/invoices") if each["id"] == invoice.stripe_id]
    return found


def look_at(order: dict[str, Any]) -> None:
    """Make an order due for another look."""
    from payments.models import Order

    with access.system("make an order due in a test"):
        Order.objects.filter(pk=order["id"]).update(next_sync_at=timezone.now())


def make_due() -> None:
    """Make every call due that waits for somebody."""
    with access.system("make calls due in a test"):
        Command.objects.filter(state="pending").update(next_attempt_at=timezone.now())


def travel(patch: pytest.MonkeyPatch, **delta: float) -> None:
    """Let time pass for this server; Stripe's own clock stays."""
    now = timezone.now
    patch.setattr(timezone, "now", lambda: now() + timedelta(**delta))
