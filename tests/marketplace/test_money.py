"""Amounts and currencies."""

from __future__ import annotations

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
