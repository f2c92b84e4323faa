"""Refunds: asked for, approved, given back once, and taken from everybody who had a share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import Prefetch, QuerySet, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import delivery_summaries
from marketplace import audit, events, idempotency, money, preferences
from marketplace.access import Caller, acting, system
from marketplace.errors import (
    InvalidInput,
    MissingScope,
    NotFound,
    OrderWrongState,
    PaymentDisputed,
    RefundTooLarge,
    RefundWrongState,
)
from marketplace.models import User
from payments import (
    commands,
    invoices,
    journal,
    licenses,
    mismatches,
    order_states,
    payment_parts,
    royalties,
    settlements,
    stripe_gateway,
    tax_records,
    transfers,
)
from payments.commands import Call
from payments.journal import Code, Line
from payments.models import Command, Order, Refund, RefundApproval
from payments.order_states import Event
from payments.stripe_facts import RefundFacts

logger = logging.getLogger(__name__)
State = Refund.State
Cause = Refund.Cause

TRANSITIONS: dict[str, frozenset[str]] = {
    State.REQUESTED: frozenset({State.SENDING, State.DECLINED}),
    State.SENDING: frozenset({State.SUCCEEDED, State.REFUSED, State.FAILED}),
    # The buyer's bank may send it back, days later.
    State.SUCCEEDED: frozenset({State.FAILED}),
    # Declined, refused and failed are final: a new refund may follow.
}
# What buyer and seller are told of.
_TOLD = {
    State.DECLINED: "refund.declined",
    State.SUCCEEDED: "refund.succeeded",
    State.REFUSED: "refund.failed",
    State.FAILED: "refund.failed",
}

# Orders of which something can be given back on request.
_REFUNDABLE = frozenset(
    {Order.Status.GRANTED, Order.Status.PARTIALLY_REFUNDED, Order.Status.DISPUTE_WON}
)

# Within this time an operator's same refund again is no other one.
SAME_WITHIN = timedelta(minutes=1)

# It went back by itself, unless Stripe refused that.
REFUNDABLE_BY_OPERATORS = _REFUNDABLE | {Order.Status.PAID_UNGRANTABLE}


def request(
    caller: Caller,
    order: str,
    *,
    amount_minor: int | None = None,
    reason: str,
    effect: str = licenses.Effect.PROSPECTIVE,
) -> Refund:
    """Ask for, or give, a part or all of a payment back. Buyer and seller may.

    Without an amount: all that is left. It is sent at once, unless somebody must agree before: the
    licensor, if a buyer asks after the first delivery; two people, above the market's limit. What
    the seller asks for, the seller agrees to. Once all is back, the license ends. Raises NotFound,
    OrderWrongState, PaymentDisputed, RefundTooLarge, InvalidInput.
    """
    if not reason.strip():
        raise InvalidInput(_("Say why."), param="reason")
    with system("a refund is about a buyer and a seller"), acting(caller):
        bought = _lock_order(caller, order)
        is_seller = bought.seller_id == caller.organization.pk
        refund = _requested(
            bought,
            amount_minor,
            cause=Cause.SELLER if is_seller else Cause.BUYER,
            reason=reason.strip(),
            effect=effect,
            actor=caller.actor,
        )
        refund.needs_seller = not is_seller and _was_delivered(bought)
        refund.save(force_insert=True)
        _tell("refund.requested", refund)
        audit.record(caller, "refund.requested", subject=refund, order=str(bought.pk))
        idempotency.names(caller, refund)
        if is_seller:
            _approve(refund, caller.actor, is_operator=False)
        _send_if_approved(bought, refund)
    return refund


def approve(caller: Caller, refund: str) -> Refund:
    """Agree to a refund as its seller. Repeating it changes nothing.

    Raises NotFound, RefundWrongState; PaymentDisputed, RefundTooLarge for what has changed since it
    was asked for.
    """
    with system("a refund is about a buyer and a seller"), acting(caller):
        found, order = _lock_refund(caller, refund)
        if found.seller_id != caller.organization.pk:
            raise NotFound(_("There is no refund “%(id)s” of your sales.") % {"id": refund})
        if _has_approved(found, caller.actor):
            return found
        _check_undecided(found)
        _approve(found, caller.actor, is_operator=False)
        audit.record(caller, "refund.approved", subject=found)
        _send_if_approved(order, found)
    return found


def decline(caller: Caller, refund: str) -> Refund:
    """Decline a refund as its seller, or take one's own request back. Repeatable."""
    with system("a refund is about a buyer and a seller"), acting(caller):
        found, _order = _lock_refund(caller, refund)
        if found.state == State.DECLINED:
            return found
        _check_undecided(found)
        _move(found, State.DECLINED)
        found.save(update_fields=["state"])
        audit.record(caller, "refund.declined", subject=found)
    return found


def give(
    operator: User, order_id: str, *, amount_minor: int | None, reason: str, effect: str
) -> Refund:
    """Start a refund as the market's operator. After a delivery the licensor must agree, too.

    The same by the same operator within a minute, as of a form that was sent twice, is the same.
    """
    _check_operator(operator)
    with system("an operator gives a payment back"):
        order = _find_order(order_id)
        before = order.refunds.filter(
            requested_by=str(operator.pk),
            # Where all that is left was meant (None), nothing is left the second time.
            amount_minor=amount_minor or 0,
            reason=reason.strip()[:1000] or "-",
            effect=effect,
            created_at__gt=timezone.now() - SAME_WITHIN,
            # What was refused meanwhile is asked for anew.
            state__in=[State.REQUESTED, State.SENDING, State.SUCCEEDED],
        ).first()
        if before is not None:
            return before
        refund = _requested(
            order,
            amount_minor,
            cause=Cause.OPERATOR,
            reason=reason.strip() or "-",
            effect=effect,
            actor=str(operator.pk),
        )
        refund.needs_seller = _was_delivered(order)
        refund.save(force_insert=True)
        _tell("refund.requested", refund)
        audit.record(_as_seller(operator, order), "refund.requested", subject=refund)
        _approve(refund, str(operator.pk), is_operator=True)
        _send_if_approved(order, refund)
    return refund


def approve_as_operator(operator: User, id: str) -> Refund:
    """Be one of the two people that a large refund needs. Stands for no licensor.

    Repeating it changes nothing. Raises MissingScope, NotFound, RefundWrongState, PaymentDisputed,
    RefundTooLarge.
    """
    _check_operator(operator)
    with system("an operator agrees to a refund"):
        try:
            found = Refund.objects.get(pk=id)
        except (Refund.DoesNotExist, ValidationError):
            raise NotFound(_("There is no refund “%(id)s”.") % {"id": id}) from None
        order = Order.objects.select_for_update().get(pk=found.order_id)
        refund = Refund.objects.select_for_update().get(pk=found.pk)
        if _has_approved(refund, str(operator.pk)):
            return refund
        _check_undecided(refund)
        _approve(refund, str(operator.pk), is_operator=True)
        audit.record(_as_seller(operator, order), "refund.approved", subject=refund)
        _send_if_approved(order, refund)
    return refund


def pay_outside(operator: User, id: str) -> Refund:
    """Say that the buyer got the money of a refund that had failed by bank. Repeatable.

    Raises MissingScope, NotFound, RefundWrongState.
    """
    _check_operator(operator)
    with system("an operator paid a refund that had failed"):
        try:
            found = Refund.objects.get(pk=id)
        except (Refund.DoesNotExist, ValidationError):
            raise NotFound(_("There is no refund “%(id)s”.") % {"id": id}) from None
        order = Order.objects.select_for_update().get(pk=found.order_id)
        refund = Refund.objects.select_for_update().get(pk=found.pk)
        if journal.is_posted(order, journal.REFUND_PAID, reference=str(refund.pk)):
            return refund
        if journal.returned_minor(order) < refund.amount_minor or refund.state != State.FAILED:
            raise RefundWrongState(
                _("The buyer is not owed this refund."),
                refund=str(refund.pk),
                refund_state=refund.state,
            )
        lines = [
            Line(Code.BUYER_RECEIVABLE, refund.amount_minor, order.organization_id),
            Line(Code.BANK, -refund.amount_minor),
        ]
        journal.post(order, journal.REFUND_PAID, lines, reference=str(refund.pk))
        audit.record(_as_seller(operator, order), "refund.paid_outside", subject=refund)
        mismatches.keep([], livemode=refund.livemode, looked_at=[str(refund.pk)])
    return refund


def start(order: Order) -> None:
    """Commit to giving the whole payment back, for which no license could be given.

    Under the order's lock. Repeating it finds the first refund, unless Stripe refused that.
    """
    given = order.refunds.filter(cause=Cause.UNGRANTABLE)
    if given.exclude(state__in=[State.REFUSED, State.FAILED]).exists():
        return
    left = [order.paid_minor - order.refunded_minor - order.lost_minor]
    if payment_parts.are_of(order):
        # Each goes back the way that it came.
        left = [*payment_parts.left(order).values()]
    for amount_minor in left:
        if amount_minor <= 0:
            continue
        refund = Refund(
            **_parties(order),
            amount_minor=amount_minor,
            currency=order.currency,
            cause=Cause.UNGRANTABLE,
            reason=order.refusal,
            requested_by="system",
        )
        refund.save(force_insert=True)
        _tell("refund.requested", refund)
        _send(order, refund)


def merge(order: Order, facts: Sequence[RefundFacts]) -> None:
    """Take over what Stripe says of an order's refunds. Under the order's lock; repeatable.

    Each is taken from its sharers once, when it is first heard of; one that failed later is owed to
    the buyer again. The caller saves the order.
    """
    for fact in facts:
        refund = _of(order, fact)
        if fact.is_given_back and not journal.is_posted(
            order, journal.REFUND, reference=str(refund.pk)
        ):
            _take(order, refund, is_outside=fact.is_outside)
        if fact.settled is not None:
            journal.settle(order, fact.settled, -refund.amount_minor)
        if not fact.is_given_back:
            _fail(order, refund, fact.failure or fact.status)
            if fact.returned is not None:
                journal.settle(order, fact.returned, refund.amount_minor)
        elif fact.status == "succeeded" and refund.state == State.SENDING:
            _move(refund, State.SUCCEEDED)
            refund.save(update_fields=["state"])


# --- asking and agreeing ----------------------------------------------------------------------


def _requested(
    order: Order,
    amount_minor: int | None,
    *,
    cause: str,
    reason: str,
    effect: str,
    actor: str,
) -> Refund:
    if effect not in licenses.Effect.values:
        raise InvalidInput(_("The effect is “prospective” or “void_from_start”."), param="effect")
    _check_undisputed(order)
    allowed = REFUNDABLE_BY_OPERATORS if cause == Cause.OPERATOR else _REFUNDABLE
    if order.status not in allowed or not order.paid_minor:
        raise OrderWrongState(
            _("Nothing of this order can be given back."),
            order=str(order.pk),
            order_status=order.status,
        )
    left = left_minor(order)
    amount = left if amount_minor is None else amount_minor
    if amount < 1 and left:
        raise InvalidInput(_("Give back something."), param="amount_minor")
    if amount > left or not left:
        raise _too_large(order, left)
    step = money.currency(order.currency).step_minor
    if amount % step:
        raise InvalidInput(
            _("In %(currency)s Stripe gives back whole multiples of %(step)s only.")
            % {"currency": order.currency, "step": preferences.amount(step, order.currency)},
            param="amount_minor",
        )
    _check_one_part(order, amount)
    limit = settings.REFUND_LIMITS.get(order.currency)
    return Refund(
        **_parties(order),
        amount_minor=amount,
        currency=order.currency,
        cause=cause,
        reason=reason[:1000],
        effect=effect,
        # Of all that goes back of one order: in parts, too.
        needs_two=limit is not None and order.paid_minor - order.lost_minor - left + amount > limit,
        requested_by=actor,
    )


def _check_undisputed(order: Order) -> None:
    if order.status == Order.Status.DISPUTED:
        raise PaymentDisputed(
            _("The buyer's bank wants this payment back. Answer it first."), order=str(order.pk)
        )


def _too_large(order: Order, left_minor: int) -> RefundTooLarge:
    return RefundTooLarge(
        _("%(left)s of this payment is left to give back.")
        % {"left": preferences.amount(left_minor, order.currency)},
        left_minor=left_minor,
    )


def _check_one_part(order: Order, amount_minor: int) -> None:
    """Refuse more at a time than one payment of several holds: each goes back by itself."""
    parts = payment_parts.left(order) if payment_parts.are_of(order) else {}
    most = max(parts.values(), default=amount_minor)
    if amount_minor > most:
        raise RefundTooLarge(
            _("This was paid in several parts: give back at most %(most)s at a time.")
            % {"most": preferences.amount(most, order.currency)},
            left_minor=most,
        )


def left_minor(order: Order) -> int:
    """What was neither given back nor lost, nor is about to be given back."""
    pending = (
        order.refunds.filter(state__in=[State.REQUESTED, State.SENDING])
        .exclude(pk__in=_taken(order))
        .aggregate(sum=Sum("amount_minor"))
    )
    gone = order.refunded_minor + order.lost_minor + (pending["sum"] or 0)
    return order.paid_minor - gone


def whole(rows: QuerySet[Refund]) -> QuerySet[Refund]:
    """The same refunds with what is shown of them: who agreed, in that order."""
    return rows.prefetch_related(Prefetch("approvals", RefundApproval.objects.order_by("pk")))


def _is_all_on_its_way(order: Order) -> bool:
    """Whether nothing of a payment is left once what is being sent has arrived."""
    sending = (
        order.refunds.filter(state=State.SENDING)
        .exclude(pk__in=_taken(order))
        .aggregate(sum=Sum("amount_minor"))
    )
    return order.refunded_minor + order.lost_minor + (sending["sum"] or 0) >= order.paid_minor


def _taken(order: Order) -> list[UUID]:
    """Refunds that `refunded_minor` counts already."""
    references = order.journals.filter(kind=journal.REFUND).values_list("reference", flat=True)
    return [Refund._meta.pk.to_python(reference) for reference in references]


def _send_if_approved(order: Order, refund: Refund) -> None:
    approvals = list(refund.approvals.all())
    if refund.needs_seller and all(each.is_operator for each in approvals):
        return
    # Keys are no people.
    if refund.needs_two and sum(each.actor.startswith("usr_") for each in approvals) < 2:
        return
    # Asked for a while ago, perhaps.
    _check_undisputed(order)
    left = order.paid_minor - order.refunded_minor - order.lost_minor
    if refund.amount_minor > left:
        raise _too_large(order, left)
    _send(order, refund)


def _send(order: Order, refund: Refund) -> None:
    _move(refund, State.SENDING)
    refund.sent_at = timezone.now()
    refund.save(update_fields=["state", "sent_at"])
    if _is_all_on_its_way(order):
        # Stripe may be away for hours: what is paid back is not fetched meanwhile.
        licenses.suspend(
            order,
            cause=licenses.Cause.REFUNDED,
            reason="The whole payment is on its way back.",
        )
    payment_intent = order.payment_intent
    if payment_parts.are_of(order):
        part = payment_parts.holding(order, refund.amount_minor)
        assert part is not None, "One part holds what is given back."
        payment_intent = part.payment_intent
    if payment_intent is None:
        # Stripe never had it: people give it back, and a credit note says so.
        gone = order.refunded_minor + order.lost_minor
        shares = settlements.part(order, gone + refund.amount_minor) - settlements.part(order, gone)
        invoices.give_back_outside(order, refund=str(refund.pk), shares=shares)
        return
    commands.give(
        Command.Kind.REFUND,
        {
            "payment_intent": payment_intent,
            "amount": refund.amount_minor,
            "metadata": {"order": str(order.pk), "licet": str(refund.pk)},
        },
        order=order,
        reference=str(refund.pk),
    )


def _approve(refund: Refund, actor: str, *, is_operator: bool) -> None:
    RefundApproval.objects.create(
        seller_id=refund.seller_id, refund=refund, actor=actor, is_operator=is_operator
    )


def _has_approved(refund: Refund, actor: str) -> bool:
    return refund.approvals.filter(actor=actor).exists()


def _check_undecided(refund: Refund) -> None:
    if refund.state != State.REQUESTED:
        raise RefundWrongState(
            _("This refund was decided before."), refund=str(refund.pk), refund_state=refund.state
        )


def _was_delivered(order: Order) -> bool:
    return order.grant_id is not None and delivery_summaries.has_left(order.grant_id)


def _lock_order(caller: Caller, id: str) -> Order:
    """An order that the caller bought or sold."""
    try:
        found = Order.objects.select_for_update().party_to(caller).get(pk=id)
    except (Order.DoesNotExist, ValidationError):
        raise NotFound(_("There is no order “%(id)s”.") % {"id": id}) from None
    return found


def _find_order(id: str) -> Order:
    try:
        return Order.objects.select_for_update().get(pk=id)
    except (Order.DoesNotExist, ValidationError):
        raise NotFound(_("There is no order “%(id)s”.") % {"id": id}) from None


def _lock_refund(caller: Caller, id: str) -> tuple[Refund, Order]:
    """A refund of the caller's purchases and sales, its order locked before it."""
    refund = Refund.objects.get_visible(caller, id)
    order = Order.objects.select_for_update().get(pk=refund.order_id)
    return Refund.objects.select_for_update().get(pk=refund.pk), order


def _check_operator(operator: User) -> None:
    if not operator.is_operator or not operator.is_active:
        raise MissingScope(_("Only an operator of this market gives payments back."))


def _as_seller(operator: User, order: Order) -> Caller:
    return Caller(order.seller, livemode=order.livemode, scopes=frozenset(), user=operator)


def _parties(order: Order) -> dict[str, object]:
    return {
        "organization_id": order.organization_id,
        "seller_id": order.seller_id,
        "livemode": order.livemode,
        "order": order,
    }


# --- what Stripe says -------------------------------------------------------------------------


def _of(order: Order, fact: RefundFacts) -> Refund:
    """The row of a refund at Stripe: ours, or a new one for what somebody did there."""
    refund = order.refunds.filter(stripe_id=fact.refund).first()
    if refund is None and fact.ours:
        refund = order.refunds.filter(pk=fact.ours, stripe_id=None).first()
    if refund is None and fact.is_outside and fact.ours:
        # The credit note of a refund that failed: that is known.
        refund = order.refunds.filter(pk=fact.ours).first()
    if refund is None:
        refund = Refund(
            **_parties(order),
            amount_minor=fact.amount_minor,
            currency=order.currency,
            cause=Cause.STRIPE,
            state=State.SENDING,
            requested_by="stripe",
            stripe_id=fact.refund,
            sent_at=timezone.now(),
        )
        refund.save(force_insert=True)
        _tell("refund.requested", refund)
    elif refund.stripe_id is None:
        refund.stripe_id = fact.refund
        refund.save(update_fields=["stripe_id"])
    return refund


def _take(order: Order, refund: Refund, *, is_outside: bool) -> None:
    """Count a refund, and take it from everybody who had a share of the payment."""
    gone = order.refunded_minor + order.lost_minor
    returned = journal.returned_minor(order)
    # What people give back at Stripe pays first what came back of an earlier refund.
    first = min(refund.amount_minor, returned) if refund.cause == Cause.STRIPE else 0
    taken = min(refund.amount_minor - first, order.paid_minor - gone)
    again = min(refund.amount_minor - taken, returned)
    order.refunded_minor += taken
    back = [
        Line(Code.BANK if is_outside else journal.came_to(order), -refund.amount_minor),
        # Given back before, and not taken: the market has owed it since.
        Line(Code.BUYER_RECEIVABLE, again, order.organization_id),
        # What the bank had taken before is lost twice.
        Line(Code.DISPUTE_LOSSES, refund.amount_minor - taken - again),
    ]
    if not journal.is_posted(order, journal.SALE):
        # No license was given: it stood on the buyer's own account.
        owed = Line(Code.BUYER_RECEIVABLE, taken, order.organization_id)
        journal.post(order, journal.REFUND, [owed, *back], reference=str(refund.pk))
    else:
        shares = settlements.part(order, gone + taken) - settlements.part(order, gone)
        # What was paid above the price is the buyer's own.
        own = Line(Code.BUYER_RECEIVABLE, taken - shares.total_minor, order.organization_id)
        lines = [*journal.shared(order, shares), own, *back]
        journal.post(order, journal.REFUND, lines, reference=str(refund.pk))
        transfers.take_back(order, cause=str(refund.pk))
        royalties.take_back(order, cause=str(refund.pk), royalties_minor=shares.royalties_minor)
        tax_records.reverse(order, cause=str(refund.pk), shares=shares)
    if not is_outside:
        _credit(order, refund, gone, taken)
    is_whole = order.refunded_minor + order.lost_minor == order.paid_minor
    if gone + taken <= settlements.excess_minor(order) and not is_whole:
        # Only what was paid above the price went back.
        return
    order_states.move(order, Event.REFUNDED if is_whole else Event.REFUNDED_IN_PART)
    if is_whole:
        licenses.revoke(
            order,
            cause=licenses.Cause.REFUNDED,
            reason="The whole payment was given back.",
            effect=refund.effect,
        )


def _credit(order: Order, refund: Refund, gone: int, taken: int) -> None:
    """Have the buyer's books say the same: what goes back of an invoice is credited on it."""
    is_ours = refund.cause != Cause.STRIPE
    shares = settlements.part(order, gone + taken) - settlements.part(order, gone)
    is_of_invoice = order.method == Order.Method.INVOICE and shares.total_minor > 0
    if not is_of_invoice or not is_ours or journal.came_to(order) == Code.BANK:
        return
    assert refund.stripe_id is not None
    invoices.credit(
        order,
        refund=str(refund.pk),
        stripe_refund=refund.stripe_id,
        shares=shares,
    )


def _fail(order: Order, refund: Refund, why: str) -> None:
    """The buyer's bank did not take it: the market has it again, and owes it to the buyer."""
    if refund.state == State.FAILED:
        return
    if journal.is_posted(order, journal.REFUND, reference=str(refund.pk)):
        lines = [
            Line(Code.STRIPE_CLEARING, refund.amount_minor),
            Line(Code.BUYER_RECEIVABLE, -refund.amount_minor, order.organization_id),
        ]
        journal.post(order, journal.REFUND_FAILED, lines, reference=str(refund.pk))
    _move(refund, State.FAILED)
    refund.failure = why[:1000]
    refund.save(update_fields=["state", "failure"])
    # Its credit note stays: the price is less, and the buyer is still owed the difference. Of an
    # invoice that is paid, Stripe takes no credit note back:
    # https://docs.stripe.com/invoicing/dashboard/credit-notes#voiding
    if journal.is_posted(order, journal.REFUND_FAILED, reference=str(refund.pk)):
        mismatches.refund_failed(refund)
    logger.error("refund %s of %s failed: pay the buyer otherwise", refund.pk, order.pk)


def _move(refund: Refund, state: Refund.State) -> None:
    allowed = TRANSITIONS.get(refund.state, frozenset())
    assert state in allowed, f"A refund does not go from {refund.state} to {state}."
    refund.state = state
    if state in _TOLD:
        _tell(_TOLD[state], refund)


def _tell(type: str, refund: Refund) -> None:
    """Tell buyer and seller of a step."""
    events.record(
        type,
        to=[refund.organization_id, refund.seller_id],
        livemode=refund.livemode,
        subject=refund,
        order=str(refund.order_id),
        amount_minor=refund.amount_minor,
        currency=refund.currency,
    )


def _call(command: Command) -> RefundFacts:
    return stripe_gateway.refund(command.params, key=str(command.pk))


def _find(command: Command) -> RefundFacts | None:
    params = command.params
    return stripe_gateway.find_refund(params["payment_intent"], params["metadata"]["licet"])


def _keep(command: Command, result: RefundFacts) -> str:
    order = command.order
    assert order is not None
    Refund.objects.filter(pk=command.reference, stripe_id=None).update(stripe_id=result.refund)
    # What was given back is Stripe's fact: `sync` fetches it.
    order.next_sync_at = timezone.now()
    order.save(update_fields=["next_sync_at"])
    return result.refund


def _refuse(command: Command, why: str, code: str) -> None:
    refund = Refund.objects.select_related("order").get(pk=command.reference)
    _move(refund, State.REFUSED)
    refund.failure = why[:1000]
    refund.save(update_fields=["state", "failure"])
    licenses.reinstate(
        refund.order,
        reason="Stripe refused to give the payment back.",
        after=licenses.Cause.REFUNDED,
    )


REFUND = Call(send=_call, keep=_keep, refuse=_refuse, find=_find, is_money=True)
