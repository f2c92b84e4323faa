"""Payouts: what is available, sent to a bank; the platform's own, and those of its sellers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from payments.simulator import (
    account_balances,
    account_requirements,
    accounts,
    amounts,
    balance,
    events,
    lists,
)
from payments.simulator.errors import ApiError
from payments.simulator.state import Resource, World, new_id

KIND = "payout"
URL = "/v1/payouts"


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return world.get(KIND, arguments["payout"], param="payout")


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    def is_wanted(payout: Resource) -> bool:
        if not lists.was_at(payout["arrival_date"], params.get("arrival_date")):
            return False
        return all(
            payout[name] == params[name] for name in ("destination", "status") if name in params
        )

    return lists.page(world, KIND, URL, params, is_wanted)


def balance_transactions(
    world: World, arguments: dict[str, str], params: dict[str, Any]
) -> Resource:
    """Balance transactions, or only those that a payout took along, itself included."""
    if "payout" not in params:
        return balance.list_(world, arguments, params)
    world.get(KIND, params["payout"], param="payout", status=400)
    taken = set(world.private(params["payout"]))
    return balance.list_(world, arguments, params, only=taken)


def pay_out(world: World, currency: str) -> Resource:
    """Make an automatic payout of all that is available and was not paid out, and let it arrive.

    Raises where there is nothing.
    """
    currency = amounts.check_currency(currency, param="currency")
    lines = list(_unpaid(world, currency))
    total = sum(line["net"] for line in lines)
    if total <= 0:
        raise ApiError(f"Nothing in {currency} is available to be paid out.", status=409)
    payout = _payout(world, total, currency)
    own = account_balances.add_line(
        world,
        payout,
        amount=-total,
        type="payout",
        category="payout",
        description=payout["description"],
        available_on=world.now(),
    )
    payout["balance_transaction"] = own["id"]
    world.add(payout, private=[line["id"] for line in [*lines, own]])
    events.emit(world, "payout.created", payout)
    for change, type in (
        ({"status": "paid"}, "payout.paid"),
        ({"reconciliation_status": "completed"}, "payout.reconciliation_completed"),
    ):
        before = {name: payout[name] for name in change}
        payout |= change
        world.put(payout)
        events.emit(world, type, payout, previous=before)
    return payout


def drain(world: World, account: str) -> dict[str, int]:
    """Pay out all that a connected account has, pending or not. Returns amounts by currency."""
    capabilities = account_requirements.capabilities(accounts.open_account(world, account))
    if capabilities.get(account_requirements.PAYOUTS, {}).get("status") != "active":
        raise ApiError(f"Payouts of the account {account} are not enabled.", status=409)
    account_balances.hasten(world, account)
    sent: dict[str, int] = {}
    for (currency, _is_available), total in account_balances.of_account(world, account).items():
        if total > 0:
            account_balances.move(
                world, account, -total, currency, source=new_id("po"), available_on=world.now()
            )
            sent[currency] = total
    return sent


def _unpaid(world: World, currency: str) -> Iterator[Resource]:
    """What is available in a currency, and in no payout."""
    paid = {id for payout in world.newest(KIND) for id in world.private(payout["id"])}
    for line in world.newest(balance.KIND):
        if (
            line["currency"] == currency
            and line["id"] not in paid
            and line["available_on"] <= world.now()
        ):
            yield line


def _payout(world: World, amount: int, currency: str) -> Resource:
    return {
        "id": new_id("po"),
        "object": KIND,
        "amount": amount,
        "application_fee": None,
        "application_fee_amount": None,
        "arrival_date": world.now(),
        "automatic": True,
        "balance_transaction": None,
        "created": world.now(),
        "currency": currency,
        "description": "STRIPE PAYOUT",
        "destination": new_id("ba"),
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": False,
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "payout_method": None,
        "reconciliation_status": "in_progress",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": "in_transit",
        "trace_id": None,
        "type": "bank_account",
    }
