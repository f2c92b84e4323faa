"""Amounts in integer minor units, and the currencies that we take."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from marketplace.errors import InvalidInput

# Stripe takes at most eight digits in one charge: https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
STRIPE_MAXIMUM_MINOR = 99_999_999


@dataclass(frozen=True, slots=True)
class Currency:
    """An ISO 4217 currency: digits after the point, and the least amount that Stripe charges."""

    code: str
    exponent: int
    stripe_minimum_minor: int


# Exponents: ISO 4217. Minimums: https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
CURRENCIES: dict[str, Currency] = {
    code: Currency(code, exponent, minimum)
    for code, exponent, minimum in (
        ("AUD", 2, 50),
        ("BRL", 2, 50),
        ("CAD", 2, 50),
        ("CHF", 2, 50),
        ("CZK", 2, 1500),
        ("DKK", 2, 250),
        ("EUR", 2, 50),
        ("GBP", 2, 30),
        ("HKD", 2, 400),
        ("INR", 2, 50),
        ("JPY", 0, 50),
        ("MXN", 2, 1000),
        ("NOK", 2, 300),
        ("NZD", 2, 50),
        ("PLN", 2, 200),
        ("SEK", 2, 300),
        ("SGD", 2, 50),
        ("USD", 2, 50),
    )
}


def currency(code: str, *, param: str = "currency") -> Currency:
    """Look a currency up. Raises InvalidInput naming `param` for one that we do not take."""
    try:
        return CURRENCIES[code]
    except KeyError:
        raise InvalidInput(
            f"“{code}” is no currency of this market. It takes: {', '.join(CURRENCIES)}.",
            param=param,
        ) from None


def check_price(amount_minor: int, code: str, *, param: str = "price_minor") -> None:
    """Refuse what could never be charged. 0 is free; all else lies within Stripe's limits."""
    unit = currency(code)
    if amount_minor < 0:
        raise InvalidInput("A price cannot be negative. Use 0 for a free license.", param=param)
    if 0 < amount_minor < unit.stripe_minimum_minor:
        raise InvalidInput(
            f"Stripe charges no less than {show(unit.stripe_minimum_minor, code)}."
            " Ask for that much, or for 0.",
            param=param,
        )
    if amount_minor > STRIPE_MAXIMUM_MINOR:
        raise InvalidInput(
            f"Stripe charges no more than {show(STRIPE_MAXIMUM_MINOR, code)} at once."
            " Split the price over several offers.",
            param=param,
        )


def round_half_even(numerator: int, denominator: int) -> int:
    """A quotient as a whole number; what lies in the middle goes to the even one. Integers only."""
    whole, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return whole + (twice > denominator or (twice == denominator and whole & 1))


def show(amount_minor: int, code: str) -> str:
    """Write an amount for people: `1,250.00 USD`. Integer arithmetic only."""
    exponent = CURRENCIES[code].exponent
    sign, digits = (
        ("-" if amount_minor < 0 else ""),
        str(abs(amount_minor)).rjust(exponent + 1, "0"),
    )
    whole = digits[: len(digits) - exponent]
    fraction = "." + digits[len(digits) - exponent :] if exponent else ""
    return f"{sign}{int(whole):,}{fraction} {code}"


def minor(amount: Decimal, code: str, *, param: str = "price") -> int:
    """Read an amount as people write it, such as 12.50, in minor units. Raises InvalidInput."""
    exponent = currency(code).exponent
    scaled = amount.scaleb(exponent)
    if not scaled.is_finite() or scaled != scaled.to_integral_value():
        raise InvalidInput(
            f"{code} has {exponent} digits after the point. Give no more.", param=param
        )
    return int(scaled)
