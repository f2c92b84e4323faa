"""Tax calculations: what is due where the account is registered. Nothing is collected by them."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from payments.simulator import amounts, covered, customers, lists, metadata
from payments.simulator.errors import ApiError, missing
from payments.simulator.state import Resource, World, new_id

KIND = "tax.calculation"
LINE = "tax.calculation_line_item"
URL = "/v1/tax/calculations"

# https://docs.stripe.com/tax/custom: a calculation can be used for 90 days.
LASTS_SECONDS = 90 * 24 * 3600
LINES_MAX = 100
# Of what is sold; Stripe's own default stands in an account's tax settings.
TAX_CODE = "txcd_10000000"
COVERED = {"currency", "customer_details", "line_items"}
LINE_COVERED = {"amount", "metadata", "quantity", "reference", "tax_behavior"}
DETAILS_COVERED = {"address", "address_source", "tax_ids", "taxability_override"}

_REGISTRATIONS = "tax_registrations"
_PERCENTAGE = re.compile(r"\d{1,2}(\.\d{1,4})?", re.ASCII)


def register(world: World, wanted: dict[str, Any]) -> Resource:
    """Take {"DE": "19"}: where the account collects, and the rate there. {} ends all of it."""
    for country, percentage in wanted.items():
        if not re.fullmatch("[A-Z]{2}", country, re.ASCII):
            raise ApiError("A registration is in a country, by two letters.", param=country)
        if not isinstance(percentage, str) or not _PERCENTAGE.fullmatch(percentage):
            raise ApiError("A percentage is a decimal number below 100, as text.", param=country)
    world.set(_REGISTRATIONS, wanted)
    return {"registrations": wanted}


def create(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Calculate the tax of each line where its customer is."""
    covered.check(params, COVERED, "a tax calculation")
    if "customer_details" not in params:
        raise covered.missing("customer_details")
    if not 1 <= len(params["line_items"]) <= LINES_MAX:
        raise ApiError(f"A calculation has 1 to {LINES_MAX} line items.", param="line_items")
    currency = amounts.check_currency(params["currency"], param="currency")
    details = _details(params["customer_details"])
    percentage, reason = _rate(world, details)
    lines = [
        _line(each, number, details, percentage, reason)
        for number, each in enumerate(params["line_items"])
    ]
    references = [line["reference"] for line in lines]
    if len(set(references)) < len(references):
        raise ApiError("References of line items are unique.", param="line_items")
    calculation = _calculation(world, currency, details, lines, percentage, reason)
    world.add(calculation, private={"lines": lines})
    return calculation


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    found = world.get(KIND, arguments["calculation"], param="calculation")
    if found["expires_at"] <= world.now():
        raise missing("tax calculation", found["id"], param="calculation")
    return found


def lines(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    found = retrieve(world, arguments, {})
    covered.check(params, {"limit"}, "a list of a calculation's lines")
    stored = world.private(found["id"])["lines"]
    limit = params.get("limit", lists.LIMIT)
    url = f"{URL}/{found['id']}/line_items"
    return lists.as_list(stored[:limit], url, has_more=len(stored) > limit)


def _rate(world: World, details: Resource) -> tuple[str, str]:
    """The percentage for a customer, and why: https://docs.stripe.com/tax/zero-tax"""
    country = details["address"]["country"]
    percentage = world.setting(_REGISTRATIONS, {}).get(country)
    override = details["taxability_override"]
    if percentage is None:
        return "0.0", "not_collecting"
    if override != "none":
        return "0.0", override
    if any(each["type"] == "eu_vat" for each in details["tax_ids"]):
        # The account is in no country of the EU: a business there accounts for the tax itself.
        return "0.0", "reverse_charge"
    return percentage, "standard_rated"


def _details(given: dict[str, Any]) -> Resource:
    covered.check(given, DETAILS_COVERED, "a tax calculation", path="customer_details")
    if not given.get("address"):
        raise covered.missing("customer_details[address]")
    if "address_source" not in given:
        raise covered.missing("customer_details[address_source]")
    address = {name: given["address"].get(name) or None for name in customers.ADDRESS}
    if not re.fullmatch("[A-Z]{2}", address["country"] or "", re.ASCII):
        raise ApiError(
            "We could not determine the customer's tax location based on the provided customer"
            " address.",
            code="customer_tax_location_invalid",
            param="customer_details[address]",
        )
    return {
        "address": address,
        "address_source": given["address_source"],
        "ip_address": None,
        "tax_ids": [
            {"type": each["type"], "value": each["value"]} for each in given.get("tax_ids", [])
        ],
        "taxability_override": given.get("taxability_override", "none"),
    }


def _line(
    given: dict[str, Any], number: int, details: Resource, percentage: str, reason: str
) -> Resource:
    path = f"line_items[{number}]"
    covered.check(given, LINE_COVERED, "a calculation's line", path=path)
    amount, behavior = given["amount"], given.get("tax_behavior", "exclusive")
    if amount < 0 or amount > amounts.MAXIMUM:
        raise ApiError("Invalid integer", code="parameter_invalid_integer", param=f"{path}[amount]")
    share = Fraction(percentage) / 100
    tax = _rounded(amount * share / (1 + share) if behavior == "inclusive" else amount * share)
    country = details["address"]["country"]
    return {
        "id": new_id("tax_li"),
        "object": LINE,
        "amount": amount,
        "amount_tax": tax,
        "livemode": False,
        "metadata": metadata.merged({}, given.get("metadata"), param=f"{path}[metadata]"),
        "performance_location": None,
        "product": None,
        "quantity": given.get("quantity", 1),
        "reference": given.get("reference") or f"L{number + 1}",
        "tax_behavior": behavior,
        "tax_breakdown": [
            {
                "amount": tax,
                "jurisdiction": {
                    "country": country,
                    "display_name": country,
                    "level": "country",
                    "state": None,
                },
                "sourcing": "destination",
                "tax_rate_details": {
                    "display_name": "VAT",
                    "percentage_decimal": percentage,
                    "tax_type": "vat",
                },
                "taxability_reason": reason,
                "taxable_amount": _taxable(amount, tax, behavior, reason),
            }
        ],
        "tax_code": TAX_CODE,
    }


def _taxable(amount: int, tax: int, behavior: str, reason: str) -> int:
    if reason != "standard_rated":
        return 0
    return amount - tax if behavior == "inclusive" else amount


def _calculation(
    world: World,
    currency: str,
    details: Resource,
    lines: list[Resource],
    percentage: str,
    reason: str,
) -> Resource:
    def tax_of(behavior: str) -> int:
        return sum(line["amount_tax"] for line in lines if line["tax_behavior"] == behavior)

    behaviors = sorted({line["tax_behavior"] for line in lines})
    return {
        "id": new_id("taxcalc"),
        "object": KIND,
        "amount_total": sum(line["amount"] for line in lines) + tax_of("exclusive"),
        "currency": currency,
        "customer": None,
        "customer_details": details,
        "expires_at": world.now() + LASTS_SECONDS,
        "livemode": False,
        "ship_from_details": None,
        "shipping_cost": None,
        "tax_amount_exclusive": tax_of("exclusive"),
        "tax_amount_inclusive": tax_of("inclusive"),
        "tax_breakdown": [
            {
                "amount": tax_of(behavior),
                "inclusive": behavior == "inclusive",
                "tax_rate_details": {
                    "country": details["address"]["country"],
                    "flat_amount": None,
                    "percentage_decimal": percentage,
                    "rate_type": "percentage",
                    "state": None,
                    "tax_type": "vat",
                },
                "taxability_reason": reason,
                "taxable_amount": sum(
                    line["tax_breakdown"][0]["taxable_amount"]
                    for line in lines
                    if line["tax_behavior"] == behavior
                ),
            }
            for behavior in behaviors
        ],
        "tax_date": world.now(),
    }


def _rounded(value: Fraction) -> int:
    """Halves away from zero: https://docs.stripe.com/tax/custom"""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)
