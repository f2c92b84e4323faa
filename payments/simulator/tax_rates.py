"""Tax rates, and what they make of an amount."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from payments.simulator import covered, events, lists, metadata
from payments.simulator.errors import ApiError
from payments.simulator.state import Resource, World, new_id

KIND = "tax_rate"
URL = "/v1/tax_rates"

# https://docs.stripe.com/invoicing/taxes/tax-rates: for an item, and for a whole invoice.
RATES_MAX, DEFAULT_RATES_MAX = 10, 5
DISPLAY_NAME_LENGTH_MAX, JURISDICTION_LENGTH_MAX = 50, 50
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_PERCENTAGE = re.compile(r"\d{1,3}(\.\d{1,4}0*)?", re.ASCII)

_TEXTS = ("country", "description", "display_name", "jurisdiction", "state", "tax_type")
# Why a customer pays no tax, by its `tax_exempt`.
EXEMPT_REASONS = {"exempt": "customer_exempt", "reverse": "reverse_charge"}


def create(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Make a tax rate. Its percentage and whether it is inclusive never change again."""
    percentage = params["percentage"]
    if not _PERCENTAGE.fullmatch(percentage) or Fraction(percentage) > 100:
        raise ApiError(
            "Tax rates have a percentage from 0 to 100, with at most 4 decimal places.",
            param="percentage",
        )
    _check(params)
    rate: Resource = {
        "id": new_id("txr"),
        "object": KIND,
        "active": params.get("active", True),
        **{name: params.get(name) for name in _TEXTS},
        "created": world.now(),
        "effective_percentage": None,
        "flat_amount": None,
        "inclusive": params["inclusive"],
        "jurisdiction_level": None,
        "livemode": False,
        "metadata": metadata.merged({}, params.get("metadata")),
        "percentage": float(percentage),
        "rate_type": None,
    }
    world.add(rate)
    events.emit(world, "tax_rate.created", rate)
    return rate


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return world.get(KIND, arguments["tax_rate"], param="tax_rate")


def update(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    rate = world.get(KIND, arguments["tax_rate"], param="tax_rate")
    _check(params)
    before = dict(rate)
    for name in {*_TEXTS, "active"} & params.keys():
        rate[name] = params[name]
    rate["metadata"] = metadata.merged(rate["metadata"], params.get("metadata"))
    previous = events.differences(before, rate)
    if previous:
        world.put(rate)
        events.emit(world, "tax_rate.updated", rate, previous=previous)
    return rate


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    def is_wanted(rate: Resource) -> bool:
        return all(rate[name] == params[name] for name in ("active", "inclusive") if name in params)

    return lists.page(world, KIND, URL, params, is_wanted)


def chosen(
    world: World, ids: list[str] | str, *, param: str, rates_max: int = RATES_MAX
) -> list[Resource]:
    """The rates that a caller named; empty text names none. Raises for one that is archived."""
    if len(ids) > rates_max:
        raise ApiError(f"Array {param} exceeded maximum {rates_max} allowed elements.", param=param)
    rates = []
    for number, id in enumerate(ids):
        rate = world.get(KIND, id, param=f"{param}[{number}]", status=400)
        if not rate["active"]:
            raise ApiError(f"The tax rate {id} is not active.", param=f"{param}[{number}]")
        rates.append(rate)
    return rates


def taxes_of(amount: int, rates: list[Resource]) -> list[Resource]:
    """What each rate takes of an amount, rounded by itself, halves away from zero.

    Inclusive rates are in the amount; exclusive ones come on top of what is left of it.
    """
    shares = [_share(rate) for rate in rates]
    inside = sum(
        (share for share, rate in zip(shares, rates, strict=True) if rate["inclusive"]),
        Fraction(0),
    )
    net = Fraction(amount) / (1 + inside)
    within = [
        _rounded(net * share) if rate["inclusive"] else 0
        for share, rate in zip(shares, rates, strict=True)
    ]
    taxable = amount - sum(within)
    return [
        {
            "amount": part if rate["inclusive"] else _rounded(taxable * share),
            "tax_behavior": "inclusive" if rate["inclusive"] else "exclusive",
            "tax_rate_details": {"tax_rate": rate["id"]},
            "taxability_reason": "not_available",
            "taxable_amount": taxable,
            "type": "tax_rate_details",
        }
        for share, rate, part in zip(shares, rates, within, strict=True)
    ]


def exempted(taxes: list[Resource], exempt: str) -> list[Resource]:
    """The taxes of a customer who pays none: each is 0, and says why."""
    return [each | {"amount": 0, "taxability_reason": EXEMPT_REASONS[exempt]} for each in taxes]


def part_of(taxes: list[Resource], *, start: int, part: int, whole: int) -> list[Resource]:
    """The taxes of a part of an amount, in proportion, where `start` of it was dealt with before.

    The parts of an amount have its taxes together, to the smallest unit.
    """

    def share(value: int) -> int:
        if not whole:
            return 0
        return _rounded(Fraction(value * (start + part), whole)) - _rounded(
            Fraction(value * start, whole)
        )

    return [
        each | {name: share(each[name]) for name in ("amount", "taxable_amount")} for each in taxes
    ]


def added(taxes: list[Resource]) -> list[Resource]:
    """The taxes of several lines, added up by rate."""
    totals: dict[str, Resource] = {}
    for each in taxes:
        key = each["tax_rate_details"]["tax_rate"]
        if key in totals:
            for name in ("amount", "taxable_amount"):
                totals[key][name] += each[name]
        else:
            totals[key] = dict(each)
    return list(totals.values())


def sum_of(taxes: list[Resource], behavior: str) -> int:
    return sum(each["amount"] for each in taxes if each["tax_behavior"] == behavior)


def _share(rate: Resource) -> Fraction:
    # The shortest text of the number is what the caller wrote: 8.875 stays 8.875.
    return Fraction(str(rate["percentage"])) / 100


def _rounded(value: Fraction) -> int:
    whole = (2 * abs(value.numerator) + value.denominator) // (2 * value.denominator)
    return whole if value >= 0 else -whole


def _check(params: dict[str, Any]) -> None:
    covered.check_length(params.get("display_name"), DISPLAY_NAME_LENGTH_MAX, param="display_name")
    covered.check_length(params.get("jurisdiction"), JURISDICTION_LENGTH_MAX, param="jurisdiction")
    country = params.get("country")
    if country is not None and not _COUNTRY.fullmatch(country):
        raise ApiError("Country is a code of two letters.", param="country")
