"""Regions: to the accounts of which countries a platform may transfer."""

from __future__ import annotations

_EEA = "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK ES"
# https://docs.stripe.com/connect/cross-border-payouts#availability: platforms of these countries
# transfer to accounts of any of them; there is no other way across a border without asking Stripe.
SELF_SERVE = frozenset({"US", "GB", "CA", "CH", *_EEA.split()})

_CURRENCIES = {"US": "usd", "GB": "gbp", "CA": "cad", "CH": "chf"}


def may_transfer(platform: str, account: str) -> bool:
    """Whether a platform of one country may transfer to an account of another."""
    return platform == account or {platform, account} <= SELF_SERVE


def currency_of(country: str) -> str:
    """The currency that an empty balance shows."""
    return _CURRENCIES.get(country, "eur" if country in SELF_SERVE else "usd")
