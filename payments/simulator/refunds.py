"""Refunds: all or part of a charge given back, never more than is left of it."""

from __future__ import annotations

from typing import Any

from payments.simulator import amounts, balance, events, lists, metadata, payment_intents
from payments.simulator.errors import ApiError, Uncovered
from payments.simulator.state import Resource, World, new_id

KIND = "refund"


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
    refund["balance_transaction"] = balance.of_refund(world, refund)["id"]
    world.add(refund)
    _take_off(world, charge, amount)
    events.emit(world, "refund.created", refund)
    _settle(world, refund)
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
    def is_wanted(refund: Resource) -> bool:
        return all(
            refund[name] == params[name] for name in ("charge", "payment_intent") if name in params
        )

    return lists.page(world, KIND, "/v1/refunds", params, is_wanted)


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
    return {
        "id": new_id("re"),
        "object": KIND,
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": world.now(),
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": {
            "card": {"reference_status": "pending", "type": "refund"},
            "type": "card",
        },
        "metadata": notes,
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


def _take_off(world: World, charge: Resource, amount: int) -> None:
    before = {name: charge[name] for name in ("amount_refunded", "refunded")}
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    changed = {name: value for name, value in before.items() if charge[name] != value}
    world.put(charge)
    events.emit(world, "charge.refunded", charge, previous=changed)


def _settle(world: World, refund: Resource) -> None:
    """The bank names its reference: days later in life, at once here."""
    before = refund["destination_details"]
    refund["destination_details"] = {
        "card": {
            "reference": "0000000000000000",
            "reference_status": "available",
            "reference_type": "acquirer_reference_number",
            "type": "refund",
        },
        "type": "card",
    }
    world.put(refund)
    events.emit(world, "refund.updated", refund, previous={"destination_details": before})
