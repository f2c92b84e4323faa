"""What the market keeps of a sale."""

from __future__ import annotations

BASIS_POINTS_IN_ONE = 10_000
# Of the license price, before tax. The operator's setting comes with the market's settings.
MARKET_FEE_BASIS_POINTS = 0


def share_minor(amount_minor: int, basis_points: int) -> int:
    """A share of an amount, rounded once, half to even. Integers only."""
    whole, rest = divmod(amount_minor * basis_points, BASIS_POINTS_IN_ONE)
    twice = 2 * rest
    if twice > BASIS_POINTS_IN_ONE or (twice == BASIS_POINTS_IN_ONE and whole & 1):
        whole += 1
    return whole


def market_fee_minor(subtotal_minor: int) -> int:
    """The market's fee on a license price."""
    return share_minor(subtotal_minor, MARKET_FEE_BASIS_POINTS)
