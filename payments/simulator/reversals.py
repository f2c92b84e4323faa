"""Transfer reversals: a transfer taken back, whole or in part, while the seller still has it."""

from __future__ import annotations

from typing import Any

from payments.simulator import (
    account_balances,
    amounts,
    balance,
    events,
    lists,
    metadata,
    transfers,
)
from payments.simulator.errors import ApiError, Uncovered, missing
from payments.simulator.state import Resource, World, new_id

KIND = "transfer_reversal"
# As many as a transfer shows of itself.
SHOWN = 10
COVERED = {"amount", "description", "metadata", "refund_application_fee"}


def create(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Take back a transfer. Raises where less is left of it, or in the seller's balance."""
    for name in params:
        if name not in COVERED or (name == "refund_application_fee" and params[name]):
            raise Uncovered(f"{name} of a transfer reversal", param=name)
    if params.get("amount", 1) < 1:
        raise ApiError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    notes = metadata.merged({}, params.get("metadata"))
    transfer = world.get(transfers.KIND, arguments["id"], param="id")
    amount = _amount(world, transfer, params)
    available_on = max(world.now(), _line_of(world, transfer)["available_on"])
    reversal: Resource = {
        "id": new_id("trr"),
        "object": KIND,
        "amount": amount,
        "balance_transaction": None,
        "created": world.now(),
        "currency": transfer["currency"],
        "destination_payment_refund": new_id("pyr"),
        "metadata": notes,
        "source_refund": None,
        "transfer": transfer["id"],
    }
    reversal["balance_transaction"] = account_balances.add_line(
        world,
        reversal,
        amount=amount,
        type="transfer_refund",
        category="transfer_reversal",
        description=params.get("description") or None,
        available_on=available_on,
    )["id"]
    account_balances.move(
        world,
        transfer["destination"],
        -amount,
        transfer["currency"],
        source=reversal["id"],
        available_on=available_on,
    )
    world.add(reversal)
    _take_off(world, transfer, reversal)
    return reversal


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return _get(world, arguments)


def update(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Change a reversal's metadata: nothing else of it can be changed."""
    reversal = _get(world, arguments)
    before = reversal["metadata"]
    reversal["metadata"] = metadata.merged(before, params.get("metadata"))
    if reversal["metadata"] != before:
        world.put(reversal)
        transfer = world.get(transfers.KIND, reversal["transfer"])
        shown = transfer["reversals"]["data"]
        transfer["reversals"]["data"] = [
            reversal if each["id"] == reversal["id"] else each for each in shown
        ]
        world.put(transfer)
    return reversal


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    transfer = world.get(transfers.KIND, arguments["id"], param="id")
    return lists.page(
        world,
        KIND,
        f"{transfers.URL}/{transfer['id']}/reversals",
        params,
        lambda reversal: reversal["transfer"] == transfer["id"],
    )


def _amount(world: World, transfer: Resource, params: dict[str, Any]) -> int:
    """How much to take back, checked against what is left and what the seller has."""
    left = transfer["amount"] - transfer["amount_reversed"]
    currency = transfer["currency"]
    amount: int = params.get("amount", left)
    if amount > left or left == 0:
        raise ApiError(
            f"The reversal ({amounts.show(amount, currency)}) is more than is left of the transfer"
            f" ({amounts.show(left, currency)}).",
            param="amount",
            is_outcome=True,
        )
    totals = account_balances.of_account(world, transfer["destination"])
    # The reference says "enough balance", the guide "available balance". What is pending is counted
    # here: a sale that is taken back at once does not make a seller a debtor.
    held = sum(total for (each, _is_available), total in totals.items() if each == currency)
    if amount > held:
        raise transfers.insufficient(
            f"The balance of {transfer['destination']} ({amounts.show(held, currency)}) does not"
            f" cover the reversal ({amounts.show(amount, currency)})."
        )
    return amount


def _take_off(world: World, transfer: Resource, reversal: Resource) -> None:
    before = {name: transfer[name] for name in ("amount_reversed", "reversed")}
    transfer["amount_reversed"] += reversal["amount"]
    transfer["reversed"] = transfer["amount_reversed"] == transfer["amount"]
    shown = [reversal, *transfer["reversals"]["data"]]
    transfer["reversals"] |= {
        "data": shown[:SHOWN],
        "has_more": transfer["reversals"]["has_more"] or len(shown) > SHOWN,
    }
    world.put(transfer)
    changed = {name: value for name, value in before.items() if transfer[name] != value}
    events.emit(world, "transfer.reversed", transfer, previous=changed)


def _line_of(world: World, transfer: Resource) -> Resource:
    return world.get(balance.KIND, transfer["balance_transaction"])


def _get(world: World, arguments: dict[str, str]) -> Resource:
    reversal = world.get(KIND, arguments["id"], param="id")
    if reversal["transfer"] != arguments["transfer"]:
        raise missing(KIND, arguments["id"], param="id")
    return reversal
