"""Tax on a sale, by a local calculator. Another one (Stripe Tax) would answer the same line."""

from __future__ import annotations

from dataclasses import dataclass

from marketplace.models import Organization
from payments.fees import share_minor

# Buyer's country (ISO 3166-1) -> basis points of the license price. Nothing is charged unless the
# operator, who owes the tax, names a rate.
RATES_BASIS_POINTS: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class TaxLine:
    """One tax of a sale; every sale has one, 0 where nothing is due."""

    country: str
    rate_basis_points: int
    amount_minor: int


def calculate(*, buyer: Organization, subtotal_minor: int) -> TaxLine:
    """The tax on a license price, where the buyer is established."""
    country = buyer.jurisdiction[:2]
    rate = RATES_BASIS_POINTS.get(country, 0)
    return TaxLine(country, rate, share_minor(subtotal_minor, rate))
