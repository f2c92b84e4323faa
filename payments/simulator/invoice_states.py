"""What becomes of an invoice: finalized, sent, paid, void, uncollectible, late."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from payments.simulator import (
    amounts,
    covered,
    customer_balances,
    customers,
    events,
    invoice_payments,
    invoices,
)
from payments.simulator.errors import ApiError, Uncovered
from payments.simulator.state import Resource, World

# From which states each verb may be said: the table of
# https://docs.stripe.com/invoicing/integration/workflow-transitions, and of "send" what its
# reference says: a draft is finalized first, and a paid one is sent without asking for money.
ALLOWED = {
    "finalize": frozenset({"draft"}),
    "mark_uncollectible": frozenset({"open"}),
    "pay": invoice_payments.PAYABLE,
    "send": frozenset({"draft", "open", "paid"}),
    "void": frozenset({"open", "uncollectible"}),
}
_NOT_OPEN = "You can only pass in open invoices. This invoice isn't open."
_PAID_IN_PART = "Invoices with `paid` payments cannot be voided."
REFUSALS = {
    "finalize": "This invoice is already finalized, you can't re-finalize a non-draft invoice.",
    "mark_uncollectible": _NOT_OPEN,
    "send": "This invoice cannot be sent right now.",
    "void": _NOT_OPEN,
}


def finalize(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Make a draft final: with a number, a page to pay on, and a payment that waits.

    With automatic collection it is sent, too.
    """
    invoice = _invoice(world, arguments, "finalize")
    if "auto_advance" in params:
        invoice["auto_advance"] = params["auto_advance"]
    is_sent = invoice["auto_advance"]
    _finalize(world, invoice)
    if is_sent:
        events.emit(world, "invoice.sent", invoice)
    return invoice


def send(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Send an invoice, which is finalized for it. No mail is sent, as in Stripe's test mode."""
    invoice = _invoice(world, arguments, "send")
    _send(world, invoice)
    return invoice


def void(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Take a finalized invoice back, for good. What it says stays as it is."""
    invoice = _invoice(world, arguments, "void")
    if invoice["amount_paid"]:
        raise ApiError(_PAID_IN_PART, is_outcome=True)
    before = deepcopy(invoice)
    invoice |= {
        "auto_advance": False,
        "status": "void",
        "status_transitions": invoice["status_transitions"] | {"voided_at": world.now()},
    }
    invoice_payments.cancel(world, invoice, reason="void_invoice")
    invoices.save(world, invoice, before, "invoice.voided")
    return invoice


def mark_uncollectible(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Write an open invoice off. It can still be paid, or voided."""
    invoice = _invoice(world, arguments, "mark_uncollectible")
    before = deepcopy(invoice)
    invoice |= {
        "status": "uncollectible",
        "status_details": {"uncollectible": {"reason": "user_forgiven"}},
        "status_transitions": invoice["status_transitions"]
        | {"marked_uncollectible_at": world.now()},
    }
    invoices.save(world, invoice, before, "invoice.marked_uncollectible")
    customers.set_delinquent(world, invoice["customer"], is_delinquent=False)
    return invoice


def pay(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Call an invoice paid outside of Stripe. No customer here has a card that could be charged."""
    covered.check(params, {"paid_out_of_band"}, "paying an invoice")
    invoice = _invoice(world, arguments, "pay")
    if not params.get("paid_out_of_band"):
        raise ApiError(
            "There is no default payment method set on this Customer or Invoice, and none was"
            " given.",
            is_outcome=True,
        )
    invoice_payments.cancel(world, invoice, reason="automatic")
    invoice_payments.settle(world, invoice, amount_paid_off_stripe=invoice["amount_remaining"])
    return invoice


def advance_due(world: World) -> None:
    """Do what time does: finalize and send drafts, say what is due soon, and what is late."""
    # A draft may be late as soon as it is final: so until nothing is due any more.
    while due := world.due(invoices.KIND):
        for invoice in due:
            if invoice["status"] == "draft":
                _advance(world, invoice)
            else:
                _remind(world, invoice)


def _invoice(world: World, arguments: dict[str, str], verb: str) -> Resource:
    """The invoice that a request is about. Raises where its state does not allow the verb."""
    invoice = world.get(invoices.KIND, arguments["invoice"], param="id")
    status = invoice["status"]
    if status in ALLOWED[verb]:
        return invoice
    if verb == "pay":
        if status == "draft":
            # Stripe finalizes it on the way; its pages do not say with what consequences.
            raise Uncovered("paying a draft", param="invoice")
        message = invoice_payments.NOT_PAYABLE[status]
    elif verb == "void" and status == "paid":
        message = _PAID_IN_PART
    elif verb == "mark_uncollectible" and status == "uncollectible":
        message = "This invoice has already been marked uncollectible."
    else:
        message = REFUSALS[verb]
    raise ApiError(message, is_outcome=True)


def _finalize(world: World, invoice: Resource) -> None:
    before = deepcopy(invoice)
    invoices.refresh(world, invoice)
    start, total, currency = invoice["starting_balance"], invoice["total"], invoice["currency"]
    owed = start + total
    # What is too little to charge is left to the customer's next invoice.
    due = owed if owed >= amounts.MINIMUM.get(currency, 1) else 0
    if due:
        amounts.check_charge(due, currency, param="")
    now = world.now()
    invoice |= {
        "amount_due": due,
        "amount_remaining": due,
        "automatically_finalizes_at": None,
        "effective_at": invoice["effective_at"] or now,
        "ending_balance": 0 if due else owed,
        "hosted_invoice_url": f"{world.base_url}{invoices.PAGES}{invoice['id']}",
        "invoice_pdf": f"{world.base_url}{invoices.PAGES}{invoice['id']}/pdf",
        "number": invoice["number"] or customers.next_number(world, invoice["customer"]),
        "status": "open",
        "status_transitions": invoice["status_transitions"] | {"finalized_at": now},
    }
    moved = invoice["ending_balance"] - start
    if moved:
        customer_balances.move(
            world,
            invoice["customer"],
            amount=moved,
            currency=currency,
            type="invoice_too_small" if owed > 0 and not due else "applied_to_invoice",
            invoice=invoice["id"],
        )
    if due:
        invoice_payments.start(world, invoice)
    invoices.save(world, invoice, before, "invoice.finalized")
    if not due:
        invoice_payments.settle(world, invoice, attempted=True)


def _send(world: World, invoice: Resource) -> None:
    if invoice["status"] == "draft":
        _finalize(world, invoice)
    events.emit(world, "invoice.sent", invoice)


def _remind(world: World, invoice: Resource) -> None:
    """Say that an open invoice will be due, or that it is late."""
    is_late = invoice["due_date"] <= world.now()
    type = "invoice.overdue" if is_late else "invoice.will_be_due"
    invoices.save(world, invoice, invoice, type)
    if is_late:
        customers.set_delinquent(world, invoice["customer"], is_delinquent=True)


def _advance(world: World, invoice: Resource) -> None:
    """Finalize and send a draft whose hour is over. Where that fails, the draft says why."""
    before = deepcopy(invoice)
    try:
        _send(world, invoice)
    except ApiError as error:
        invoice = before | {
            "auto_advance": False,
            "automatically_finalizes_at": None,
            "last_finalization_error": error.body()["error"],
        }
        invoices.save(world, invoice, before, "invoice.finalization_failed")
