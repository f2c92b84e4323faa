"""Amounts and currencies."""

from __future__ import annotations

from decimal import Decimal

import pytest

from marketplace import money
from marketplace.errors import InvalidInput


@pytest.mark.parametrize(
    ("amount", "code", "shown"),
    [
        (0, "USD", "0.00 USD"),
        (5, "USD", "0.05 USD"),
        (125_000_00, "EUR", "125,000.00 EUR"),
        (-250, "USD", "-2.50 USD"),
        (1234, "JPY", "1,234 JPY"),
    ],
)
def test_an_amount_is_shown_with_its_own_number_of_digits(
    amount: int, code: str, shown: str
) -> None:
    assert money.show(amount, code) == shown


@pytest.mark.parametrize(
    ("amount", "code", "param"),
    [
        (-1, "USD", "price_minor"),
        (49, "USD", "price_minor"),
        (100_000_000, "USD", "price_minor"),
        (100, "XXX", "currency"),
        (100, "usd", "currency"),
    ],
)
def test_a_price_that_could_never_be_charged_is_refused_by_field(
    amount: int, code: str, param: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        money.check_price(amount, code)
    assert refusal.value.data == {"param": param}


@pytest.mark.parametrize("amount", [0, 50, 99_999_999])
def test_free_the_least_and_the_most_are_taken(amount: int) -> None:
    assert money.check_price(amount, "USD") is None


def test_the_currencies_are_those_that_the_simulated_stripe_takes() -> None:
    """Two lists, written apart from Stripe's page."""
    from payments.simulator import amounts

    assert {code.lower() for code in money.CURRENCIES} == amounts.CURRENCIES
    for code, unit in money.CURRENCIES.items():
        lower = code.lower()
        digits = 0 if lower in amounts.ZERO_DECIMAL else 3 if lower in amounts.THREE_DECIMAL else 2
        assert unit.exponent == digits, code
        step = 100 if lower in amounts.WHOLE_UNITS_ONLY else 10 if digits == 3 else 1
        assert unit.step_minor == step, code
        assert unit.stripe_minimum_minor == amounts.MINIMUM.get(lower, step), code


@pytest.mark.parametrize("code", money.CURRENCIES)
def test_what_is_written_in_a_currency_is_read_back(code: str) -> None:
    unit = money.CURRENCIES[code]
    for amount in (unit.stripe_minimum_minor, 7 * unit.step_minor, 12_345_600, 99_999_000):
        written, shown_code = money.show(amount, code).split()
        assert shown_code == code
        assert len(written.partition(".")[2]) == unit.exponent
        assert money.minor(Decimal(written.replace(",", "")), code) == amount


@pytest.mark.parametrize(("amount", "code"), [(1_005, "BHD"), (150, "ISK"), (1_001, "UGX")])
def test_a_fraction_that_is_not_charged_is_refused(amount: int, code: str) -> None:
    with pytest.raises(InvalidInput, match="multiples"):
        money.check_price(amount, code)


def test_some_amounts_of_each_kind_of_currency() -> None:
    assert money.show(1_234_560, "KWD") == "1,234.560 KWD"
    assert money.show(500, "KRW") == "500 KRW"
    assert money.show(150_000, "ISK") == "1,500.00 ISK"
