"""Advances on one collection, given and paid back by several at once."""

from __future__ import annotations

from typing import Any

import pytest

from marketplace import access
from marketplace.models import Organization
from payments import advances, royalties
from payments.models import RoyaltyAdvanceLine
from tests.make import make_offer
from tests.payments.racing import at_once
from tests.payments.royalty_sales import accrued, make_works, sell, set_rule
from tests.people import caller_for

pytestmark = pytest.mark.django_db(transaction=True)
M = 1_000_000


def lines() -> list[tuple[int, int, int]]:
    with access.system("read in a test"):
        rows = RoyaltyAdvanceLine.objects.order_by("number")
        return [(row.number, row.moved_minor, row.open_minor) for row in rows]


def test_advances_given_at_once_follow_on_each_other(archive: Organization) -> None:
    collection = make_works(archive, {"ann": 1})
    caller = caller_for(archive)

    def give(reference: str) -> Any:
        return lambda: advances.give(
            caller, str(collection.pk), amount_minor=5, currency="USD", reference=reference
        )

    results = at_once(*[give(f"SEPA {n // 2}") for n in range(8)])

    assert all(isinstance(each, RoyaltyAdvanceLine) for each in results), results
    assert lines() == [(n, 5, 5 * n) for n in range(1, 5)]


def test_workers_at_once_pay_an_advance_back_once(
    archive: Organization, lab: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    collection = make_works(archive, {"ann": 1})
    set_rule(archive, collection, basis_points=10_000)
    offer = make_offer(archive, collection=collection)
    royalties.allocate_due()
    advances.give(
        caller_for(archive), str(collection.pk), amount_minor=450, currency="USD", reference="a"
    )
    orders = []
    for version in range(1, 7):
        # Each under a rule of its own: nothing but the advance makes them wait for each other.
        set_rule(archive, collection, basis_points=10_000, minimum_minor={"USD": version})
        orders.append(sell(lab, offer, price_minor=100))

    def drain() -> None:
        while royalties.allocate_due(limit=8):
            pass

    results = at_once(*[drain] * 4)

    assert results == [None] * 4
    # They do not even run into the constraints that would keep them from it.
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == []
    assert lines() == [
        (1, 450, 450),
        *((n, -100, 550 - 100 * n) for n in range(2, 6)),
        (6, -50, 0),
    ]
    assert sorted(sum(accrued(order).values()) for order in orders) == [0] * 4 + [50 * M, 100 * M]
