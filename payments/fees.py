"""What the market keeps of a sale."""

from __future__ import annotations

from marketplace import money

BASIS_POINTS_IN_ONE = 10_000
# Of the license price, before tax. The operator's setting comes with the market's settings.
MARKET_FEE_BASIS_POINTS = 0


def share_minor(amount_minor: int, basis_points: int) -> int:
    """A share of an amount, rounded once, half to even. Integers only."""
    return money.round_half_even(amount_minor * basis_points, BASIS_POINTS_IN_ONE)


def market_fee_minor(subtotal_minor: int) -> int:
    """The market's fee on a license price."""
    return share_minor(subtotal_minor, MARKET_FEE_BASIS_POINTS)
