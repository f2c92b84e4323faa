"""The tables of quotes, orders, Stripe's side of them, and money."""

from __future__ import annotations

from payments.models.commands import Command, StripeEvent
from payments.models.connect import ConnectedAccount, Transfer, TransferReversal
from payments.models.fees import FeeSchedule
from payments.models.invoices import Invoice, PaymentPart, StripeCustomer
from payments.models.journal import Account, Journal, Posting
from payments.models.orders import Order, Quote, Sale
from payments.models.reconciliation import Mismatch, ReconcileCursor, StripePace
from payments.models.refunds import Dispute, Refund, RefundApproval
from payments.models.remittances import Remittance
from payments.models.royalties import (
    POOL_MINOR_MAX,
    RoyaltyAccrual,
    RoyaltyAdvance,
    RoyaltyAdvanceLine,
    RoyaltyAllocation,
    RoyaltyBalance,
    RoyaltyBase,
    RoyaltyCounted,
    RoyaltyPayment,
    RoyaltyPayout,
    RoyaltyRule,
    RoyaltyWeight,
)

__all__ = [
    "POOL_MINOR_MAX",
    "Account",
    "Command",
    "ConnectedAccount",
    "Dispute",
    "FeeSchedule",
    "Invoice",
    "Journal",
    "Mismatch",
    "Order",
    "PaymentPart",
    "Posting",
    "Quote",
    "ReconcileCursor",
    "Refund",
    "RefundApproval",
    "Remittance",
    "RoyaltyAccrual",
    "RoyaltyAdvance",
    "RoyaltyAdvanceLine",
    "RoyaltyAllocation",
    "RoyaltyBalance",
    "RoyaltyBase",
    "RoyaltyCounted",
    "RoyaltyPayment",
    "RoyaltyPayout",
    "RoyaltyRule",
    "RoyaltyWeight",
    "Sale",
    "StripeCustomer",
    "StripeEvent",
    "StripePace",
    "Transfer",
    "TransferReversal",
]
