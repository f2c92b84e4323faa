"""Prices: what is computed can be computed again by hand, and what makes no sense is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licensing import prices
from licensing.models import Offer
from licensing.prices import Model
from marketplace.errors import InvalidInput, NotSupportedYet
from marketplace.models import Organization
from tests.make import make_offer
from tests.people import ApiClient

ClientFor = Callable[..., ApiClient]
TIERED = {
    "model": "per_unit",
    "unit": "work",
    "tiers": [
        {"up_to": 100, "amount_minor": 10, "per": 1},
        {"up_to": 1_000, "amount_minor": 5, "per": 1},
    ],
    "rate": {"amount_minor": 1, "per": 4},
}


def due(typed: dict[str, Any], **totals: int) -> list[dict[str, Any]]:
    return [line.as_dict() for line in prices.lines(prices.parse(typed), totals)]


def sums(typed: dict[str, Any], **totals: int) -> int:
    return prices.total_minor(prices.lines(prices.parse(typed), totals))


# --- computing --------------------------------------------------------------------------------


def test_each_tier_is_a_line_with_what_it_takes_to_compute_it_again() -> None:
    assert due(TIERED, works=1_006) == [
        {
            "kind": "license",
            "amount_minor": 1_000,
            "unit": "work",
            "quantity": 100,
            "rate": {"amount_minor": 10, "per": 1},
            "above": 0,
            "up_to": 100,
        },
        {
            "kind": "license",
            "amount_minor": 4_500,
            "unit": "work",
            "quantity": 900,
            "rate": {"amount_minor": 5, "per": 1},
            "above": 100,
            "up_to": 1_000,
        },
        {
            "kind": "license",
            # 6 × 1/4 lies between 1 and 2: it goes to the even one.
            "amount_minor": 2,
            "unit": "work",
            "quantity": 6,
            "rate": {"amount_minor": 1, "per": 4},
            "above": 1_000,
        },
    ]


@pytest.mark.parametrize(
    ("works", "lines", "total"),
    [(1, 1, 10), (99, 1, 990), (100, 1, 1_000), (101, 2, 1_005), (1_000, 2, 5_500)],
)
def test_a_tier_that_nothing_reaches_is_no_line(works: int, lines: int, total: int) -> None:
    found = due(TIERED, works=works)
    assert (len(found), sum(line["amount_minor"] for line in found)) == (lines, total)


@pytest.mark.parametrize(
    ("bytes_", "expected"), [(0, 0), (1, 0), (2, 0), (3, 1), (5, 1), (6, 2), (10, 2), (14, 4)]
)
def test_a_line_is_rounded_once_half_to_even(bytes_: int, expected: int) -> None:
    typed = {"model": "per_unit", "unit": "byte", "rate": {"amount_minor": 1, "per": 4}}
    assert sums(typed, bytes=bytes_) == expected


@pytest.mark.parametrize(
    ("works", "adjustment", "total"),
    [
        (1, {"kind": "minimum", "amount_minor": 490}, 500),
        (50, None, 500),
        (100, None, 1_000),
        (200, {"kind": "cap", "amount_minor": -500}, 1_000),
    ],
)
def test_minimum_and_cap_are_lines_of_their_own(
    works: int, adjustment: dict[str, Any] | None, total: int
) -> None:
    typed = {**TIERED, "minimum_minor": 500, "cap_minor": 1_000}
    *lines, last = due(typed, works=works)
    assert sum(line["amount_minor"] for line in [*lines, last]) == total
    assert (last if last["kind"] != "license" else None) == adjustment


AMOUNT = st.integers(0, 99_999_999)
PER = st.integers(1, prices.PER_MAX)


@st.composite
def per_unit(draw: Any) -> dict[str, Any]:
    ends = sorted(draw(st.sets(st.integers(1, prices.QUANTITY_MAX), max_size=5)))
    bounds = sorted(draw(st.tuples(AMOUNT, AMOUNT)))
    return {
        "model": "per_unit",
        "unit": "byte",
        "tiers": [{"up_to": end, "amount_minor": draw(AMOUNT), "per": draw(PER)} for end in ends],
        "rate": {"amount_minor": draw(st.integers(1, 99_999_999)), "per": draw(PER)},
        "minimum_minor": draw(st.sampled_from([None, bounds[0]])),
        "cap_minor": draw(st.sampled_from([None, max(bounds[1], 1)])),
    }


@given(per_unit(), st.integers(1, prices.QUANTITY_MAX))
def test_by_hand_with_fractions_it_comes_to_the_same(typed: dict[str, Any], count: int) -> None:
    """From what the lines say, and again from the definition of graduated tiers alone."""
    lines = due(typed, bytes=count)
    priced = [line for line in lines if line["kind"] == "license"]
    assert sum(line["quantity"] for line in priced) == count
    expected = 0
    steps = [*typed["tiers"], {"up_to": count, **typed["rate"]}]
    begin = 0
    for step in steps:
        end = min(step["up_to"], count)
        # Python rounds a fraction half to even, exactly.
        expected += round(Fraction(max(end - begin, 0) * step["amount_minor"], step["per"]))
        begin = max(begin, end)
    assert sum(line["amount_minor"] for line in priced) == expected
    for line in priced:
        rate = line["rate"]
        again = round(Fraction(line["quantity"] * rate["amount_minor"], rate["per"]))
        assert line["amount_minor"] == again
    least = expected if typed["minimum_minor"] is None else max(expected, typed["minimum_minor"])
    most = least if typed["cap_minor"] is None else min(least, typed["cap_minor"])
    assert sum(line["amount_minor"] for line in lines) == most


@pytest.mark.parametrize("model", Model)
def test_what_is_stored_reads_back_as_the_same_price(model: Model) -> None:
    price = prices.parse(prices.EXAMPLES[model])
    assert prices.parse(price.as_dict()) == price
    assert prices.load(price.as_dict(), 0) == price


def test_an_offer_from_before_prices_had_models_is_flat() -> None:
    assert prices.load(None, 500).as_dict() == {"model": "flat", "amount_minor": 500}
    assert prices.load(None, 0).as_dict() == {"model": "free"}


# --- what is refused --------------------------------------------------------------------------


def changed(place: str, value: Any) -> dict[str, Any]:
    """The tiered price with one place changed, `tiers.0.up_to` for example."""
    typed: Any = copy.deepcopy(TIERED)
    *way, last = place.split(".")
    inner = typed
    for step in way:
        inner = inner[int(step)] if step.isdigit() else inner[step]
    inner[last] = value
    return dict(typed)


FREE_TIER = {"up_to": 5, "amount_minor": 0, "per": 1}
REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": (None, "price"),
    "a number": (500, "price"),
    "no model": ({}, "price.model"),
    "an unknown model": ({"model": "auction"}, "price.model"),
    "a model of another type": ({"model": ["flat"]}, "price.model"),
    "a field too many": ({"model": "free", "amount_minor": 0}, "price.amount_minor"),
    "a field too few": ({"model": "flat"}, "price.amount_minor"),
    "a flat nothing": ({"model": "flat", "amount_minor": 0}, "price.amount_minor"),
    "a negative amount": ({"model": "flat", "amount_minor": -1}, "price.amount_minor"),
    "an amount with a point": ({"model": "flat", "amount_minor": 5.0}, "price.amount_minor"),
    "an amount as text": ({"model": "flat", "amount_minor": "5"}, "price.amount_minor"),
    "true as an amount": ({"model": "flat", "amount_minor": True}, "price.amount_minor"),
    "beyond Stripe": ({"model": "flat", "amount_minor": 100_000_000}, "price.amount_minor"),
    "an unknown unit": (changed("unit", "kilo"), "price.unit"),
    "requests in advance": (changed("unit", "request"), "price.unit"),
    "a rate as a number": (changed("rate", 5), "price.rate"),
    "a rate per nothing": (changed("rate.per", 0), "price.rate.per"),
    "tiers as an object": (changed("tiers", {}), "price.tiers"),
    "too many tiers": (changed("tiers", [FREE_TIER] * 21), "price.tiers"),
    "a last tier that is open": (changed("tiers.1.up_to", None), "price.tiers[1].up_to"),
    "tiers that stand still": (changed("tiers.1.up_to", 100), "price.tiers[1].up_to"),
    "tiers that descend": (changed("tiers.1.up_to", 99), "price.tiers[1].up_to"),
    "a tier of nothing": (changed("tiers.0.up_to", 0), "price.tiers[0].up_to"),
    "a tier without its rate": (changed("tiers", [{"up_to": 5}]), "price.tiers[0].amount_minor"),
    "zero rates everywhere": (
        {**changed("rate.amount_minor", 0), "tiers": [FREE_TIER]},
        "price.rate",
    ),
    "a cap of nothing": (changed("cap_minor", 0), "price.cap_minor"),
    "a cap below the minimum": (
        {**TIERED, "minimum_minor": 501, "cap_minor": 500},
        "price.cap_minor",
    ),
    "a minimum as text": (changed("minimum_minor", "5"), "price.minimum_minor"),
    "a week": (
        {"model": "subscription", "amount_minor": 500, "every": "week"},
        "price.every",
    ),
    "no milestone": ({"model": "milestones", "milestones": []}, "price.milestones"),
    "too many milestones": (
        {"model": "milestones", "milestones": [{"goal": "Begun", "amount_minor": 500}] * 21},
        "price.milestones",
    ),
    "a milestone of nothing": (
        {"model": "milestones", "milestones": [{"goal": "Begun", "amount_minor": 0}]},
        "price.milestones[0].amount_minor",
    ),
    "a goal of two lines": (
        {"model": "milestones", "milestones": [{"goal": "Begun\nand done", "amount_minor": 500}]},
        "price.milestones[0].goal",
    ),
    "a goal that no database takes": (
        {"model": "milestones", "milestones": [{"goal": "\x00 \ud800", "amount_minor": 500}]},
        "price.milestones[0].goal",
    ),
    "metered without its period": (
        {"model": "metered", "unit": "token", "rate": {"amount_minor": 1, "per": 1}},
        "price.every",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_price_that_makes_no_sense_is_refused_by_its_place(case: str) -> None:
    typed, param = REFUSED[case]
    with pytest.raises(InvalidInput) as refusal:
        prices.parse(typed)
    assert refusal.value.data["param"] == param


UNCHARGEABLE: dict[str, tuple[dict[str, Any], dict[str, int], str, str]] = {
    "less than Stripe charges": (TIERED, {"works": 4}, "USD", "price"),
    "less than Stripe charges there": (TIERED, {"works": 100}, "CZK", "price"),
    "more than Stripe charges": (
        {"model": "per_unit", "unit": "byte", "rate": {"amount_minor": 1, "per": 1}},
        {"bytes": 100_000_000},
        "USD",
        "price",
    ),
    "rounded down to nothing": (
        {"model": "per_unit", "unit": "byte", "rate": {"amount_minor": 1, "per": 1_000}},
        {"bytes": 500},
        "USD",
        "price",
    ),
    "a unit that nobody counted": (
        {"model": "per_unit", "unit": "token", "rate": {"amount_minor": 1, "per": 1}},
        {"works": 3, "bytes": 5},
        "USD",
        "price.unit",
    ),
    "a subscription below Stripe's least": (
        {"model": "subscription", "amount_minor": 49, "every": "year"},
        {},
        "USD",
        "price",
    ),
    "a metered cap below Stripe's least": (
        {**prices.EXAMPLES[Model.METERED], "cap_minor": 49},
        {},
        "USD",
        "price",
    ),
    "a milestone below Stripe's least": (
        {
            "model": "milestones",
            "milestones": [
                {"goal": "Begun", "amount_minor": 49},
                {"goal": "Done", "amount_minor": 5_000},
            ],
        },
        {},
        "USD",
        "price",
    ),
    "no currency of ours": ({"model": "free"}, {}, "XXX", "currency"),
}


@pytest.mark.parametrize("case", UNCHARGEABLE)
def test_what_could_never_be_charged_is_refused(case: str) -> None:
    typed, totals, currency, param = UNCHARGEABLE[case]
    with pytest.raises(InvalidInput) as refusal:
        prices.check(prices.parse(typed), totals, currency)
    assert refusal.value.data["param"] == param


@pytest.mark.parametrize("model", Model)
def test_a_model_is_chargeable_or_says_that_it_is_not_yet(model: Model) -> None:
    price = prices.parse(prices.EXAMPLES[model])
    if model in {Model.SUBSCRIPTION, Model.METERED, Model.MILESTONES}:
        with pytest.raises(NotSupportedYet) as refusal:
            prices.check_chargeable(price)
        assert refusal.value.data == {"param": "offer", "model": model.value}
    else:
        prices.check_chargeable(price)


# --- words ------------------------------------------------------------------------------------


def test_the_basis_reads_as_a_person_would_check_it() -> None:
    price = prices.parse({**TIERED, "minimum_minor": 10_000, "cap_minor": 20_000})
    assert prices.in_words(price, {"works": 1_006}, "USD") == [
        "Basis: per work, for 1,006 works. No less than: 100.00 USD. No more than: 200.00 USD.",
        "100 works, at 0.10 USD per work: 10.00 USD",
        "900 works after the first 100, at 0.05 USD per work: 45.00 USD",
        "6 works after the first 1,000, at 0.01 USD per 4 works: 0.02 USD",
        "Up to the minimum: 44.98 USD",
    ]


def test_what_goes_beyond_the_cap_reads_as_taken_off() -> None:
    price = prices.parse({**TIERED, "cap_minor": 1_000})
    last = prices.in_words(price, {"works": 200}, "JPY")[-1]
    assert last == "Beyond the maximum: -500 JPY"


@pytest.mark.parametrize(
    ("model", "amount_minor", "shown"),
    [
        (Model.FREE, 0, "free"),
        (Model.FLAT, 250_000, "2,500.00 USD"),
        (Model.PER_UNIT, 10_000, "100.00 USD (0.02 USD per work)"),
        (Model.SUBSCRIPTION, 90_000, "900.00 USD every month"),
        (Model.METERED, 0, "2.50 USD per 1,000,000 tokens"),
        (Model.MILESTONES, 250_000, "2,500.00 USD in 2 parts"),
    ],
)
def test_a_page_shows_a_price_in_few_words(model: Model, amount_minor: int, shown: str) -> None:
    assert prices.shown(prices.parse(prices.EXAMPLES[model]), amount_minor, "USD") == shown


# --- offers -----------------------------------------------------------------------------------

PER_WORK = {
    "model": "per_unit",
    "unit": "work",
    "tiers": [],
    "rate": {"amount_minor": 40, "per": 1},
    "minimum_minor": None,
    "cap_minor": None,
}


@pytest.mark.django_db
def test_an_offer_says_its_price_and_what_it_comes_to_for_its_snapshot(
    archive: Organization, client_for: ClientFor
) -> None:
    offer = make_offer(archive, price=PER_WORK)

    shown = client_for(archive).get(f"/v1/offers/{offer.pk}").json()
    listing = client_for(None).get(f"/v1/listings/{offer.pk}").json()

    # Three works.
    assert (shown["price"], shown["price_minor"], shown["currency"]) == (PER_WORK, 120, "USD")
    assert (listing["price"], listing["price_minor"]) == (PER_WORK, 120)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("price_minor", "typed"),
    [(50_000, {"model": "flat", "amount_minor": 50_000}), (0, {"model": "free"})],
)
def test_a_price_minor_is_a_flat_price(
    archive: Organization, client_for: ClientFor, price_minor: int, typed: dict[str, Any]
) -> None:
    offer = make_offer(archive, price_minor=price_minor)
    shown = client_for(archive).get(f"/v1/offers/{offer.pk}").json()
    assert (shown["price"], shown["price_minor"]) == (typed, price_minor)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "price"),
        ({"price_minor": 500, "price": {"model": "free"}}, "price"),
        ({"price": {"model": "flat", "amount_minor": 49}}, "price"),
        ({"price": {**PER_WORK, "unit": "minute"}}, "price.unit"),
        (
            {"price": {**PER_WORK, "rate": {"amount_minor": 0.4, "per": 1}}},
            "price.rate.amount_minor",
        ),
    ],
    ids=["no price", "two prices", "too little", "a unit nobody counted", "a fraction"],
)
def test_a_wrong_price_is_named_and_no_offer_is_made(
    archive: Organization, client_for: ClientFor, fields: dict[str, Any], param: str
) -> None:
    made = make_offer(archive, is_published=False)
    body = {"snapshot": str(made.snapshot_id), "terms": str(made.terms_id), "currency": "USD"}

    answer = client_for(archive).post("/v1/offers", body | fields)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["param"] == param
    assert Offer.objects.get() == made


@pytest.mark.django_db
def test_a_page_of_the_market_shows_the_price_in_words(
    archive: Organization, client_for: ClientFor
) -> None:
    offer = make_offer(archive, price=PER_WORK)
    page = client_for(None).get(f"/listings/{offer.pk}").content.decode()
    assert "1.20 USD (0.40 USD per work)" in page
