"""What the simulator answers about invoices has the shape of the SDK's classes."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.payments.simulator_account import account
from tests.payments.simulator_invoices import Billing, billing
from tests.payments.test_simulator_shapes import faults_of_answer, get

__all__ = ["account", "billing"]


@pytest.fixture
def lived_in(billing: Billing) -> Billing:
    """An account with invoices and credit notes in each of their states."""
    customer = billing.customer(
        address={"country": "DE"}, tax_id_data=[{"type": "eu_vat", "value": "DE123456789"}]
    ).id
    rate = billing.v1.tax_rates.create(
        {"display_name": "VAT", "percentage": 19.0, "inclusive": False, "country": "DE"}
    )
    rates: Any = {"customer": customer, "default_tax_rates": [rate.id]}
    billing.draft(**rates, auto_advance=True, rendering={"pdf": {"page_size": "a4"}})
    billing.draft(currency="isk", lines=(("A", 150),), auto_advance=True)
    paid, opened = billing.paid(**rates), billing.open(**rates)
    declined = billing.open()
    billing.account.control(f"invoices/{declined.id}/decline", {})
    for state in ("void", "uncollectible"):
        billing.in_state(state)
    billing.v1.invoices.pay(billing.open().id, {"paid_out_of_band": True})
    billing.open(lines=(("Small", 10),))
    create = billing.v1.credit_notes.create
    line = {
        "type": "invoice_line_item",
        "invoice_line_item": paid.lines.data[0].id,
        "amount": 1_000,
    }
    parts: Any = {"refund_amount": 590, "credit_amount": 300, "out_of_band_amount": 300}
    create({"invoice": paid.id, "lines": [line], **parts})
    create({"invoice": opened.id, "amount": 100, "reason": "duplicate"})
    voided = create({"invoice": opened.id, "amount": 100})
    billing.v1.credit_notes.void_credit_note(voided.id)
    create({"invoice": declined.id, "amount": declined.total})
    billing.account.control("clock", {"advance_seconds": 40 * 24 * 3600})
    return billing


def test_every_answer_has_the_shape_of_the_sdks_classes(lived_in: Billing) -> None:
    billing = lived_in
    seen: set[str] = set()
    found: list[str] = []
    someone = billing.v1.customers.list({"email": "lab@example.com"}).data[-1].id
    (note,) = billing.v1.credit_notes.list({"limit": 1}).data
    for path in (
        "/v1/customers?expand[]=data.tax_ids&limit=100",
        f"/v1/customers/{someone}/tax_ids",
        f"/v1/customers/{someone}/balance_transactions?expand[]=data.credit_note",
        "/v1/tax_rates",
        "/v1/invoiceitems?limit=100&expand[]=data.invoice&expand[]=data.customer",
        "/v1/invoices?limit=100&expand[]=data.payments.data&expand[]=data.customer",
        f"/v1/invoices/{note.invoice}",
        f"/v1/invoices/{note.invoice}/lines",
        "/v1/invoice_payments?limit=100&expand[]=data.payment.payment_intent.latest_charge",
        "/v1/credit_notes?expand[]=data.invoice&expand[]=data.customer",
        f"/v1/credit_notes/{note.id}/lines",
        "/v1/events?limit=100",
        "/v1/payment_intents?expand[]=data.customer",
        "/v1/charges?expand[]=data.customer",
        "/v1/refunds?expand[]=data.customer",
    ):
        answer = get(billing.account, path)
        found += faults_of_answer(answer, path)
        seen |= {each["object"] for each in answer.get("data", [answer])}

    assert found == []
    assert seen >= {
        "credit_note",
        "credit_note_line_item",
        "customer",
        "customer_balance_transaction",
        "event",
        "invoice",
        "invoice_payment",
        "invoiceitem",
        "line_item",
        "tax_id",
        "tax_rate",
    }


def test_every_event_of_invoices_has_the_shape_of_the_sdks_classes(lived_in: Billing) -> None:
    events: list[Any] = []
    after = ""
    while True:
        found = get(lived_in.account, f"/v1/events?limit=100{after}")
        events += found["data"]
        if not found["has_more"]:
            break
        after = f"&starting_after={found['data'][-1]['id']}"

    assert [fault for event in events for fault in faults_of_answer(event, event["type"])] == []
    assert {event["type"] for event in events} >= {
        "credit_note.created",
        "credit_note.voided",
        "customer.created",
        "customer.tax_id.created",
        "customer.updated",
        "invoice.created",
        "invoice.finalization_failed",
        "invoice.finalized",
        "invoice.marked_uncollectible",
        "invoice.overdue",
        "invoice.paid",
        "invoice.payment_failed",
        "invoice.payment_succeeded",
        "invoice.sent",
        "invoice.updated",
        "invoice.voided",
        "invoice_payment.paid",
        "invoiceitem.created",
        "payment_intent.canceled",
        "tax_rate.created",
    }


def test_every_type_of_event_is_one_that_the_sdk_knows(lived_in: Billing) -> None:
    events = get(lived_in.account, "/v1/events?limit=100")["data"]
    annotation = str(stripe.Event.__annotations__["type"])

    assert [event["type"] for event in events if f"'{event['type']}'" not in annotation] == []


def test_a_preview_has_the_shape_of_a_credit_note(billing: Billing) -> None:
    invoice = billing.paid()
    path = f"/v1/credit_notes/preview?invoice={invoice.id}&amount=10&refund_amount=10"

    assert list(faults_of_answer(get(billing.account, path), "preview")) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"paid": True}, "invoice.paid: invented"),
        ({"amount_due": "100"}, "invoice.amount_due: '100' for int"),
        ({"status": "sent"}, "invoice.status: 'sent' is none of"),
        ({"issuer": None}, "invoice.issuer: None for"),
    ],
)
def test_a_wrong_shape_of_an_invoice_would_be_found(
    billing: Billing, change: dict[str, Any], fault: str
) -> None:
    invoice = get(billing.account, f"/v1/invoices/{billing.open().id}")

    found = list(faults_of_answer(invoice | change, "invoice"))

    assert len(found) == 1
    assert found[0].startswith(fault)


def test_a_missing_field_of_a_line_would_be_found(billing: Billing) -> None:
    invoice = get(billing.account, f"/v1/invoices/{billing.open().id}")
    del invoice["lines"]["data"][0]["period"]

    assert list(faults_of_answer(invoice, "in")) == ["in.lines.data[0].period: missing"]
