"""Invoice lines: what the items of an invoice become on it, with taxes and totals."""

from __future__ import annotations

from typing import Any

from payments.simulator import lists, tax_rates
from payments.simulator.errors import ApiError
from payments.simulator.state import Resource, World, new_id

KIND = "line_item"
ITEM = "invoiceitem"

# https://docs.stripe.com/api/invoiceitems/create
LINES_MAX = 250


def pending(world: World, customer: str, currency: str) -> list[Resource]:
    """A customer's items that wait for an invoice, the newest first."""
    return [
        item
        for item in world.newest(ITEM)
        if item["customer"] == customer and item["invoice"] is None and item["currency"] == currency
    ]


def attach(world: World, item: Resource, invoice: Resource) -> None:
    """Make an item a line of a draft, after those that it has. The caller saves the draft."""
    lines = invoice["lines"]["data"]
    if len(lines) >= LINES_MAX:
        raise ApiError(
            f"An invoice has at most {LINES_MAX} items.", param="invoice", is_outcome=True
        )
    item["invoice"] = invoice["id"]
    world.put(item)
    lines.append(_line(item))


def detach(item: Resource, invoice: Resource) -> None:
    """Take an item's line off a draft. The caller saves the draft, and deletes the item."""
    invoice["lines"]["data"] = [
        line for line in invoice["lines"]["data"] if item_of(line) != item["id"]
    ]


def renew(item: Resource, invoice: Resource) -> None:
    """Show a changed item on its line, which keeps its id. The caller saves the draft."""
    invoice["lines"]["data"] = [
        _line(item) | {"id": line["id"]} if item_of(line) == item["id"] else line
        for line in invoice["lines"]["data"]
    ]


def item_of(line: Resource) -> str:
    item: str = line["parent"]["invoice_item_details"]["invoice_item"]
    return item


def add_up(world: World, invoice: Resource) -> None:
    """Work out the taxes of each line of a draft, and the invoice's totals.

    Who is exempt pays no tax, and less than the price where the tax is in it:
    https://docs.stripe.com/tax/tax-rates
    """
    lines = invoice["lines"]["data"]
    exempt = invoice["customer_tax_exempt"]
    backed_out = 0
    for line in lines:
        # An item's own rates go before those of the invoice.
        rates = world.get(ITEM, item_of(line))["tax_rates"] or invoice["default_tax_rates"]
        line["taxes"] = tax_rates.taxes_of(line["amount"], rates)
        if exempt in tax_rates.EXEMPT_REASONS:
            backed_out += tax_rates.sum_of(line["taxes"], "inclusive")
            line["taxes"] = tax_rates.exempted(line["taxes"], exempt)
    taxes = [tax for line in lines for tax in line["taxes"]]
    subtotal = sum(line["amount"] for line in lines)
    net = subtotal - tax_rates.sum_of(taxes, "inclusive") - backed_out
    invoice |= {
        "subtotal": subtotal,
        "subtotal_excluding_tax": net,
        "total": subtotal + tax_rates.sum_of(taxes, "exclusive") - backed_out,
        "total_excluding_tax": net,
        "total_taxes": tax_rates.added(taxes),
    }


def page(lines: list[Resource], url: str, params: dict[str, Any]) -> Resource:
    """A page of lines, in the order in which they stand."""
    limit = params.get("limit", lists.LIMIT)
    if not 1 <= limit <= lists.LIMIT_MAX:
        raise ApiError(
            f"This value must be between 1 and {lists.LIMIT_MAX}.",
            code="parameter_invalid_integer",
            param="limit",
        )
    ids = [line["id"] for line in lines]
    first, last = 0, len(lines)
    if "starting_after" in params:
        first = _place(ids, params["starting_after"], "starting_after") + 1
    if "ending_before" in params:
        last = _place(ids, params["ending_before"], "ending_before")
    if "ending_before" in params and "starting_after" not in params:
        found = lines[max(0, last - limit) : last]
        return lists.as_list(found, url, has_more=last > limit)
    found = lines[first : min(last, first + limit)]
    return lists.as_list(found, url, has_more=last - first > limit)


def _place(ids: list[str], id: str, param: str) -> int:
    if id not in ids:
        raise ApiError(f"No such line item: '{id}'", code="resource_missing", param=param)
    return ids.index(id)


def _line(item: Resource) -> Resource:
    return {
        "id": new_id("il"),
        "object": KIND,
        "amount": item["amount"],
        "currency": item["currency"],
        "description": item["description"],
        "discount_amounts": [],
        "discountable": item["discountable"],
        "discounts": [],
        "invoice": item["invoice"],
        "livemode": False,
        "metadata": item["metadata"],
        "parent": {
            "invoice_item_details": {
                "invoice_item": item["id"],
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": None,
            },
            "subscription_item_details": None,
            "type": "invoice_item_details",
        },
        "period": item["period"],
        "pretax_credit_amounts": [],
        "pricing": item["pricing"],
        "quantity": item["quantity"],
        "quantity_decimal": item["quantity_decimal"],
        "subscription": None,
        "subtotal": item["amount"],
        "taxes": [],
    }
