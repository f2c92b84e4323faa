"""Royalties: rules of collections, and pools shared out among the people behind the works."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Max, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing.models import Offer
from marketplace import audit, idempotency, money
from marketplace.access import Caller, acting, system
from marketplace.errors import InvalidInput
from marketplace.models import Collection, Contributor
from marketplace.typeid import TypeID
from payments import advances, fees, journal, royalty_shares, settlements
from payments.journal import Code, Line
from payments.models import Order, RoyaltyAllocation, RoyaltyBase, RoyaltyRule
from payments.royalty_shares import MICRO_IN_MINOR

logger = logging.getLogger(__name__)
Method = RoyaltyRule.Method
State = RoyaltyAllocation.State

TRANSITIONS: dict[str, frozenset[str]] = {
    State.PENDING: frozenset({State.RUNNING}),
    State.RUNNING: frozenset({State.DONE}),
    # Done is final: what is taken back of a sale has an allocation of its own.
}

# Accruals written in one transaction: a process that dies loses no more than these.
BATCH = 100_000
# More who have fixed parts belong into a rule of another method.
PARTS_MAX = 1_000
PART_MAX = 1_000_000
PREVIEWED = 20


@dataclass(frozen=True, slots=True)
class RuleFields:
    """What a rule says."""

    basis_points: int
    method: str
    unit: str = ""
    parts: Sequence[Mapping[str, Any]] = ()
    minimum_minor: Mapping[str, int] | None = None
    holds_while_disputed: bool = True


@dataclass(frozen=True, slots=True)
class PreviewedShare:
    """What one contributor would get at least, in micro-units, and for what weight."""

    contributor: str
    weight: int
    amount_micro: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a sale would bring to contributors by a rule."""

    fee_minor: int
    pool_minor: int
    # Of the pool: it pays advances on the collection back.
    recouped_minor: int
    seller_minor: int
    currency: str
    contributors: int
    total_weight: int
    # The part of works of nobody knows whom, and fixed parts of who opted out.
    unallocated_micro: int
    largest: list[PreviewedShare]


# --- rules ------------------------------------------------------------------------------------


def set_rule(
    caller: Caller, collection: str, *, effective_from: datetime | None = None, **fields: Any
) -> RoyaltyRule:
    """Set what a collection's contributors get from now on, or from a later instant.

    Orders keep the rule that they were placed under. The same again changes nothing. Raises
    NotFound, InvalidInput.
    """
    with acting(caller):
        owned = Collection.objects.owned_by(caller).get_visible(caller, collection, lock=True)
        said = _checked(caller, RuleFields(**fields))
        now = timezone.now()
        if effective_from is not None and effective_from < now:
            raise InvalidInput(
                _("What was sold already keeps its rule. Leave it out: it counts from now on."),
                param="effective_from",
            )
        earlier = RoyaltyRule.objects.filter(collection=owned)
        last = earlier.order_by("-version").first()
        if last is not None and _says(last) == said and effective_from is None:
            idempotency.names(caller, last)
            return last
        rule = RoyaltyRule(
            organization=caller.organization,
            collection=owned,
            version=(earlier.aggregate(last=Max("version"))["last"] or 0) + 1,
            actor=caller.actor,
            effective_from=effective_from or now,
            created_at=now,
            **said,
        )
        rule.save(force_insert=True)
        audit.record(
            caller, "royalty_rule.made", subject=rule, basis_points=rule.basis_points,
            method=rule.method,
        )  # fmt: skip
        idempotency.names(caller, rule)
    return rule


def in_force(collection_id: UUID, *, at: datetime) -> dict[str, Any] | None:
    """The rule that counts for a sale at an instant, as `settlements.fix` keeps it."""
    rule = _rule_at(collection_id, at)
    if rule is None or not rule.basis_points:
        return None
    return {"rule": str(rule.pk), "basis_points": rule.basis_points}


def preview(
    caller: Caller, collection: str, *, price_minor: int, currency: str, **fields: Any
) -> Preview:
    """Say who would get how much of a sale of the collection as it is now. Writes nothing.

    Raises NotFound, InvalidInput.
    """
    code = money.currency(currency, param="currency").code
    if price_minor < 0:
        raise InvalidInput(_("A price is 0 or more."), param="price_minor")
    with acting(caller, writing=False):
        owned = Collection.objects.owned_by(caller).get_visible(caller, collection)
        rule = RoyaltyRule(
            organization=caller.organization,
            collection=owned,
            **_checked(caller, RuleFields(**fields)),
        )
        of_it = Offer(organization=caller.organization, collection=owned)
        fee = fees.of_sale(of_it, subtotal_minor=price_minor, currency=code).amount_minor
        pool = fees.share_minor(price_minor - fee, rule.basis_points)
        open_minor = advances.open_minor(owned.pk, livemode=caller.livemode, currency=code)
        weighed = _Weighed(rule, owned, owned.next_snapshot, timezone.now())
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(contributor_id), coalesce(sum(weight), 0)::bigint,"
                " coalesce(sum(weight) FILTER (WHERE contributor_id IS NULL), 0)::bigint"
                f" FROM ({weighed.sql}) weighed",
                weighed.values,
            )
            contributors, total, unknown = cursor.fetchone()
            cursor.execute(
                f"SELECT contributor_id, weight FROM ({weighed.sql}) weighed"
                " WHERE contributor_id IS NOT NULL ORDER BY weight DESC, contributor_id LIMIT"
                " %(limit)s",
                {**weighed.values, "limit": PREVIEWED},
            )
            largest = cursor.fetchall()
    recouped = min(pool, open_minor)
    micro = (pool - recouped) * MICRO_IN_MINOR
    return Preview(
        fee_minor=fee,
        pool_minor=pool,
        recouped_minor=recouped,
        seller_minor=price_minor - fee - pool,
        currency=code,
        contributors=contributors,
        total_weight=total,
        unallocated_micro=micro * unknown // total if total else micro,
        largest=[
            PreviewedShare(str(TypeID("ctr", contributor)), weight, micro * weight // total)
            for contributor, weight in largest
        ],
    )


def _rule_at(collection_id: UUID, at: datetime) -> RoyaltyRule | None:
    return (
        RoyaltyRule.objects.filter(collection=collection_id, effective_from__lte=at)
        .order_by("-version")
        .first()
    )


def _says(rule: RoyaltyRule) -> dict[str, Any]:
    return {
        "basis_points": rule.basis_points,
        "method": rule.method,
        "unit": rule.unit,
        "parts": rule.parts,
        "minimum_minor": rule.minimum_minor,
        "holds_while_disputed": rule.holds_while_disputed,
    }


def _checked(caller: Caller, fields: RuleFields) -> dict[str, Any]:
    """What a rule's row says, if it can be meant. Raises InvalidInput."""
    if not 0 <= fields.basis_points <= fees.BASIS_POINTS_IN_ONE:
        raise InvalidInput(_("A share is from 0 to 10,000 basis points."), param="basis_points")
    if fields.method not in Method.values:
        raise InvalidInput(
            _("Use one of: %(names)s.") % {"names": ", ".join(Method.values)}, param="method"
        )
    is_pro_rata = fields.method == Method.PRO_RATA
    if fields.unit not in (RoyaltyRule.UNITS if is_pro_rata else ("",)):
        raise InvalidInput(
            _("Name one of these units with “pro_rata”, and none else: %(names)s.")
            % {"names": ", ".join(RoyaltyRule.UNITS)},
            param="unit",
        )
    minimum = dict(fields.minimum_minor or {})
    for code, amount in minimum.items():
        money.currency(code, param="minimum_minor")
        if type(amount) is not int or not 0 < amount <= money.STRIPE_MAXIMUM_MINOR:
            raise InvalidInput(
                _("A minimum is a whole number of minor units, 1 or more."), param="minimum_minor"
            )
    return {
        "basis_points": fields.basis_points,
        "method": fields.method,
        "unit": fields.unit,
        "parts": _parts(caller, fields),
        "minimum_minor": minimum,
        "holds_while_disputed": fields.holds_while_disputed,
    }


def _parts(caller: Caller, fields: RuleFields) -> list[dict[str, Any]]:
    if (fields.method == Method.FIXED) != bool(fields.parts) or len(fields.parts) > PARTS_MAX:
        raise InvalidInput(
            _("Name 1 to %(max)s contributors with “fixed”, and none else.")
            % {"max": f"{PARTS_MAX:,}"},
            param="parts",
        )
    parts = []
    for index, part in enumerate(fields.parts):
        if type(part["parts"]) is not int or not 0 < part["parts"] <= PART_MAX:
            raise InvalidInput(
                _("Give parts as a whole number from 1 to %(max)s.") % {"max": f"{PART_MAX:,}"},
                param=f"parts[{index}].parts",
            )
        contributor = Contributor.objects.get_visible(caller, part["contributor"])
        parts.append({"contributor": str(contributor.pk), "parts": part["parts"]})
    if len({part["contributor"] for part in parts}) < len(parts):
        raise InvalidInput(_("Name each contributor once."), param="parts")
    return sorted(parts, key=lambda part: str(part["contributor"]))


# --- pools ------------------------------------------------------------------------------------


def of_sale(order: Order) -> None:
    """Commit to sharing out the pool of a sale, in the transaction that posts it. Repeatable.

    The works that are out by now have no share: the grant holds opt-outs back until it commits.
    """
    pool = settlements.of(order).royalties_minor
    if not pool or RoyaltyAllocation.objects.filter(order=order, cause="").exists():
        return
    RoyaltyAllocation(
        organization_id=order.seller_id,
        livemode=order.livemode,
        order=order,
        rule_id=RoyaltyRule._meta.pk.to_python(order.settlement["royalties"]["rule"]),
        snapshot_id=order.quote.snapshot_id,
        sold_at=timezone.now(),
        currency=order.currency,
        pool_minor=pool,
    ).save(force_insert=True)


def take_back(order: Order, *, cause: str, royalties_minor: int) -> None:
    """Commit to taking back what contributors lose by a refund or a lost dispute, once a cause.

    Under the order's lock, in the transaction that posts it.
    """
    if not royalties_minor or RoyaltyAllocation.objects.filter(order=order, cause=cause).exists():
        return
    sale = RoyaltyAllocation.objects.get(order=order, cause="")
    kept = RoyaltyAllocation.objects.filter(order=order).aggregate(sum=Sum("pool_minor"))["sum"]
    RoyaltyAllocation(
        organization_id=sale.organization_id,
        livemode=sale.livemode,
        order=order,
        cause=cause,
        sale=sale,
        rule_id=sale.rule_id,
        snapshot_id=sale.snapshot_id,
        sold_at=sale.sold_at,
        currency=sale.currency,
        kept_before_minor=kept,
        pool_minor=-royalties_minor,
    ).save(force_insert=True)


# --- sharing out ------------------------------------------------------------------------------


def allocate_due(limit: int = 20) -> int:
    """Share out the pools that wait for it. Returns how many there were. The worker's.

    Can be called any time, by several at once: each step is one transaction under its
    allocation's lock, and goes on where the last one ended.
    """
    with system("find royalties to be shared out"):
        due = list(
            RoyaltyAllocation.objects.exclude(state=State.DONE)
            .order_by("pk")
            .values_list("pk", flat=True)[:limit]
        )
    for allocation_id in due:
        try:
            while step(allocation_id):
                pass
        except Exception:
            # The edge of a retry loop: it stays due, and the others are shared out.
            logger.exception("could not share out %s", allocation_id)
    return len(due)


def step(allocation_id: UUID) -> bool:
    """Do the next part of an allocation, and commit it. Whether the caller should go on."""
    with system("share out royalties"):
        with connection.cursor() as cursor:
            cursor.execute(journal.PLANNED)
        allocation = (
            RoyaltyAllocation.objects.select_for_update(skip_locked=True, of=("self",))
            # Not the base: where another worker finds it just now, the lock waits for that, and the
            # join would still be of before.
            .select_related("rule", "snapshot__collection")
            .exclude(state=State.DONE)
            .filter(pk=allocation_id)
            .first()
        )
        if allocation is None:
            # Done, or in somebody else's hands.
            return False
        if allocation.state == State.PENDING:
            return _begin(allocation)
        return _go_on(allocation)


def _begin(allocation: RoyaltyAllocation) -> bool:
    """Find or count the weights, pay advances back, and find where the remainders end."""
    base = _base(allocation)
    # Last, so that others wait for the advances of a collection as short as can be.
    if base is None or not advances.recoup(allocation):
        return False
    tie = allocation.sale_id or allocation.pk
    before, after = (amount * MICRO_IN_MINOR for amount in _shared_minor(allocation))
    cut_before, cut_after = _cut(base, before, tie), _cut(base, after, tie)
    allocation.base = base
    allocation.cut_before_remainder, allocation.cut_before_hash = cut_before
    allocation.cut_after_remainder, allocation.cut_after_hash = cut_after
    _move(allocation, State.RUNNING)
    allocation.save(
        update_fields=[
            "state",
            "base",
            "cut_before_remainder",
            "cut_before_hash",
            "cut_after_remainder",
            "cut_after_hash",
        ]
    )
    return True


def _go_on(allocation: RoyaltyAllocation) -> bool:
    """Write the next batch of accruals; with the last one, what they add up to is owed."""
    with connection.cursor() as cursor:
        cursor.execute(_ACCRUE, values_of(allocation) | {"batch": BATCH})
        last, count = cursor.fetchone()
    fields = ["cursor"]
    if count:
        allocation.cursor = last
    if count < BATCH:
        _move(allocation, State.DONE)
        allocation.done_at = timezone.now()
        fields += ["state", "done_at"]
        before, after = _shared_minor(allocation)
        recouped, owner = allocation.pool_minor - (after - before), allocation.organization_id
        journal.post(
            allocation.order,
            journal.ROYALTIES,
            [
                Line(Code.ROYALTY_POOL, allocation.pool_minor, owner),
                Line(Code.ROYALTY_PAYABLE, before - after, owner),
                # The seller advanced it: it is owed to the seller.
                Line(Code.SELLER_PAYABLE, -recouped, owner),
            ],
            reference=str(allocation.pk),
        )
    allocation.save(update_fields=fields)
    return bool(count == BATCH)


def _move(allocation: RoyaltyAllocation, state: RoyaltyAllocation.State) -> None:
    allowed = TRANSITIONS.get(allocation.state, frozenset())
    assert state in allowed, f"An allocation does not go from {allocation.state} to {state}."
    allocation.state = state


def _shared_minor(allocation: RoyaltyAllocation) -> tuple[int, int]:
    """What is shared of the sale before an allocation, and after it: without what pays back."""
    recoups, before = advances.recouped_minor(allocation), allocation.kept_before_minor
    return (
        royalty_shares.left(before, recoups),
        royalty_shares.left(before + allocation.pool_minor, recoups),
    )


def values_of(allocation: RoyaltyAllocation) -> dict[str, Any]:
    """What `SHARES` asks for, of an allocation that has begun; but for the batch."""
    base = allocation.base
    assert base is not None
    before, after = (amount * MICRO_IN_MINOR for amount in _shared_minor(allocation))
    return {
        "allocation": allocation.pk,
        "organization": allocation.organization_id,
        "livemode": allocation.livemode,
        "currency": allocation.currency,
        "base": base.pk,
        "total": base.total_weight,
        "cursor": allocation.cursor,
        "tie": allocation.sale_id or allocation.pk,
        "before": before,
        "after": after,
        "before_remainder": allocation.cut_before_remainder or None,
        "before_hash": allocation.cut_before_hash,
        "after_remainder": allocation.cut_after_remainder or None,
        "after_hash": allocation.cut_after_hash,
    }


# --- the base ---------------------------------------------------------------------------------


class _Weighed:
    """The query for each contributor's weight in a collection as a snapshot holds it."""

    def __init__(
        self, rule: RoyaltyRule, collection: Collection, number: int, at: datetime
    ) -> None:
        self.values: dict[str, Any] = {
            "organization": collection.organization_id,
            "collection": collection.number,
            "number": number,
            "at": at,
            "unit": rule.unit,
        }
        self.excluded = _EXCLUDED.format(of=_IN_SNAPSHOT)
        if rule.method == Method.FIXED:
            self.sql, self.excluded = _OF_PARTS, _EXCLUDED.format(of=_OF_PEOPLE)
            self.values["contributors"] = [
                TypeID.parse("ctr", part["contributor"]) for part in rule.parts
            ]
            self.values["parts"] = [part["parts"] for part in rule.parts]
            return
        # A work in two forms is one work; its units are those of both, as a snapshot's totals say.
        weight = "count(DISTINCT item.work_id)"
        if rule.unit == "bytes":
            weight = "sum(form.length)"
        elif rule.unit:
            weight = "sum((item.units ->> %(unit)s)::bigint)"
        self.sql = _OF_WORKS.format(weight=weight)


def _base(allocation: RoyaltyAllocation) -> RoyaltyBase | None:
    """The weights that an allocation is by; counted now, if no other sale had the same before.

    None where somebody counts them just now. What goes back of a sale waits for the sale.
    """
    if allocation.sale_id is not None:
        return RoyaltyAllocation.objects.select_related("base").get(pk=allocation.sale_id).base
    rule, snapshot = allocation.rule, allocation.snapshot
    weighed = _Weighed(rule, snapshot.collection, snapshot.number, allocation.sold_at)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended('payments.royalties' || %s, 0))",
            [f"{rule.pk}{snapshot.pk}"],
        )
        if not cursor.fetchone()[0]:
            return None
        cursor.execute(weighed.excluded, weighed.values)
        excluded, excluded_sha256 = cursor.fetchone()
        found = RoyaltyBase.objects.filter(
            rule=rule, snapshot=snapshot, excluded_sha256=excluded_sha256
        ).first()
        if found is not None:
            return found
        base_id = TypeID.new("rbs")
        cursor.execute(
            _WEIGH.format(weighed=weighed.sql),
            {
                **weighed.values,
                "base": base_id,
                "rule": rule.pk,
                "snapshot": snapshot.pk,
                "excluded": excluded,
                "excluded_sha256": excluded_sha256,
                "now": timezone.now(),
            },
        )
    return RoyaltyBase.objects.get(pk=base_id)


def _cut(base: RoyaltyBase, amount: int, tie: UUID) -> tuple[str, bytes | None]:
    """Where the largest remainders of an amount end, as `royalty_shares.cut` says it."""
    values = {"base": base.pk, "total": base.total_weight, "amount": amount, "tie": tie}
    with connection.cursor() as cursor:
        cursor.execute(_LEFT, values)
        left = int(cursor.fetchone()[0])
        if not left:
            return "", None
        cursor.execute(_CUT, {**values, "skipped": left - 1})
        remainder, last = cursor.fetchone()
        return str(remainder), bytes(last)


# As `reservations.IS_RESERVED` says it, at the instant of the sale.
_WAS_RESERVED = """
reserved.since <= %(at)s AND (reserved.ended_at IS NULL OR reserved.ended_at > %(at)s)
AND (reserved.organization_id IS NULL OR reserved.organization_id = %(organization)s)
"""
_IN_SNAPSHOT = """
item.collection_number = %(collection)s AND item.added_in <= %(number)s
AND (item.removed_in IS NULL OR item.removed_in > %(number)s)
"""
_OF_WORKS = f"""
SELECT work.contributor_id, {{weight}}::bigint AS weight
FROM marketplace_collectionitem item
JOIN marketplace_representation form ON form.id = item.representation_id
JOIN marketplace_work work ON work.id = item.work_id
WHERE {_IN_SNAPSHOT} AND NOT EXISTS (
    SELECT 1 FROM marketplace_reserveddigest reserved
    WHERE reserved.digest = form.digest AND {_WAS_RESERVED}
)
GROUP BY work.contributor_id HAVING {{weight}} > 0
"""
_EXCLUDED = f"""
SELECT count(*), sha256(coalesce(string_agg(digest, ''::bytea ORDER BY digest), ''::bytea))
FROM (
    SELECT DISTINCT form.digest
    FROM marketplace_reserveddigest reserved
    JOIN marketplace_representation form
        ON form.organization_id = %(organization)s AND form.digest = reserved.digest
    JOIN marketplace_collectionitem item
        ON item.organization_id = %(organization)s AND item.representation_id = form.id
    JOIN marketplace_work work ON work.id = item.work_id
    WHERE {_WAS_RESERVED} AND {{of}}
) excluded
"""
# Also of works that left the collection since: an update feed takes out what it deletes.
_EVER = "item.collection_number = %(collection)s AND item.added_in <= %(number)s"
_OF_PEOPLE = f"{_EVER} AND work.contributor_id = ANY(%(contributors)s::uuid[])"
# Who opted out with works of the collection, and has none left that can be licensed, has no part
# of later sales. It stays visible as nobody's: what somebody else gives up raises no fixed part.
# Who never had works here (an editor, say) has the part for something else, and keeps it.
_OF_PARTS = f"""
WITH opted_out AS MATERIALIZED (
    SELECT DISTINCT work.contributor_id AS person
    FROM marketplace_reserveddigest reserved
    JOIN marketplace_representation form
        ON form.organization_id = %(organization)s AND form.digest = reserved.digest
    JOIN marketplace_collectionitem item
        ON item.organization_id = %(organization)s AND item.representation_id = form.id
    JOIN marketplace_work work ON work.id = item.work_id
    WHERE {_WAS_RESERVED} AND {_OF_PEOPLE}
),
remains AS MATERIALIZED (
    SELECT DISTINCT work.contributor_id AS person
    FROM marketplace_collectionitem item
    JOIN marketplace_representation form ON form.id = item.representation_id
    JOIN marketplace_work work ON work.id = item.work_id
    JOIN opted_out ON opted_out.person = work.contributor_id
    WHERE {_IN_SNAPSHOT} AND NOT EXISTS (
        SELECT 1 FROM marketplace_reserveddigest reserved
        WHERE reserved.digest = form.digest AND {_WAS_RESERVED}
    )
),
part AS (
    SELECT person, parts, person IN (SELECT * FROM opted_out)
        AND person NOT IN (SELECT * FROM remains) AS is_out
    FROM unnest(%(contributors)s::uuid[], %(parts)s::bigint[]) AS named (person, parts)
)
SELECT CASE WHEN NOT is_out THEN person END AS contributor_id, sum(parts)::bigint AS weight
FROM part GROUP BY 1
"""
# Where nobody has a weight, all of it is nobody's. In the order of the index that accruals go
# into: a million in another order touch each of its pages again and again.
_WEIGH = """
WITH weighed AS MATERIALIZED ({weighed}),
shares AS (
    SELECT contributor_id, weight FROM weighed
    UNION ALL SELECT NULL, 1 WHERE NOT EXISTS (SELECT FROM weighed)
),
base AS (
    INSERT INTO payments_royaltybase (
        id, organization_id, rule_id, snapshot_id, excluded_sha256, excluded, total_weight,
        sharers, created_at
    )
    SELECT %(base)s, %(organization)s, %(rule)s, %(snapshot)s, %(excluded_sha256)s, %(excluded)s,
        sum(weight), count(*), %(now)s
    FROM shares
)
INSERT INTO payments_royaltyweight (organization_id, base_id, contributor_id, weight)
SELECT %(organization)s, %(base)s, contributor_id, weight FROM shares ORDER BY contributor_id
"""
_LEFT = """
SELECT %(amount)s::numeric
    - coalesce(sum(div(%(amount)s::numeric * weight, %(total)s::numeric)), 0)
FROM payments_royaltyweight WHERE base_id = %(base)s
"""
_HASH = "sha256(uuid_send(%(tie)s) || coalesce(uuid_send(contributor_id), ''::bytea))"
_CUT = f"""
SELECT mod(%(amount)s::numeric * weight, %(total)s::numeric) AS remainder, {_HASH} AS hash
FROM payments_royaltyweight WHERE base_id = %(base)s
ORDER BY remainder DESC, hash LIMIT 1 OFFSET %(skipped)s
"""


def _share(name: str) -> str:
    """One contributor's part of an amount, as `royalty_shares.share` says it."""
    product = f"%({name})s::numeric * weight"
    remainder = f"mod({product}, %(total)s::numeric)"
    cut, last = f"%({name}_remainder)s::numeric", f"%({name}_hash)s::bytea"
    return (
        f"(div({product}, %(total)s::numeric) + CASE WHEN {cut} IS NULL OR {remainder} < {cut}"
        f" THEN 0 WHEN {remainder} > {cut} THEN 1 WHEN {_HASH} <= {last} THEN 1 ELSE 0 END)"
    )


# A batch of an allocation's shares, in the order of the weights.
SHARES = f"""
SELECT id, contributor_id, weight, {_share("after")} - {_share("before")} AS amount
FROM (
    SELECT id, contributor_id, weight FROM payments_royaltyweight
    WHERE base_id = %(base)s AND id > %(cursor)s ORDER BY id LIMIT %(batch)s
) part
"""
_ACCRUE = f"""
WITH shares AS MATERIALIZED ({SHARES}),
added AS (
    INSERT INTO payments_royaltyaccrual (
        organization_id, livemode, allocation_id, contributor_id, currency, weight, amount_micro
    )
    SELECT %(organization)s, %(livemode)s, %(allocation)s, contributor_id, %(currency)s, weight,
        amount
    FROM shares WHERE amount <> 0
)
SELECT max(id), count(*) FROM shares
"""
