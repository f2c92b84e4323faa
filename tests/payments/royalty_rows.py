"""Plain rows of royalties, saved past the verbs that write them; each rule of theirs, broken."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from django.utils import timezone

from marketplace.models import Contributor
from payments.models import (
    RoyaltyAccrual,
    RoyaltyAdvance,
    RoyaltyAdvanceLine,
    RoyaltyAllocation,
    RoyaltyBalance,
    RoyaltyBase,
    RoyaltyCounted,
    RoyaltyPayment,
    RoyaltyPayout,
    RoyaltyRule,
    RoyaltyWeight,
)

NOTHING = hashlib.sha256(b"").digest()


def contributor(w: Any, name: str = "ann") -> Contributor:
    return Contributor.objects.get_or_create(organization=w.seller, external_id=name)[0]


def stranger(w: Any) -> Contributor:
    return Contributor.objects.create(organization=w.buyer, external_id="eve")


def rule(w: Any, **fields: Any) -> RoyaltyRule:
    values = {
        "organization": w.seller,
        "collection": w.offer.collection,
        "version": 1,
        "basis_points": 5_000,
        "method": "equal_per_work",
        "actor": "system",
    }
    return RoyaltyRule.objects.create(**{**values, **fields})


def base(
    w: Any, *, weights: tuple[int, ...] = (1,), of: Any = None, rules: Any = None, **fields: Any
) -> RoyaltyBase:
    values = {
        "organization": w.seller,
        "rule": rules or rule(w),
        "snapshot": w.offer.snapshot,
        "excluded_sha256": NOTHING,
        "excluded": 0,
        "total_weight": sum(weights),
        "sharers": len(weights),
    }
    made = RoyaltyBase.objects.create(**{**values, **fields})
    for number, weight in enumerate(weights):
        RoyaltyWeight.objects.create(
            organization=w.seller,
            base=made,
            contributor=of or contributor(w, f"c{number}"),
            weight=weight,
        )
    return made


def allocation(w: Any, *, at: RoyaltyBase | None = None, **fields: Any) -> RoyaltyAllocation:
    """A sale's pool of 5 minor units; being shared out if it has a base."""
    values = {
        "organization": w.seller,
        "livemode": False,
        "order": w.order,
        "rule": at.rule if at else fields.get("rule") or rule(w),
        "snapshot": w.offer.snapshot,
        "sold_at": timezone.now(),
        "currency": "USD",
        "pool_minor": 5,
        "base": at,
        "state": "running" if at else "pending",
    }
    return RoyaltyAllocation.objects.create(**{**values, **fields})


def running(w: Any) -> RoyaltyAllocation:
    return allocation(w, at=base(w))


def accrual(w: Any, of: RoyaltyAllocation, **fields: Any) -> RoyaltyAccrual:
    values = {
        "organization": w.seller,
        "livemode": False,
        "allocation": of,
        "contributor": contributor(w),
        "currency": "USD",
        "weight": 1,
        "amount_micro": 5_000_000,
    }
    return RoyaltyAccrual.objects.create(**{**values, **fields})


def finish(of: RoyaltyAllocation) -> RoyaltyAllocation:
    of.state, of.done_at = "done", timezone.now()
    of.save(update_fields=["state", "done_at"])
    return of


def done(w: Any) -> RoyaltyAllocation:
    made = running(w)
    accrual(w, made)
    return finish(made)


def advance(w: Any, **fields: Any) -> RoyaltyAdvance:
    values = {
        "organization": w.seller,
        "livemode": False,
        "contributor": contributor(w),
        "amount_minor": 5,
        "currency": "USD",
        "reference": "SEPA 1",
        "actor": "system",
    }
    return RoyaltyAdvance.objects.create(**{**values, **fields})


def advance_line(w: Any, **fields: Any) -> RoyaltyAdvanceLine:
    """The first line of a collection: 5 minor units are given."""
    values = {
        "organization": w.seller,
        "livemode": False,
        "collection": w.offer.collection,
        "currency": "USD",
        "number": 1,
        "moved_minor": 5,
        "open_minor": 5,
        "reference": "SEPA 1",
        "actor": "system",
    }
    return RoyaltyAdvanceLine.objects.create(**{**values, **fields})


def recouped(w: Any, **fields: Any) -> RoyaltyAdvanceLine:
    """All 5 minor units of a sale's pool pay back what was given."""
    advance_line(w)
    values = {"number": 2, "moved_minor": -5, "open_minor": 0, "reference": ""}
    if "allocation" not in fields and "allocation_id" not in fields:
        values["allocation"] = allocation(w)
    return advance_line(w, **{**values, **fields})


def payout(w: Any, **fields: Any) -> RoyaltyPayout:
    values = {
        "organization": w.seller,
        "livemode": False,
        "currency": "USD",
        "contributors": 1,
        "paid_minor": 5,
        "recouped_minor": 0,
        "actor": "system",
    }
    return RoyaltyPayout.objects.create(**{**values, **fields})


def payment(w: Any, *, of: RoyaltyPayout | None = None, **fields: Any) -> RoyaltyPayment:
    values = {
        "organization": w.seller,
        "livemode": False,
        "payout": of or payout(w),
        "contributor": contributor(w),
        "currency": "USD",
        "amount_minor": 5,
        "recouped_minor": 0,
    }
    return RoyaltyPayment.objects.create(**{**values, **fields})


def counted(w: Any, *, of: RoyaltyPayout | None = None, **fields: Any) -> RoyaltyCounted:
    values = {"organization": w.seller, "livemode": False, "payout": of or payout(w)}
    return RoyaltyCounted.objects.create(**{**values, **fields})


def balance(w: Any, **fields: Any) -> RoyaltyBalance:
    values = {
        "organization": w.seller,
        "livemode": False,
        "currency": "USD",
        "contributor": contributor(w),
        "carried_micro": 1,
        "advance_minor": 0,
    }
    return RoyaltyBalance.objects.create(**{**values, **fields})


def finished(w: Any) -> RoyaltyPayout:
    made = payout(w)
    payment(w, of=made)
    made.state, made.written = "done", 1
    made.save(update_fields=["state", "written"])
    return made


def finished_twice(w: Any) -> None:
    finished(w).save(update_fields=["written"])


def counted_twice(w: Any, **what: Any) -> None:
    made = payout(w, currency="EUR")
    twice(lambda: counted(w, of=made, **what))


def twice(act: Callable[[], Any]) -> None:
    act()
    act()


def same_transfer(w: Any) -> None:
    made = payout(w)
    payment(w, of=made, stripe_id="tr_1")
    payment(w, of=made, contributor=contributor(w, "bob"), stripe_id="tr_1")


def same_base(w: Any) -> None:
    made = rule(w)
    base(w, rules=made)
    base(w, rules=made)


def same_payment(w: Any) -> None:
    made = payout(w)
    payment(w, of=made)
    payment(w, of=made)


def same_accrual(w: Any) -> None:
    made = running(w)
    accrual(w, made, contributor=None, amount_micro=1)
    accrual(w, made, contributor=None, amount_micro=1)


def same_allocation(w: Any) -> None:
    made = rule(w)
    allocation(w, rule=made)
    allocation(w, rule=made)


def taken_back(w: Any, **fields: Any) -> None:
    made = rule(w)
    sale = allocation(w, rule=made)
    values = {"cause": "rfd_1", "sale": sale, "kept_before_minor": 5, "pool_minor": -5}
    allocation(w, rule=made, **{**values, **fields})


def changed(of: RoyaltyAllocation) -> None:
    of.cursor = 7
    of.save(update_fields=["cursor"])


def others_rule(w: Any) -> RoyaltyRule:
    other = w.other_offer()
    return rule(w, organization=other.organization, collection=other.collection)


BREAKS: dict[str, Callable[[Any], Any]] = {
    # rules
    "royalty_rule_version_is_unique": lambda w: twice(lambda: rule(w)),
    "royalty_rule_shares_no_more_than_all": lambda w: rule(w, basis_points=10_001),
    "royalty_rule_method_is_known": lambda w: rule(w, method="fair"),
    "royalty_rule_has_a_unit_iff_pro_rata": lambda w: rule(w, method="pro_rata"),
    "royalty_rule_has_parts_iff_fixed": lambda w: rule(w, method="fixed"),
    "royalty_rule_collection_belongs": lambda w: rule(w, collection=w.other_offer().collection),
    # bases and weights
    "royalty_base_is_one": same_base,
    "royalty_base_weighs_something": lambda w: base(w, weights=()),
    "royalty_base_rule_belongs": lambda w: base(w, rules=others_rule(w)),
    "royalty_base_snapshot_belongs": lambda w: base(w, snapshot=w.other_offer().snapshot),
    "royalty_base_adds_up": lambda w: base(w, total_weight=2),
    "royalty_weight_is_some": lambda w: base(w, weights=(0, 1)),
    # allocations
    "royalty_allocation_has_one_cause": same_allocation,
    "royalty_allocation_state_is_known": lambda w: allocation(w, at=base(w), state="lost"),
    "royalty_allocation_takes_back_of_a_sale": lambda w: allocation(w, cause="rfd_1"),
    "royalty_allocation_leaves_no_less_than_nothing": lambda w: taken_back(w, pool_minor=-6),
    "royalty_allocation_has_a_base_iff_begun": lambda w: allocation(w, state="running"),
    "royalty_allocation_done_at_iff_done": lambda w: allocation(w, done_at=timezone.now()),
    "royalty_allocation_rule_belongs": lambda w: allocation(w, rule=others_rule(w)),
    "royalty_allocation_snapshot_belongs": lambda w: allocation(
        w, snapshot=w.other_offer().snapshot
    ),
    "royalty_allocation_order_belongs": lambda w: allocation(w, livemode=True),
    "royalty_allocation_sale_belongs": lambda w: allocation(
        w, cause="rfd_1", kept_before_minor=5, pool_minor=-5, sale_id=contributor(w).pk
    ),
    "royalty_allocation_base_belongs": lambda w: allocation(
        w, state="running", base_id=contributor(w).pk
    ),
    "royalty_allocation_adds_up": lambda w: finish(running(w)),
    "royalty_allocation_stays_done": lambda w: changed(done(w)),
    # accruals
    "royalty_accrual_is_one": same_accrual,
    "royalty_accrual_moves_something": lambda w: accrual(w, running(w), amount_micro=0),
    "royalty_accrual_is_of_a_running_allocation": lambda w: accrual(w, allocation(w)),
    # advances
    "royalty_advance_is_recorded_once": lambda w: twice(lambda: advance(w)),
    "royalty_advance_is_some": lambda w: advance(w, amount_minor=0),
    "royalty_advance_contributor_belongs": lambda w: advance(w, contributor=stranger(w)),
    "royalty_advance_line_number_is_unique": lambda w: [
        advance_line(w, reference=reference) for reference in ("SEPA 1", "SEPA 2")
    ],
    "royalty_advance_line_is_recorded_once": lambda w: [
        advance_line(w, number=number, open_minor=5 * number) for number in (1, 2)
    ],
    "royalty_advance_line_moves_something": lambda w: advance_line(w, number=0),
    "royalty_advance_line_is_given_or_of_a_pool": lambda w: advance_line(w, reference=""),
    "royalty_advance_line_collection_belongs": lambda w: advance_line(
        w, collection=w.other_offer().collection
    ),
    "royalty_advance_line_allocation_belongs": lambda w: recouped(
        w, allocation_id=contributor(w).pk
    ),
    "royalty_advance_line_follows": lambda w: advance_line(w, open_minor=6),
    "royalty_advance_line_replays": lambda w: recouped(w, moved_minor=-4, open_minor=1),
    "payments_royaltyadvanceline_allocation_id_key": lambda w: advance_line(
        w, number=3, moved_minor=5, open_minor=5, reference="", allocation=recouped(w).allocation
    ),
    # payouts
    "royalty_payout_moves_something": lambda w: payout(w, contributors=0),
    "royalty_payment_is_one": same_payment,
    "royalty_payment_state_is_known": lambda w: payment(w, state="lost"),
    "royalty_payment_moves_something": lambda w: payment(w, amount_minor=0),
    "royalty_payment_settled_at_iff_settled": lambda w: payment(w, settled_at=timezone.now()),
    "royalty_payment_names_how_it_was_paid": lambda w: payment(
        w, state="paid", settled_at=timezone.now()
    ),
    "royalty_payment_payout_belongs": lambda w: payment(w, livemode=True),
    "royalty_payment_contributor_belongs": lambda w: payment(w, contributor=stranger(w)),
    "royalty_payout_runs_alone": lambda w: twice(lambda: payout(w)),
    "royalty_payout_state_is_known": lambda w: payout(w, state="lost"),
    "royalty_payout_writes_no_more_than_it_says": lambda w: payout(w, written=2),
    "royalty_payout_done_at_only_if_done": lambda w: payout(w, done_at=timezone.now()),
    "royalty_payout_adds_up": lambda w: payout(w, state="done"),
    "royalty_payout_stays_done": finished_twice,
    # what payouts count
    "royalty_allocation_is_counted_once": lambda w: counted_twice(w, allocation=done(w)),
    "royalty_advance_is_counted_once": lambda w: counted_twice(w, advance=advance(w)),
    "royalty_payment_is_counted_once": lambda w: counted_twice(w, payment=payment(w)),
    "royalty_counted_is_one_thing": lambda w: counted(w),
    "royalty_counted_payout_belongs": lambda w: counted(w, livemode=True, advance=advance(w)),
    "royalty_counted_allocation_belongs": lambda w: counted(w, allocation_id=contributor(w).pk),
    "royalty_balance_is_one": lambda w: twice(lambda: balance(w)),
    "payments_royaltypayment_stripe_id_key": same_transfer,
}
TARGETS = {
    "order_of_seller",
    "royalty_allocation_of_organization",
    "royalty_base_of_organization",
    "royalty_payout_of_organization",
    "royalty_rule_of_organization",
}
# It takes two transactions: in `test_royalty_tables`.
ELSEWHERE = {"royalty_base_is_sealed"}
