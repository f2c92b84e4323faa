"""Refunds: all or part of a charge given back, never more than is left of it."""

from __future__ import annotations

from typing import Any

from payments.simulator import (
    amounts,
    balance,
    disputes,
    events,
    lists,
    metadata,
    payment_intents,
    schedule,
)
from payments.simulator.errors import ApiError, Uncovered
from payments.simulator.state import Resource, World, new_id

KIND = "refund"

# https://docs.stripe.com/api/refunds/object#refund_object-failure_reason
FAILURES = (
    "charge_for_pending_refund_disputed",
    "declined",
    "expired_or_canceled_card",
    "insufficient_funds",
    "lost_or_stolen_card",
    "merchant_request",
    "unknown",
)
# How long a test card's refund takes to end; a bank debit's waits for a control.
ENDED_AFTER_SECONDS = 600


def create(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Refund a charge. Raises what Stripe answers where nothing, or too little, is left."""
    for param in (
        "currency",
        "customer",
        "instructions_email",
        "origin",
        "refund_application_fee",
        "reverse_transfer",
    ):
        if param in params and params[param] is not False:
            raise Uncovered(f"{param} of a refund", param=param)
    if params.get("amount", 1) < 1:
        raise ApiError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    notes = metadata.merged({}, params.get("metadata"))
    charge = _charge(world, params)
    disputes.check_refundable(world, charge)
    left = charge["amount_captured"] - charge["amount_refunded"]
    if left == 0:
        raise ApiError(
            f"Charge {charge['id']} has already been refunded.",
            code="charge_already_refunded",
            is_outcome=True,
        )
    amount: int = params.get("amount", left)
    if amount > left:
        raise ApiError(
            f"Refund amount ({amounts.show(amount, charge['currency'])}) is greater than unrefunded"
            f" amount on charge ({amounts.show(left, charge['currency'])})",
            param="amount",
            is_outcome=True,
        )
    refund = _refund(world, charge, amount=amount, reason=params.get("reason"), notes=notes)
    by_card = charge["payment_method_details"]["type"] == "card"
    kind = "refund" if by_card else "payment_refund"
    refund["balance_transaction"] = balance.of_refund(world, refund, type=kind)["id"]
    world.add(refund)
    _take_off(world, charge, amount)
    events.emit(world, "refund.created", refund)
    if by_card:
        _begin(world, charge, refund)
    disputes.after_refund(world, charge)
    return refund


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return world.get(KIND, arguments["refund"], param="refund")


def update(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Change a refund's metadata: nothing else of it can be changed."""
    refund = world.get(KIND, arguments["refund"], param="refund")
    before = refund["metadata"]
    refund["metadata"] = metadata.merged(before, params.get("metadata"))
    if refund["metadata"] != before:
        world.put(refund)
        events.emit(world, "refund.updated", refund, previous={"metadata": before})
    return refund


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    by = ("charge", "payment_intent")
    return lists.page(world, KIND, "/v1/refunds", params, lambda refund: True, by=by)


def succeed(world: World, id: str) -> Resource:
    """The bank paid a pending refund out."""
    refund = world.get(KIND, id, param="refund")
    if refund["status"] != "pending":
        raise ApiError(f"The refund {id} is {refund['status']}, not pending.", status=409)
    refund["status"] = "succeeded"
    refund["pending_reason"] = None
    previous = {"status": "pending"}
    if refund["destination_details"]["type"] == "card":
        previous["destination_details"] = refund["destination_details"]
        refund["destination_details"] = _referenced()
    world.put(refund)
    events.emit(world, "refund.updated", refund, previous=previous)
    return refund


def fail(world: World, id: str, *, reason: str = "unknown") -> Resource:
    """The bank sends a refund back, even one that had succeeded: the money is here again.

    What was refunded of the charge is less by it, so that it can be refunded in another try.
    """
    if reason not in FAILURES:
        raise ApiError(f"failure_reason is one of {', '.join(FAILURES)}.", param="failure_reason")
    refund = world.get(KIND, id, param="refund")
    if refund["status"] not in {"pending", "succeeded"}:
        raise ApiError(f"The refund {id} is {refund['status']}.", status=409)
    previous = {
        "failure_balance_transaction": None,
        "failure_reason": None,
        "status": refund["status"],
    }
    refund |= {
        "failure_balance_transaction": balance.of_failed_refund(world, refund)["id"],
        "failure_reason": reason,
        "pending_reason": None,
        "status": "failed",
    }
    world.put(refund)
    events.emit(world, "refund.updated", refund, previous=previous)
    events.emit(world, "refund.failed", refund)
    charge = world.get(payment_intents.CHARGE, refund["charge"])
    before = {name: charge[name] for name in ("amount_refunded", "refunded")}
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    world.put(charge)
    changed = {name: value for name, value in before.items() if charge[name] != value}
    events.emit(world, "charge.updated", charge, previous=changed)
    return refund


def fail_pending(world: World, charge_id: str) -> None:
    """A charge was disputed: what was to be refunded of it and is not yet, is not any more."""
    for refund in list(world.newest(KIND, match={"charge": charge_id})):
        if refund["status"] == "pending":
            fail(world, refund["id"], reason="charge_for_pending_refund_disputed")


def end_by_card(world: World, id: str, *, status: str) -> None:
    """The end that a test card brings, unless a control brought another one before."""
    refund = world.get(KIND, id)
    if status == "succeeded" and refund["status"] == "pending":
        succeed(world, id)
    elif status == "failed" and refund["status"] == "succeeded":
        fail(world, id)


def _charge(world: World, params: dict[str, Any]) -> Resource:
    """The charge to refund, named itself or by its payment intent."""
    if "charge" in params and "payment_intent" in params:
        raise ApiError(
            "You may only specify one of these parameters: charge, payment_intent.",
            code="parameters_exclusive",
            param="charge",
        )
    if "charge" in params:
        charge = world.get(payment_intents.CHARGE, params["charge"], param="charge")
    elif "payment_intent" in params:
        intent = world.get(payment_intents.KIND, params["payment_intent"], param="payment_intent")
        if intent["status"] != "succeeded":
            raise ApiError(
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
                param="payment_intent",
                is_outcome=True,
            )
        charge = world.get(payment_intents.CHARGE, intent["latest_charge"])
    else:
        raise ApiError(
            "One of the following params should be provided for this request: payment_intent or"
            " charge.",
            code="parameter_missing",
        )
    if not charge["paid"]:
        raise ApiError(
            f"Charge {charge['id']} failed: there is nothing to refund.",
            code="charge_not_refundable",
            is_outcome=True,
        )
    return charge


def _refund(
    world: World, charge: Resource, *, amount: int, reason: str | None, notes: dict[str, str]
) -> Resource:
    method = charge["payment_method_details"]["type"]
    by_card = method == "card"
    is_pending = not by_card or payment_intents.card_of(world, charge).refund[0] == "pending"
    return {
        "id": new_id("re" if by_card else "pyr"),
        "object": KIND,
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": world.now(),
        "currency": charge["currency"],
        "customer": None,
        "customer_account": None,
        "destination_details": {
            "card": {"reference_status": "pending", "type": "refund"},
            "type": "card",
        }
        if by_card
        # The SDK has no class for where a debit's refund goes: it is a transfer of the bank.
        else {"type": "us_bank_transfer" if method == "us_bank_account" else "eu_bank_transfer"},
        "failure_balance_transaction": None,
        "failure_reason": None,
        "metadata": notes,
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        # A debit's refund goes out days later: https://docs.stripe.com/refunds#pending-refunds
        "pending_reason": "processing" if is_pending else None,
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "pending" if is_pending else "succeeded",
        "transfer_reversal": None,
    }


def _take_off(world: World, charge: Resource, amount: int) -> None:
    before = {name: charge[name] for name in ("amount_refunded", "refunded")}
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    changed = {name: value for name, value in before.items() if charge[name] != value}
    world.put(charge)
    events.emit(world, "charge.refunded", charge, previous=changed)


def _begin(world: World, charge: Resource, refund: Resource) -> None:
    """The bank takes the refund on. What becomes of it later hangs on the card."""
    if refund["status"] == "succeeded":
        _settle(world, refund)
    _first, last = payment_intents.card_of(world, charge).refund
    if last != refund["status"]:
        schedule.later(world, ENDED_AFTER_SECONDS, "end_refund", refund["id"], status=last)


def _settle(world: World, refund: Resource) -> None:
    """The bank names its reference: days later in life, at once here."""
    before = refund["destination_details"]
    refund["destination_details"] = _referenced()
    world.put(refund)
    events.emit(world, "refund.updated", refund, previous={"destination_details": before})


def _referenced() -> Resource:
    return {
        "card": {
            "reference": "0000000000000000",
            "reference_status": "available",
            "reference_type": "acquirer_reference_number",
            "type": "refund",
        },
        "type": "card",
    }
