"""Disputes: the license stops while the bank holds the money, and comes back or ends with it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.db.models import Count, Q, Sum
from django.utils import timezone

from licensing import scope_claims
from marketplace import events
from marketplace.money import round_half_even
from payments import (
    commands,
    evidence,
    journal,
    licenses,
    mismatches,
    order_states,
    royalties,
    settlements,
    stripe_gateway,
    tax_records,
    transfers,
)
from payments.commands import Call
from payments.journal import Code, Line
from payments.models import Command, Dispute, Order, Posting
from payments.order_states import Event
from payments.stripe_facts import DisputeFacts, SettledFacts

logger = logging.getLogger(__name__)

# Inquiries: https://docs.stripe.com/disputes/how-disputes-work#inquiries. No money is held.
INQUIRIES = frozenset({"warning_needs_response", "warning_under_review", "warning_closed"})
HARMLESS = INQUIRIES | {"prevented"}
CLOSED = frozenset({"won", "lost", "warning_closed", "prevented"})
# An appeal is a lost dispute until it is won: the money is gone.
_AS = {"appeal_needs_response": "lost", "appeal_under_review": "lost"}
_RANK = {status: rank for rank, status in enumerate(Dispute.STATUSES)}


def merge(order: Order, facts: Sequence[DisputeFacts]) -> None:
    """Take over what Stripe says of an order's disputes. Under the order's lock; repeatable.

    A stale fetch takes nothing back. The caller saves the order.
    """
    for fact in facts:
        dispute, before = _heard(order, fact)
        _tell(dispute, before)
        if dispute.status not in HARMLESS:
            _hold(order, dispute)
        if dispute.status not in CLOSED and _is_asked_anew(dispute, before):
            _give_evidence(order, dispute)
        if dispute.status == "won" and before != "won":
            _won(order, dispute)
        elif dispute.status == "lost" and before != "lost":
            _lost(order, dispute)
        for settled in fact.settled:
            journal.settle(order, settled, _moved_minor(dispute, settled, fact.settled))


def _heard(order: Order, fact: DisputeFacts) -> tuple[Dispute, str | None]:
    """The row of a dispute, and its status before: None where it was not heard of yet."""
    status = _AS.get(fact.status, fact.status)
    dispute = order.disputes.filter(stripe_id=fact.dispute).first()
    before = None if dispute is None else dispute.status
    if dispute is None:
        dispute = Dispute(
            organization_id=order.organization_id,
            seller_id=order.seller_id,
            livemode=order.livemode,
            order=order,
            stripe_id=fact.dispute,
            currency=fact.currency,
            opened_at=fact.opened_at,
            refunded_before_minor=order.refunded_minor,
        )
    elif _RANK[status] < _RANK[dispute.status]:
        return dispute, before
    dispute.status, dispute.reason = status, fact.reason[:60]
    _change(dispute, before, fact.amount_minor)
    dispute.evidence_due_at = fact.evidence_due_at
    if fact.evidence_sent and dispute.evidence_sent_at is None:
        dispute.evidence_sent_at = timezone.now()
    if status in CLOSED and dispute.closed_at is None:
        dispute.closed_at = timezone.now()
    if before is None:
        dispute.save(force_insert=True)
    else:
        dispute.save(
            update_fields=[
                "status", "reason", "amount_minor", "evidence_due_at", "evidence_sent_at",
                "closed_at",
            ]
        )  # fmt: skip
    return dispute, before


def _tell(dispute: Dispute, before: str | None) -> None:
    """Tell buyer and seller that a bank asks, and how that ended."""
    steps = [] if before is not None else ["dispute.opened"]
    if dispute.status != before and dispute.status in {"won", "lost"}:
        steps.append(f"dispute.{dispute.status}")
    for step in steps:
        events.record(
            step,
            to=[dispute.organization_id, dispute.seller_id],
            livemode=dispute.livemode,
            subject=dispute,
            order=str(dispute.order_id),
        )


def _change(dispute: Dispute, before: str | None, amount_minor: int) -> None:
    """Take an amount over. One that changes after the money moved is for people to look at, too.

    Once a dispute is decided, its shares were taken or given back by the amount that it had.
    """
    was_minor = dispute.amount_minor
    if before not in {"won", "lost"}:
        dispute.amount_minor = amount_minor
    if before is not None and before not in HARMLESS and was_minor != amount_minor:
        mismatches.dispute_changed(dispute, to_minor=amount_minor, from_minor=was_minor)


def _is_asked_anew(dispute: Dispute, before: str | None) -> bool:
    """Whether the bank asks for the first time, or makes a chargeback of what it only asked."""
    return before is None or (before in INQUIRIES and dispute.status not in HARMLESS)


def _hold(order: Order, dispute: Dispute) -> None:
    """The bank took the money for now: nothing is delivered for it. Repeatable.

    Where it takes another amount since, the difference is held as well, or let go.
    """
    reference = str(dispute.pk)
    is_new = not journal.is_posted(order, journal.DISPUTE, reference=reference)
    times, held_minor = (0, 0) if is_new else _held(order, reference)
    more = dispute.amount_minor - held_minor
    if more:
        journal.post(
            order,
            journal.DISPUTE,
            [Line(Code.DISPUTE_HOLD, more), Line(Code.STRIPE_CLEARING, -more)],
            reference=reference if is_new else f"{reference}:{times}",
        )
    if not is_new:
        return
    if order_states.move(order, Event.DISPUTED):
        licenses.suspend(
            order,
            cause=licenses.Cause.PAYMENT_DISPUTED,
            reason="The buyer's bank wants the payment back.",
        )


def _held(order: Order, reference: str) -> tuple[int, int]:
    """How often something was held for a dispute, or let go, and how much it comes to."""
    held = Posting.objects.filter(
        Q(journal__reference=reference) | Q(journal__reference__startswith=f"{reference}:"),
        journal__order=order,
        journal__kind=journal.DISPUTE,
        account__code=Code.DISPUTE_HOLD,
    )
    found = held.aggregate(times=Count("pk"), sum=Sum("amount_minor"))
    return found["times"], found["sum"] or 0


def _won(order: Order, dispute: Dispute) -> None:
    """The money came back."""
    reference = str(dispute.pk)
    if journal.is_posted(order, journal.DISPUTE_LOST, reference=reference):
        _won_on_appeal(order, dispute)
    else:
        lines = [
            Line(Code.STRIPE_CLEARING, dispute.amount_minor),
            Line(Code.DISPUTE_HOLD, -dispute.amount_minor),
        ]
        journal.post(order, journal.DISPUTE_WON, lines, reference=reference)
    if _takes_more(order, dispute):
        return
    if order_states.move(order, Event.DISPUTE_WON):
        licenses.reinstate(
            order, reason="The dispute was won.", after=licenses.Cause.PAYMENT_DISPUTED
        )


def _takes_more(order: Order, won: Dispute) -> bool:
    """Whether another dispute of the same payment holds money, or took it for good.

    https://docs.stripe.com/disputes/how-disputes-work#receive-multiple-disputes
    """
    others = order.disputes.exclude(pk=won.pk)
    return others.exclude(status__in=HARMLESS | {"won"}).exists()


def _won_on_appeal(order: Order, dispute: Dispute) -> None:
    """What everybody lost stays lost to them: it is the market's until people decide about it.

    Where no license was given nobody but the buyer lost: it is paid again, and granted or given
    back.
    """
    if not journal.is_posted(order, journal.SALE):
        back = min(order.lost_minor, dispute.amount_minor)
        lines = [
            Line(Code.STRIPE_CLEARING, dispute.amount_minor),
            Line(Code.BUYER_RECEIVABLE, -back, order.organization_id),
            Line(Code.DISPUTE_LOSSES, back - dispute.amount_minor),
        ]
        journal.post(order, journal.APPEAL_WON, lines, reference=str(dispute.pk))
        order.lost_minor -= back
        if back < dispute.amount_minor:
            mismatches.appeal_won(dispute, amount_minor=dispute.amount_minor - back)
        return
    lines = [
        Line(Code.STRIPE_CLEARING, dispute.amount_minor),
        Line(Code.DISPUTE_LOSSES, -dispute.amount_minor),
    ]
    journal.post(order, journal.APPEAL_WON, lines, reference=str(dispute.pk))
    mismatches.appeal_won(dispute, amount_minor=dispute.amount_minor)
    logger.error("the appeal of %s was won: decide who gets it back", dispute.pk)


def _lost(order: Order, dispute: Dispute) -> None:
    """The money is gone: it is taken from everybody who had a share, and the license ends.

    What was given back before is lost twice, and that is the market's loss.
    """
    left = order.paid_minor - order.refunded_minor - order.lost_minor
    taken = min(left, dispute.amount_minor)
    # Of refunds that the buyer's bank did not take: this is how the buyer got it.
    again = min(dispute.amount_minor - taken, journal.returned_minor(order))
    hold = [
        Line(Code.DISPUTE_HOLD, -dispute.amount_minor),
        Line(Code.BUYER_RECEIVABLE, again, order.organization_id),
    ]
    twice = Line(Code.DISPUTE_LOSSES, dispute.amount_minor - taken - again)
    gone = order.refunded_minor + order.lost_minor
    order.lost_minor += taken
    reference = str(dispute.pk)
    if not journal.is_posted(order, journal.SALE):
        owed = Line(Code.BUYER_RECEIVABLE, taken, order.organization_id)
        journal.post(order, journal.DISPUTE_LOST, [owed, twice, *hold], reference=reference)
    else:
        shares = settlements.part(order, gone + taken) - settlements.part(order, gone)
        # What came above the price is lost to the buyer alone.
        own = Line(Code.BUYER_RECEIVABLE, taken - shares.total_minor, order.organization_id)
        lines = [*journal.shared(order, shares), own, twice, *hold]
        journal.post(order, journal.DISPUTE_LOST, lines, reference=reference)
        transfers.take_back(order, cause=reference)
        royalties.take_back(order, cause=reference, royalties_minor=shares.royalties_minor)
        tax_records.reverse(order, cause=reference, shares=shares)
    order_states.move(order, Event.DISPUTE_LOST)
    if order.grant_id is None:
        # Nobody gets these rights by this order any more.
        scope_claims.release(str(order.pk))
    licenses.revoke(
        order,
        cause=licenses.Cause.PAYMENT_DISPUTED,
        reason="The buyer's bank took the payment back.",
    )


def _moved_minor(dispute: Dispute, settled: SettledFacts, all_: Sequence[SettledFacts]) -> int:
    """What a balance transaction of a dispute moved, in the currency of the payment.

    In another currency: its part of what moved the same way.
    """
    if settled.currency == dispute.currency:
        return settled.amount_minor
    way = 1 if settled.amount_minor > 0 else -1
    same = sum(abs(each.amount_minor) for each in all_ if each.amount_minor * way > 0)
    part = abs(settled.amount_minor)
    return way * round_half_even(dispute.amount_minor * part, max(same, 1))


def _give_evidence(order: Order, dispute: Dispute) -> None:
    """Answer the bank. A chargeback is answered anew, whatever was said to its inquiry."""
    asked = "inquiry" if dispute.status in INQUIRIES else "chargeback"
    if dispute.evidence_sent_at is not None:
        dispute.evidence_sent_at = None
        dispute.save(update_fields=["evidence_sent_at"])
    commands.give(
        Command.Kind.SEND_EVIDENCE,
        {"dispute": dispute.stripe_id, "evidence": evidence.for_dispute(order, dispute)},
        order=order,
        reference=f"{dispute.pk}:{asked}",
    )


def _send(command: Command) -> str:
    params = command.params
    return stripe_gateway.submit_evidence(
        params["dispute"], params["evidence"], key=str(command.pk)
    )


def _keep(command: Command, result: str) -> str:
    dispute = command.reference.partition(":")[0]
    Dispute.objects.filter(pk=dispute, evidence_sent_at=None).update(
        evidence_sent_at=timezone.now()
    )
    return str(command.params["dispute"])


def _refuse(command: Command, why: str, code: str) -> None:
    """It was too late, or the dispute is closed: people see why in the command."""


EVIDENCE = Call(send=_send, keep=_keep, refuse=_refuse)
