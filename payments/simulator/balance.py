"""Balance transactions: what charges, refunds and disputes do to the account's balance."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from payments.simulator import lists, settlement
from payments.simulator.state import Resource, World, new_id

KIND = "balance_transaction"

# A fee as it often is: 2.9 % and 30 of the smallest unit. What Stripe takes differs by contract.
FEE_PER_THOUSAND, FEE_FIXED = 29, 30
# What a dispute costs, and once more to counter it; invented as well.
DISPUTE_FEE = 1500
# Of a card's payment, and of a bank debit.
AVAILABLE_AFTER_SECONDS = 2 * 24 * 3600
DEBITED_AFTER_SECONDS = 7 * 24 * 3600


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

    return lists.page(world, KIND, "/v1/balance_transactions", params, is_wanted, by=("source",))


def of_charge(world: World, charge: Resource, *, type: str = "charge") -> Resource:
    """What a payment brings in; `type` is "payment" where no card paid."""
    settled = settlement.of(world, charge["amount"], charge["currency"])
    fee = min(settled.amount, (settled.amount * FEE_PER_THOUSAND + 500) // 1000 + FEE_FIXED)
    return _add(
        world,
        charge,
        amount=settled.amount,
        fee=fee,
        type=type,
        category="charge",
        currency=settled.currency,
        rate=settled.rate,
        description=charge["description"],
        available_on=world.now()
        + (DEBITED_AFTER_SECONDS if type == "payment" else AVAILABLE_AFTER_SECONDS),
    )


def of_refund(world: World, refund: Resource, *, type: str = "refund") -> Resource:
    """The whole amount goes back, at the rate of today; the fee of the charge does not."""
    settled = settlement.of(world, refund["amount"], refund["currency"])
    return _add(
        world,
        refund,
        amount=-settled.amount,
        fee=0,
        type=type,
        category="refund",
        currency=settled.currency,
        rate=settled.rate,
        available_on=_with(world, refund["charge"]),
    )


def of_failed_payment(world: World, charge: Resource) -> Resource:
    """A debit that was expected does not come, and what it would have cost is not owed."""
    expected = world.get(KIND, charge["balance_transaction"])
    return _reversal(
        world,
        expected,
        charge,
        type="payment_failure_refund",
        category="charge_failure",
        fee=-expected["fee"],
    )


def of_failed_refund(world: World, refund: Resource) -> Resource:
    """What a refund took is there again, to the unit, whatever the rate is by now.

    https://docs.stripe.com/reports/balance-transaction-types: a type of its own for cards alone.
    """
    taken = world.get(KIND, refund["balance_transaction"])
    type = "refund_failure" if taken["type"] == "refund" else taken["type"]
    category = type if type == "refund_failure" else "refund"
    return _reversal(world, taken, refund, type=type, category=category)


def of_dispute(world: World, dispute: Resource) -> Resource:
    """The disputed amount is withdrawn, with a fee that never comes back."""
    settled = settlement.of(world, dispute["amount"], dispute["currency"])
    return _add(
        world,
        dispute,
        amount=-settled.amount,
        fee=DISPUTE_FEE,
        type="adjustment",
        category="dispute",
        currency=settled.currency,
        rate=settled.rate,
        description=f"Chargeback withdrawal for {dispute['charge']}",
        fee_description="Dispute fee",
        available_on=_with(world, dispute["charge"]),
    )


def of_changed_dispute(world: World, dispute: Resource, more: int) -> Resource:
    """The disputed amount is another one since: the difference is withdrawn, or comes back."""
    settled = settlement.of(world, abs(more), dispute["currency"])
    return _add(
        world,
        dispute,
        amount=-settled.amount if more > 0 else settled.amount,
        fee=0,
        type="adjustment",
        category="dispute" if more > 0 else "dispute_reversal",
        currency=settled.currency,
        rate=settled.rate,
        description=f"Chargeback change for {dispute['charge']}",
        available_on=_with(world, dispute["charge"]),
    )


def of_won_dispute(world: World, dispute: Resource) -> list[Resource]:
    """What the dispute withdrew is reinstated; its fee is not."""
    return [
        _reversal(
            world,
            world.get(KIND, taken["id"]),
            dispute,
            type="adjustment",
            category="dispute_reversal",
            description=f"Chargeback reversal for {dispute['charge']}",
        )
        for taken in dispute["balance_transactions"]
    ]


def of_countered_dispute(world: World, dispute: Resource, *, is_returned: bool = False) -> Resource:
    """The fee for an answer to a dispute, or its return once the dispute is won."""
    settled = settlement.of(world, 0, dispute["currency"])
    line = _add(
        world,
        dispute,
        amount=DISPUTE_FEE if is_returned else -DISPUTE_FEE,
        fee=0,
        type="stripe_fee",
        category="fee",
        currency=settled.currency,
        description="Card Dispute Countered Fee" + (" returned" if is_returned else ""),
        available_on=world.now(),
    )
    # Our reading: it is billed beside the dispute, and names no object.
    line["source"] = None
    world.put(line)
    return line


def _with(world: World, charge: str) -> int:
    """When something is taken of a charge: from what is pending of it, or from what is there."""
    line = world.get(KIND, world.get("charge", charge)["balance_transaction"])
    return max(world.now(), int(line["available_on"]))


def _reversal(
    world: World,
    taken: Resource,
    source: Resource,
    *,
    type: str,
    category: str,
    description: str | None = None,
    fee: int = 0,
) -> Resource:
    return _add(
        world,
        source,
        amount=-taken["amount"],
        fee=fee,
        type=type,
        category=category,
        currency=taken["currency"],
        rate=taken["exchange_rate"],
        description=description,
        available_on=max(world.now(), taken["available_on"]),
    )


def _add(
    world: World,
    source: Resource,
    *,
    amount: int,
    fee: int,
    type: str,
    category: str = "",
    currency: str = "",
    rate: Any = None,
    description: str | None = None,
    fee_description: str = "Simulated processing fees",
    available_on: int | None = None,
) -> Resource:
    currency = currency or source["currency"]
    if available_on is None:
        available_on = world.now() + AVAILABLE_AFTER_SECONDS
    line: Resource = {
        "id": new_id("txn"),
        "object": KIND,
        "amount": amount,
        "available_on": available_on,
        "balance_type": "payments",
        "created": world.now(),
        "currency": currency,
        "description": description,
        "exchange_rate": rate,
        "fee": fee,
        "fee_details": [
            {
                "amount": fee,
                "application": None,
                "currency": currency,
                "description": fee_description,
                "type": "stripe_fee",
            }
        ]
        if fee
        else [],
        "net": amount - fee,
        "reporting_category": category or type,
        "source": source["id"],
        "status": "available" if available_on <= world.now() else "pending",
        "type": type,
    }
    world.add(line)
    return line
