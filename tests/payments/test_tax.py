"""Tax: which, of what, why; in the price or on top of it; and what goes back of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from marketplace.models import Organization, User
from payments import tax
from payments.tax import Tax, TaxLine
from tests.make import make_offer
from tests.payments.buying import balances, order_for, order_now, quote_for
from tests.payments.selling import request_refund, set_fee
from tests.payments.simulating import Stripe, work
from tests.people import ApiClient, found

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]

GERMAN = {"DE": {"basis_points": 1_900, "reverse_charge": True}}
INCLUSIVE = {"DE": {"basis_points": 1_900, "inclusive": True, "reverse_charge": True}}
VAT_ID = "DE123456789"


@pytest.fixture
def german(db: None) -> Organization:
    """A buyer in Germany, without a VAT id."""
    return found("Labor", "lab", jurisdiction="DE")


@pytest.fixture
def operator(db: None) -> User:
    return User.objects.create(email="op@example.org", name="Op", is_operator=True)


def is_business(organization: Organization, vat_id: str = VAT_ID) -> Organization:
    organization.vat_id = vat_id
    return organization


def line(rate: int, amount: int, reason: str, *, inclusive: bool = False) -> TaxLine:
    return TaxLine("DE", rate, amount, inclusive, reason)


def calculated(buyer: Organization, price_minor: int = 50_000) -> Tax:
    return tax.calculate(buyer, price_minor=price_minor, currency="EUR")


# --- the operator's table ---------------------------------------------------------------------


def test_without_a_rate_nothing_is_due(german: Organization) -> None:
    assert calculated(german) == Tax(line(0, 0, "not_registered"))


def test_a_rate_comes_on_top_of_the_price(german: Organization, settings: Any) -> None:
    settings.TAX = GERMAN

    assert calculated(german) == Tax(line(1_900, 9_500, "standard"))


def test_an_inclusive_rate_is_in_the_price(german: Organization, settings: Any) -> None:
    settings.TAX = INCLUSIVE

    # 500.00 / 1.19 = 420.168…, so 79.83 of it is tax.
    assert calculated(german) == Tax(line(1_900, 7_983, "standard", inclusive=True), 7_983)


@pytest.mark.parametrize("price_minor", [1, 2, 3, 99, 100, 1_190, 11_901, 99_999_999])
def test_an_inclusive_tax_is_that_of_the_rest(
    price_minor: int, german: Organization, settings: Any
) -> None:
    settings.TAX = INCLUSIVE

    due = calculated(german, price_minor)

    # Within one unit of what the same rate takes of the rest: each is rounded once.
    net = price_minor - due.taken_out_minor
    assert abs(due.line.amount_minor * 10_000 - net * 1_900) <= 10_000


def test_a_business_elsewhere_in_the_eu_owes_the_tax_itself(
    german: Organization, settings: Any
) -> None:
    settings.TAX, settings.PLATFORM_COUNTRY = GERMAN, "IE"

    assert calculated(is_business(german)) == Tax(line(0, 0, "reverse_charge"))


def test_a_business_in_the_markets_own_country_pays(german: Organization, settings: Any) -> None:
    settings.TAX, settings.PLATFORM_COUNTRY = GERMAN, "DE"

    assert calculated(is_business(german)) == Tax(line(1_900, 9_500, "standard"))


@pytest.mark.parametrize("vat_id", ["", "DE12345678", "FR12345678901", "123456789", "DE12345678X"])
def test_what_is_no_vat_id_of_the_country_reverses_nothing(
    vat_id: str, german: Organization, settings: Any
) -> None:
    settings.TAX, settings.PLATFORM_COUNTRY = GERMAN, "IE"

    assert calculated(is_business(german, vat_id)).line.reason == "standard"


@pytest.mark.parametrize(
    ("country", "vat_id"),
    [
        ("AT", "ATU12345678"),
        ("BE", "BE 0123.456.789"),
        ("DE", "de 123 456 789"),
        ("FR", "FRXX123456789"),
        ("GR", "EL123456789"),
        ("IE", "IE1234567WA"),
        ("NL", "NL123456789B01"),
    ],
)
def test_vat_ids_are_read_as_people_write_them(country: str, vat_id: str) -> None:
    assert tax.is_vat_id(vat_id, country)


def test_who_is_exempt_or_reversed_pays_less_than_a_price_that_holds_tax(
    german: Organization, settings: Any
) -> None:
    settings.TAX, settings.TAX_EXEMPT = INCLUSIVE, frozenset({str(german.pk)})

    assert calculated(german) == Tax(line(0, 0, "exempt", inclusive=True), 7_983)


def test_a_regions_rate_goes_before_its_countrys(lab: Organization, settings: Any) -> None:
    settings.TAX = {"US": {"basis_points": 500}, "US-DE": {"basis_points": 625}}

    assert calculated(lab).line == TaxLine("US", 625, 3_125, False, "standard")


def test_no_country_is_taken_for_a_region_of_another(lab: Organization, settings: Any) -> None:
    """US-DE is Delaware."""
    settings.TAX = GERMAN

    assert calculated(lab).line.reason == "not_registered"


# --- quoted, bought and given back ------------------------------------------------------------


def test_the_lines_of_an_inclusive_price_add_up(
    archive: Organization, german: Organization, client_for: ClientFor, settings: Any
) -> None:
    settings.TAX = INCLUSIVE

    quote = quote_for(client_for(german), make_offer(archive, price_minor=50_000))

    assert [(each["kind"], each["amount_minor"]) for each in quote["lines"]] == [
        ("license", 50_000),
        ("tax_included", -7_983),
        ("tax", 7_983),
    ]
    assert (quote["subtotal_minor"], quote["tax_minor"], quote["total_minor"]) == (
        42_017,
        7_983,
        50_000,
    )
    assert "License fee: 420.17 USD" in quote["document"]
    assert "Tax: 79.83 USD, 19 % in DE, contained in the price" in quote["document"]
    assert "Total: 500.00 USD" in quote["document"]


def test_a_contract_says_who_owes_a_reversed_tax(
    archive: Organization, german: Organization, client_for: ClientFor, settings: Any
) -> None:
    settings.TAX, settings.PLATFORM_COUNTRY = GERMAN, "IE"
    client = client_for(german)
    german.vat_id = VAT_ID
    german.save(update_fields=["vat_id"])

    quote = quote_for(client, make_offer(archive, price_minor=50_000))

    words = "reverse charge: the Licensee owes the tax in DE (VAT ID DE123456789)"
    assert f"Tax: 0.00 USD, {words}" in quote["document"]
    assert quote["total_minor"] == 50_000


def test_fees_are_computed_net_and_a_refund_returns_tax_in_proportion(
    archive: Organization,
    german: Organization,
    operator: User,
    client_for: ClientFor,
    stripe: Stripe,
    settings: Any,
) -> None:
    settings.TAX = GERMAN
    set_fee(1_000, operator)
    client = client_for(german)
    order = order_for(client, make_offer(archive, price_minor=50_000))
    assert order["total_minor"] == 59_500
    stripe.pay(order)
    stripe.deliver()
    work()
    # 10 % of 500.00, not of 595.00.
    assert shares() == {"seller_payable": -45_000, "market_fee": -5_000, "tax_payable": -9_500}

    assert request_refund(client, order, amount_minor=11_900).status_code == 201
    work()
    stripe.deliver()
    work()

    assert order_now(client, order)["status"] == "partially_refunded"
    # A fifth of each.
    assert shares() == {"seller_payable": -36_000, "market_fee": -4_000, "tax_payable": -7_600}


def shares() -> dict[str, int]:
    found = balances()
    return {code: found[code] for code in ("seller_payable", "market_fee", "tax_payable")}


def test_a_quote_keeps_its_rate_when_the_table_changes(
    archive: Organization,
    german: Organization,
    client_for: ClientFor,
    stripe: Stripe,
    settings: Any,
) -> None:
    settings.TAX = GERMAN
    client = client_for(german)
    order = order_for(client, make_offer(archive, price_minor=50_000))

    settings.TAX = {"DE": {"basis_points": 2_500}}

    kept = client.get(f"/v1/quotes/{order['quote']}").json()
    assert (kept["tax_minor"], kept["lines"][1]["rate_basis_points"]) == (9_500, 1_900)
    assert order_now(client, order)["total_minor"] == 59_500


# --- Stripe Tax -------------------------------------------------------------------------------


def test_stripe_tax_answers_the_same_line(
    archive: Organization,
    german: Organization,
    client_for: ClientFor,
    stripe: Stripe,
    settings: Any,
) -> None:
    settings.TAX_PROVIDER = "stripe"
    stripe.collect_tax(DE="19")

    quote = quote_for(client_for(german), make_offer(archive, price_minor=50_000))

    assert quote["lines"][1] == {
        "kind": "tax",
        "country": "DE",
        "rate_basis_points": 1_900,
        "amount_minor": 9_500,
        "inclusive": False,
        "reason": "standard",
        "provider": "stripe",
    }
    assert quote["total_minor"] == 59_500
    assert "Tax: 95.00 USD, 19 % in DE" in quote["document"]


@pytest.mark.parametrize(
    ("registered", "vat_id", "reason"),
    [({}, "", "not_registered"), ({"DE": "19"}, VAT_ID, "reverse_charge")],
)
def test_stripes_reasons_are_told_in_ours(
    registered: dict[str, str],
    vat_id: str,
    reason: str,
    archive: Organization,
    german: Organization,
    client_for: ClientFor,
    stripe: Stripe,
    settings: Any,
) -> None:
    settings.TAX_PROVIDER = "stripe"
    stripe.collect_tax(**registered)
    client = client_for(german)
    is_business(german, vat_id).save(update_fields=["vat_id"])

    quote = quote_for(client, make_offer(archive, price_minor=50_000))

    assert (quote["lines"][1]["reason"], quote["tax_minor"]) == (reason, 0)


def test_without_an_answer_of_stripes_nothing_is_quoted(
    archive: Organization,
    german: Organization,
    client_for: ClientFor,
    stripe: Stripe,
    settings: Any,
) -> None:
    settings.TAX_PROVIDER = "stripe"
    settings.STRIPE_API_BASE = "http://127.0.0.1:9"
    client, offer = client_for(german), make_offer(archive, price_minor=50_000)
    body = {"offer": str(offer.pk), "uses": ["pretrain"], "territories": ["DE"]}

    response = client.post("/v1/quotes", body)

    assert (response.status_code, response.json()["code"]) == (503, "payment_provider_unavailable")
    assert client.get("/v1/quotes").json()["data"] == []


def test_what_is_free_is_not_asked_about(
    archive: Organization,
    german: Organization,
    client_for: ClientFor,
    stripe: Stripe,
    settings: Any,
) -> None:
    settings.TAX_PROVIDER = "stripe"

    quote = quote_for(client_for(german), make_offer(archive, price_minor=0))

    assert quote["total_minor"] == 0
    assert stripe.requests() == []
