"""Customer balances: what is credited to a customer, or still owed, for the next invoice."""

from __future__ import annotations

from typing import Any

from payments.simulator import customers, lists
from payments.simulator.state import Resource, World, new_id

KIND = "customer_balance_transaction"


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    world.get(customers.KIND, arguments["customer"], param="customer")
    found = world.get(KIND, arguments["transaction"], param="transaction")
    if found["customer"] != arguments["customer"]:
        return world.get(KIND, "", param="transaction")
    return found


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    customer = world.get(customers.KIND, arguments["customer"], param="customer")["id"]

    def is_wanted(line: Resource) -> bool:
        return line["customer"] == customer and (
            "invoice" not in params or line["invoice"] == params["invoice"]
        )

    return lists.page(
        world, KIND, f"{customers.URL}/{customer}/balance_transactions", params, is_wanted
    )


def of(world: World, customer: str, currency: str) -> int:
    """What a customer's balance is in a currency: below zero where credit is left."""
    for line in world.newest(KIND):
        if line["customer"] == customer and line["currency"] == currency:
            balance: int = line["ending_balance"]
            return balance
    return 0


def move(
    world: World,
    customer: str,
    *,
    amount: int,
    currency: str,
    type: str,
    invoice: str | None = None,
    credit_note: str | None = None,
) -> Resource:
    """Change a balance: a credit is below zero. The customer shows its own currency's."""
    ending_balance = of(world, customer, currency) + amount
    line: Resource = {
        "id": new_id("cbtxn"),
        "object": KIND,
        "amount": amount,
        "checkout_session": None,
        "created": world.now(),
        "credit_note": credit_note,
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "description": None,
        "ending_balance": ending_balance,
        "invoice": invoice,
        "livemode": False,
        "metadata": {},
        "type": type,
    }
    world.add(line)
    body = world.get(customers.KIND, customer)
    before = dict(body)
    body["currency"] = body["currency"] or currency
    if body["currency"] == currency:
        body["balance"] = ending_balance
    customers.save(world, body, before)
    return line
