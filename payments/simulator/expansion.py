"""Expansion: ids in an answer replaced by the objects that they name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from payments.simulator import (
    balance,
    checkout,
    credit_notes,
    customer_balances,
    customers,
    disputes,
    invoice_lines,
    invoice_payments,
    invoices,
    lists,
    payment_intents,
    payouts,
    refunds,
    reversals,
    tax_transactions,
    transfers,
)
from payments.simulator.errors import ApiError, Uncovered
from payments.simulator.state import Resource, World

# https://docs.stripe.com/api/expanding_objects
DEPTH_MAX = 4

# What an id in a field names. None: it can be expanded, and never has a value here.
FIELDS: dict[str, dict[str, str | None]] = {
    checkout.KIND: {
        "payment_intent": payment_intents.KIND,
        "customer": None,
        "invoice": None,
        "payment_link": None,
        "setup_intent": None,
        "subscription": None,
    },
    payment_intents.KIND: {
        "latest_charge": payment_intents.CHARGE,
        "application": None,
        "customer": customers.KIND,
        "on_behalf_of": None,
        "review": None,
        "source": None,
    },
    payment_intents.CHARGE: {
        "balance_transaction": balance.KIND,
        "payment_intent": payment_intents.KIND,
        "application": None,
        "application_fee": None,
        "customer": customers.KIND,
        "failure_balance_transaction": balance.KIND,
        "on_behalf_of": None,
        "review": None,
        "source_transfer": None,
    },
    disputes.KIND: {
        "charge": payment_intents.CHARGE,
        "payment_intent": payment_intents.KIND,
    },
    refunds.KIND: {
        "balance_transaction": balance.KIND,
        "failure_balance_transaction": balance.KIND,
        "charge": payment_intents.CHARGE,
        "customer": customers.KIND,
        "payment_intent": payment_intents.KIND,
        "source_transfer_reversal": None,
        "transfer_reversal": None,
    },
    balance.KIND: {"source": ""},
    transfers.KIND: {
        "balance_transaction": balance.KIND,
        "source_transaction": payment_intents.CHARGE,
    },
    reversals.KIND: {
        "balance_transaction": balance.KIND,
        "source_refund": None,
        "transfer": transfers.KIND,
    },
    payouts.KIND: {
        "application_fee": None,
        "balance_transaction": balance.KIND,
        "failure_balance_transaction": None,
        "original_payout": None,
        "reversed_by": None,
    },
    customers.KIND: {"default_source": None, "test_clock": None},
    customers.TAX_ID: {"customer": customers.KIND},
    customer_balances.KIND: {
        "checkout_session": None,
        "credit_note": credit_notes.KIND,
        "customer": customers.KIND,
        "invoice": invoices.KIND,
    },
    invoice_lines.ITEM: {
        "customer": customers.KIND,
        "invoice": invoices.KIND,
        "discounts": None,
        "test_clock": None,
    },
    invoices.KIND: {
        "customer": customers.KIND,
        "account_tax_ids": None,
        "application": None,
        "default_payment_method": None,
        "default_source": None,
        "discounts": None,
        "latest_revision": None,
        "on_behalf_of": None,
        "test_clock": None,
    },
    invoice_payments.KIND: {"invoice": invoices.KIND},
    "invoice_payment.payment": {
        "charge": None,
        "payment_intent": payment_intents.KIND,
        "payment_record": None,
    },
    credit_notes.KIND: {
        "customer": customers.KIND,
        "customer_balance_transaction": customer_balances.KIND,
        "invoice": invoices.KIND,
    },
    "credit_note.refunds": {"refund": refunds.KIND},
}
# Parts of an object, or lists of them, in which there is something to expand.
PARTS = {
    (invoice_payments.KIND, "payment"): "invoice_payment.payment",
    (credit_notes.KIND, "refunds"): "credit_note.refunds",
}
# What the source of a balance transaction may be.
SOURCES = (
    payment_intents.CHARGE,
    refunds.KIND,
    disputes.KIND,
    transfers.KIND,
    reversals.KIND,
    payouts.KIND,
)
# Valid for Stripe; what they name is nothing that the simulator has.
UNCOVERED = {
    (payment_intents.KIND, "payment_method"),
    (refunds.KIND, "payment_method"),
    (transfers.KIND, "destination"),
    (transfers.KIND, "destination_payment"),
    (reversals.KIND, "destination_payment_refund"),
    (payouts.KIND, "destination"),
    (customers.KIND, "cash_balance"),
    (customers.KIND, "invoice_credit_balance"),
    (customers.KIND, "sources"),
    (customers.KIND, "subscriptions"),
    (invoices.KIND, "confirmation_secret"),
    (invoices.KIND, "lines"),
}


def _refunds_of(world: World, charge: Resource) -> Resource:
    found = list(world.newest(refunds.KIND, match={"charge": charge["id"]}))
    return lists.as_list(found, f"/v1/charges/{charge['id']}/refunds")


# Fields that an answer has only where they are asked for.
INCLUDED: dict[tuple[str, str], Callable[[World, Resource], Resource]] = {
    (checkout.KIND, "line_items"): checkout.items_of,
    (payment_intents.CHARGE, "refunds"): _refunds_of,
    (customers.KIND, "tax_ids"): customers.included_tax_ids,
    (invoices.KIND, "payments"): invoice_payments.included,
    (tax_transactions.KIND, "line_items"): tax_transactions.included_lines,
}


def expand(world: World, answer: Resource, paths: list[str]) -> Resource:
    """Expand each path, such as `payment_intent.latest_charge` or `data.charge`, in an answer."""
    for path in paths:
        names = path.split(".")
        if len(names) > DEPTH_MAX:
            raise ApiError(
                f"You cannot expand more than {DEPTH_MAX} levels of a property. Property: {path}",
                param="expand",
            )
        _expand(world, answer, names, path)
    return answer


def _expand(
    world: World, into: Resource, names: list[str], path: str, part: str | None = None
) -> None:
    kind = part or into["object"]
    if kind == "list":
        if names[0] != "data":
            raise _refused(path)
        for each in into["data"]:
            if names[1:]:
                _expand(world, each, names[1:], path)
        return
    name, rest = names[0], names[1:]
    if (kind, name) in PARTS and rest:
        parts = into[name] if isinstance(into[name], list) else [into[name]]
        for each in parts:
            _expand(world, each, rest, path, PARTS[kind, name])
        return
    value = _value(world, into, name, path, kind)
    into[name] = value
    if rest and isinstance(value, dict):
        _expand(world, value, rest, path)


def _value(world: World, into: Resource, name: str, path: str, kind: str) -> Any:
    if (kind, name) in INCLUDED:
        return into.get(name) or INCLUDED[kind, name](world, into)
    if (kind, name) in UNCOVERED:
        raise Uncovered(f"expanding {name}", param="expand")
    if name not in FIELDS.get(kind, {}):
        raise _refused(path)
    value, named = into.get(name), FIELDS[kind][name]
    if not isinstance(value, str) or named is None:
        return value
    kinds = [named] if named else SOURCES
    return next((found for each in kinds if (found := world.find(each, value))), value)


def _refused(path: str) -> ApiError:
    return ApiError(f"This property cannot be expanded ({path}).", param="expand")
