"""Sharing out in integers: nothing is created or lost, and the database agrees with the words."""

from __future__ import annotations

import random
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketplace import access
from marketplace.models import Contributor, Organization
from payments import royalties, royalty_shares, settlements
from payments.models import POOL_MINOR_MAX, RoyaltyAccrual
from payments.royalty_shares import MICRO_IN_MINOR
from tests.make import make_offer
from tests.payments.royalty_sales import allocations, give_back, make_works, sell, set_rule

WEIGHTS = st.lists(st.integers(min_value=1, max_value=10**15), min_size=1, max_size=30)
AMOUNTS = st.integers(min_value=0, max_value=POOL_MINOR_MAX * MICRO_IN_MINOR)


def people(weights: list[int]) -> dict[UUID | None, int]:
    """Who has which weight; the first one is nobody known."""
    return {UUID(int=n) if n else None: weight for n, weight in enumerate(weights)}


@given(WEIGHTS, AMOUNTS, st.uuids())
def test_a_split_adds_up_and_each_part_is_within_one_of_its_ideal(
    weights: list[int], amount: int, tie: UUID
) -> None:
    of, total = people(weights), sum(weights)

    parts = royalty_shares.split(amount, of, tie)

    assert sum(parts.values()) == amount
    assert all(
        abs(parts[person] * total - amount * weight) < total for person, weight in of.items()
    )


@given(WEIGHTS, AMOUNTS, st.uuids(), st.randoms())
def test_a_split_does_not_depend_on_the_order(
    weights: list[int], amount: int, tie: UUID, chance: random.Random
) -> None:
    of = list(people(weights).items())
    shuffled = of.copy()
    chance.shuffle(shuffled)

    assert royalty_shares.split(amount, dict(of), tie) == royalty_shares.split(
        amount, dict(shuffled), tie
    )


@given(WEIGHTS, st.lists(st.integers(min_value=1, max_value=10**9), min_size=1, max_size=8))
def test_any_reversals_of_the_whole_end_at_nothing_for_each(
    weights: list[int], parts: list[int]
) -> None:
    of, tie = people(weights), uuid4()
    kept = sum(parts)
    left = royalty_shares.accruals(0, kept, of, tie)

    for part in parts:
        taken = royalty_shares.accruals(kept, -part, of, tie)
        assert sum(taken.values()) == -part * MICRO_IN_MINOR
        kept -= part
        for person, amount in taken.items():
            left[person] += amount

    assert set(left.values()) == {0}


def test_equal_remainders_go_by_a_hash_that_each_sale_shuffles() -> None:
    """In whole cents the same ones would be paid for ever: here, nobody is preferred."""
    of = people([1] * 100)
    lucky: dict[UUID | None, int] = dict.fromkeys(of, 0)
    for number in range(1_000):
        parts = royalty_shares.split(150, of, UUID(int=number))
        assert sorted(set(parts.values())) == [1, 2]
        for person, part in parts.items():
            lucky[person] += part - 1

    # 500 each, within five standard deviations.
    assert all(abs(count - 500) < 80 for count in lucky.values())


@pytest.mark.oracle
@pytest.mark.django_db
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    weights=st.lists(st.integers(min_value=1, max_value=1_000_000), min_size=1, max_size=6),
    price=st.integers(min_value=1, max_value=99_999_999),
    points=st.integers(min_value=1, max_value=10_000),
    back=st.lists(st.integers(min_value=1, max_value=60_000_000), max_size=3),
)
def test_the_database_shares_out_as_the_words_say(
    archive: Organization,
    lab: Organization,
    weights: list[int],
    price: int,
    points: int,
    back: list[int],
) -> None:
    with access.system("find contributors in a test"):
        known = sorted(Contributor.objects.all(), key=lambda each: each.external_id)
    if not known:
        make_works(archive, {f"c{n}": 1 for n in range(6)})
        with access.system("find contributors in a test"):
            known = sorted(Contributor.objects.all(), key=lambda each: each.external_id)
    collection = make_works(archive, {"": 1}, name=str(uuid4()))
    of: dict[UUID | None, int] = {
        each.pk: weight for each, weight in zip(known, weights, strict=False)
    }
    set_rule(
        archive,
        collection,
        basis_points=points,
        method="fixed",
        parts=[{"contributor": str(who), "parts": weight} for who, weight in of.items()],
    )
    order = sell(lab, make_offer(archive, collection=collection), price_minor=price)
    for number, amount in enumerate(back):
        left = price - order.refunded_minor
        if left:
            give_back(order, min(amount, left), cause=f"rfd_{number}")

    while royalties.allocate_due():
        pass

    for made in allocations(order):
        with access.system("read in a test"):
            rows = RoyaltyAccrual.objects.filter(allocation=made)
            found = {row.contributor_id: row.amount_micro for row in rows}
        expected = royalty_shares.accruals(
            made.kept_before_minor, made.pool_minor, of, made.sale_id or made.pk
        )
        assert found == {who: amount for who, amount in expected.items() if amount}
    kept = settlements.of(order) - settlements.part(order, order.refunded_minor)
    assert sum(each.pool_minor for each in allocations(order)) == kept.royalties_minor
