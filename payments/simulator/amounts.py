"""Amounts: which currencies there are, what may be charged in them, and how they read."""

from __future__ import annotations

from payments.simulator.errors import ApiError

# https://docs.stripe.com/currencies#presentment-currencies
_CURRENCIES = """
usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bif bmd bnd bob brl bsd bwp byn bzd
cad cdf chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq
gyd hkd hnl htg huf idr ils inr isk jmd jpy kes kgs khr kmf krw kyd kzt lak lbp lkr lrd lsl mad
mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln
pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs
uah ugx uyu uzs vnd vuv wst xaf xcd xof xpf yer zar zmw bhd jod kwd omr tnd
"""
CURRENCIES = frozenset(_CURRENCIES.split())
# https://docs.stripe.com/currencies#zero-decimal
_ZERO_DECIMAL = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
ZERO_DECIMAL = frozenset(_ZERO_DECIMAL.split())
# https://docs.stripe.com/currencies#three-decimal
THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
# https://docs.stripe.com/currencies#special-cases: two digits for the sake of old callers.
WHOLE_UNITS_ONLY = frozenset({"isk", "ugx"})
# https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts. Where a currency is
# missing, Stripe converts to the currency of settlement; here 1 is enough.
MINIMUM = {
    "usd": 50,
    "aed": 200,
    "aud": 50,
    "bgn": 100,
    "brl": 50,
    "cad": 50,
    "chf": 50,
    "czk": 1500,
    "dkk": 250,
    "eur": 50,
    "gbp": 30,
    "hkd": 400,
    "huf": 17500,
    "inr": 50,
    "jpy": 50,
    "mxn": 1000,
    "myr": 200,
    "nok": 300,
    "nzd": 50,
    "pln": 200,
    "ron": 200,
    "sek": 300,
    "sgd": 50,
    "thb": 1000,
}
MAXIMUM = 99_999_999


def check_currency(currency: str, *, param: str) -> str:
    """A currency's code in lower case. Raises what Stripe answers to an unknown one."""
    code = currency.lower()
    if code not in CURRENCIES:
        raise ApiError(f"Invalid currency: {currency}.", param=param)
    return code


def check_charge(amount: int, currency: str, *, param: str) -> None:
    """Refuse what cannot be charged: too little, too much, or a fraction that is not paid out."""
    least = MINIMUM.get(currency, 1)
    if amount < least:
        raise ApiError(
            f"The total amount must be at least {show(least, currency)}.",
            code="amount_too_small",
            param=param,
        )
    if amount > MAXIMUM:
        raise ApiError(
            f"The total amount must be no more than {show(MAXIMUM, currency)}.",
            code="amount_too_large",
            param=param,
        )
    digits = 1 if currency in THREE_DECIMAL else 2 if currency in WHOLE_UNITS_ONLY else 0
    if amount % 10**digits:
        raise ApiError(f"Invalid amount: in {currency} it must end in {'0' * digits}.", param=param)


def show(amount: int, currency: str) -> str:
    """An amount for people to read: `2,500.00 USD`."""
    decimals = 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2
    whole, part = divmod(amount, 10**decimals)
    fraction = f".{part:0{decimals}d}" if decimals else ""
    return f"{whole:,}{fraction} {currency.upper()}"
