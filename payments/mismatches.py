"""Mismatches: where Stripe and our books do not agree, from when on, and how that ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit
from marketplace.access import system
from marketplace.errors import InvalidInput, MissingScope, NotFound
from marketplace.models import Organization, User
from payments.models import Dispute, Mismatch, Order, Refund

Kind = Mismatch.Kind

# Those that are about one balance transaction.
OF_LINES = frozenset(
    {
        Kind.MISSING_IN_JOURNAL,
        Kind.MISSING_AT_STRIPE,
        Kind.BOOKED_TWICE,
        Kind.AMOUNT_DIFFERS,
        Kind.SIGN_DIFFERS,
        Kind.FEE_DIFFERS,
        Kind.CURRENCY_DIFFERS,
        Kind.UNKNOWN_TYPE,
        Kind.PAYOUT_DIFFERS,
    }
)
_SAID = (
    "subject_type",
    "order_id",
    "journal_id",
    "expected_minor",
    "expected_currency",
    "found_minor",
    "found_currency",
    "since",
)


@dataclass(frozen=True, slots=True)
class Found:
    """Something that does not agree, as one look saw it."""

    kind: Mismatch.Kind
    subject: str
    subject_type: str = ""
    order_id: UUID | None = None
    journal_id: UUID | None = None
    # What Stripe says, or what should stand there; and what does.
    expected_minor: int | None = None
    expected_currency: str = ""
    found_minor: int | None = None
    found_currency: str = ""
    since: datetime | None = None


def keep(found: Iterable[Found], *, livemode: bool, looked_at: Collection[str]) -> tuple[int, int]:
    """Keep what a look found, and resolve what it looked at and did not find any more.

    What an operator has explained stays closed while it is as it was. Returns how many are new,
    and how many are gone.
    """
    now = timezone.now()
    by_subject = {each.subject: each for each in found}
    new = 0
    with system("keep where Stripe and the journal do not agree"):
        rows = Mismatch.objects.select_for_update().filter(livemode=livemode)
        open_rows = {
            row.subject: row
            for row in rows.filter(
                resolved_at=None, subject__in={*by_subject, *looked_at}
            ).order_by("pk")
        }
        for subject, each in by_subject.items():
            row = open_rows.get(subject)
            values = {"kind": each.kind, "last_seen_at": now}
            values |= {name: getattr(each, name) for name in _SAID}
            if row is not None:
                Mismatch.objects.filter(pk=row.pk).update(**values)
            elif not _is_explained(each, livemode):
                Mismatch.objects.create(
                    livemode=livemode, subject=subject, first_seen_at=now, **values
                )
                new += 1
        gone = [row.pk for subject, row in open_rows.items() if subject not in by_subject]
        Mismatch.objects.filter(pk__in=gone).update(resolved_at=now, resolved_by="system")
    return new, len(gone)


def paid_otherwise(order: Order, *, found_minor: int, expected_minor: int) -> None:
    """Keep that an order was paid with another amount than its buyer owed.

    In the transaction that took the payment over. A repeat changes nothing. It is gone once the
    buyer's account of the order is back at 0 (`balance_checks.made_good`).
    """
    found = Found(
        Kind.PAID_DIFFERS,
        f"{order.pk}:paid",
        order_id=order.pk,
        expected_minor=expected_minor,
        expected_currency=order.currency,
        found_minor=found_minor,
        found_currency=order.currency,
        since=order.paid_at,
    )
    keep([found], livemode=order.livemode, looked_at=())


def refund_failed(refund: Refund) -> None:
    """Keep that a refund came back, and that its buyer is owed it still. A repeat changes nothing.

    In the transaction that took the failure over. It is gone once the buyer has the money.
    """
    found = Found(
        Kind.REFUND_FAILED,
        str(refund.pk),
        subject_type=refund.failure[:100],
        order_id=refund.order_id,
        expected_minor=0,
        expected_currency=refund.currency,
        found_minor=-refund.amount_minor,
        found_currency=refund.currency,
    )
    keep([found], livemode=refund.livemode, looked_at=())


def tax_unrecorded(order: Order, subject: str, why: str, *, amount_minor: int) -> None:
    """Keep that Stripe Tax refused to record a sale, or what went back of it: people report it.

    In the transaction that took the refusal over. It stays open until an operator closes it.
    """
    found = Found(
        Kind.TAX_UNRECORDED,
        subject,
        subject_type=why[:100],
        order_id=order.pk,
        expected_minor=amount_minor,
        expected_currency=order.currency,
    )
    keep([found], livemode=order.livemode, looked_at=())


def credited(order: Order, note: str, amount_minor: int) -> None:
    """Keep that somebody gave a buyer credit at Stripe for what was paid of an order.

    It is in no book of ours, and the market sends no invoice to a buyer who has some. In the
    transaction that heard of it; a repeat changes nothing. It stays open until an operator closes
    it.
    """
    found = Found(
        Kind.CREDIT_UNBOOKED,
        note,
        order_id=order.pk,
        expected_minor=amount_minor,
        expected_currency=order.currency,
        found_minor=0,
        found_currency=order.currency,
    )
    keep([found], livemode=order.livemode, looked_at=())


def appeal_won(dispute: Dispute, *, amount_minor: int) -> None:
    """Keep that money came back which everybody had lost: people decide whose it is.

    In the transaction that took it over. It stays open until an operator closes it.
    """
    _of_dispute(dispute, Kind.APPEAL_WON, "appeal", expected_minor=0, found_minor=-amount_minor)


def dispute_changed(dispute: Dispute, *, to_minor: int, from_minor: int) -> None:
    """Keep that a bank wants another amount than it took at first. A repeat changes nothing.

    In the transaction that took it over. It stays open until an operator closes it.
    """
    _of_dispute(
        dispute, Kind.DISPUTE_DIFFERS, "amount", expected_minor=to_minor, found_minor=from_minor
    )


def still_open(*, livemode: bool) -> QuerySet[Mismatch]:
    """What does not agree, the oldest first. Within a block that sees all tenants."""
    return (
        Mismatch.objects.filter(livemode=livemode, resolved_at=None)
        .select_related("order")
        .order_by("first_seen_at", "pk")
    )


def close(operator: User, mismatch_id: str, *, note: str) -> Mismatch:
    """Say why something may stay as it is. Repeating it changes nothing.

    It comes back once it differs in another way. Raises MissingScope, InvalidInput, NotFound.
    """
    if not operator.is_operator or not operator.is_active:
        raise MissingScope(_("Only an operator of this market closes a mismatch."))
    if not note.strip():
        raise InvalidInput(_("Say why."), param="note")
    with system("an operator closes a mismatch with Stripe"):
        try:
            row = (
                Mismatch.objects.select_for_update(of=("self",))
                .select_related("order__seller", "journal__organization")
                .get(pk=mismatch_id)
            )
        except (Mismatch.DoesNotExist, ValidationError):
            raise NotFound(_("There is no mismatch “%(id)s”.") % {"id": mismatch_id}) from None
        if row.resolved_at is not None:
            return row
        row.resolved_at, row.resolved_by = timezone.now(), str(operator.pk)
        row.note = note.strip()[:1000]
        row.save(update_fields=["resolved_at", "resolved_by", "note"])
        caller = audit.by_operator(operator, _whose(row))
        audit.record(caller, "mismatch.closed", subject=row, order=str(row.order_id or ""))
    return row


def _of_dispute(
    dispute: Dispute, kind: Mismatch.Kind, about: str, *, expected_minor: int, found_minor: int
) -> None:
    found = Found(
        kind,
        f"{dispute.pk}:{about}",
        subject_type=dispute.stripe_id[:100],
        order_id=dispute.order_id,
        expected_minor=expected_minor,
        expected_currency=dispute.currency,
        found_minor=found_minor,
        found_currency=dispute.currency,
    )
    keep([found], livemode=dispute.livemode, looked_at=())


def _whose(row: Mismatch) -> Organization | None:
    """The seller in whose audit it stands that somebody closed a mismatch.

    Of the market's own money, or of nobody's that we know, None: an act on the market itself. Why
    it was closed stands in the row, which is never changed afterward (`mismatch_stays_resolved`).
    """
    if row.order is not None:
        return row.order.seller
    return None if row.journal is None else row.journal.organization


def _is_explained(each: Found, livemode: bool) -> bool:
    """Whether people closed the same one, and it is still as it was then."""
    return (
        Mismatch.objects.filter(
            livemode=livemode,
            subject=each.subject,
            kind=each.kind,
            expected_minor=each.expected_minor,
            found_minor=each.found_minor,
            expected_currency=each.expected_currency,
            found_currency=each.found_currency,
            resolved_at__isnull=False,
        )
        .exclude(resolved_by="system")
        .exists()
    )
