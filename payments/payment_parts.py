"""Parts of a payment: an invoice that is paid in several, each of them booked once.

https://docs.stripe.com/invoicing/partial-payments. People attach them at Stripe. An order is paid
once all of its invoice is; what came before stands on its buyer's account, with an age.
"""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone

from marketplace.money import round_half_even
from payments import journal, settlements
from payments.journal import Code, Line
from payments.models import Command, Order, PaymentPart, Refund
from payments.stripe_facts import InvoiceFacts, PaymentFacts, SettledFacts


def are_of(order: Order) -> bool:
    """Whether an order is paid in parts."""
    return order.method == Order.Method.INVOICE and order.parts.exists()


def merge(order: Order, facts: InvoiceFacts) -> PaymentFacts | None:
    """Take over the payments of an invoice. Under the order's lock; repeatable.

    Returns the one that paid it, or what several come to together; None before it is paid.
    """
    parts = facts.parts
    if not parts and facts.payment is not None and are_of(order):
        # The rest was credited: this one is all that there was to pay.
        parts = (facts.payment,)
    if not parts:
        return facts.payment
    for part in parts:
        _keep(order, part)
    return _together(order, parts) if facts.is_paid else None


def left(order: Order) -> dict[PaymentPart, int]:
    """What of each part was not given back, nor is about to be, the least first."""
    rows = {part: part.amount_minor - part.refunded_minor for part in order.parts.order_by("pk")}
    under_way = {
        row.pk: row.amount_minor for row in order.refunds.filter(state=Refund.State.SENDING)
    }
    posted = set(order.journals.filter(kind=journal.REFUND).values_list("reference", flat=True))
    calls = Command.objects.filter(
        order=order, kind__in=[Command.Kind.REFUND, Command.Kind.CREDIT_NOTE]
    )
    for call in calls:
        refund = Refund._meta.pk.to_python(call.reference)
        if call.reference in posted or refund not in under_way:
            continue
        intent = call.params.get("payment_intent")
        for part in rows:
            if part.payment_intent == intent:
                rows[part] -= under_way[refund]
    return dict(sorted(rows.items(), key=lambda pair: (pair[1], pair[0].pk)))


def holding(order: Order, amount_minor: int) -> PaymentPart | None:
    """The part that an amount is given back of: the least that still holds so much."""
    return next((part for part, rest in left(order).items() if rest >= amount_minor), None)


def _keep(order: Order, fact: PaymentFacts) -> None:
    part = order.parts.filter(payment_intent=fact.payment_intent or None).first()
    refunded = min(fact.refunded_minor, fact.received_minor)
    if part is None:
        part = PaymentPart(
            organization_id=order.organization_id,
            seller_id=order.seller_id,
            livemode=order.livemode,
            order=order,
            payment_intent=fact.payment_intent or None,
            charge=fact.charge,
            amount_minor=fact.received_minor,
            refunded_minor=refunded,
            paid_at=fact.paid_at or timezone.now(),
        )
        part.save(force_insert=True)
    elif (part.refunded_minor, part.charge) != (refunded, fact.charge):
        part.refunded_minor, part.charge = refunded, fact.charge
        part.save(update_fields=["refunded_minor", "charge"])
    code = Code.BANK if part.payment_intent is None else Code.STRIPE_CLEARING
    lines = [
        Line(code, part.amount_minor),
        Line(Code.BUYER_RECEIVABLE, -part.amount_minor, order.organization_id),
    ]
    journal.post(order, journal.PAYMENT, lines, reference=str(part.pk))
    if fact.settled is not None:
        journal.settle(order, fact.settled, part.amount_minor)


def _together(order: Order, parts: tuple[PaymentFacts, ...]) -> PaymentFacts:
    at_stripe = [part for part in parts if part.payment_intent]
    largest = max(at_stripe, key=lambda part: part.received_minor, default=None)
    # A transfer has one source at most: the largest charge, where it holds the seller's share.
    # Else our balance at Stripe has to cover it.
    share = settlements.of(order).seller_minor
    is_source = largest is not None and largest.received_minor >= share
    times: list[datetime] = [part.paid_at for part in parts if part.paid_at is not None]
    return PaymentFacts(
        payment_intent=at_stripe[0].payment_intent if at_stripe else "",
        received_minor=sum(part.received_minor for part in parts),
        paid_at=max(times, default=None),
        decline="",
        charge=largest.charge if largest is not None and is_source else "",
        settled=_settled(order, parts),
        refunds=tuple(refund for part in parts for refund in part.refunds),
        disputes=tuple(dispute for part in parts for dispute in part.disputes),
    )


def _settled(order: Order, parts: tuple[PaymentFacts, ...]) -> SettledFacts | None:
    """What the parts came to together: each was booked by itself. None before all are known.

    What came to the bank counts at the rate of the others.
    """
    at_stripe = [part for part in parts if part.payment_intent]
    known = [part.settled for part in at_stripe if part.settled is not None]
    if not at_stripe or len(known) < len(at_stripe) or len({each.currency for each in known}) > 1:
        return None
    amount = sum(each.amount_minor for each in known)
    presented = sum(part.received_minor for part in at_stripe)
    whole = sum(part.received_minor for part in parts)
    return SettledFacts(
        transaction="",
        currency=known[0].currency,
        amount_minor=round_half_even(amount * whole, presented),
        fee_minor=sum(each.fee_minor for each in known),
    )
