"""What Stripe says, in plain facts: of what `stripe_gateway` fetches, only what is used here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CheckoutFacts:
    """A Checkout session as it stands at Stripe, with its payment."""

    session: str
    url: str
    # Nobody can pay here any more, and nothing is under way: its time passed, or a bank debit
    # failed.
    has_expired: bool
    is_paid: bool
    currency: str
    payment: PaymentFacts | None
    # A bank debit was ordered, and takes days.
    is_under_way: bool = False


@dataclass(frozen=True, slots=True)
class InvoiceFacts:
    """An invoice as it stands at Stripe, with its payment.

    https://docs.stripe.com/api/invoices/object
    """

    invoice: str
    # draft, open, paid, uncollectible or void.
    status: str
    currency: str
    number: str = ""
    url: str = ""
    # What each line was made for -> its id.
    lines: dict[str, str] = field(default_factory=dict)
    # Once it is paid, by one. Without a payment intent where it was paid outside of Stripe.
    payment: PaymentFacts | None = None
    # Several, or what was paid of an invoice of which something is still owed.
    parts: tuple[PaymentFacts, ...] = ()
    # A credit note -> what it gave the buyer as credit for later invoices: nothing moved.
    credits: dict[str, int] = field(default_factory=dict)

    @property
    def is_paid(self) -> bool:
        return self.status == "paid"


@dataclass(frozen=True, slots=True)
class PaymentFacts:
    """A payment intent as it stands at Stripe, with what was given back of it."""

    payment_intent: str
    received_minor: int
    paid_at: datetime | None
    # Why the last attempt failed, in Stripe's words to the buyer; "" where it did not.
    decline: str
    charge: str = ""
    settled: SettledFacts | None = None
    refunds: tuple[RefundFacts, ...] = ()
    disputes: tuple[DisputeFacts, ...] = ()

    @property
    def refunded_minor(self) -> int:
        return sum(refund.amount_minor for refund in self.refunds if refund.is_given_back)


@dataclass(frozen=True, slots=True)
class SettledFacts:
    """A balance transaction: what a movement came to in the currency of our account there."""

    # "" for several together, each of which was booked by itself.
    transaction: str
    currency: str
    amount_minor: int
    fee_minor: int


@dataclass(frozen=True, slots=True)
class RefundFacts:
    """A refund as it stands at Stripe: https://docs.stripe.com/api/refunds/object"""

    refund: str
    # pending, requires_action, succeeded, failed or canceled.
    status: str
    amount_minor: int
    # The row of ours that it was made for; "" where somebody made it at Stripe.
    ours: str = ""
    failure: str = ""
    settled: SettledFacts | None = None
    # What came back to us where the buyer's bank did not take it.
    returned: SettledFacts | None = None
    # A credit note says so: Stripe never had the money.
    is_outside: bool = False

    @property
    def is_given_back(self) -> bool:
        return self.status not in {"failed", "canceled"}


@dataclass(frozen=True, slots=True)
class DisputeFacts:
    """A dispute as it stands at Stripe: https://docs.stripe.com/api/disputes/object"""

    dispute: str
    status: str
    reason: str
    amount_minor: int
    currency: str
    opened_at: datetime
    evidence_due_at: datetime | None
    evidence_sent: bool
    settled: tuple[SettledFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """A connected account as it stands at Stripe."""

    account: str
    country: str
    # Of the capability to receive transfers: active, pending, restricted, rejected, unsupported.
    status: str
    is_closed: bool
    requirements: tuple[RequirementFacts, ...]


@dataclass(frozen=True, slots=True)
class RequirementFacts:
    """What Stripe still wants to know of an account, in its machine's words."""

    what: str
    # "user" or "stripe".
    awaited_from: str
    # past_due, currently_due or eventually_due.
    deadline: str
    # Why what was given is not enough, in Stripe's words.
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaxFacts:
    """What Stripe Tax said: https://docs.stripe.com/api/tax/calculations/object"""

    country: str
    # All of its rates together.
    rate_basis_points: int
    amount_minor: int
    # Stripe's own word, such as "standard_rated".
    reason: str
    calculation: str = ""


@dataclass(frozen=True, slots=True)
class TransferFacts:
    """A transfer, or a reversal of one, as it stands at Stripe."""

    id: str
    amount_minor: int
    currency: str
    settled: SettledFacts | None = None


@dataclass(frozen=True, slots=True)
class LineFacts:
    """A balance transaction as reconciling needs it."""

    transaction: str
    # https://docs.stripe.com/reports/balance-transaction-types
    type: str
    currency: str
    amount_minor: int
    fee_minor: int
    # What made it: a charge, a refund, a dispute, a transfer, a payout …; "" where nothing did.
    source: str
    created_at: datetime

    @property
    def net_minor(self) -> int:
        return self.amount_minor - self.fee_minor


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list of Stripe's, the newest first."""

    items: tuple[T, ...]
    # What the next page comes after; "" on the last one.
    after: str
