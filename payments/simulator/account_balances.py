"""Balances: what the platform has, and what each connected account has."""

from __future__ import annotations

import json
from typing import Any

from payments.simulator import accounts, balance, events, regions
from payments.simulator.state import Resource, World

_PLATFORM = """
SELECT json_extract(body, '$.currency'), json_extract(body, '$.available_on') <= ?,
    sum(json_extract(body, '$.net'))
FROM object WHERE kind = 'balance_transaction' GROUP BY 1, 2
"""
_ACCOUNT = """
SELECT currency, available_on <= ?, sum(amount) FROM account_line WHERE account = ? GROUP BY 1, 2
"""
_DUE = """
SELECT body FROM object WHERE kind = 'balance_transaction'
    AND json_extract(body, '$.status') = 'pending' AND json_extract(body, '$.available_on') <= ?
ORDER BY json_extract(body, '$.available_on'), seq
"""
_PENDING = """
SELECT body FROM object WHERE kind = 'balance_transaction'
    AND json_extract(body, '$.status') = 'pending' ORDER BY seq
"""


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """The balance of the platform, or of the account named by the Stripe-Account header."""
    account = arguments.get("account")
    if account is None:
        return of_platform(world)
    country = accounts.open_account(world, account)["identity"]["country"] or world.country
    return _balance(of_account(world, account), country)


def of_platform(world: World) -> Resource:
    return _balance(_totals(world, _PLATFORM), world.country)


def of_account(world: World, account: str) -> dict[tuple[str, bool], int]:
    """Amounts by currency and whether they are available."""
    return _totals(world, _ACCOUNT, account)


def available(world: World, currency: str) -> int:
    """What the platform can transfer or pay out now, in a currency."""
    return _totals(world, _PLATFORM).get((currency, True), 0)


def move(
    world: World, account: str, amount: int, currency: str, *, source: str, available_on: int
) -> None:
    """Add to the balance of a connected account, or take from it."""
    world.database.execute(
        "INSERT INTO account_line (account, currency, available_on, amount, source)"
        " VALUES (?, ?, ?, ?, ?)",
        (account, currency, available_on, amount, source),
    )


def hasten(world: World, account: str) -> None:
    """Make available at once what is pending in a connected account, as if days had passed."""
    world.database.execute(
        "UPDATE account_line SET available_on = ? WHERE account = ? AND available_on > ?",
        (world.now(), account, world.now()),
    )


def hasten_platform(world: World) -> Resource:
    """Make available at once what the platform has pending, as if days had passed for it alone."""
    for (body,) in world.database.execute(_PENDING).fetchall():
        world.put({**json.loads(body), "available_on": world.now()})
    settle_due(world)
    return of_platform(world)


def settle_due(world: World) -> int:
    """Make available what has waited long enough, within a change. Returns how many lines."""
    due = [json.loads(body) for (body,) in world.database.execute(_DUE, (world.now(),))]
    for line in due:
        line["status"] = "available"
        world.put(line)
    # https://docs.stripe.com/api/events/types: not for what only takes away.
    if any(line["net"] > 0 for line in due):
        events.emit(world, "balance.available", of_platform(world))
    return len(due)


def is_due(world: World) -> bool:
    return world.database.execute(_DUE + " LIMIT 1", (world.now(),)).fetchone() is not None


def add_line(
    world: World,
    source: Resource,
    *,
    amount: int,
    type: str,
    category: str,
    description: str | None,
    available_on: int,
) -> Resource:
    """A balance transaction of the platform that no buyer caused, and that costs nothing."""
    line = balance._add(world, source, amount=amount, fee=0, type=type)
    line |= {
        "available_on": available_on,
        "description": description,
        "reporting_category": category,
        "status": "available" if available_on <= world.now() else "pending",
    }
    world.put(line)
    return line


def _totals(world: World, query: str, *values: str) -> dict[tuple[str, bool], int]:
    rows = world.database.execute(query, (world.now(), *values)).fetchall()
    return {(currency, bool(is_available)): total for currency, is_available, total in rows}


def _balance(totals: dict[tuple[str, bool], int], country: str) -> Resource:
    currencies = sorted({currency for currency, _is_available in totals})
    if not currencies:
        currencies = [regions.currency_of(country)]

    def amounts_of(is_available: bool) -> list[Resource]:
        return [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency in currencies
            for amount in [totals.get((currency, is_available), 0)]
        ]

    return {
        "object": "balance",
        "available": amounts_of(True),
        "livemode": False,
        "pending": amounts_of(False),
    }
