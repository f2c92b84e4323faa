"""Invoice payments: which payment intent pays an invoice, and how far it got."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from payments.simulator import amounts, customers, events, invoices, lists, payment_intents
from payments.simulator.errors import ApiError, Uncovered
from payments.simulator.state import Resource, World, new_id

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
    return lists.as_list(all_of(world, invoice), f"{URL}?invoice={invoice['id']}")


def of(world: World, invoice: Resource) -> Resource | None:
    """The default payment of an invoice: None before it is finalized, and where nothing was due."""
    return world.find(KIND, world.private(invoice["id"])["payment"])


def all_of(world: World, invoice: Resource) -> list[Resource]:
    """Every payment of an invoice, the newest first: the default one, and those of parts."""
    return list(world.newest(KIND, match={"invoice": invoice["id"]}))


def charges_of(world: World, invoice: Resource) -> list[Resource]:
    """The charges that paid an invoice, or parts of it."""
    intents = [
        world.get(payment_intents.KIND, payment["payment"]["payment_intent"])
        for payment in all_of(world, invoice)
        if payment["status"] == "paid"
    ]
    return [world.get(payment_intents.CHARGE, intent["latest_charge"]) for intent in intents]


def start(world: World, invoice: Resource) -> None:
    """Make the payment of an invoice that is being finalized, with its payment intent."""
    intent = _intent(world, invoice, invoice["amount_remaining"])
    world.add(_payment(world, invoice, intent, id=world.private(invoice["id"])["payment"]))


def pay_part(world: World, id: str, amount: int) -> Resource:
    """Pay a part of an invoice by a payment intent of its own, as at Stripe's dashboard.

    The default payment asks for the rest; a part that is all of it pays the invoice.
    https://docs.stripe.com/invoicing/partial-payments
    """
    invoice = world.get(invoices.KIND, id, param="invoice")
    _payable(world, invoice)
    if not 0 < amount <= invoice["amount_remaining"]:
        raise ApiError(
            "A part of an invoice is more than nothing, and no more than what remains.",
            param="amount",
        )
    amounts.check_charge(amount, invoice["currency"], param="amount")
    intent = _intent(world, invoice, amount)
    payment = _payment(world, invoice, intent, id=new_id("inpay"), amount=amount)
    payment |= {"is_default": False}
    world.add(payment)
    payment_intents.succeed(world, intent)
    _paid(world, payment)
    if amount == invoice["amount_remaining"]:
        cancel(world, invoice, reason="automatic")
        settle(world, invoice, "invoice.payment_succeeded", attempted=True)
    else:
        before = deepcopy(invoice)
        invoice["amount_paid"] += amount
        invoice["amount_remaining"] -= amount
        invoices.save(world, invoice, before)
        follow(world, invoice)
    events.emit(world, "invoice_payment.paid", payment)
    return invoice


def pay(world: World, id: str) -> Resource:
    """Pay an invoice as its customer does, with a card that is accepted. Twice changes nothing."""
    invoice = world.get(invoices.KIND, id, param="invoice")
    if invoice["status"] == "paid":
        return invoice
    payment = _payable(world, invoice)
    intent = world.get(payment_intents.KIND, payment["payment"]["payment_intent"])
    payment_intents.succeed(world, intent)
    _paid(world, payment)
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


def _intent(world: World, invoice: Resource, amount: int) -> Resource:
    return payment_intents.start(
        world,
        amount=amount,
        currency=invoice["currency"],
        customer=invoice["customer"],
        description="Payment for Invoice",
        # The invoice's metadata stays with the invoice.
        metadata={},
        transfer_group=None,
    )


def _payment(
    world: World, invoice: Resource, intent: Resource, *, id: str, amount: int | None = None
) -> Resource:
    return {
        "id": id,
        "object": KIND,
        "amount_paid": None,
        "amount_requested": invoice["amount_remaining"] if amount is None else amount,
        "created": world.now(),
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }


def _paid(world: World, payment: Resource) -> None:
    payment |= {
        "amount_paid": payment["amount_requested"],
        "status": "paid",
        "status_transitions": {"canceled_at": None, "paid_at": world.now()},
    }
    world.put(payment)


def _payable(world: World, invoice: Resource) -> Resource:
    if invoice["status"] not in PAYABLE:
        raise ApiError(NOT_PAYABLE[invoice["status"]], is_outcome=True)
    payment = of(world, invoice)
    assert payment is not None, "An invoice with something due has a payment."
    return payment
