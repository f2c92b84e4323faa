"""Calls that move money and were refused: each a mismatch, until its money went after all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db.models import Sum

from marketplace.access import system
from payments import journal, mismatches
from payments.journal import Code
from payments.mismatches import Found
from payments.models import (
    Command,
    Mismatch,
    Order,
    Refund,
    Remittance,
    RoyaltyPayment,
    Transfer,
    TransferReversal,
)

Kind = Command.Kind


def keep(command: Command) -> None:
    """Keep that a call was refused, with its age. In the transaction that took the refusal over.

    A repeat under another call keeps the first one's age, and so does what is tried again as a part
    of a later sum: of each payee the first refusal is told, until something arrives.
    """
    if command.kind not in _IS_DONE:
        return
    subject = _subject(command)
    with system("keep that a call which moves money was refused"):
        told = _open(command.livemode).filter(subject_type=command.kind)
        if _is_told_by_another(command, told.exclude(subject=subject).values_list("subject")):
            return
        if _IS_DONE[command.kind](subject):
            # Such as the share of a payment that went back meanwhile.
            return
        before = told.filter(subject=subject).first()
        amount_minor, currency = _amount(command)
        found = Found(
            Mismatch.Kind.COMMAND_REFUSED,
            subject,
            subject_type=command.kind,
            order_id=command.order_id,
            expected_minor=amount_minor,
            expected_currency=currency,
            found_minor=0,
            found_currency=currency,
            since=command.created_at if before is None else before.since,
        )
        mismatches.keep([found], livemode=command.livemode, looked_at=())


def resolve(command: Command) -> None:
    """Resolve what a call that succeeded has made good. In the transaction that ends it."""
    if command.kind in _IS_DONE:
        good = made_good(livemode=command.livemode, order_id=command.order_id, kind=command.kind)
        if good:
            mismatches.keep([], livemode=command.livemode, looked_at=good)


def made_good(*, livemode: bool, order_id: UUID | None = None, kind: str | None = None) -> set[str]:
    """Subjects of refused calls whose money has gone since, by them or otherwise.

    Of one order, or of a kind of call that is about none; of all where neither is named.
    """
    with system("see which refused calls were made good"):
        rows = _open(livemode)
        if order_id is not None:
            rows = rows.filter(order_id=order_id)
        elif kind is not None:
            rows = rows.filter(order_id=None, subject_type=kind)
        return {row.subject for row in rows if _IS_DONE[row.subject_type](row.subject)}


def _open(livemode: bool) -> Any:
    return mismatches.still_open(livemode=livemode).filter(kind=Mismatch.Kind.COMMAND_REFUSED)


def _subject(command: Command) -> str:
    """What a call is for; a credit note has no row of its own."""
    if command.kind == Kind.CREDIT_NOTE:
        return str(command.pk)
    return command.reference.partition(":")[0]


def _amount(command: Command) -> tuple[int, str]:
    """What should have moved, in the currency that it moves in."""
    params, order = command.params, command.order
    if command.kind == Kind.CREDIT_NOTE:
        assert order is not None
        if "refunds" in params:
            return params["refunds"][0]["amount_refunded"], order.currency
        return params["out_of_band_amount"], order.currency
    if "currency" in params:
        return params["amount"], params["currency"].upper()
    assert order is not None
    is_reversal = command.kind == Kind.REVERSE_TRANSFER
    return params["amount"], order.settled_currency if is_reversal else order.currency


def _is_told_by_another(command: Command, subjects: Any) -> bool:
    """Whether an earlier sum to the same payee was refused, and none arrived since."""
    id = _subject(command)
    others = [subject for (subject,) in subjects]
    if command.kind == Kind.REMITTANCE:
        sent = Remittance.objects.get(pk=id)
        return Remittance.objects.filter(
            pk__in=others, organization=sent.organization_id, currency=sent.currency
        ).exists()
    if command.kind == Kind.ROYALTY_TRANSFER:
        due = RoyaltyPayment.objects.get(pk=id)
        return RoyaltyPayment.objects.filter(
            pk__in=others,
            organization=due.organization_id,
            contributor=due.contributor_id,
            currency=due.currency,
        ).exists()
    return False


# --- whether it was made good -----------------------------------------------------------------


def _is_refunded(id: str) -> bool:
    """All of the payment went back, or as much as was refused, by later refunds."""
    refund = Refund.objects.select_related("order").get(pk=id)
    order = refund.order
    later = order.refunds.filter(created_at__gt=refund.created_at, stripe_id__isnull=False)
    given = later.exclude(state=Refund.State.FAILED).aggregate(sum=Sum("amount_minor"))["sum"]
    is_whole = order.refunded_minor + order.lost_minor >= order.paid_minor
    return is_whole or (given or 0) >= refund.amount_minor


def _is_sent(id: str) -> bool:
    """The share arrived, or its payment went back: there is nothing to send."""
    transfer = Transfer.objects.select_related("order").get(pk=id)
    return transfer.state in {Transfer.State.SENT, Transfer.State.DROPPED} or (
        transfer.order.status in {Order.Status.REFUNDED, Order.Status.DISPUTE_LOST}
    )


def _is_repaid(id: str) -> bool:
    """The seller owes nothing any more."""
    reversal = TransferReversal.objects.select_related("transfer").get(pk=id)
    if reversal.state == TransferReversal.State.DONE:
        return True
    owed = journal.balance_minor(
        Code.SELLER_RECEIVABLE,
        organization_id=reversal.organization_id,
        livemode=reversal.livemode,
        currency=reversal.transfer.currency,
    )
    return owed <= 0


def _is_remitted(id: str) -> bool:
    """It, or a later sum to the seller, arrived or paid a debt."""
    first = Remittance.objects.get(pk=id)
    return Remittance.objects.filter(
        organization=first.organization_id,
        livemode=first.livemode,
        currency=first.currency,
        created_at__gte=first.created_at,
        state__in=[Remittance.State.SENT, Remittance.State.WITHHELD],
    ).exists()


def _is_paid(id: str) -> bool:
    """It, or a later payment to the contributor, arrived."""
    first = RoyaltyPayment.objects.get(pk=id)
    return RoyaltyPayment.objects.filter(
        organization=first.organization_id,
        livemode=first.livemode,
        contributor=first.contributor_id,
        currency=first.currency,
        created_at__gte=first.created_at,
        state=RoyaltyPayment.State.PAID,
    ).exists()


_IS_DONE: dict[str, Callable[[str], bool]] = {
    Kind.REFUND: _is_refunded,
    Kind.TRANSFER: _is_sent,
    Kind.REVERSE_TRANSFER: _is_repaid,
    Kind.REMITTANCE: _is_remitted,
    Kind.ROYALTY_TRANSFER: _is_paid,
    # The money is where it belongs, and the buyer's books are not: an operator closes it.
    Kind.CREDIT_NOTE: lambda id: False,
}
