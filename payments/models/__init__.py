"""The tables of quotes, orders, Stripe's side of them, and money."""

from __future__ import annotations

from payments.models.commands import Command, StripeEvent
from payments.models.journal import Account, Journal, Posting
from payments.models.orders import Order, Quote

__all__ = ["Account", "Command", "Journal", "Order", "Posting", "Quote", "StripeEvent"]
