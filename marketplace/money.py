"""Amounts in integer minor units, and the currencies that we take."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.utils.translation import gettext as _

from marketplace.errors import InvalidInput

# Stripe takes at most eight digits in one charge: https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
STRIPE_MAXIMUM_MINOR = 99_999_999


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency that Stripe takes. Amounts are in its minor unit, as Stripe counts them.

    `exponent`: digits after the point. `step_minor`: what amounts are multiples of, for Stripe
    charges no less. `stripe_minimum_minor`: the least that is charged.
    """

    code: str
    exponent: int
    stripe_minimum_minor: int
    step_minor: int


# https://docs.stripe.com/currencies#presentment-currencies
_TWO_DIGITS = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF
CNY COP CRC CVE CZK DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS
INR ISK JMD KES KGS KHR KYD KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN
NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SEK SGD SHP SLE SOS SRD
STD SZL THB TJS TOP TRY TTD TWD TZS UAH UGX USD UYU UZS WST XCD YER ZAR ZMW
"""
# https://docs.stripe.com/currencies#zero-decimal
_NO_DIGITS = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"
# https://docs.stripe.com/currencies#three-decimal: the last digit is 0.
_THREE_DIGITS = "BHD JOD KWD OMR TND"
# https://docs.stripe.com/currencies#special-cases: counted with two digits, both of them 0.
_WHOLE = {"ISK", "UGX"}
# https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts. Of the others Stripe asks
# for what comes to the least of the currency that the account is settled in.
_MINIMUMS = {
    "AED": 200,
    "AUD": 50,
    "BGN": 100,
    "BRL": 50,
    "CAD": 50,
    "CHF": 50,
    "CZK": 1500,
    "DKK": 250,
    "EUR": 50,
    "GBP": 30,
    "HKD": 400,
    "HUF": 17500,
    "INR": 50,
    "JPY": 50,
    "MXN": 1000,
    "MYR": 200,
    "NOK": 300,
    "NZD": 50,
    "PLN": 200,
    "RON": 200,
    "SEK": 300,
    "SGD": 50,
    "THB": 1000,
    "USD": 50,
}


def _currency(code: str, exponent: int) -> Currency:
    step = 100 if code in _WHOLE else 10 if exponent == 3 else 1
    return Currency(code, exponent, _MINIMUMS.get(code, step), step)


CURRENCIES: dict[str, Currency] = {
    code: _currency(code, exponent)
    for code, exponent in sorted(
        (code, exponent)
        for exponent, codes in ((0, _NO_DIGITS), (2, _TWO_DIGITS), (3, _THREE_DIGITS))
        for code in codes.split()
    )
}


def currency(code: str, *, param: str = "currency") -> Currency:
    """Look a currency up. Raises InvalidInput naming `param` for one that we do not take."""
    try:
        return CURRENCIES[code]
    except KeyError:
        raise InvalidInput(
            _(
                "“%(code)s” is no currency that Stripe takes. Write its ISO 4217 code in capitals,"
                " such as USD."
            )
            % {"code": code},
            param=param,
        ) from None


def check_price(amount_minor: int, code: str, *, param: str = "price_minor") -> None:
    """Refuse what could never be charged. 0 is free; all else lies within Stripe's limits."""
    unit = currency(code)
    if amount_minor < 0:
        raise InvalidInput(_("A price cannot be negative. Use 0 for a free license."), param=param)
    if 0 < amount_minor < unit.stripe_minimum_minor:
        raise InvalidInput(
            _("Stripe charges no less than %(least)s. Ask for that much, or for 0.")
            % {"least": show(unit.stripe_minimum_minor, code)},
            param=param,
        )
    if amount_minor % unit.step_minor:
        raise InvalidInput(
            _("In %(currency)s Stripe charges whole multiples of %(step)s only.")
            % {"currency": code, "step": show(unit.step_minor, code)},
            param=param,
        )
    if amount_minor > STRIPE_MAXIMUM_MINOR:
        raise InvalidInput(
            _("Stripe charges no more than %(most)s at once. Split the price over several offers.")
            % {"most": show(STRIPE_MAXIMUM_MINOR, code)},
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
            _("%(currency)s has %(digits)s digits after the point. Give no more.")
            % {"currency": code, "digits": exponent},
            param=param,
        )
    return int(scaled)
