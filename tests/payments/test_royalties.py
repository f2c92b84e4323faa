"""Royalties: rules in versions, pools shared out to the millionth, and taken back the same way."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from licensing import optouts, snapshots
from marketplace import access, collections, contributors, imports
from marketplace.errors import InvalidInput, NotFound
from marketplace.models import Organization
from payments import commands, disputes, journal, refunds, royalties, stripe_events, sync
from payments.models import (
    Account,
    Order,
    RoyaltyAccrual,
    RoyaltyAllocation,
    RoyaltyBase,
    RoyaltyRule,
)
from payments.royalty_shares import MICRO_IN_MINOR
from payments.stripe_facts import DisputeFacts
from tests.make import make_offer, records
from tests.payments.buying import balances, order_for
from tests.payments.royalty_sales import (
    accrued,
    allocations,
    give_back,
    make_works,
    person,
    sell,
    set_rule,
)
from tests.payments.simulating import Stripe
from tests.people import caller_for

pytestmark = pytest.mark.django_db
M = MICRO_IN_MINOR
NOTHING = {"ann": 0, "bob": 0}


def pool(organization: Organization) -> dict[str, int]:
    with access.system("add up in a test"):
        return {
            code: journal.balance_minor(
                Account.Code(code), organization_id=organization.pk, livemode=False, currency="USD"
            )
            for code in ("royalty_pool", "royalty_payable")
        }


def parts_of(seller: Organization, **parts: int) -> list[dict[str, Any]]:
    return [
        {"contributor": str(person(seller, name).pk), "parts": count}
        for name, count in parts.items()
    ]


def opt_out(seller: Organization, **chosen: Any) -> None:
    optouts.record(caller_for(seller), by="contributor", reason="No more.", **chosen)


# --- rules ------------------------------------------------------------------------------------


def test_a_rule_is_a_version_and_the_same_again_is_none(archive: Organization) -> None:
    collection = make_works(archive, {"ann": 1})
    first = set_rule(archive, collection)
    again = set_rule(archive, collection)
    second = set_rule(archive, collection, basis_points=6_000)

    assert again.pk == first.pk != second.pk
    assert [first.version, second.version] == [1, 2]
    at = royalties.in_force(collection.pk, at=timezone.now())
    assert at == {"rule": str(second.pk), "basis_points": 6_000}
    assert royalties.in_force(collection.pk, at=first.effective_from) == {
        "rule": str(first.pk),
        "basis_points": 5_000,
    }


def test_a_rule_of_later_does_not_count_yet(archive: Organization) -> None:
    collection = make_works(archive, {"ann": 1})
    begins = timezone.now() + timedelta(days=1)
    set_rule(archive, collection, effective_from=begins)

    assert royalties.in_force(collection.pk, at=timezone.now()) is None
    assert royalties.in_force(collection.pk, at=begins) is not None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"basis_points": 10_001}, "basis_points"),
        ({"basis_points": -1}, "basis_points"),
        ({"method": "fair"}, "method"),
        ({"unit": "tokens"}, "unit"),
        ({"method": "pro_rata"}, "unit"),
        ({"method": "pro_rata", "unit": "cups"}, "unit"),
        ({"method": "fixed"}, "parts"),
        ({"minimum_minor": {"USD": 0}}, "minimum_minor"),
        ({"minimum_minor": {"XXX": 5}}, "minimum_minor"),
        ({"effective_from": timezone.now() - timedelta(days=1)}, "effective_from"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(
    fields: dict[str, Any], param: str, archive: Organization
) -> None:
    collection = make_works(archive, {"ann": 1})

    with pytest.raises(InvalidInput) as refused:
        set_rule(archive, collection, **fields)

    assert refused.value.data["param"] == param
    assert not RoyaltyRule.objects.exists()


def test_fixed_parts_name_contributors_of_ones_own_once(
    archive: Organization, stranger: Organization
) -> None:
    collection = make_works(archive, {"ann": 1})
    ann = {"contributor": str(person(archive, "ann").pk), "parts": 1}
    other = contributors.add(caller_for(stranger), external_id="eve", consent="granted")

    with pytest.raises(InvalidInput):
        set_rule(archive, collection, method="fixed", parts=[ann, ann])
    with pytest.raises(NotFound):
        set_rule(
            archive,
            collection,
            method="fixed",
            parts=[{"contributor": str(other.pk), "parts": 1}],
        )

    assert not RoyaltyRule.objects.exists()


# --- sharing out ------------------------------------------------------------------------------


def test_a_sale_reaches_the_people_behind_its_works(
    archive: Organization, lab: Organization
) -> None:
    collection = make_works(archive, {"ann": 3, "bob": 1, "": 1})
    rule = set_rule(archive, collection, basis_points=4_000)
    order = sell(lab, make_offer(archive, collection=collection))

    assert royalties.allocate_due() == 1

    # 200.00 USD over five works; whose one of them is, nobody knows.
    assert accrued(order) == {"ann": 12_000 * M, "bob": 4_000 * M, "": 4_000 * M}
    [done] = allocations(order)
    assert (done.state, done.rule_id, done.pool_minor) == ("done", rule.pk, 20_000)
    assert pool(archive) == {"royalty_pool": 0, "royalty_payable": -20_000}
    assert royalties.allocate_due() == 0
    assert accrued(order) == {"ann": 12_000 * M, "bob": 4_000 * M, "": 4_000 * M}


def test_a_paid_order_keeps_the_rule_that_it_was_placed_under(
    archive: Organization, lab: Organization, client_for: Any, stripe: Stripe
) -> None:
    collection = make_works(archive, {"ann": 1, "bob": 1})
    first = set_rule(archive, collection, basis_points=1_000)
    placed = order_for(client_for(lab), make_offer(archive, collection=collection))
    set_rule(archive, collection, basis_points=9_000)

    stripe.pay(placed)
    stripe.deliver()
    stripe_events.handle_due()
    royalties.allocate_due()

    with access.system("read in a test"):
        [allocation] = RoyaltyAllocation.objects.all()
        amounts = list(RoyaltyAccrual.objects.values_list("amount_micro", flat=True))
    assert (allocation.rule_id, allocation.state) == (first.pk, "done")
    assert amounts == [2_500 * M] * 2
    assert balances()["royalty_pool"] == 0


def test_shares_are_in_proportion_to_a_unit(archive: Organization, lab: Organization) -> None:
    collection = make_works(
        archive, {"ann": 1, "bob": 2, "cy": 1}, units={"ann": {"tokens": 6}, "bob": {"tokens": 7}}
    )
    set_rule(archive, collection, method="pro_rata", unit="tokens", basis_points=400)
    order = sell(lab, make_offer(archive, collection=collection))

    royalties.allocate_due()

    # Of 20.00 USD. Nobody counted Cy's tokens.
    assert accrued(order) == {"ann": 600 * M, "bob": 1_400 * M}


def test_bytes_are_a_unit_that_every_work_has(archive: Organization, lab: Organization) -> None:
    collection = make_works(archive, {"ann": 2, "bob": 1})
    set_rule(archive, collection, method="pro_rata", unit="bytes", basis_points=602)
    order = sell(lab, make_offer(archive, collection=collection))

    royalties.allocate_due()

    # 100 and 101 bytes, and 100.
    assert accrued(order) == {"ann": 2_010 * M, "bob": 1_000 * M}


def test_fixed_parts_ask_for_no_works(archive: Organization, lab: Organization) -> None:
    collection = make_works(archive, {"ann": 5, "bob": 1})
    set_rule(archive, collection, method="fixed", parts=parts_of(archive, ann=1, bob=3))
    order = sell(lab, make_offer(archive, collection=collection))

    royalties.allocate_due()

    assert accrued(order) == {"ann": 6_250 * M, "bob": 18_750 * M}


def test_who_opted_out_with_all_works_has_no_fixed_part_of_later_sales(
    archive: Organization, lab: Organization
) -> None:
    collection = make_works(archive, {"ann": 2, "bob": 1})
    contributors.add(caller_for(archive), external_id="editor", consent="granted")
    set_rule(archive, collection, method="fixed", parts=parts_of(archive, ann=2, bob=1, editor=1))
    offer = make_offer(archive, collection=collection)
    before = sell(lab, offer)
    opt_out(archive, external_ids=["Letters ann 0"])
    some = sell(lab, offer)
    opt_out(archive, external_ids=["Letters ann 1"])
    after = sell(lab, offer)
    royalties.allocate_due()
    give_back(after, 25_000, cause="rfd_1")
    royalties.allocate_due()

    # One of Ann's works could still be licensed. The editor has a part without any.
    whole = {"ann": 12_500 * M, "bob": 6_250 * M, "editor": 6_250 * M}
    assert accrued(before) == accrued(some) == whole
    # Nobody else's part is raised by it; and what goes back goes by the same parts.
    assert accrued(after) == {"": 6_250 * M, "bob": 3_125 * M, "editor": 3_125 * M}
    bases = [allocations(order)[0].base for order in (before, some, after)]
    assert [(base.excluded, base.sharers, base.total_weight) for base in bases if base] == [
        (0, 3, 4), (1, 3, 4), (2, 3, 4),
    ]  # fmt: skip


def test_a_fixed_part_ends_also_where_an_opted_out_work_has_left_the_collection(
    archive: Organization, lab: Organization
) -> None:
    collection = make_works(archive, {"ann": 1, "bob": 1, "cy": 1})
    set_rule(archive, collection, method="fixed", parts=parts_of(archive, ann=1, bob=1, cy=1))
    caller = caller_for(archive)
    snapshots.finalize(caller, str(collection.pk))
    opt_out(archive, contributor=str(person(archive, "bob").pk))
    # Cy's works left without an opt-out: the rule is what its seller may change.
    digests = [hashlib.sha256(f"Letters {name} 0".encode()).digest() for name in ("bob", "cy")]
    collections.remove(caller, str(collection.pk), digests=digests)
    order = sell(lab, make_offer(archive, collection=collection), price_minor=600)

    royalties.allocate_due()

    assert accrued(order) == {"ann": 100 * M, "": 100 * M, "cy": 100 * M}


def test_a_preview_of_fixed_parts_leaves_out_who_opted_out(archive: Organization) -> None:
    collection = make_works(archive, {"ann": 1, "bob": 1})
    opt_out(archive, contributor=str(person(archive, "bob").pk))

    found = royalties.preview(
        caller_for(archive), str(collection.pk), price_minor=400, currency="USD",
        basis_points=10_000, method="fixed", parts=parts_of(archive, ann=3, bob=1),
    )  # fmt: skip

    assert (found.contributors, found.total_weight, found.unallocated_micro) == (1, 4, 100 * M)
    assert [share.amount_micro for share in found.largest] == [300 * M]


def test_where_nobody_has_a_weight_all_of_it_stays_visible_as_unallocated(
    archive: Organization, lab: Organization
) -> None:
    collection = make_works(archive, {"ann": 1})
    set_rule(archive, collection, method="pro_rata", unit="pages")
    order = sell(lab, make_offer(archive, collection=collection))

    royalties.allocate_due()

    assert accrued(order) == {"": 25_000 * M}
    assert pool(archive) == {"royalty_pool": 0, "royalty_payable": -25_000}


def test_an_opt_out_ends_accrual_and_never_claws_back(
    archive: Organization, lab: Organization
) -> None:
    collection = make_works(archive, {"ann": 1, "bob": 1})
    set_rule(archive, collection)
    offer = make_offer(archive, collection=collection)
    before = sell(lab, offer)
    late = sell(lab, offer)
    royalties.step(allocations(before)[0].pk)

    opt_out(archive, contributor=str(person(archive, "bob").pk))
    after = sell(lab, offer)
    royalties.allocate_due()

    # Whatever was shared out by then: what counts is when it was sold.
    both = {"ann": 12_500 * M, "bob": 12_500 * M}
    assert accrued(before) == accrued(late) == both
    assert accrued(after) == {"ann": 25_000 * M}
    bases = [allocations(order)[0].base for order in (before, late, after)]
    assert [base.excluded for base in bases if base] == [0, 0, 1]
    assert bases[0] == bases[1] != bases[2]


def test_who_comes_later_shares_only_in_later_sales(
    archive: Organization, lab: Organization
) -> None:
    collection = make_works(archive, {"ann": 1})
    set_rule(archive, collection)
    early = sell(lab, make_offer(archive, collection=collection))
    caller = caller_for(archive)
    contributors.add(caller, external_id="new", consent="granted")
    [record] = records(1, start=70)
    imports.run(
        caller,
        str(collection.pk),
        imports.Records([dataclasses.replace(record, contributor="new")]),
    )
    snapshots.finalize(caller, str(collection.pk))
    later = sell(lab, make_offer(archive, collection=collection))

    royalties.allocate_due()

    assert accrued(early) == {"ann": 25_000 * M}
    assert accrued(later) == {"ann": 12_500 * M, "new": 12_500 * M}


def test_weights_are_counted_once_for_all_sales_of_a_snapshot(
    archive: Organization, lab: Organization
) -> None:
    collection = make_works(archive, {"ann": 1, "bob": 1})
    set_rule(archive, collection)
    offer = make_offer(archive, collection=collection)
    for _sale in range(3):
        sell(lab, offer)

    royalties.allocate_due()

    with access.system("count in a test"):
        assert RoyaltyBase.objects.count() == 1
        assert RoyaltyAccrual.objects.count() == 6


def test_it_goes_on_batch_by_batch(
    archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(royalties, "BATCH", 2)
    collection = make_works(archive, {f"c{n}": 1 for n in range(5)})
    set_rule(archive, collection, basis_points=1)
    order = sell(lab, make_offer(archive, collection=collection))
    [allocation] = allocations(order)
    seen = []

    while royalties.step(allocation.pk):
        [allocation] = allocations(order)
        seen.append((allocation.state, len(accrued(order))))

    assert seen == [("running", 0), ("running", 2), ("running", 4)]
    assert accrued(order) == {f"c{n}": 1 * M for n in range(5)}
    assert pool(archive) == {"royalty_pool": 0, "royalty_payable": -5}


# --- taking back ------------------------------------------------------------------------------


def test_reversals_in_parts_end_at_nothing_for_each(
    archive: Organization, lab: Organization
) -> None:
    collection = make_works(archive, {"ann": 2, "bob": 1, "": 4})
    set_rule(archive, collection, basis_points=3_333)
    order = sell(lab, make_offer(archive, collection=collection), price_minor=9_999)
    royalties.allocate_due()
    whole = accrued(order)

    for number, amount in enumerate((1, 3_333, 17, 6_648)):
        give_back(order, amount, cause=f"rfd_{number}")
        royalties.allocate_due()
        kept = sum(each.pool_minor for each in allocations(order))
        left = accrued(order)
        assert sum(left.values()) == kept * M
        # Each keeps its proportion, to the millionth.
        for name, amount_micro in left.items():
            assert abs(amount_micro * sum(whole.values()) - whole[name] * kept * M) < 2 * sum(
                whole.values()
            )

    assert accrued(order) == {"ann": 0, "bob": 0, "": 0}
    assert pool(archive) == {"royalty_pool": 0, "royalty_payable": 0}


def test_a_reversal_replays_the_weights_of_its_sale(
    archive: Organization, lab: Organization
) -> None:
    collection = make_works(archive, {"ann": 1, "bob": 1})
    set_rule(archive, collection)
    order = sell(lab, make_offer(archive, collection=collection))
    royalties.allocate_due()
    set_rule(archive, collection, basis_points=100)
    opt_out(archive, contributor=str(person(archive, "bob").pk))

    give_back(order, 25_000, cause="rfd_1")
    royalties.allocate_due()

    assert accrued(order) == {"ann": 6_250 * M, "bob": 6_250 * M}
    sale, back = allocations(order)
    assert (back.base_id, back.sale_id, back.rule_id) == (sale.base_id, sale.pk, sale.rule_id)


def test_taking_back_twice_for_one_cause_takes_once(
    archive: Organization, lab: Organization
) -> None:
    collection = make_works(archive, {"ann": 1})
    set_rule(archive, collection)
    order = sell(lab, make_offer(archive, collection=collection))

    with access.system("take back in a test"):
        for _again in range(2):
            royalties.take_back(order, cause="rfd_1", royalties_minor=100)
        for _again in range(2):
            royalties.of_sale(order)

    assert [each.pool_minor for each in allocations(order)] == [25_000, -100]


# --- previewing -------------------------------------------------------------------------------


def test_a_preview_says_who_would_get_how_much_and_writes_nothing(
    archive: Organization, client_for: Any
) -> None:
    collection = make_works(archive, {"ann": 3, "bob": 1, "": 1})

    answer = client_for(archive).post(
        "/v1/royalty-rules/preview",
        {
            "collection": str(collection.pk),
            "basis_points": 4_000,
            "method": "equal_per_work",
            "price_minor": 50_000,
            "currency": "USD",
        },
    )

    assert answer.status_code == 200, answer.content
    assert answer.json() == {
        "object": "royalty_preview",
        "fee_minor": 0,
        "pool_minor": 20_000,
        "recouped_minor": 0,
        "seller_minor": 30_000,
        "currency": "USD",
        "contributors": 2,
        "total_weight": 5,
        "unallocated_micro": 4_000 * M,
        "largest": [
            {
                "contributor": str(person(archive, name).pk),
                "weight": weight,
                "amount_micro": amount * M,
            }
            for name, weight, amount in (("ann", 3, 12_000), ("bob", 1, 4_000))
        ],
    }
    with access.system("count in a test"):
        assert not RoyaltyRule.objects.exists()
        assert not RoyaltyBase.objects.exists()


def test_a_refund_takes_from_contributors_what_they_had_of_it(
    archive: Organization, lab: Organization, client_for: Any, stripe: Stripe
) -> None:
    collection = make_works(archive, {"ann": 1, "bob": 3})
    set_rule(archive, collection, basis_points=4_000)
    placed = order_for(client_for(lab), make_offer(archive, collection=collection))
    stripe.pay(placed)
    stripe.deliver()
    stripe_events.handle_due()
    royalties.allocate_due()
    with access.system("read in a test"):
        order = Order.objects.get(pk=placed["id"])
    assert accrued(order) == {"ann": 5_000 * M, "bob": 15_000 * M}

    for amount, left in ((12_500, {"ann": 3_750 * M, "bob": 11_250 * M}), (None, NOTHING)):
        refunds.request(
            caller_for(archive), placed["id"], amount_minor=amount, reason="Not what they sought."
        )
        commands.complete_due()
        sync.sync_order(order.pk)
        royalties.allocate_due()
        assert accrued(order) == left

    assert [each.pool_minor for each in allocations(order)] == [20_000, -5_000, -15_000]
    assert pool(archive) == {"royalty_pool": 0, "royalty_payable": 0}


def test_a_lost_dispute_takes_from_contributors_what_they_had_of_it(
    archive: Organization, lab: Organization, client_for: Any, stripe: Stripe
) -> None:
    collection = make_works(archive, {"ann": 1, "bob": 3})
    set_rule(archive, collection, basis_points=4_000)
    placed = order_for(client_for(lab), make_offer(archive, collection=collection))
    stripe.pay(placed)
    stripe.deliver()
    stripe_events.handle_due()
    royalties.allocate_due()

    for status in ("needs_response", "lost", "lost"):
        fact = DisputeFacts(
            "du_1", status, "fraudulent", 50_000, "USD", timezone.now(), None, evidence_sent=False
        )
        with access.system("hear of a dispute in a test"):
            order = Order.objects.select_for_update().get(pk=placed["id"])
            disputes.merge(order, [fact])
            order.save(update_fields=["status", "lost_minor"])
        royalties.allocate_due()

    assert accrued(order) == NOTHING
    assert [each.pool_minor for each in allocations(order)] == [20_000, -20_000]
    assert pool(archive) == {"royalty_pool": 0, "royalty_payable": 0}
