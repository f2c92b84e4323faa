"""What the market keeps of a sale: versioned schedules, the narrowest of which counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import F, Max, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing.models import Offer
from marketplace import access, audit, money
from marketplace.errors import InvalidInput, MissingScope
from marketplace.models import Collection, Organization, User
from payments.models import FeeSchedule

BASIS_POINTS_IN_ONE = 10_000
Bearer = FeeSchedule.Bearer


@dataclass(frozen=True, slots=True)
class Fee:
    """What the market keeps of one sale, by which schedule, and who bears what Stripe takes."""

    # None: nobody ever set one, and the market keeps nothing.
    schedule: str | None
    basis_points: int
    fixed_minor: int
    amount_minor: int
    stripe_fees: str


def share_minor(amount_minor: int, basis_points: int) -> int:
    """A share of an amount, rounded once, half to even. Integers only."""
    return money.round_half_even(amount_minor * basis_points, BASIS_POINTS_IN_ONE)


def of_sale(offer: Offer, *, subtotal_minor: int, currency: str) -> Fee:
    """The market's fee on a license price, before tax, as of now. Never more than the price."""
    schedule = in_force(offer, at=timezone.now())
    if schedule is None:
        return Fee(None, 0, 0, 0, Bearer.MARKET)
    fixed = schedule.fixed_minor.get(currency, 0)
    amount = share_minor(subtotal_minor, schedule.basis_points) + fixed
    return Fee(
        str(schedule.pk),
        schedule.basis_points,
        fixed,
        min(amount, subtotal_minor),
        schedule.stripe_fees,
    )


def in_force(offer: Offer, *, at: datetime) -> FeeSchedule | None:
    """The schedule that counts for an offer: its own, its collection's, its seller's, or all's."""
    of_it = (
        Q(offer=offer.pk)
        | Q(collection=offer.collection_id)
        | Q(organization=offer.organization_id, offer=None, collection=None)
        | Q(organization=None)
    )
    return (
        FeeSchedule.objects.filter(of_it, effective_from__lte=at)
        .order_by(
            F("offer").desc(nulls_last=True),
            F("collection").desc(nulls_last=True),
            F("organization").desc(nulls_last=True),
            "-version",
        )
        .first()
    )


def set(
    operator: User,
    *,
    basis_points: int,
    fixed_minor: Mapping[str, int] | None = None,
    stripe_fees: str = Bearer.MARKET,
    organization: Organization | None = None,
    collection: Collection | None = None,
    offer: Offer | None = None,
    effective_from: datetime | None = None,
    note: str = "",
) -> FeeSchedule:
    """Set what the market keeps from now on, or from a later instant. Orders keep what they have.

    Of everybody, or of one organization, collection or offer. The same again changes nothing.
    Raises MissingScope for who is no operator, InvalidInput.
    """
    if not operator.is_operator or not operator.is_active:
        raise MissingScope(_("Only an operator of this market sets its fees."))
    owner = _owner(organization, collection, offer)
    fixed = dict(fixed_minor or {})
    _check(basis_points, fixed, stripe_fees)
    now = timezone.now()
    if effective_from is not None and effective_from < now:
        raise InvalidInput(
            _("What was sold already keeps its fee. Leave it out: it counts from now on."),
            param="effective_from",
        )
    with access.system("an operator sets the market's fees"):
        _lock()
        earlier = FeeSchedule.objects.filter(organization=owner, collection=collection, offer=offer)
        last = earlier.order_by("-version").first()
        said = (basis_points, fixed, stripe_fees)
        if last is not None and (last.basis_points, last.fixed_minor, last.stripe_fees) == said:
            return last
        schedule = FeeSchedule(
            organization=owner,
            collection=collection,
            offer=offer,
            version=(earlier.aggregate(last=Max("version"))["last"] or 0) + 1,
            basis_points=basis_points,
            fixed_minor=fixed,
            stripe_fees=stripe_fees,
            note=note.strip(),
            actor=str(operator.pk),
            effective_from=effective_from or now,
            created_at=now,
        )
        schedule.save(force_insert=True)
        audit.record(
            audit.by_operator(operator, owner),
            "fee_schedule.made",
            subject=schedule,
            basis_points=basis_points,
            note=schedule.note,
        )
    return schedule


def _owner(
    organization: Organization | None, collection: Collection | None, offer: Offer | None
) -> Organization | None:
    if collection is not None and offer is not None:
        raise InvalidInput(
            _("A fee is of a collection or of an offer, not of both."), param="collection"
        )
    narrow = collection or offer
    return organization if narrow is None else narrow.organization


def _check(basis_points: int, fixed: Mapping[str, int], stripe_fees: str) -> None:
    if not 0 <= basis_points <= BASIS_POINTS_IN_ONE:
        raise InvalidInput(_("A share is from 0 to 10,000 basis points."), param="basis_points")
    for code, amount in fixed.items():
        money.currency(code, param="fixed_minor")
        if type(amount) is not int or amount < 0:
            raise InvalidInput(
                _("A fixed fee is a whole number of minor units, 0 or more."), param="fixed_minor"
            )
    if stripe_fees not in Bearer.values:
        raise InvalidInput(
            _("Stripe's fees are borne by “market” or “seller”."), param="stripe_fees"
        )


def _lock() -> None:
    """Make changes of fees wait for each other: each is a version of its own."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('payments.fees', 0))")
