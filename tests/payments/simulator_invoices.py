"""Invoices of the simulated account, as a market makes them, in each state."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.payments.simulator_account import Account

LINES = (("License", 50_000), ("Tax", 9_500))
DAY = 24 * 3600


class Billing:
    """Makes customers and invoices through the SDK."""

    def __init__(self, account: Account) -> None:
        self.account, self.v1 = account, account.client.v1

    def customer(self, **changed: Any) -> stripe.Customer:
        params: Any = {"name": "Lab A", "email": "lab@example.com"} | changed
        return self.v1.customers.create(params)

    def draft(
        self, *, lines: Any = LINES, customer: str | None = None, **changed: Any
    ) -> stripe.Invoice:
        """A draft of 595.00 USD, due in 30 days."""
        params: Any = {
            "customer": customer or self.customer().id,
            "collection_method": "send_invoice",
            "currency": "usd",
            "custom_fields": [{"name": "Purchase order", "value": "PO-4711"}],
            "metadata": {"order": "ord_1"},
        }
        if "due_date" not in changed:
            params["days_until_due"] = 30
        invoice = self.v1.invoices.create(params | changed)
        for description, amount in lines:
            self.item(invoice, description=description, amount=amount)
        return self.invoice(invoice.id)

    def item(self, draft: stripe.Invoice, **changed: Any) -> stripe.InvoiceItem:
        params: Any = {"invoice": draft.id, "currency": draft.currency} | changed
        return self.v1.invoice_items.create(params)

    def open(self, **changed: Any) -> stripe.Invoice:
        return self.v1.invoices.finalize_invoice(self.draft(**changed).id)

    def paid(self, **changed: Any) -> stripe.Invoice:
        """An invoice that was paid on its page."""
        invoice = self.open(**changed)
        self.account.control(f"invoices/{invoice.id}/pay", {})
        return self.invoice(invoice.id)

    def in_state(self, state: str) -> stripe.Invoice:
        match state:
            case "draft":
                return self.draft()
            case "open":
                return self.open()
            case "paid":
                return self.paid()
            case "void":
                return self.v1.invoices.void_invoice(self.open().id)
            case "uncollectible":
                return self.v1.invoices.mark_uncollectible(self.open().id)
        raise AssertionError(state)

    def invoice(self, id: str, *expand: str) -> stripe.Invoice:
        return self.v1.invoices.retrieve(id, {"expand": list(expand)})

    def payment(self, invoice: stripe.Invoice) -> stripe.InvoicePayment:
        """The payment of an invoice, with its intent and charge."""
        (found,) = self.v1.invoice_payments.list(
            {"invoice": invoice.id, "expand": ["data.payment.payment_intent.latest_charge"]}
        ).data
        return found

    def intent(self, invoice: stripe.Invoice) -> stripe.PaymentIntent:
        intent = self.payment(invoice).payment.payment_intent
        assert isinstance(intent, stripe.PaymentIntent)
        return intent

    def charge(self, invoice: stripe.Invoice) -> stripe.Charge:
        charge = self.intent(invoice).latest_charge
        assert isinstance(charge, stripe.Charge)
        return charge

    def events(self) -> list[str]:
        """The types of all events, the oldest first."""
        found = self.account.client.v1.events.list({"limit": 100}).data
        return [event.type for event in found][::-1]


@pytest.fixture
def billing(account: Account) -> Billing:
    return Billing(account)


def refused(call: Any, *arguments: Any) -> stripe.InvalidRequestError:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        call(*arguments)
    return refusal.value


def uncovered(call: Any, *arguments: Any) -> None:
    with pytest.raises(stripe.APIError) as refusal:
        call(*arguments)
    assert refusal.value.http_status == 501
