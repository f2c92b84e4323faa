"""Brings orders up to what Stripe says. The only way their money state changes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import scope_claims
from marketplace.access import system
from marketplace.errors import (
    DomainError,
    NotFound,
    PaidAmountDiffers,
    PaymentProviderRefused,
    PaymentProviderUnavailable,
)
from payments import (
    checkouts,
    disputes,
    invoices,
    journal,
    licenses,
    mismatches,
    order_states,
    orders,
    payment_parts,
    refunds,
    royalties,
    settlements,
    stripe_gateway,
    stripe_pace,
    tax_records,
    transfers,
)
from payments.models import Account, Order, Refund
from payments.order_states import Event
from payments.stripe_facts import CheckoutFacts, InvoiceFacts, PaymentFacts

logger = logging.getLogger(__name__)
Status = Order.Status

# What is unsettled is looked at again after 5, 10, 20 … seconds, and every five minutes at least:
# events are lost, and whoever paid must not wait for one.
LOOK_SECONDS = 5
LOOK_SECONDS_MAX = 300
# Paid, and neither granted nor refused yet.
_GRANTABLE = frozenset({Status.PAID, Status.PAID_LATE, Status.DISPUTE_WON})
# Nothing more comes of these by itself; what does, is told by an event, and found by reconciling.
_SETTLED = frozenset(
    {
        Status.GRANTED,
        Status.PARTIALLY_REFUNDED,
        Status.REFUNDED,
        Status.EXPIRED,
        Status.CANCELLED,
        Status.DISPUTE_WON,
        Status.DISPUTE_LOST,
    }
)
# Of an invoice that nobody paid yet.
_OWED = frozenset({Status.AWAITING_PAYMENT, Status.PAST_DUE})
# A bank debit may be returned so many days after it was ordered: its rights are held meanwhile.
DEBIT_TAKES = timedelta(days=14)
# Longer than Stripe can take to answer, its retries included.
CLAIMED_FOR = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a buyer who comes back from the pay page is told."""

    order: Order
    # Why the last attempt to pay failed; "" where it did not.
    decline: str
    # Stripe could not be asked just now: what is shown may be old.
    is_stale: bool


class AskedJustNow(Exception):
    """Stripe was asked for the order a moment ago; it can be asked again at `again_at`."""

    def __init__(self, again_at: datetime) -> None:
        super().__init__(f"asked just now; again at {again_at}")
        self.again_at = again_at


def sync_order(order_id: UUID) -> Order:
    """Bring an order up to what Stripe says now, and grant or refund what was paid.

    Safe to call at any time, any number of times, from event, return page, reconciler and admin:
    Stripe delivers events late, twice, out of order or never. Paid is a fact and always commits;
    the grant follows in a savepoint. Raises PaymentProviderUnavailable; in background work also
    AskedJustNow, so that what comes close together costs one fetch.
    """
    return _sync(order_id)[0]


def returned(token: str) -> Outcome:
    """Settle the order of a buyer who comes back from the pay page, and say what happened."""
    order_id = Order._meta.pk.to_python(checkouts.returned(token))
    try:
        order, facts = _sync(order_id)
    except (PaymentProviderUnavailable, PaymentProviderRefused):
        return Outcome(_whole(order_id), decline="", is_stale=True)
    decline = facts.payment.decline if facts is not None and facts.payment is not None else ""
    return Outcome(_whole(order.pk), decline=decline, is_stale=False)


def complete_due(limit: int = 20) -> int:
    """Look again at unsettled orders: the reconciler, which heals what events did not bring."""
    with system("take orders that are due for another look"):
        due = list(
            Order.objects.select_for_update(skip_locked=True)
            .filter(livemode=settings.STRIPE_LIVEMODE, next_sync_at__lte=timezone.now())
            .order_by("next_sync_at")
            .values_list("pk", flat=True)[:limit]
        )
        # Another worker's own: each is fetched once.
        Order.objects.filter(pk__in=due).update(next_sync_at=timezone.now() + CLAIMED_FOR)
    for order_id in due:
        try:
            sync_order(order_id)
        except PaymentProviderUnavailable:
            # Stripe is away for the others too; each is due again later.
            break
        except AskedJustNow as soon:
            with system("look at an order a little later"):
                Order.objects.filter(pk=order_id, next_sync_at__isnull=False).update(
                    next_sync_at=soon.again_at
                )
        except Exception:
            logger.exception("could not settle %s", order_id)
    return len(due)


def _sync(order_id: UUID) -> tuple[Order, CheckoutFacts | InvoiceFacts | None]:
    named = _claim(order_id)
    if named is None:
        # Free, or its pay page is not open yet: Stripe has nothing to say.
        return _whole(order_id), None
    # Outside any transaction: a slow Stripe must not hold a row lock.
    facts = _fetch(named)
    with system("settle an order"):
        order = _locked(order_id)
        _merge(order, facts)
        if order.grant_id is None and order.status in _GRANTABLE and not order.refusal:
            _grant_or_refund(order, facts.currency)
        elif order.grant_id is None and invoices.begins_unpaid(order):
            _grant_unpaid(order)
        elif order.refusal and order.status == Status.DISPUTE_WON:
            # The bank gave back what was to be given back anyway.
            order_states.move(order, Event.REFUSED)
            refunds.start(order)
        # Of what came short of the price, nothing is sent on before people have decided about it.
        is_whole = order.paid_minor and order.paid_minor >= order.total_minor
        if order.grant_id is not None and is_whole and order.status != Status.DISPUTED:
            transfers.plan(order)
        transfers.bear_exchange(order)
        order.next_sync_at = _next_look(order)
        order.save(
            update_fields=[
                "status",
                "payment_intent",
                "charge",
                "paid_at",
                "paid_minor",
                "settled_minor",
                "settled_currency",
                "settled_fee_minor",
                "refunded_minor",
                "lost_minor",
                "grant",
                "granted_at",
                "refusal",
                "next_sync_at",
            ]
        )
    return order, facts


def _claim(order_id: UUID) -> tuple[str, str] | None:
    """Note the attempt, so that it is made again if this process dies.

    Returns what Stripe is asked for: which kind of thing, and its id.
    """
    now, gap = timezone.now(), stripe_pace.fetch_gap()
    values: dict[str, Any] = {
        "now": now,
        "later": now + CLAIMED_FOR,
        "order": order_id,
        "gap": gap,
    }
    with system("claim an order to settle it"), connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE payments_order placed SET sync_attempts = sync_attempts + 1,
                asked_at = %(now)s,
                next_sync_at = CASE WHEN next_sync_at IS NOT NULL THEN %(later)s::timestamptz END
            WHERE id = %(order)s AND (asked_at IS NULL OR asked_at <= %(now)s - %(gap)s::interval
                OR %(gap)s::interval = interval '0')
            RETURNING checkout_session, (
                SELECT stripe_id FROM payments_invoice invoice WHERE invoice.order_id = placed.id
            ), livemode
            """,
            values,
        )
        row = cursor.fetchone()
        if row is None:
            asked = Order.objects.filter(pk=order_id).values_list("asked_at", flat=True).first()
            if asked is None:
                raise NotFound(_("There is no order “%(id)s”.") % {"id": order_id})
            raise AskedJustNow(asked + gap)
    session, invoice, livemode = row
    if livemode != settings.STRIPE_LIVEMODE:
        # With a key of the other mode, Stripe knows nothing of it.
        return None
    if invoice is not None:
        return Order.Method.INVOICE, str(invoice)
    return None if session is None else (Order.Method.CHECKOUT, str(session))


def _fetch(named: tuple[str, str]) -> CheckoutFacts | InvoiceFacts:
    method, id = named
    if method == Order.Method.INVOICE:
        return stripe_gateway.retrieve_invoice(id)
    return stripe_gateway.retrieve_checkout(id)


def _locked(order_id: UUID) -> Order:
    return (
        Order.objects.select_for_update(of=("self",))
        .select_related(
            "quote__organization",
            "quote__seller",
            "quote__snapshot",
            "quote__terms",
        )
        .get(pk=order_id)
    )


def _whole(order_id: UUID) -> Order:
    with system("read an order that was settled"):
        return Order.objects.select_related("quote__offer__collection", "seller", "grant").get(
            pk=order_id
        )


def _merge(order: Order, facts: CheckoutFacts | InvoiceFacts) -> None:
    """Take facts over. They only grow: a stale fetch cannot undo a newer one."""
    payment = facts.payment
    if isinstance(facts, InvoiceFacts):
        invoices.merge(order, facts)
        payment = payment_parts.merge(order, facts)
        if payment is None and facts.is_paid:
            # Credited in all, or by a balance of the buyer's there: nothing came.
            payment = PaymentFacts("", received_minor=0, paid_at=None, decline="")
    if payment is not None and facts.is_paid:
        if order.grant_id is not None and order.status == Status.CANCELLED:
            # Its license is revoked, and nobody owes anything: people decide about it.
            mismatches.paid_otherwise(order, found_minor=payment.received_minor, expected_minor=0)
            return
        if order_states.move(order, Event.PAID):
            order.payment_intent = payment.payment_intent or None
            order.paid_at = payment.paid_at or timezone.now()
            order.paid_minor = payment.received_minor
            if order.paid_minor and not payment_parts.are_of(order):
                journal.post(order, journal.PAYMENT, journal.payment(order))
            _go_on(order)
        _settle(order, payment)
        refunds.merge(order, payment.refunds)
        disputes.merge(order, payment.disputes)
    elif isinstance(facts, CheckoutFacts):
        if facts.has_expired and order_states.move(order, Event.ENDED):
            scope_claims.release(str(order.pk))
        elif facts.is_under_way:
            scope_claims.prolong(str(order.pk), timezone.now() + DEBIT_TAKES)


def _go_on(order: Order) -> None:
    """What began with its invoice goes on, now that that is paid."""
    if order.grant_id is None:
        return
    order_states.move(order, Event.GRANTED)
    if order.paid_minor != order.total_minor:
        # The buyer owes the rest, or is owed it, on its own account.
        mismatches.paid_otherwise(
            order, found_minor=order.paid_minor, expected_minor=order.total_minor
        )
    licenses.reinstate(order, reason="The invoice was paid.", after=licenses.Cause.PAYMENT_OVERDUE)


def _settle(order: Order, payment: PaymentFacts) -> None:
    """Keep what the payment came to at Stripe, once Stripe has said so."""
    order.charge = order.charge or payment.charge or None
    settled = payment.settled
    if order.settled_minor is not None:
        return
    if journal.came_to(order) == Account.Code.BANK:
        # It is whole, and in its own currency: Stripe had no part in it.
        order.settled_minor, order.settled_currency = order.paid_minor, order.currency
        order.settled_fee_minor = 0
        return
    if settled is None:
        return
    order.settled_minor, order.settled_currency = settled.amount_minor, settled.currency
    order.settled_fee_minor = settled.fee_minor
    if settled.transaction:
        journal.settle(order, settled, order.paid_minor)


def _grant_or_refund(order: Order, currency: str) -> None:
    """Grant in a savepoint. A refusal is final and refunds; a failure of ours is tried again."""
    try:
        with transaction.atomic():
            came = (order.paid_minor, currency, order.refunded_minor)
            if came != (order.total_minor, order.currency, 0):
                raise PaidAmountDiffers
            order.grant = orders.issue_grant(order)
            journal.post(order, journal.SALE, journal.sale(order, settlements.of(order)))
            tax_records.record(order)
            royalties.of_sale(order)
            # Deferred checks run here, where they can still be undone without "paid".
            connection.check_constraints()
    except Exception as error:
        order.grant = None
        if isinstance(error, PaidAmountDiffers) and not order.paid_minor:
            # Nothing can go back; whether something is owed, people say.
            mismatches.paid_otherwise(order, found_minor=0, expected_minor=order.total_minor)
        if not isinstance(error, DomainError) or error.retryable:
            # The edge of a retry loop: paid commits, and the grant is tried again when due.
            logger.exception("could not grant %s, which is paid", order.pk)
            return
        order.refusal = error.code
        # Nobody gets these rights by this order any more.
        scope_claims.release(str(order.pk))
        order_states.move(order, Event.REFUSED)
        refunds.start(order)
        if order.refunded_minor == order.paid_minor:
            # It went back before we heard of it.
            order_states.move(order, Event.REFUNDED)
    else:
        order_states.move(order, Event.GRANTED)
        order.granted_at = timezone.now()


def _grant_unpaid(order: Order) -> None:
    """Grant what begins with its invoice, in a savepoint. A refusal takes the invoice back."""
    try:
        with transaction.atomic():
            order.grant = orders.issue_grant(order)
            journal.post(order, journal.SALE, journal.sale(order, settlements.of(order)))
            tax_records.record(order)
            connection.check_constraints()
    except Exception as error:
        order.grant = None
        logger.exception("could not grant %s, whose invoice was sent", order.pk)
        if isinstance(error, DomainError) and not error.retryable:
            invoices.void(order)
    else:
        order.granted_at = timezone.now()


def _next_look(order: Order) -> datetime | None:
    """When the reconciler looks again; None where nothing more is expected."""
    if order.method == Order.Method.INVOICE and order.status in _OWED:
        return invoices.next_look(order)
    is_settled = not order.paid_minor or order.settled_minor is not None
    # A won dispute ends an order, unless its license could not be given yet.
    is_owed = order.grant_id is None and order.status in _GRANTABLE and not order.refusal
    if order.status in _SETTLED and is_settled and not is_owed and not _is_refunding(order):
        return None
    wait = min(LOOK_SECONDS * 2 ** min(order.sync_attempts, 16), LOOK_SECONDS_MAX)
    return timezone.now() + timedelta(seconds=wait)


def _is_refunding(order: Order) -> bool:
    """Whether Stripe has a refund of which it has not said yet that it arrived."""
    return order.refunds.filter(state=Refund.State.SENDING, stripe_id__isnull=False).exists()
