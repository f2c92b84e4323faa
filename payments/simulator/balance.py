"""Balance transactions: what a charge or a refund does to the account's balance."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from payments.simulator import lists
from payments.simulator.state import Resource, World, new_id

KIND = "balance_transaction"

# A fee as it often is: 2.9 % and 30 of the smallest unit. What Stripe takes differs by contract.
FEE_PER_THOUSAND, FEE_FIXED = 29, 30
AVAILABLE_AFTER_SECONDS = 2 * 24 * 3600


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return world.get(KIND, arguments["id"])


def list_(
    world: World,
    arguments: dict[str, str],
    params: dict[str, Any],
    *,
    only: Collection[str] | None = None,
) -> Resource:
    """Balance transactions; `only` those with these ids, where a payout asks for its own."""

    def is_wanted(line: Resource) -> bool:
        if only is not None and line["id"] not in only:
            return False
        return all(
            line[name] == params[name] for name in ("currency", "source", "type") if name in params
        )

    return lists.page(world, KIND, "/v1/balance_transactions", params, is_wanted)


def of_charge(world: World, charge: Resource) -> Resource:
    amount = charge["amount"]
    fee = min(amount, (amount * FEE_PER_THOUSAND + 500) // 1000 + FEE_FIXED)
    return _add(world, charge, amount=amount, fee=fee, type="charge")


def of_refund(world: World, refund: Resource) -> Resource:
    """The whole amount goes back; the fee of the charge does not."""
    return _add(world, refund, amount=-refund["amount"], fee=0, type="refund")


def _add(world: World, source: Resource, *, amount: int, fee: int, type: str) -> Resource:
    currency = source["currency"]
    line: Resource = {
        "id": new_id("txn"),
        "object": KIND,
        "amount": amount,
        "available_on": world.now() + AVAILABLE_AFTER_SECONDS,
        "balance_type": "payments",
        "created": world.now(),
        "currency": currency,
        "description": source["description"] if type == "charge" else None,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": [
            {
                "amount": fee,
                "application": None,
                "currency": currency,
                "description": "Simulated processing fees",
                "type": "stripe_fee",
            }
        ]
        if fee
        else [],
        "net": amount - fee,
        "reporting_category": type,
        "source": source["id"],
        "status": "pending",
        "type": type,
    }
    world.add(line)
    return line
