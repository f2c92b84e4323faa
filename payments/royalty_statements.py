"""Statements of royalties: what a contributor earned, paid back and was paid, line by line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.utils.translation import gettext as _

from marketplace import money
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput
from marketplace.models import Contributor
from marketplace.typeid import TypeID

# A statement with more lines is asked for in shorter periods.
LINES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Statement:
    """What a contributor earned, lost again, paid back and was paid, in one period and currency."""

    contributor: str
    currency: str
    begins_at: datetime
    ends_at: datetime
    opening_micro: int
    accrued_micro: int
    recouped_minor: int
    paid_minor: int
    # Paid before, and back in this period: it is owed again.
    returned_minor: int
    closing_micro: int
    # Now, whatever the period: of disputed sales, or being shared out anew.
    held_micro: int
    advances_open_minor: int
    lines: list[Mapping[str, Any]]


def of(
    caller: Caller,
    contributor: str,
    *,
    currency: str,
    begins_at: datetime,
    ends_at: datetime,
) -> Statement:
    """A contributor's account over [begins_at, ends_at), line by line.

    Each line can be computed again from what it says (`royalty_shares.share`). Raises NotFound,
    InvalidInput.
    """
    with acting(caller, writing=False), connection.cursor() as cursor:
        found = Contributor.objects.get_visible(caller, contributor)
        code = money.currency(currency, param="currency").code
        if begins_at >= ends_at:
            raise InvalidInput(_("A period ends after it begins."), param="to")
        values = {
            "organization": caller.organization.pk,
            "livemode": caller.livemode,
            "currency": code,
            "contributor": found.pk,
            "begins_at": begins_at,
            "ends_at": ends_at,
            "limit": LINES_MAX + 1,
        }
        cursor.execute(_LINES, values)
        names = [column.name for column in cursor.description]
        lines = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        if len(lines) > LINES_MAX:
            raise InvalidInput(
                _("More than %(max)s lines: ask for a shorter period.") % {"max": f"{LINES_MAX:,}"},
                param="from",
            )
        cursor.execute(_SUMS, values)
        sums = dict(
            zip((column.name for column in cursor.description), cursor.fetchone(), strict=True)
        )
    micro = 1_000_000
    opening = sums["earned_before"] - micro * (sums["paid_before"] - sums["returned_before"])
    moved = sums["recouped"] + sums["paid"] - sums["returned"]
    return Statement(
        contributor=str(found.pk),
        currency=code,
        begins_at=begins_at,
        ends_at=ends_at,
        opening_micro=opening,
        accrued_micro=sums["earned"],
        recouped_minor=sums["recouped"],
        paid_minor=sums["paid"],
        returned_minor=sums["returned"],
        closing_micro=opening + sums["earned"] - micro * moved,
        held_micro=sums["held"],
        advances_open_minor=sums["advanced"] - sums["recouped_ever"],
        lines=[_shown(line) for line in lines],
    )


def _shown(line: dict[str, Any]) -> dict[str, Any]:
    for name, prefix in (("allocation", "ral"), ("order", "ord"), ("rule", "rrl"), ("tie", "ral")):
        line[name] = str(TypeID(prefix, line[name]))
    for name in ("cut_before_hash", "cut_after_hash"):
        line[name] = None if line[name] is None else bytes(line[name]).hex()
    for name in ("cut_before_remainder", "cut_after_remainder"):
        line[name] = line[name] or None
    return line


# What was shared out of one organization's sales in one currency, and whether it is held: while
# the sale is disputed and its rule says so, and while a part of it is about to be taken back.
SOURCES = """
SELECT allocation.id, allocation.done_at,
    coalesce((rule.minimum_minor ->> %(currency)s)::bigint, 1) AS minimum,
    sold.status = 'disputed' AND rule.holds_while_disputed OR EXISTS (
        SELECT 1 FROM payments_royaltyallocation other
        WHERE other.order_id = allocation.order_id AND other.state <> 'done'
    ) AS is_held
FROM payments_royaltyallocation allocation
JOIN payments_royaltyrule rule ON rule.id = allocation.rule_id
JOIN payments_order sold ON sold.id = allocation.order_id
WHERE allocation.organization_id = %(organization)s AND allocation.livemode = %(livemode)s
    AND allocation.currency = %(currency)s AND allocation.state = 'done'
"""
_LINES = """
SELECT allocation.id AS allocation, allocation.order_id AS "order", allocation.cause,
    allocation.sold_at, allocation.done_at, rule.id AS rule, rule.version AS rule_version,
    rule.method, rule.unit, rule.basis_points,
    coalesce(allocation.sale_id, allocation.id) AS tie,
    allocation.kept_before_minor, allocation.pool_minor,
    coalesce(-advance.moved_minor, 0) AS recoups_minor, accrual.weight, base.total_weight,
    allocation.cut_before_remainder, allocation.cut_before_hash,
    allocation.cut_after_remainder, allocation.cut_after_hash, accrual.amount_micro
FROM payments_royaltyaccrual accrual
JOIN payments_royaltyallocation allocation ON allocation.id = accrual.allocation_id
JOIN payments_royaltyrule rule ON rule.id = allocation.rule_id
JOIN payments_royaltybase base ON base.id = allocation.base_id
LEFT JOIN payments_royaltyadvanceline advance
    ON advance.allocation_id = coalesce(allocation.sale_id, allocation.id)
WHERE accrual.contributor_id = %(contributor)s AND accrual.organization_id = %(organization)s
    AND accrual.livemode = %(livemode)s AND accrual.currency = %(currency)s
    AND allocation.done_at >= %(begins_at)s AND allocation.done_at < %(ends_at)s
ORDER BY allocation.done_at, accrual.id LIMIT %(limit)s
"""
_SUMS = f"""
WITH source AS (
    {SOURCES} AND allocation.id IN (
        SELECT allocation_id FROM payments_royaltyaccrual WHERE contributor_id = %(contributor)s
    )
),
earned AS (
    SELECT accrual.amount_micro AS micro, source.done_at, source.is_held
    FROM payments_royaltyaccrual accrual JOIN source ON source.id = accrual.allocation_id
    WHERE accrual.contributor_id = %(contributor)s
),
payment AS (
    SELECT * FROM payments_royaltypayment
    WHERE contributor_id = %(contributor)s AND organization_id = %(organization)s
        AND livemode = %(livemode)s AND currency = %(currency)s
)
SELECT
    (SELECT coalesce(sum(micro), 0)::bigint FROM earned WHERE done_at < %(begins_at)s)
        AS earned_before,
    (SELECT coalesce(sum(micro), 0)::bigint FROM earned
     WHERE done_at >= %(begins_at)s AND done_at < %(ends_at)s) AS earned,
    (SELECT coalesce(sum(micro), 0)::bigint FROM earned WHERE is_held) AS held,
    (SELECT coalesce(sum(amount_minor + recouped_minor), 0)::bigint FROM payment
     WHERE created_at < %(begins_at)s) AS paid_before,
    (SELECT coalesce(sum(amount_minor), 0)::bigint FROM payment
     WHERE state = 'returned' AND settled_at < %(begins_at)s) AS returned_before,
    (SELECT coalesce(sum(amount_minor), 0)::bigint FROM payment
     WHERE created_at >= %(begins_at)s AND created_at < %(ends_at)s) AS paid,
    (SELECT coalesce(sum(recouped_minor), 0)::bigint FROM payment
     WHERE created_at >= %(begins_at)s AND created_at < %(ends_at)s) AS recouped,
    (SELECT coalesce(sum(amount_minor), 0)::bigint FROM payment WHERE state = 'returned'
        AND settled_at >= %(begins_at)s AND settled_at < %(ends_at)s) AS returned,
    (SELECT coalesce(sum(recouped_minor), 0)::bigint FROM payment) AS recouped_ever,
    (SELECT coalesce(sum(amount_minor), 0)::bigint FROM payments_royaltyadvance
     WHERE contributor_id = %(contributor)s AND organization_id = %(organization)s
        AND livemode = %(livemode)s AND currency = %(currency)s) AS advanced
"""
