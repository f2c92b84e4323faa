"""Thin events about objects of API version 1, beside or instead of those that hold the object."""

from __future__ import annotations

from payments.simulator import contract, thin_events
from payments.simulator.state import Resource, World

# Where an object of a kind is fetched. A kind that is missing here has no thin events.
URLS = {
    "charge": "/v1/charges",
    "checkout.session": "/v1/checkout/sessions",
    "credit_note": "/v1/credit_notes",
    "customer": "/v1/customers",
    "dispute": "/v1/disputes",
    "invoice": "/v1/invoices",
    "invoice_payment": "/v1/invoice_payments",
    "invoiceitem": "/v1/invoiceitems",
    "payment_intent": "/v1/payment_intents",
    "payout": "/v1/payouts",
    "refund": "/v1/refunds",
    "tax_rate": "/v1/tax_rates",
    "transfer": "/v1/transfers",
}


def emit(world: World, snapshot: Resource) -> None:
    """Tell thinly what an event told whole: https://docs.stripe.com/webhooks/migrate-snapshot-to-thin-events

    Its type is that of the other behind "v1."; not every type has such a one.
    """
    about, type = snapshot["data"]["object"], f"v1.{snapshot['type']}"
    if about["object"] in URLS and contract.has_event(type):
        thin_events.emit(
            world,
            type,
            about["id"],
            about["object"],
            f"{URLS[about['object']]}/{about['id']}",
            snapshot_event=snapshot["id"],
        )
