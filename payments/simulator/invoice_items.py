"""Invoice items: what a customer is billed for, on a draft or waiting for one."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

from payments.simulator import (
    amounts,
    covered,
    customers,
    events,
    invoice_lines,
    invoices,
    lists,
    metadata,
    tax_rates,
)
from payments.simulator.errors import ApiError, Uncovered
from payments.simulator.invoice_lines import ITEM
from payments.simulator.state import Resource, World, new_id

URL = "/v1/invoiceitems"

CHANGEABLE = {
    "amount",
    "description",
    "discountable",
    "metadata",
    "period",
    "price_data",
    "pricing",
    "quantity",
    "tax_rates",
    "unit_amount_decimal",
}
COVERED = CHANGEABLE | {"currency", "customer", "invoice"}
_WHOLE = re.compile(r"-?\d+(\.0+)?", re.ASCII)


def create(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Bill a customer for something: on a draft, or on an invoice to come."""
    covered.check(params, COVERED, "an invoice item")
    invoice = _draft(world, params["invoice"]) if "invoice" in params else None
    customer = _customer(world, params, invoice)
    currency = _currency(params, customer, invoice)
    now = world.now()
    item: Resource = {
        "id": new_id("ii"),
        "object": ITEM,
        "amount": 0,
        "currency": currency,
        "customer": customer["id"],
        "customer_account": None,
        "date": now,
        "description": None,
        "discountable": True,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": {},
        "net_amount": None,
        "parent": None,
        "period": {"end": now, "start": now},
        "pricing": None,
        "proration": False,
        "proration_details": None,
        "quantity": 1,
        "quantity_decimal": "1",
        "tax_rates": [],
        "test_clock": None,
    }
    if not {"amount", "unit_amount_decimal", "price_data", "pricing"} & params.keys():
        raise covered.missing("amount")
    _change(world, item, params)
    item["discountable"] = params.get("discountable", item["amount"] >= 0)
    world.add(item)
    if invoice is not None:
        before = deepcopy(invoice)
        invoice_lines.attach(world, item, invoice)
        events.emit(world, "invoiceitem.created", item)
        invoices.refresh(world, invoice)
        invoices.save(world, invoice, before)
    else:
        events.emit(world, "invoiceitem.created", item)
    return item


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return world.get(ITEM, arguments["invoiceitem"], param="id")


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    for param in ("created", "customer_account"):
        if param in params:
            raise Uncovered(f"listing invoice items by {param}", param=param)

    def is_wanted(item: Resource) -> bool:
        if "pending" in params and params["pending"] is not (item["invoice"] is None):
            return False
        return all(item[name] == params[name] for name in ("customer", "invoice") if name in params)

    return lists.page(world, ITEM, URL, params, is_wanted)


def update(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    item = world.get(ITEM, arguments["invoiceitem"], param="id")
    invoice = _draft(world, item["invoice"]) if item["invoice"] else None
    covered.check(params, CHANGEABLE, "an invoice item")
    _change(world, item, params)
    if "discountable" in params:
        item["discountable"] = params["discountable"]
    world.put(item)
    if invoice is not None:
        before = deepcopy(invoice)
        invoice_lines.renew(item, invoice)
        invoices.refresh(world, invoice)
        invoices.save(world, invoice, before)
    return item


def delete(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Delete an item that waits, or stands on a draft."""
    item = world.get(ITEM, arguments["invoiceitem"], param="id")
    invoice = _draft(world, item["invoice"]) if item["invoice"] else None
    world.remove(item["id"])
    events.emit(world, "invoiceitem.deleted", item)
    if invoice is not None:
        before = deepcopy(invoice)
        invoice_lines.detach(item, invoice)
        invoices.refresh(world, invoice)
        invoices.save(world, invoice, before)
    return {"id": item["id"], "object": ITEM, "deleted": True}


def _draft(world: World, id: str) -> Resource:
    """The draft that an item is on. Raises for an invoice that is finalized."""
    invoice = world.get(invoices.KIND, id, param="invoice", status=400)
    if invoice["status"] != "draft":
        raise ApiError(
            "Invalid invoice: This invoice is no longer editable",
            code="invoice_not_editable",
            param="invoice",
            is_outcome=True,
        )
    return invoice


def _customer(world: World, params: dict[str, Any], invoice: Resource | None) -> Resource:
    id = params.get("customer") or (invoice["customer"] if invoice is not None else None)
    if id is None:
        raise covered.missing("customer")
    customer = world.get(customers.KIND, id, param="customer", status=400)
    if invoice is not None and invoice["customer"] != id:
        raise ApiError(
            f"The invoice {invoice['id']} is of another customer than {id}.", param="invoice"
        )
    return customer


def _currency(params: dict[str, Any], customer: Resource, invoice: Resource | None) -> str:
    given = params.get("currency")
    default = invoice["currency"] if invoice is not None else customer["currency"]
    if not given and not default:
        raise covered.missing("currency")
    currency = amounts.check_currency(given or default, param="currency")
    if invoice is not None and currency != invoice["currency"]:
        raise ApiError(
            f"The currency of the item ({currency}) is not that of the invoice"
            f" ({invoice['currency']}).",
            param="currency",
        )
    return currency


def _change(world: World, item: Resource, params: dict[str, Any]) -> None:
    if "amount" in params and "quantity" in params:
        raise covered.exclusive("amount", "quantity")
    if "amount" in params and "unit_amount_decimal" in params:
        raise covered.exclusive("amount", "unit_amount_decimal")
    # No price and no product was ever made: the simulator has none.
    if "pricing" in params:
        world.get("price", params["pricing"].get("price", ""), param="pricing[price]", status=400)
    if "price_data" in params:
        world.get(
            "product", params["price_data"]["product"], param="price_data[product]", status=400
        )
    _price(item, params)
    if "description" in params:
        item["description"] = params["description"]
    if "period" in params:
        if params["period"]["end"] < params["period"]["start"]:
            raise ApiError("The end of a period is not before its start.", param="period[end]")
        item["period"] = {name: params["period"][name] for name in ("end", "start")}
    if "tax_rates" in params:
        item["tax_rates"] = tax_rates.chosen(world, params["tax_rates"], param="tax_rates")
    item["metadata"] = metadata.merged(item["metadata"], params.get("metadata"))


def _price(item: Resource, params: dict[str, Any]) -> None:
    """The amount, and the price that Stripe makes for just this item."""
    if not {"amount", "quantity", "unit_amount_decimal"} & params.keys():
        return
    quantity: int = 1 if "amount" in params else (item | params)["quantity"]
    if quantity < 0:
        raise ApiError(
            "Invalid non-negative integer", code="parameter_invalid_integer", param="quantity"
        )
    unit = params.get("unit_amount_decimal")
    if unit is None:
        old = item["pricing"]["unit_amount_decimal"] if item["pricing"] else "0"
        unit = str(params.get("amount", old))
    if not _WHOLE.fullmatch(unit):
        raise Uncovered("fractions of the smallest unit", param="unit_amount_decimal")
    amount = int(unit.partition(".")[0]) * quantity
    if abs(amount) > amounts.MAXIMUM:
        raise ApiError(
            f"Invalid integer: must be no more than {amounts.MAXIMUM}.",
            code="amount_too_large",
            param="amount",
        )
    item |= {
        "amount": amount,
        "pricing": {
            "price_details": {"price": new_id("price"), "product": new_id("prod", 14)},
            "type": "price_details",
            "unit_amount_decimal": str(int(unit.partition(".")[0])),
        },
        "quantity": quantity,
        "quantity_decimal": str(quantity),
    }
