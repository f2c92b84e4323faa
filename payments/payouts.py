"""Payouts to contributors: previewed, confirmed, and written by a job, in whole minor units.

A payout counts what is new since the last one, and what that left over (`RoyaltyBalance`): what it
takes grows with what was sold since, not with all that was ever sold.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit, idempotency, money
from marketplace.access import Caller, acting, system
from marketplace.errors import InvalidInput, RoyaltyPayoutChanged, RoyaltyPayoutRunning
from marketplace.models import Contributor
from marketplace.typeid import TypeID
from payments import journal, royalty_payments, royalty_statements
from payments.journal import Code, Key
from payments.models import RoyaltyAdvance, RoyaltyPayout

logger = logging.getLogger(__name__)
State = RoyaltyPayout.State

TRANSITIONS: dict[str, frozenset[str]] = {
    State.RUNNING: frozenset({State.DONE}),
    # Done is final: what comes back is counted by a later payout.
}
# Contributors in one transaction: a process that dies loses no more than these.
BATCH = 50_000
PREVIEWED = 20
# All contributors are between these.
FIRST, LAST = UUID(int=0), UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Payable:
    """What one contributor would get now."""

    contributor: str
    amount_minor: int
    recouped_minor: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a payout would move now. Confirming it names these figures."""

    currency: str
    contributors: int
    paid_minor: int
    recouped_minor: int
    largest: list[Payable]


def advance(
    caller: Caller, contributor: str, *, amount_minor: int, currency: str, reference: str
) -> RoyaltyAdvance:
    """Record what was paid to a contributor ahead of royalties. Repeatable by its reference.

    What the contributor earns pays it back first. Raises NotFound, InvalidInput.
    """
    code = money.currency(currency, param="currency").code
    if not 0 < amount_minor <= money.STRIPE_MAXIMUM_MINOR:
        raise InvalidInput(_("Give an amount of 1 or more."), param="amount_minor")
    reference = royalty_payments.checked_reference(reference)
    with acting(caller):
        found = Contributor.objects.get_visible(caller, contributor)
        said = {"amount_minor": amount_minor, "currency": code}
        row, is_new = RoyaltyAdvance.objects.get_or_create(
            organization=caller.organization,
            livemode=caller.livemode,
            contributor=found,
            reference=reference,
            defaults={**said, "actor": caller.actor},
        )
        if {name: getattr(row, name) for name in said} != said:
            raise InvalidInput(
                _("Another advance has this reference. Give each its own."), param="reference"
            )
        if is_new:
            audit.record(caller, "royalty_advance.recorded", subject=row)
        idempotency.names(caller, row)
    return row


def advances(caller: Caller, contributor: str) -> QuerySet[RoyaltyAdvance]:
    """Those to one contributor of the caller's. Raises NotFound."""
    found = Contributor.objects.get_visible(caller, contributor)
    return RoyaltyAdvance.objects.visible_to(caller).filter(contributor=found)


def preview(caller: Caller, *, currency: str) -> Preview:
    """Say who would be paid how much now. Writes nothing.

    Raises RoyaltyPayoutRunning while one is written whose payments are not known yet.
    """
    code = money.currency(currency, param="currency").code
    with acting(caller, writing=False), connection.cursor() as cursor:
        cursor.execute(journal.PLANNED)
        _check_alone(caller, code)
        sales = _uncounted(cursor, caller, code)
        values = _values(caller, code) | sales.values()
        cursor.execute(_SUMMED.format(parted=_parted(_NEW)), values | {"limit": PREVIEWED})
        contributors, paid, recouped, largest = cursor.fetchone()
    return Preview(
        currency=code,
        contributors=contributors,
        paid_minor=paid,
        recouped_minor=recouped,
        largest=[
            Payable(str(TypeID("ctr", UUID(contributor))), amount, back)
            for contributor, amount, back in largest or []
        ],
    )


def confirm(
    caller: Caller, *, currency: str, contributors: int, paid_minor: int, recouped_minor: int
) -> RoyaltyPayout:
    """Commit to paying each contributor what a preview said; `write_due` writes the payments.

    What it counts is fixed here: what is sold, disputed, advanced or comes back from now on is
    another payout's. Raises RoyaltyPayoutChanged where the figures are not what would be paid now,
    RoyaltyPayoutRunning, InvalidInput.
    """
    code = money.currency(currency, param="currency").code
    if contributors < 1:
        raise InvalidInput(_("A payout is to somebody."), param="contributors")
    with acting(caller), connection.cursor() as cursor:
        _lock(cursor, caller)
        cursor.execute(journal.PLANNED)
        _check_alone(caller, code)
        sales = _uncounted(cursor, caller, code)
        payout = RoyaltyPayout(
            organization=caller.organization,
            livemode=caller.livemode,
            currency=code,
            contributors=contributors,
            paid_minor=paid_minor,
            recouped_minor=recouped_minor,
            held=[str(TypeID("ral", id)) for id in sales.held],
            actor=caller.actor,
        )
        payout.save(force_insert=True)
        values = _values(caller, code) | sales.values() | {"payout": payout.pk}
        cursor.execute(_COUNT, values)
        cursor.execute(_SUMMED.format(parted=_parted(_COUNTED)), values | {"limit": 0})
        now = cursor.fetchone()[:3]
        if not now[0] or now != (contributors, paid_minor, recouped_minor):
            # With it goes what it counted.
            raise RoyaltyPayoutChanged(
                _("What is to be paid has changed. Preview it again."),
                contributors=now[0],
                paid_minor=now[1],
                recouped_minor=now[2],
            )
        audit.record(caller, "royalty_payout.confirmed", subject=payout, contributors=contributors)
        idempotency.names(caller, payout)
    return payout


def find(caller: Caller, id: str) -> RoyaltyPayout:
    """A payout of the caller's. Raises NotFound."""
    with acting(caller, writing=False):
        return RoyaltyPayout.objects.get_visible(caller, id)


# --- writing ----------------------------------------------------------------------------------


def write_due(limit: int = 20) -> int:
    """Write the payments of payouts that were confirmed. Returns how many there were. The worker's.

    Can be called any time, by several at once: each step is one transaction under its payout's
    lock, and goes on where the last one ended.
    """
    with system("find payouts of royalties to be written"):
        due = list(
            RoyaltyPayout.objects.filter(state=State.RUNNING)
            .order_by("pk")
            .values_list("pk", flat=True)[:limit]
        )
    for payout_id in due:
        try:
            while step(payout_id):
                pass
        except Exception:
            # The edge of a retry loop: it stays due, and the others are written.
            logger.exception("could not write %s", payout_id)
    return len(due)


def step(payout_id: UUID) -> bool:
    """Write the next batch of a payout, and commit it. Whether the caller should go on.

    A batch is its payments, what it leaves in the balances, and one journal.
    """
    with system("write a payout of royalties"), connection.cursor() as cursor:
        cursor.execute(journal.PLANNED)
        payout = (
            RoyaltyPayout.objects.select_for_update(skip_locked=True)
            .filter(pk=payout_id, state=State.RUNNING)
            .first()
        )
        if payout is None:
            # Done, or in somebody else's hands.
            return False
        values = _batch(cursor, payout)
        cursor.execute(_WRITE.format(parted=_parted(_COUNTED)), values)
        count, paid, recouped = cursor.fetchone()
        if count:
            _post(payout, paid, recouped, values)
        payout.cursor = values["upto"]
        payout.written += count
        fields = ["cursor", "written"]
        if payout.cursor == LAST:
            _move(payout, State.DONE)
            payout.done_at = timezone.now()
            fields += ["state", "done_at"]
        payout.save(update_fields=fields)
    return payout.state == State.RUNNING


def _batch(cursor: Any, payout: RoyaltyPayout) -> dict[str, Any]:
    """Of whom the next batch is, and what is counted for them."""
    values: dict[str, Any] = {
        "organization": payout.organization_id,
        "livemode": payout.livemode,
        "currency": payout.currency,
        "payout": payout.pk,
        "after": payout.cursor or FIRST,
        "held": [TypeID.parse("ral", id) for id in payout.held],
        "skipped": BATCH - 1,
    }
    cursor.execute(_UPTO, values)
    last = cursor.fetchone()
    cursor.execute(_SOURCES_COUNTED, values)
    sources = cursor.fetchall()
    made = TypeID.new("rpm").hex
    return values | {
        "upto": LAST if last is None else last[0],
        "sources": [id for id, _minimum in sources],
        "minimums": [minimum for _id, minimum in sources],
        "now": timezone.now(),
        # Of the payments' ids: the instant and some bits of chance, as of any UUIDv7. A counter
        # follows: ids in the order of their index are written several times faster.
        "begin": made[:22],
    }


def _post(payout: RoyaltyPayout, paid: int, recouped: int, values: Mapping[str, Any]) -> None:
    posted = journal.begin(
        payout.organization_id,
        livemode=payout.livemode,
        kind=journal.ROYALTY_PAYOUT,
        reference=f"{payout.pk}:{payout.written}",
    )
    owner = payout.organization_id
    journal.write(
        posted,
        [
            (Key(Code.ROYALTY_PAYABLE, owner, None, payout.currency), paid + recouped),
            # The seller advanced it: it is owed to the seller.
            (Key(Code.SELLER_PAYABLE, owner, None, payout.currency), -recouped),
        ],
    )
    journal.post_owed(posted, _OWED, values, organization_id=owner, currency=payout.currency)


def _move(payout: RoyaltyPayout, state: RoyaltyPayout.State) -> None:
    allowed = TRANSITIONS.get(payout.state, frozenset())
    assert state in allowed, f"A payout does not go from {payout.state} to {state}."
    payout.state = state


# --- what is counted --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sales:
    """Allocations that no payout counted yet, and counted ones that are held now."""

    fresh: Sequence[UUID]
    minimums: Sequence[int]
    held: Sequence[UUID]

    def values(self) -> dict[str, Any]:
        return {"sources": self.fresh, "minimums": self.minimums, "held": self.held}


def _uncounted(cursor: Any, caller: Caller, currency: str) -> _Sales:
    cursor.execute(_SOURCES_NOW, _values(caller, currency))
    rows = cursor.fetchall()
    fresh = [(id, minimum) for id, minimum, is_held, is_new in rows if is_new and not is_held]
    return _Sales(
        [id for id, _minimum in fresh],
        [minimum for _id, minimum in fresh],
        [id for id, _minimum, is_held, is_new in rows if is_held and not is_new],
    )


def _values(caller: Caller, currency: str) -> dict[str, Any]:
    return {
        "organization": caller.organization.pk,
        "livemode": caller.livemode,
        "currency": currency,
        "after": FIRST,
        "upto": LAST,
    }


def _check_alone(caller: Caller, currency: str) -> None:
    running = (
        RoyaltyPayout.objects.visible_to(caller)
        .filter(currency=currency, state=State.RUNNING)
        .first()
    )
    if running is not None:
        raise RoyaltyPayoutRunning(
            _("Another payout in this currency is being written. Wait until it is done."),
            payout=str(running.pk),
        )


def _lock(cursor: Any, caller: Caller) -> None:
    """Make payouts of one organization wait for each other: nobody is paid twice."""
    cursor.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('payments.payouts' || %s, 0))",
        [f"{caller.organization.pk}{caller.livemode}"],
    )


_OWNED = """
organization_id = %(organization)s AND livemode = %(livemode)s AND currency = %(currency)s
"""
_SOURCES_NOW = f"""
SELECT source.id, source.minimum, source.is_held, counted.id IS NULL
FROM ({royalty_statements.SOURCES}) source
LEFT JOIN payments_royaltycounted counted ON counted.allocation_id = source.id
WHERE source.is_held OR counted.id IS NULL
"""
_SOURCES_COUNTED = """
SELECT allocation.id, coalesce((rule.minimum_minor ->> %(currency)s)::bigint, 1)
FROM payments_royaltycounted counted
JOIN payments_royaltyallocation allocation ON allocation.id = counted.allocation_id
JOIN payments_royaltyrule rule ON rule.id = allocation.rule_id
WHERE counted.payout_id = %(payout)s
"""
_COUNT = f"""
INSERT INTO payments_royaltycounted (
    organization_id, livemode, payout_id, allocation_id, advance_id, payment_id
)
SELECT %(organization)s, %(livemode)s, %(payout)s, id, NULL::uuid, NULL::uuid
FROM unnest(%(sources)s::uuid[]) id
UNION ALL
SELECT %(organization)s, %(livemode)s, %(payout)s, NULL, id, NULL
FROM payments_royaltyadvance advance
WHERE {_OWNED} AND NOT EXISTS (
    SELECT 1 FROM payments_royaltycounted WHERE advance_id = advance.id
)
UNION ALL
SELECT %(organization)s, %(livemode)s, %(payout)s, NULL, NULL, id
FROM payments_royaltypayment payment
WHERE {_OWNED} AND state = 'returned' AND NOT EXISTS (
    SELECT 1 FROM payments_royaltycounted WHERE payment_id = payment.id
)
"""
_UPTO = """
SELECT id FROM marketplace_contributor
WHERE organization_id = %(organization)s AND id > %(after)s ORDER BY id
OFFSET %(skipped)s LIMIT 1
"""
# What a payout counts beside sales: what it took, or, before there is one, what none took yet.
_COUNTED = "payout_id = %(payout)s"
_NEW = "id IS NULL"


def _parted(counted: str) -> str:
    """Of each contributor in (after, upto]: what is paid, what pays advances back, what is left.

    Down to whole minor units only here; what is left over stays accrued. Of several rules that
    somebody earned by, the least minimum counts.
    """
    return _PARTED.format(counted=counted)


_RANGE = "contributor_id > %(after)s AND contributor_id <= %(upto)s"
# The parts of sales by their index, a stretch each: whatever else is there is not read.
_PARTED = f"""
SELECT contributor_id, is_new, minimum, carried, advance, recouped,
    CASE WHEN whole - recouped >= coalesce(minimum, 1) THEN whole - recouped ELSE 0 END AS amount
FROM (
    SELECT *, least(whole, greatest(advance, 0)) AS recouped
    FROM (
        SELECT contributor_id, bool_or(is_new) AS is_new, min(minimum) AS minimum,
            sum(carried)::bigint AS carried, sum(advance)::bigint AS advance,
            greatest(sum(carried)::bigint - sum(held)::bigint, 0) / 1000000 AS whole
        FROM (
            SELECT contributor_id, false AS is_new, minimum_minor AS minimum,
                carried_micro AS carried, advance_minor AS advance, 0::bigint AS held
            FROM payments_royaltybalance WHERE {_OWNED} AND {_RANGE}
            UNION ALL
            SELECT part.contributor_id, true, source.minimum, part.amount_micro, 0, 0
            FROM unnest(%(sources)s::uuid[], %(minimums)s::bigint[]) AS source (id, minimum),
            LATERAL (
                SELECT contributor_id, amount_micro FROM payments_royaltyaccrual
                WHERE allocation_id = source.id AND {_RANGE} OFFSET 0
            ) part
            UNION ALL
            SELECT contributor_id, false, NULL, 0, 0, amount_micro
            FROM payments_royaltyaccrual
            WHERE allocation_id = ANY(%(held)s::uuid[]) AND {_RANGE}
            UNION ALL
            SELECT contributor_id, true, NULL, 0, amount_minor, 0
            FROM payments_royaltyadvance advance
            LEFT JOIN payments_royaltycounted counted ON counted.advance_id = advance.id
            WHERE advance.organization_id = %(organization)s AND advance.livemode = %(livemode)s
                AND advance.currency = %(currency)s AND {_RANGE} AND counted.{{counted}}
            UNION ALL
            SELECT contributor_id, true, NULL, amount_minor * 1000000, 0, 0
            FROM payments_royaltypayment payment
            LEFT JOIN payments_royaltycounted counted ON counted.payment_id = payment.id
            WHERE payment.organization_id = %(organization)s AND payment.livemode = %(livemode)s
                AND payment.currency = %(currency)s AND payment.state = 'returned' AND {_RANGE}
                AND counted.{{counted}}
        ) part
        GROUP BY contributor_id
    ) summed
) parted
"""
_SUMMED = """
WITH payable AS MATERIALIZED (
    SELECT * FROM ({parted}) parted WHERE recouped > 0 OR amount > 0
)
SELECT count(*), coalesce(sum(amount), 0)::bigint, coalesce(sum(recouped), 0)::bigint,
    (SELECT json_agg(json_build_array(contributor_id, amount, recouped)) FROM (
        SELECT * FROM payable ORDER BY amount DESC, contributor_id LIMIT %(limit)s
    ) largest)
FROM payable
"""
# All in the order of the contributors: each index is written from page to page.
_WRITE = """
WITH parted AS MATERIALIZED ({parted}),
payable AS MATERIALIZED (
    SELECT contributor_id, amount, recouped, row_number() OVER (ORDER BY contributor_id) AS place
    FROM parted WHERE recouped > 0 OR amount > 0
),
paid AS (
    INSERT INTO payments_royaltypayment (
        id, organization_id, livemode, payout_id, contributor_id, currency, amount_minor,
        recouped_minor, state, reference, refusal, created_at, settled_at
    )
    SELECT (%(begin)s || lpad(to_hex(place), 10, '0'))::uuid,
        %(organization)s, %(livemode)s, %(payout)s, contributor_id, %(currency)s,
        amount, recouped, CASE WHEN amount > 0 THEN 'due' ELSE 'paid' END, '', '', %(now)s,
        CASE WHEN amount = 0 THEN %(now)s::timestamptz END
    FROM payable ORDER BY place
),
left_over AS (
    INSERT INTO payments_royaltybalance AS balance (
        organization_id, livemode, currency, contributor_id, carried_micro, advance_minor,
        minimum_minor
    )
    SELECT %(organization)s, %(livemode)s, %(currency)s, contributor_id,
        carried - (amount + recouped) * 1000000, advance - recouped, minimum
    FROM parted WHERE is_new OR recouped > 0 OR amount > 0 ORDER BY contributor_id
    ON CONFLICT (organization_id, livemode, currency, contributor_id) DO UPDATE SET
        carried_micro = excluded.carried_micro, advance_minor = excluded.advance_minor,
        minimum_minor = excluded.minimum_minor
)
SELECT count(*), coalesce(sum(amount), 0)::bigint, coalesce(sum(recouped), 0)::bigint
FROM payable
"""
_OWED = f"""
SELECT contributor_id, amount_minor FROM payments_royaltypayment
WHERE payout_id = %(payout)s AND amount_minor > 0 AND {_RANGE}
"""
