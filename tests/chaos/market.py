"""A market for programs that try it: a seller whom Stripe pays, a buyer, and their orders."""

from __future__ import annotations

from marketplace.access import Caller
from marketplace.models import Organization
from payments import connect, orders, quotes
from payments.models import Order
from tests.chaos.simulator_process import Stripe
from tests.people import caller_for, found


def paid_seller(stripe: Stripe) -> Organization:
    """A seller that told Stripe who it is: its share of a sale is sent at once."""
    seller = found("Archive", "platform")
    account = connect.open(caller_for(seller), country="US")
    stripe.control(f"accounts/{account.stripe_id}/complete")
    connect.sync_account(account.pk)
    return seller


def place(buyer: Caller, offer: str, *, territory: str = "DE") -> Order:
    """An order, as a lab's own program would place it."""
    quote = quotes.make(buyer, offer=offer, uses=["pretrain"], territories=[territory])
    return orders.place(
        buyer,
        quote=str(quote.pk),
        accept={
            "document_sha256": bytes(quote.document_sha256).hex(),
            "name": "Lin Chen",
            "title": "Counsel",
            "authority": True,
        },
    )
