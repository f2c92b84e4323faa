"""Advances on collections: what a seller paid ahead, and what pools of sales pay back of it.

What single contributors got ahead of their own royalties is `payouts.advance`.
"""

from __future__ import annotations

from uuid import UUID

from django.db import connection
from django.utils.translation import gettext as _

from marketplace import audit, idempotency, money
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput
from marketplace.models import Collection
from payments.models import RoyaltyAdvanceLine, RoyaltyAllocation

REFERENCE_LENGTH_MAX = 200


def give(
    caller: Caller, collection: str, *, amount_minor: int, currency: str, reference: str
) -> RoyaltyAdvanceLine:
    """Record what was paid ahead of a collection's royalties. Repeatable by its reference.

    Pools that are shared out from now on pay it back before contributors have a share of them:
    what accrued by now stays theirs. Raises NotFound, InvalidInput.
    """
    code = money.currency(currency, param="currency").code
    if not 0 < amount_minor <= money.STRIPE_MAXIMUM_MINOR:
        raise InvalidInput(_("Give an amount of 1 or more."), param="amount_minor")
    reference = reference.strip()
    if not 0 < len(reference) <= REFERENCE_LENGTH_MAX:
        raise InvalidInput(_("Name the payment, in up to 200 characters."), param="reference")
    with acting(caller):
        owned = Collection.objects.owned_by(caller).get_visible(caller, collection)
        _lock(owned.pk, livemode=caller.livemode)
        lines = RoyaltyAdvanceLine.objects.filter(collection=owned, livemode=caller.livemode)
        given = lines.filter(reference=reference).first()
        if given is not None:
            if (given.moved_minor, given.currency) != (amount_minor, code):
                raise InvalidInput(
                    _("Another advance has this reference. Give each its own."), param="reference"
                )
            idempotency.names(caller, given)
            return given
        line = _following(
            RoyaltyAdvanceLine(
                organization=caller.organization,
                livemode=caller.livemode,
                collection=owned,
                currency=code,
                moved_minor=amount_minor,
                reference=reference,
                actor=caller.actor,
            )
        )
        audit.record(caller, "royalty_advance.recorded", subject=line)
        idempotency.names(caller, line)
    return line


def find(caller: Caller, collection: str) -> Collection:
    """The collection of the caller's whose advances are asked for. Raises NotFound."""
    with acting(caller, writing=False):
        return Collection.objects.owned_by(caller).get_visible(caller, collection)


def open_minor(collection_id: UUID, *, livemode: bool, currency: str) -> int:
    """What no pool has paid back yet of the advances on a collection."""
    last = _last(collection_id, livemode=livemode, currency=currency)
    return 0 if last is None else last.open_minor


def recoup(allocation: RoyaltyAllocation) -> bool:
    """Have a pool that is about to be shared out pay back what is open; once an allocation.

    What goes back of a sale replays what the sale paid back: as if it had been that small, so
    contributors lose their part first, and what the advance loses is open again. False where
    somebody moves the same advances just now: nothing was written.
    """
    assert connection.in_atomic_block, "What a pool pays back commits with its beginning."
    collection_id = allocation.snapshot.collection_id
    livemode, currency = allocation.livemode, allocation.currency
    if _last(collection_id, livemode=livemode, currency=currency) is None:
        return True
    if not _lock(collection_id, livemode=livemode, waits=False):
        return False
    before, kept = allocation.kept_before_minor, allocation.pool_minor
    kept += before
    if allocation.sale_id is None:
        recoups = open_minor(collection_id, livemode=livemode, currency=currency)
    else:
        recoups = recouped_minor(allocation)
    moved = min(before, recoups) - min(kept, recoups)
    if moved:
        _following(
            RoyaltyAdvanceLine(
                organization_id=allocation.organization_id,
                livemode=livemode,
                collection_id=collection_id,
                currency=currency,
                moved_minor=moved,
                allocation=allocation,
                actor="system",
            )
        )
    return True


def recouped_minor(allocation: RoyaltyAllocation) -> int:
    """What the whole pool of an allocation's sale paid back. 0 before it has begun."""
    sale = allocation.sale_id or allocation.pk
    line = RoyaltyAdvanceLine.objects.filter(allocation_id=sale).first()
    return 0 if line is None else -line.moved_minor


def _following(line: RoyaltyAdvanceLine) -> RoyaltyAdvanceLine:
    """Write a line behind the last one. Under the lock: there is one that follows."""
    last = _last(line.collection_id, livemode=line.livemode, currency=line.currency)
    line.number = 1 if last is None else last.number + 1
    line.open_minor = line.moved_minor + (0 if last is None else last.open_minor)
    line.save(force_insert=True)
    return line


def _last(collection_id: UUID, *, livemode: bool, currency: str) -> RoyaltyAdvanceLine | None:
    lines = RoyaltyAdvanceLine.objects.filter(
        collection=collection_id, livemode=livemode, currency=currency
    )
    return lines.order_by("-number").first()


def _lock(collection_id: UUID, *, livemode: bool, waits: bool = True) -> bool:
    """Let one transaction at a time move a collection's advances. Whether it is this one."""
    lock = "pg_advisory_xact_lock" if waits else "pg_try_advisory_xact_lock"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {lock}(hashtextextended('payments.advances' || %s, 0))",
            [f"{collection_id}{livemode}"],
        )
        return waits or bool(cursor.fetchone()[0])
