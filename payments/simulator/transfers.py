"""Transfers: part of what a buyer paid, moved from the platform to a seller's account."""

from __future__ import annotations

from typing import Any

from payments.simulator import (
    account_balances,
    account_requirements,
    accounts,
    amounts,
    balance,
    events,
    lists,
    metadata,
    payment_intents,
    regions,
)
from payments.simulator.errors import ApiError, Uncovered
from payments.simulator.state import Resource, World, new_id

KIND = "transfer"
URL = "/v1/transfers"
DESCRIPTION_LENGTH_MAX = 5000

COVERED = {
    "amount",
    "currency",
    "description",
    "destination",
    "metadata",
    "source_transaction",
    "source_type",
    "transfer_group",
}


def create(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Move money to a connected account. Raises what Stripe answers where that cannot be."""
    for name in params:
        if name not in COVERED:
            raise Uncovered(f"{name} of a transfer", param=name)
    if "amount" not in params:
        raise Uncovered("a transfer without an amount", param="amount")
    if params.get("source_type", "card") != "card":
        raise Uncovered(f"source_type={params['source_type']}", param="source_type")
    amount: int = params["amount"]
    if amount < 1:
        raise ApiError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    currency = amounts.check_currency(params["currency"], param="currency")
    notes = metadata.merged({}, params.get("metadata"))
    _check_description(params)
    account = _destination(world, params["destination"])
    charge = None
    if "source_transaction" in params:
        charge = _source(world, params["source_transaction"], amount, currency)
    elif amount > account_balances.available(world, currency):
        raise insufficient("The platform's available balance does not cover the transfer.")
    transfer = _transfer(world, params, account["id"], currency=currency, notes=notes)
    available_on = world.now()
    if charge is not None:
        available_on = max(available_on, _line_of(world, charge)["available_on"])
        _group(world, transfer, charge, is_given="transfer_group" in params)
    transfer["balance_transaction"] = account_balances.add_line(
        world,
        transfer,
        amount=-amount,
        type="transfer",
        category="transfer",
        description=transfer["description"],
        available_on=available_on,
    )["id"]
    account_balances.move(
        world,
        account["id"],
        amount,
        currency,
        source=transfer["id"],
        available_on=available_on,
    )
    world.add(transfer)
    events.emit(world, "transfer.created", transfer)
    return transfer


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return world.get(KIND, arguments["transfer"], param="transfer")


def update(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Change a transfer's metadata or description: nothing else of it can be changed."""
    transfer = world.get(KIND, arguments["transfer"], param="transfer")
    _check_description(params)
    before = {name: transfer[name] for name in ("description", "metadata")}
    transfer["metadata"] = metadata.merged(transfer["metadata"], params.get("metadata"))
    transfer["description"] = params.get("description", transfer["description"])
    changed = {name: value for name, value in before.items() if transfer[name] != value}
    if changed:
        world.put(transfer)
        events.emit(world, "transfer.updated", transfer, previous=changed)
    return transfer


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    def is_wanted(transfer: Resource) -> bool:
        return all(
            transfer[name] == params[name]
            for name in ("destination", "transfer_group")
            if name in params
        )

    return lists.page(world, KIND, URL, params, is_wanted)


def insufficient(message: str) -> ApiError:
    return ApiError(message, code="balance_insufficient", is_outcome=True)


def _destination(world: World, id: str) -> Resource:
    """The account to transfer to, if it may receive transfers from here."""
    account = world.find(accounts.KIND, id)
    if account is None or account["closed"]:
        raise ApiError(f"No such destination: '{id}'", code="resource_missing", param="destination")
    if not account_requirements.can_receive_transfers(account):
        raise ApiError(
            "Your destination account needs to have at least one of the following capabilities"
            " enabled: transfers, crypto_transfers, legacy_payments",
            code="insufficient_capabilities_for_transfer",
            is_outcome=True,
        )
    country = account["identity"]["country"]
    if not regions.may_transfer(world.country, country):
        raise ApiError(
            f"Funds can't be sent to accounts located in {country} from a platform in"
            f" {world.country}: see https://docs.stripe.com/connect/cross-border-payouts",
            code="transfers_not_allowed",
            param="destination",
            is_outcome=True,
        )
    return account


def _source(world: World, id: str, amount: int, currency: str) -> Resource:
    """The charge that pays for a transfer, if enough of it was not transferred yet."""
    charge = world.get(payment_intents.CHARGE, id, param="source_transaction", status=400)
    if not charge["paid"]:
        raise ApiError(
            f"Charge {id} was not paid: nothing of it can be transferred.",
            param="source_transaction",
            is_outcome=True,
        )
    settled = _line_of(world, charge)
    if currency != settled["currency"]:
        raise ApiError(
            f"The currency of source_transaction's balance transaction ({settled['currency']})"
            f" must be the transfer's currency ({currency}).",
            param="currency",
        )
    taken = _taken_from(world, id)
    if taken + amount > settled["amount"]:
        raise ApiError(
            "Transfers using this transaction as a source must not exceed the source amount of"
            f" {amounts.show(settled['amount'], currency)}. (Transfers using this source already"
            f" amount to {amounts.show(taken, currency)}.)",
            param="amount",
            is_outcome=True,
        )
    return charge


def _line_of(world: World, charge: Resource) -> Resource:
    return world.get(balance.KIND, charge["balance_transaction"])


def _taken_from(world: World, charge: str) -> int:
    """What was transferred from a charge. Reversals do not count: our reading."""
    (total,) = world.database.execute(
        "SELECT coalesce(sum(json_extract(body, '$.amount')), 0) FROM object"
        " WHERE kind = 'transfer' AND json_extract(body, '$.source_transaction') = ?",
        (charge,),
    ).fetchone()
    return int(total)


def _group(world: World, transfer: Resource, charge: Resource, *, is_given: bool) -> None:
    """A transfer belongs to the group of its charge; where there is none, Stripe names one.

    https://docs.stripe.com/connect/separate-charges-and-transfers#transfer-availability
    """
    if is_given:
        return
    if charge["transfer_group"] is None:
        charge["transfer_group"] = f"group_{charge['payment_intent'] or charge['id']}"
        world.put(charge)
    transfer["transfer_group"] = charge["transfer_group"]


def _check_description(params: dict[str, Any]) -> None:
    if len(params.get("description", "")) > DESCRIPTION_LENGTH_MAX:
        raise ApiError(
            f"Invalid string: must be at most {DESCRIPTION_LENGTH_MAX} characters",
            param="description",
        )


def _transfer(
    world: World, params: dict[str, Any], account: str, *, currency: str, notes: dict[str, str]
) -> Resource:
    id = new_id("tr")
    return {
        "id": id,
        "object": KIND,
        "amount": params["amount"],
        "amount_reversed": 0,
        "balance_transaction": None,
        "created": world.now(),
        "currency": currency,
        "description": params.get("description"),
        "destination": account,
        "destination_payment": new_id("py"),
        "livemode": False,
        "metadata": notes,
        "reversals": lists.as_list([], f"{URL}/{id}/reversals"),
        "reversed": False,
        "source_transaction": params.get("source_transaction"),
        "source_type": "card",
        "transfer_group": params.get("transfer_group"),
    }
