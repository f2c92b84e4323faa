"""Where Stripe makes transfers to from the market's own country."""

from __future__ import annotations

# https://docs.stripe.com/connect/cross-border-payouts and .../separate-charges-and-transfers: the
# platform and the account are in one region, or both are among those that transfer to each other.
_EEA = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK"
EEA = frozenset(_EEA.split())
EUROPE = EEA | {"CH", "GB", "GI"}
# "Cross-border transfers": these platforms pay accounts in each other's countries.
CROSS_BORDER = EUROPE | {"US", "CA"}


def are_one(platform: str, seller: str) -> bool:
    """Whether a market in one country can transfer to a seller in the other. ISO 3166-1 alpha-2."""
    return platform == seller or {platform, seller} <= CROSS_BORDER
