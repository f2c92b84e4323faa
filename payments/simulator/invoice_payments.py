"""Invoice payments: which payment intent pays an invoice, and how far it got."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from payments.simulator import customers, events, invoices, lists, payment_intents
from payments.simulator.errors import ApiError, Uncovered
from payments.simulator.state import Resource, World

KIND = "invoice_payment"
URL = "/v1/invoice_payments"

# https://docs.stripe.com/invoicing/integration/workflow-transitions
PAYABLE = frozenset({"open", "uncollectible"})
NOT_PAYABLE = {
    "draft": "This invoice is a draft: finalize it before it is paid.",
    "paid": "Invoice is already paid",
    "void": "This invoice is void: nobody can pay it any more.",
}


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return world.get(KIND, arguments["invoice_payment"], param="invoice_payment")


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    wanted = params.get("payment", {})
    if wanted.get("type", "payment_intent") != "payment_intent":
        raise Uncovered("payment records", param="payment[type]")
    intent = wanted.get("payment_intent")

    def is_wanted(payment: Resource) -> bool:
        return (intent is None or payment["payment"]["payment_intent"] == intent) and all(
            payment[name] == params[name] for name in ("invoice", "status") if name in params
        )

    return lists.page(world, KIND, URL, params, is_wanted)


def included(world: World, invoice: Resource) -> Resource:
    """The `payments` of an invoice, which it shows where they are asked for."""
    payment = of(world, invoice)
    return lists.as_list([payment] if payment else [], f"{URL}?invoice={invoice['id']}")


def of(world: World, invoice: Resource) -> Resource | None:
    """The payment of an invoice. None before it is finalized, and where nothing was due."""
    return world.find(KIND, world.private(invoice["id"])["payment"])


def charge_of(world: World, invoice: Resource) -> Resource | None:
    """The charge that paid an invoice. None where none did."""
    payment = of(world, invoice)
    if payment is None or payment["status"] != "paid":
        return None
    intent = world.get(payment_intents.KIND, payment["payment"]["payment_intent"])
    return world.get(payment_intents.CHARGE, intent["latest_charge"])


def start(world: World, invoice: Resource) -> None:
    """Make the payment of an invoice that is being finalized, with its payment intent."""
    intent = payment_intents.start(
        world,
        amount=invoice["amount_remaining"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        description="Payment for Invoice",
        # The invoice's metadata stays with the invoice.
        metadata={},
        transfer_group=None,
    )
    world.add(
        {
            "id": world.private(invoice["id"])["payment"],
            "object": KIND,
            "amount_paid": None,
            "amount_requested": invoice["amount_remaining"],
            "created": world.now(),
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": True,
            "livemode": False,
            "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        }
    )


def pay(world: World, id: str) -> Resource:
    """Pay an invoice as its customer does, with a card that is accepted. Twice changes nothing."""
    invoice = world.get(invoices.KIND, id, param="invoice")
    if invoice["status"] == "paid":
        return invoice
    payment = _payable(world, invoice)
    intent = world.get(payment_intents.KIND, payment["payment"]["payment_intent"])
    payment_intents.succeed(world, intent)
    payment |= {
        "amount_paid": payment["amount_requested"],
        "status": "paid",
        "status_transitions": {"canceled_at": None, "paid_at": world.now()},
    }
    world.put(payment)
    # Only the first attempt counts; later ones that are made by hand do not.
    settle(world, invoice, "invoice.payment_succeeded", attempted=True, attempt_count=1)
    events.emit(world, "invoice_payment.paid", payment)
    return invoice


def decline(world: World, id: str, *, decline_code: str = "generic_decline") -> Resource:
    """Try to pay an invoice with a card that is declined: it stays to be paid otherwise."""
    invoice = world.get(invoices.KIND, id, param="invoice")
    payment = _payable(world, invoice)
    before = deepcopy(invoice)
    intent = world.get(payment_intents.KIND, payment["payment"]["payment_intent"])
    payment_intents.fail(world, intent, decline_code=decline_code)
    invoice |= {"attempted": True, "attempt_count": 1}
    invoices.save(world, invoice, before, "invoice.payment_failed")
    return invoice


def settle(world: World, invoice: Resource, *types: str, **changes: Any) -> None:
    """Call an invoice paid: by its payment, outside of Stripe, or because nothing is left."""
    before = deepcopy(invoice)
    invoice |= {
        "amount_paid": invoice["amount_paid"] + invoice["amount_remaining"],
        "amount_remaining": 0,
        "auto_advance": False,
        "status": "paid",
        "status_transitions": invoice["status_transitions"] | {"paid_at": world.now()},
        **changes,
    }
    invoices.save(world, invoice, before, "invoice.paid", *types)
    customers.set_delinquent(world, invoice["customer"], is_delinquent=False)


def follow(world: World, invoice: Resource) -> None:
    """Ask for what is left of an invoice; where nothing is, cancel its payment."""
    if invoice["amount_remaining"] == 0:
        cancel(world, invoice, reason="automatic")
        return
    payment = of(world, invoice)
    if payment is not None and payment["status"] == "open":
        intent = world.get(payment_intents.KIND, payment["payment"]["payment_intent"])
        intent["amount"] = payment["amount_requested"] = invoice["amount_remaining"]
        world.put(intent)
        world.put(payment)


def cancel(world: World, invoice: Resource, *, reason: str) -> None:
    """End the payment of an invoice that nobody shall pay any more."""
    payment = of(world, invoice)
    if payment is None or payment["status"] != "open":
        return
    payment |= {
        "status": "canceled",
        "status_transitions": {"canceled_at": world.now(), "paid_at": None},
    }
    world.put(payment)
    intent = world.get(payment_intents.KIND, payment["payment"]["payment_intent"])
    intent |= {
        "canceled_at": world.now(),
        "cancellation_reason": reason,
        "status": "canceled",
    }
    world.put(intent)
    events.emit(world, "payment_intent.canceled", intent)


def _payable(world: World, invoice: Resource) -> Resource:
    if invoice["status"] not in PAYABLE:
        raise ApiError(NOT_PAYABLE[invoice["status"]], is_outcome=True)
    payment = of(world, invoice)
    assert payment is not None, "An invoice with something due has a payment."
    return payment
