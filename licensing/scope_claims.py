"""Scope claims: who holds which use of a collection, where and when. Keeps exclusivity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from psycopg.errors import ExclusionViolation
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from licensing.models import Grant, ScopeClaim
from licensing.vocabulary import territory_numbers, use_numbers
from marketplace import access
from marketplace.errors import RightsTaken
from marketplace.models import Collection, Organization

State = ScopeClaim.State

TRANSITIONS: dict[str, frozenset[str]] = {
    State.HELD: frozenset({State.ACTIVE, State.RELEASED}),
    # A payment that comes late finds its claim released, and takes it if it is still free.
    State.RELEASED: frozenset({State.ACTIVE}),
    State.ACTIVE: frozenset({State.SUSPENDED, State.RELEASED}),
    State.SUSPENDED: frozenset({State.ACTIVE, State.RELEASED}),
}

_OF_GRANT: dict[str, ScopeClaim.State] = {
    Grant.Status.ACTIVE: State.ACTIVE,
    Grant.Status.SUSPENDED: State.SUSPENDED,
    Grant.Status.REVOKED: State.RELEASED,
    Grant.Status.EXPIRED: State.RELEASED,
}

# An exclusive claim takes every lane that there will ever be.
_EVERY_LANE: Range[int] = Range(None, None, "()")

# The first key of our advisory locks on collections; the second is the collection's number.
_LOCKS = 0x4C49

# A refusal is no error, so that it needs no savepoint.
_INSERT = """
INSERT INTO licensing_scopeclaim (id, licensor_id, licensee_id, livemode, collection_number, uses,
    territories, during, lane, state, held_by, held_until, created_at, grant_id)
VALUES (%s, %s, %s, %s, %s, %s::int4multirange, %s::int4multirange, %s::tstzrange, %s::int8range,
    %s, %s, %s, %s, %s)
ON CONFLICT ON CONSTRAINT scope_claims_do_not_overlap DO NOTHING
"""


def hold(
    *,
    offer_collection: Collection,
    licensor: Organization,
    licensee: Organization,
    livemode: bool,
    uses: Sequence[str],
    territories: Sequence[str],
    during: DateTimeTZRange,
    exclusive: bool,
    held_by: str,
    held_until: datetime,
) -> ScopeClaim:
    """Hold a scope for `held_by` (an order's TypeID) until an instant. Raises RightsTaken.

    A non-exclusive claim takes a lane of its own, an exclusive one every lane: the exclusion
    constraint refuses what overlaps in a common lane, whoever comes first. Other buyers' overdue
    claims are not the caller's to see: they stand in its way until the worker has released them,
    seconds later.
    """
    assert connection.in_atomic_block, "A claim commits with the order that holds it."
    claim = ScopeClaim(
        livemode=livemode,
        licensor=licensor,
        licensee=licensee,
        collection=offer_collection,
        uses=_numbers(use_numbers(uses)),
        territories=_numbers(territory_numbers(territories)),
        during=during,
        lane=_EVERY_LANE if exclusive else _own_lane(),
        state=State.HELD,
        held_by=held_by,
        held_until=held_until,
    )
    _lock(offer_collection.number)
    if not _insert(claim):
        raise RightsTaken(
            _(
                "Somebody else holds rights that exclude this scope. Ask for other uses,"
                " territories or times, or try again when a pending order has ended."
            ),
            collection=str(offer_collection.pk),
        )
    return claim


def take_over(held_by: str, grant: Grant) -> None:
    """Give the claim that an order holds to the grant that the order became.

    A claim that was released meanwhile is taken again, if nobody else has taken what it excludes.
    Raises RightsTaken.
    """
    assert connection.in_atomic_block, "A claim changes hands with its grant."
    # Held until now, as nearly always: nobody can have taken what it excludes.
    if ScopeClaim.objects.filter(held_by=held_by, state=State.HELD).update(
        state=State.ACTIVE, grant=grant, held_until=None
    ):
        return
    taken = RightsTaken(_("The rights are no longer free for this order."), holder=held_by)
    claim = ScopeClaim.objects.filter(held_by=held_by).first()
    if claim is None:
        raise taken
    _lock(claim.collection_id)
    # Read again: until the lock was ours, the worker may have released it.
    claim = ScopeClaim.objects.select_for_update().get(pk=claim.pk)
    if State.ACTIVE not in TRANSITIONS[claim.state] or claim.grant_id is not None:
        raise taken
    claim.state, claim.grant, claim.held_until = State.ACTIVE, grant, None
    # A paid order is refused for good: what nobody can pay for any more must not be the reason.
    _overdue().filter(collection__number=claim.collection_id).exclude(pk=claim.pk).update(
        state=State.RELEASED
    )
    if not _retake(claim):
        raise taken


def extend(grant: Grant, *, during: DateTimeTZRange, exclusive: bool, held_by: str) -> None:
    """Claim a locked grant's scope for a later time, too, standing as the grant does.

    `held_by` names what it is for, such as a period's TypeID. Raises RightsTaken where somebody
    else holds it by then.
    """
    assert connection.in_atomic_block, "A claim commits with the period that it is for."
    before = grant.claims.order_by("-during").first()
    if before is None:
        raise RightsTaken(_("The grant holds no scope that could go on."), holder=held_by)
    claim = ScopeClaim(
        livemode=grant.livemode,
        licensor=grant.licensor,
        licensee=grant.licensee,
        collection_id=before.collection_id,
        uses=before.uses,
        territories=before.territories,
        during=during,
        lane=_EVERY_LANE if exclusive else _own_lane(),
        state=_OF_GRANT[grant.status],
        held_by=held_by,
        grant=grant,
    )
    _lock(before.collection_id)
    # What nobody can pay for any more must not be the reason.
    _overdue().filter(collection__number=before.collection_id).update(state=State.RELEASED)
    if not _insert(claim):
        raise RightsTaken(
            _(
                "Somebody else holds rights from then on that exclude this scope. The grant ends"
                " as it was to end."
            ),
            holder=held_by,
        )


def prolong(held_by: str, until: datetime) -> None:
    """Hold what an order holds for longer: its payment is under way. What was let go stays so."""
    ScopeClaim.objects.filter(held_by=held_by, state=State.HELD, held_until__lt=until).update(
        held_until=until
    )


def release(held_by: str) -> None:
    """Let go of what an order holds. A grant's claim stays; repeating it changes nothing."""
    ScopeClaim.objects.filter(held_by=held_by, state=State.HELD).update(state=State.RELEASED)


def follow(grant: Grant) -> None:
    """Have a grant's claims stand as it does: an end frees them, a suspension keeps them.

    For the transaction that locked and moved the grant. Repeating it changes nothing.
    """
    assert connection.in_atomic_block, "Claims move with their grant."
    state = _OF_GRANT[grant.status]
    before = [each for each, after in TRANSITIONS.items() if state in after]
    # A hold is of an order, and never of a grant.
    ScopeClaim.objects.filter(grant=grant, state__in=before).exclude(
        state__in=[State.HELD, State.RELEASED]
    ).update(state=state)


def release_overdue() -> int:
    """Let go of every claim whose order can no longer be paid. The worker's."""
    with access.system("release overdue claims"):
        return _overdue().update(state=State.RELEASED)


def _overdue() -> QuerySet[ScopeClaim]:
    """Held for longer than their orders can be paid, as far as the transaction may see."""
    return ScopeClaim.objects.filter(state=State.HELD, held_until__lte=timezone.now())


def _lock(collection_number: int) -> None:
    """Make claims on a collection wait for each other, until the transaction ends.

    Two overlapping inserts at once can each wait for the other's end, until PostgreSQL breaks one
    off as a deadlock, a second later: 91 times in 2,000 races of eight. An advisory lock, not the
    collection's row: that is locked for seconds while a snapshot is made, and nobody's purchase
    should wait for that.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCKS, collection_number])


def _insert(claim: ScopeClaim) -> bool:
    """Write a new claim; False where the exclusion constraint refuses it."""
    values = [
        *(UUID(int=key.int) for key in (claim.pk, claim.licensor_id, claim.licensee_id)),
        *(claim.livemode, claim.collection_id, claim.uses, claim.territories, claim.during),
        *(claim.lane, claim.state, claim.held_by, claim.held_until, claim.created_at),
        None if claim.grant_id is None else UUID(int=claim.grant_id.int),
    ]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, values)
        return bool(cursor.rowcount)


def _retake(claim: ScopeClaim) -> bool:
    """Save a claim that had been released; False where the exclusion constraint refuses it."""
    try:
        # A savepoint, so that the refusal leaves the caller's transaction usable.
        with transaction.atomic():
            claim.save(update_fields=["state", "grant", "held_until"])
    except IntegrityError as error:
        if isinstance(error.__cause__, ExclusionViolation):
            return False
        raise
    return True


def _own_lane() -> Range[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('licensing_scopeclaim_lane')")
        (lane,) = cursor.fetchone()
    return Range(lane, lane + 1, "[)")


def _numbers(numbers: Iterable[int]) -> Multirange[int]:
    return Multirange([Range(number, number + 1, "[)") for number in numbers])
