"""Royalties shared out and paid by several at once, and by processes that die."""

from __future__ import annotations

from typing import Any

import pytest

from marketplace import access
from marketplace.errors import DomainError
from marketplace.models import Organization
from payments import journal, payouts, royalties
from payments.models import Journal, RoyaltyAccrual, RoyaltyBase, RoyaltyPayment
from tests.make import make_offer
from tests.payments.racing import at_once
from tests.payments.royalty_sales import accrued, allocations, give_back, make_works, sell, set_rule
from tests.people import caller_for

pytestmark = pytest.mark.django_db(transaction=True)
M = 1_000_000


def counted(kind: str) -> int:
    with access.system("count in a test"):
        return Journal.objects.filter(kind=kind).count()


def drain() -> None:
    while royalties.allocate_due():
        pass


def test_workers_at_once_share_out_once(
    archive: Organization,
    lab: Organization,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(royalties, "BATCH", 3)
    collection = make_works(archive, {f"c{n}": 1 for n in range(10)})
    set_rule(archive, collection, basis_points=10_000)
    offer = make_offer(archive, collection=collection)
    orders = [sell(lab, offer, price_minor=1_000) for _sale in range(6)]

    results = at_once(*[drain] * 4)

    assert results == [None] * 4
    # They do not even run into the constraints that would keep them from it.
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == []
    for order in orders:
        assert accrued(order) == {f"c{n}": 100 * M for n in range(10)}
    assert counted(journal.ROYALTIES) == 6
    with access.system("count in a test"):
        assert RoyaltyBase.objects.count() == 1


class Killed(BaseException):
    """As a process that dies: nothing catches it, and its transaction is lost."""


@pytest.mark.parametrize("at", range(1, 8))
def test_a_worker_that_dies_loses_and_doubles_nothing(
    at: int, archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(royalties, "BATCH", 2)
    collection = make_works(archive, {f"c{n}": 1 for n in range(5)})
    set_rule(archive, collection, basis_points=10_000)
    order = sell(lab, make_offer(archive, collection=collection), price_minor=500)
    give_back(order, 100, cause="rfd_1")
    steps = [0]
    save = royalties.RoyaltyAllocation.save

    def dying(self: Any, *args: Any, **kwargs: Any) -> None:
        save(self, *args, **kwargs)
        steps[0] += 1
        if steps[0] == at:
            raise Killed

    monkeypatch.setattr(royalties.RoyaltyAllocation, "save", dying)
    with pytest.raises(Killed):
        drain()
    before = accrued(order)

    drain()

    assert steps[0] > at
    assert accrued(order) == {f"c{n}": 80 * M for n in range(5)}
    assert all(0 <= amount <= 100 * M for amount in before.values())
    with access.system("count in a test"):
        assert RoyaltyAccrual.objects.count() == 10
    assert [each.state for each in allocations(order)] == ["done", "done"]
    assert counted(journal.ROYALTIES) == 2


def test_payouts_confirmed_at_once_pay_once(archive: Organization, lab: Organization) -> None:
    collection = make_works(archive, {"ann": 1, "bob": 1})
    set_rule(archive, collection, basis_points=10_000)
    sell(lab, make_offer(archive, collection=collection), price_minor=1_000)
    drain()
    caller = caller_for(archive)

    def confirm() -> Any:
        return payouts.confirm(
            caller, currency="USD", contributors=2, paid_minor=1_000, recouped_minor=0
        )

    results = at_once(*[confirm] * 4)

    refused = [each for each in results if isinstance(each, DomainError)]
    assert [each.code for each in refused] == ["royalty_payout_running"] * 3
    payouts.write_due()
    with access.system("count in a test"):
        assert RoyaltyPayment.objects.count() == 2
    assert counted(journal.ROYALTY_PAYOUT) == 1
