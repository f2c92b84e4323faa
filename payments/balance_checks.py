"""Balance transactions against the journal, one by one; and clearing accounts against 0."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from marketplace.access import system
from marketplace.errors import PaymentProviderRefused
from payments import journal, stripe_gateway
from payments.journal import Code
from payments.mismatches import Found, Kind
from payments.models import Command, Journal, Order, Remittance, RoyaltyPayment, StripeEvent
from payments.stripe_facts import LineFacts, SettledFacts

# https://docs.stripe.com/reports/balance-transaction-types. Those of a sale, of what goes back of
# it, and of what is sent on: `sync.sync_order` books them.
OF_ORDERS = frozenset(
    {
        "adjustment", "charge", "payment", "payment_failure_refund", "payment_refund",
        "payment_reversal", "refund", "refund_failure", "transfer", "transfer_cancel",
        "transfer_failure", "transfer_refund",
    }
)  # fmt: skip
# The market's own, which nothing else books.
PAYOUTS = frozenset({"payout", "payout_cancel", "payout_failure", "topup", "topup_reversal"})
FEES = frozenset({"stripe_fee", "stripe_fx_fee", "tax_fee"})

# How long something may be under way before it is worth a look of somebody.
LIMITS = {
    # Stripe says at once what a movement came to, or some days later.
    Code.STRIPE_CLEARING: timedelta(days=3),
    # A refund that is on its way, or an invoice, with what is granted to pay it late.
    Code.BUYER_RECEIVABLE: timedelta(days=95),
    # Banks decide within 75 days, and after an answer within as many again.
    Code.DISPUTE_HOLD: timedelta(days=150),
    # Shared out after each sale, unless it is held.
    Code.ROYALTY_POOL: timedelta(days=7),
}
# An event that is tried again and again, and fails.
EVENT_LIMIT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Booked:
    """What the journal says of one balance transaction of Stripe's."""

    journal_id: UUID
    order_id: UUID | None
    currency: str
    amount_minor: int
    fee_minor: int
    # In how many journals it stands: one is right.
    times: int


def booked(transactions: Collection[str], *, livemode: bool) -> dict[str, Booked]:
    """What the journal says of balance transactions, by their ids."""
    with system("read what was booked of Stripe's transactions"), connection.cursor() as cursor:
        cursor.execute(_BOOKED, [livemode, list(journal.OF_STRIPE), list(transactions)])
        return {row[0]: Booked(*row[1:]) for row in cursor.fetchall()}


def compare(line: LineFacts, entry: Booked) -> Found | None:
    """In what a transaction and its journal differ first; None where they agree."""
    if entry.times > 1:
        kind, expected, found = Kind.BOOKED_TWICE, 1, entry.times
    elif entry.currency != line.currency:
        kind, expected, found = Kind.CURRENCY_DIFFERS, line.amount_minor, entry.amount_minor
    elif entry.amount_minor == -line.amount_minor != 0:
        kind, expected, found = Kind.SIGN_DIFFERS, line.amount_minor, entry.amount_minor
    elif entry.amount_minor != line.amount_minor:
        kind, expected, found = Kind.AMOUNT_DIFFERS, line.amount_minor, entry.amount_minor
    elif entry.fee_minor != line.fee_minor:
        kind, expected, found = Kind.FEE_DIFFERS, line.fee_minor, entry.fee_minor
    else:
        return None
    return Found(
        kind,
        line.transaction,
        subject_type=line.type,
        order_id=entry.order_id,
        journal_id=entry.journal_id,
        expected_minor=expected,
        expected_currency=line.currency,
        found_minor=found,
        found_currency=entry.currency,
    )


def missing(line: LineFacts, order_id: UUID | None) -> Found:
    """That Stripe has a transaction of which the journal knows nothing."""
    is_known = line.type in OF_ORDERS | PAYOUTS | FEES
    return Found(
        Kind.MISSING_IN_JOURNAL if is_known else Kind.UNKNOWN_TYPE,
        line.transaction,
        subject_type=line.type,
        order_id=order_id,
        expected_minor=line.amount_minor,
        expected_currency=line.currency,
    )


def is_under_way(line: LineFacts, order_id: UUID | None) -> bool:
    """Whether a bank debit has not arrived yet, or came to nothing; or nothing moved at all.

    Stripe writes it down when it is asked for, and takes it back when it fails. The order is
    looked at until then.
    """
    if not line.amount_minor and not line.fee_minor:
        return True
    if line.type not in {"payment", "payment_failure_refund"} or order_id is None:
        return False
    with system("see whether an order was paid"):
        return Order.objects.filter(pk=order_id, paid_at=None).exists()


def unknown_to_stripe(transaction: str, entry: Booked) -> Found:
    """That the journal has a transaction which Stripe has not."""
    return Found(
        Kind.MISSING_AT_STRIPE,
        transaction,
        order_id=entry.order_id,
        journal_id=entry.journal_id,
        found_minor=entry.amount_minor,
        found_currency=entry.currency,
    )


def written(since: datetime, until: datetime, *, livemode: bool) -> list[str]:
    """The balance transactions that were booked within a time, whenever Stripe made them."""
    with system("read which of Stripe's transactions were booked"):
        return list(
            Journal.objects.filter(
                livemode=livemode,
                kind__in=journal.OF_STRIPE,
                occurred_at__gte=since,
                occurred_at__lt=until,
            )
            .order_by("occurred_at")
            .values_list("reference", flat=True)
        )


def book_own(line: LineFacts, *, livemode: bool) -> None:
    """Book a movement of the market's own money. A repeat changes nothing."""
    settled = SettledFacts(line.transaction, line.currency, line.amount_minor, line.fee_minor)
    if line.amount_minor or line.fee_minor:
        with system("book a movement of the market's own money"):
            if line.type in PAYOUTS:
                journal.pay_out(settled, livemode=livemode)
            else:
                journal.take_fee(settled, livemode=livemode)


def calls_like(line: LineFacts, *, livemode: bool) -> list[UUID]:
    """Calls of no order that may have made a transfer, and whose answer was lost."""
    if line.type != "transfer":
        return []
    with system("find calls whose answer was lost"):
        return list(
            Command.objects.filter(
                livemode=livemode,
                kind__in=_OF_NO_ORDER,
                state=Command.State.PENDING,
                first_sent_at__isnull=False,
                params__amount=-line.amount_minor,
                params__currency=line.currency.lower(),
            )
            .order_by("pk")
            .values_list("pk", flat=True)
        )


def book_sent(line: LineFacts, *, livemode: bool) -> bool:
    """Book what Stripe made of a transfer of no order, if it is one of ours. Repeatable."""
    if line.type != "transfer" or not line.source:
        return False
    settled = SettledFacts(line.transaction, line.currency, line.amount_minor, line.fee_minor)
    with system("book a transfer that belongs to no order"):
        for model in (Remittance, RoyaltyPayment):
            sent = model.objects.filter(stripe_id=line.source, livemode=livemode).first()
            if sent is not None:
                journal.settle_own(sent.organization_id, settled, livemode=livemode)
                return True
    return False


def payout_differs(line: LineFacts) -> Found | None:
    """Whether a payout is another sum than that of what it took along: of automatic ones Stripe
    says what that was."""
    taken: Collection[LineFacts] = ()
    if line.type == "payout" and line.source:
        with contextlib.suppress(PaymentProviderRefused):
            taken = stripe_gateway.payout_lines(line.source)
    others = [each for each in taken if each.transaction != line.transaction]
    came = sum(each.net_minor for each in others)
    if not others or came == -line.amount_minor:
        return None
    return Found(
        Kind.PAYOUT_DIFFERS,
        line.transaction,
        subject_type=line.type,
        expected_minor=-line.amount_minor,
        expected_currency=line.currency,
        found_minor=came,
        found_currency=line.currency,
    )


def order_of(line: LineFacts, *, livemode: bool) -> UUID | None:
    """The order that a transaction belongs to, by our rows, or else by what Stripe says."""
    if not line.source:
        return None
    found = _order_by(
        Q(charge=line.source)
        | Q(payment_intent=line.source)
        | Q(parts__charge=line.source)
        | Q(refunds__stripe_id=line.source)
        | Q(disputes__stripe_id=line.source)
        | Q(transfer__stripe_id=line.source)
        | Q(transfer__reversals__stripe_id=line.source),
        livemode,
    )
    if found is None and line.source.startswith("trr_"):
        # Somebody took it back at Stripe's dashboard: no row of ours names it.
        transfer = stripe_gateway.reversed_transfer(line.transaction)
        return _order_by(Q(transfer__stripe_id=transfer), livemode) if transfer else None
    kind = next((kind for prefix, kind in _KINDS if line.source.startswith(prefix)), "")
    if found is not None or not kind:
        return found
    payment = stripe_gateway.payment_of(kind, line.source)
    if not payment:
        return None
    return _order_by(Q(payment_intent=payment) | Q(parts__payment_intent=payment), livemode)


def open_clearing(*, livemode: bool) -> list[Found]:
    """Orders of which something has been under way for longer than it should be."""
    now = timezone.now()
    values = {"livemode": livemode} | {
        f"{code.value}_since": now - limit for code, limit in LIMITS.items()
    }
    with system("add up what is under way of each order"), connection.cursor() as cursor:
        cursor.execute(_CLEARING, values)
        return [
            Found(
                Kind.CLEARING_OPEN,
                f"{Order._meta.pk.to_python(order_id)}:{code}:{currency}",
                subject_type=code,
                order_id=order_id,
                expected_minor=0,
                expected_currency=currency,
                found_minor=int(left),
                found_currency=currency,
                since=since,
            )
            for order_id, code, currency, left, since in cursor.fetchall()
        ]


def made_good(*, livemode: bool) -> set[str]:
    """Subjects of payments and refunds, whose buyer's account of the order is back at 0."""
    with system("see which payments were made good"), connection.cursor() as cursor:
        cursor.execute(_EVEN, [livemode, [Kind.PAID_DIFFERS, Kind.REFUND_FAILED]])
        return {subject for (subject,) in cursor.fetchall()}


def unhandled_events(*, livemode: bool) -> list[Found]:
    """Events that have been tried for too long."""
    with system("find events that cannot be handled"):
        return [
            Found(Kind.EVENT_UNHANDLED, event.pk, subject_type=event.type, since=event.received_at)
            for event in StripeEvent.objects.filter(
                livemode=livemode,
                next_attempt_at__isnull=False,
                received_at__lt=timezone.now() - EVENT_LIMIT,
            )
        ]


def _order_by(which: Q, livemode: bool) -> UUID | None:
    with system("find the order of a transaction of Stripe's"):
        found: UUID | None = (
            Order.objects.filter(which, livemode=livemode).values_list("pk", flat=True).first()
        )
        return found


# Transfers that belong to no order.
_OF_NO_ORDER = (Command.Kind.REMITTANCE, Command.Kind.ROYALTY_TRANSFER)

# What Stripe's ids begin with.
_KINDS = [
    ("ch_", "charge"),
    ("py_", "charge"),
    ("re_", "refund"),
    ("pyr_", "refund"),
    ("dp_", "dispute"),
    ("du_", "dispute"),
]

# Into the balance and to fees: together, what Stripe calls the amount. A fee of Stripe's own is an
# amount without a fee. What was booked twice is counted, and its amounts are those of one journal.
_BOOKED = """
SELECT reference, (min(id::text))::uuid, (min(order_id::text))::uuid, min(currency),
    (sum(amount) / count(*))::bigint, (sum(fee) / count(*))::bigint, count(*)::int
FROM (
    SELECT journal.reference, journal.id, journal.order_id, min(posting.currency) AS currency,
        coalesce(sum(posting.amount_minor) FILTER (
            WHERE account.code = 'stripe_balance' OR journal.kind <> 'stripe_fee'), 0) AS amount,
        coalesce(sum(posting.amount_minor) FILTER (
            WHERE account.code = 'stripe_fees' AND journal.kind <> 'stripe_fee'), 0) AS fee
    FROM payments_journal journal
    JOIN payments_posting posting ON posting.journal_id = journal.id
    JOIN payments_account account ON account.id = posting.account_id
    WHERE journal.livemode = %s AND journal.kind = ANY(%s) AND journal.reference = ANY(%s)
        AND account.code IN ('stripe_balance', 'stripe_fees')
    GROUP BY journal.id
) AS one GROUP BY reference
"""
_EVEN = """
SELECT mismatch.subject FROM payments_mismatch mismatch
WHERE mismatch.livemode = %s AND mismatch.kind = ANY(%s) AND mismatch.resolved_at IS NULL AND (
    SELECT coalesce(sum(posting.amount_minor), 0) = 0
    FROM payments_journal journal
    JOIN payments_posting posting ON posting.journal_id = journal.id
    JOIN payments_account account ON account.id = posting.account_id
    WHERE journal.order_id = mismatch.order_id AND account.code = 'buyer_receivable'
)
"""
_CLEARING = """
SELECT journal.order_id, account.code, posting.currency, sum(posting.amount_minor),
    max(journal.occurred_at)
FROM payments_account account
JOIN payments_posting posting ON posting.account_id = account.id
JOIN payments_journal journal ON journal.id = posting.journal_id
WHERE account.livemode = %(livemode)s AND journal.order_id IS NOT NULL AND account.code IN
    ('stripe_clearing', 'buyer_receivable', 'dispute_hold', 'royalty_pool')
GROUP BY journal.order_id, account.code, posting.currency
HAVING sum(posting.amount_minor) <> 0 AND max(journal.occurred_at) < CASE account.code
    WHEN 'stripe_clearing' THEN %(stripe_clearing_since)s::timestamptz
    WHEN 'buyer_receivable' THEN %(buyer_receivable_since)s::timestamptz
    WHEN 'dispute_hold' THEN %(dispute_hold_since)s::timestamptz
    ELSE %(royalty_pool_since)s::timestamptz END
"""
