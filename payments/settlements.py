"""Who gets what of a sale: fixed with the order, and split the same way when it goes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marketplace.money import round_half_even
from payments import fees
from payments.models import Order, Quote

VERSION = 1


@dataclass(frozen=True, slots=True)
class Shares:
    """An amount of a sale, split: the parts add up to it. In minor units of its currency."""

    seller_minor: int
    royalties_minor: int
    fee_minor: int
    tax_minor: int

    @property
    def total_minor(self) -> int:
        return self.seller_minor + self.royalties_minor + self.fee_minor + self.tax_minor

    def __sub__(self, other: Shares) -> Shares:
        return Shares(
            self.seller_minor - other.seller_minor,
            self.royalties_minor - other.royalties_minor,
            self.fee_minor - other.fee_minor,
            self.tax_minor - other.tax_minor,
        )


def fix(quote: Quote, *, royalties: dict[str, Any] | None) -> dict[str, Any]:
    """What an order says of who gets what, as its row keeps it. Net of tax.

    `royalties` names the rule that is in force for the collection, and its basis points of what
    is the seller's (`royalties.in_force`); None where contributors have no share.
    Who bears what: the market is the merchant, so a negative balance is its own until the seller
    has paid it back; the schedule of fees says whose Stripe's fees are; the seller is paid in the
    currency that the payment came to at Stripe, at Stripe's rate.
    """
    fee = fees.of_sale(quote.offer, subtotal_minor=quote.subtotal_minor, currency=quote.currency)
    left = quote.subtotal_minor - fee.amount_minor
    points = 0 if royalties is None else royalties["basis_points"]
    pool = fees.share_minor(left, points)
    return {
        "v": VERSION,
        "fee": {
            "schedule": fee.schedule,
            "basis_points": fee.basis_points,
            "fixed_minor": fee.fixed_minor,
            "amount_minor": fee.amount_minor,
        },
        "royalties": None if royalties is None else {**royalties, "amount_minor": pool},
        "seller_minor": left - pool,
        "tax_minor": quote.tax_minor,
        "bears": {
            "negative_balances": "seller",
            "advanced_by": "market",
            "stripe_fees": fee.stripe_fees,
            "currency_exchange": "seller",
        },
    }


def of(order: Order) -> Shares:
    """How the whole of an order is split."""
    fixed = order.settlement
    if not fixed:
        # From before fees and royalties.
        quote = order.quote
        return Shares(quote.subtotal_minor, 0, 0, quote.tax_minor)
    royalties = fixed["royalties"]
    return Shares(
        fixed["seller_minor"],
        0 if royalties is None else royalties["amount_minor"],
        fixed["fee"]["amount_minor"],
        fixed["tax_minor"],
    )


def part(order: Order, amount_minor: int) -> Shares:
    """How the first `amount_minor` that go back of an order are split, in proportion.

    What was paid above the price goes back first: nobody but the buyer had a share of that.
    Each but the fee is rounded by itself, half to even, and never falls while the amount grows; the
    fee takes what is left by that. The whole amount gives the whole split: refunds in parts, each
    the difference between two of these, never drift.
    """
    whole = of(order)
    total = whole.total_minor
    amount_minor -= min(amount_minor, excess_minor(order))
    assert 0 <= amount_minor <= total, "No more goes back than came."
    if total == 0:
        return whole

    def share(part_minor: int) -> int:
        return round_half_even(part_minor * amount_minor, total)

    seller, pool = share(whole.seller_minor), share(whole.royalties_minor)
    tax = share(whole.tax_minor)
    return Shares(seller, pool, amount_minor - seller - pool - tax, tax)


def excess_minor(order: Order) -> int:
    """What was paid above the price of an order: its buyer's own."""
    return max(0, order.paid_minor - order.total_minor)


def stripe_fees_borne_by_seller(order: Order) -> bool:
    """Whether Stripe's fee comes out of the seller's share."""
    bears = order.settlement.get("bears", {})
    return bool(bears.get("stripe_fees") == fees.Bearer.SELLER)


def exchange_borne_by_seller(order: Order) -> bool:
    """Whether what going back costs in another currency, at another rate, is the seller's."""
    bears = order.settlement.get("bears", {})
    return bool(bears.get("currency_exchange") == fees.Bearer.SELLER)
