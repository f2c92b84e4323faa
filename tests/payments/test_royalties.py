"""Royalties: rules in versions, pools shared out to the millionth, and taken back the same way."""

from __future__ import annotations

from typing import Any

import pytest

from marketplace import access
from marketplace.models import Organization
from payments import journal, royalties
from payments.models import (
    Account,
    RoyaltyAccrual,
    RoyaltyAllocation,
)
from payments.royalty_shares import MICRO_IN_MINOR
from tests.make import make_offer
from tests.payments.buying import balances, order_for
from tests.payments.royalty_sales import (
    accrued,
    allocations,
    make_works,
    sell,
    set_rule,
)
from tests.payments.simulating import Stripe

pytestmark = pytest.mark.django_db


def pool(organization: Organization) -> dict[str, int]:
    return {
        code: journal.balance_minor(
            Account.Code(code), organization_id=organization.pk, livemode=False, currency="USD"
        )
        for code in ("royalty_pool", "royalty_payable")
    }


def test_a_sale_reaches_the_people_behind_its_works(
    archive: Organization, lab: Organization
) -> None:
    collection = make_works(archive, {"ann": 3, "bob": 1, "": 1})
    rule = set_rule(archive, collection, basis_points=4_000)
    order = sell(lab, make_offer(archive, collection=collection))

    assert royalties.allocate_due() == 1

    # 200.00 USD over five works.
    assert accrued(order) == {
        "ann": 12_000 * MICRO_IN_MINOR,
        "bob": 4_000 * MICRO_IN_MINOR,
        "": 4_000 * MICRO_IN_MINOR,
    }
    [done] = allocations(order)
    assert (done.state, done.rule_id, done.pool_minor) == ("done", rule.pk, 20_000)
    with access.system("read in a test"):
        assert pool(archive) == {"royalty_pool": 0, "royalty_payable": -20_000}
    assert royalties.allocate_due() == 0


def test_a_paid_order_keeps_the_rule_that_it_was_placed_under(
    archive: Organization, lab: Organization, client_for: Any, stripe: Stripe
) -> None:
    collection = make_works(archive, {"ann": 1, "bob": 1})
    first = set_rule(archive, collection, basis_points=1_000)
    placed = order_for(client_for(lab), make_offer(archive, collection=collection))
    set_rule(archive, collection, basis_points=9_000)

    stripe.pay(placed)
    stripe.deliver()
    from payments import stripe_events

    stripe_events.handle_due()
    royalties.allocate_due()

    with access.system("read in a test"):
        [allocation] = RoyaltyAllocation.objects.all()
        assert (allocation.rule_id, allocation.state) == (first.pk, "done")
        amounts = list(RoyaltyAccrual.objects.values_list("amount_micro", flat=True))
    assert amounts == [2_500 * MICRO_IN_MINOR] * 2
    assert balances()["royalty_pool"] == 0
