"""Advances on collections: pools pay them back first, and what goes back opens them again."""

from __future__ import annotations

import random
from typing import Any

import pytest

from licensing.models import Offer
from marketplace import access
from marketplace.errors import InvalidInput, NotFound
from marketplace.models import Collection, Organization
from marketplace.typeid import TypeID
from payments import advances, royalties, royalty_shares
from payments.models import Order, RoyaltyAccrual, RoyaltyAdvanceLine
from payments.royalty_shares import MICRO_IN_MINOR, Cut
from tests.make import make_offer
from tests.payments.buying import balances
from tests.payments.royalty_sales import (
    accrued,
    allocations,
    give_back,
    make_works,
    person,
    sell,
    set_rule,
)
from tests.people import caller_for

pytestmark = pytest.mark.django_db
M = MICRO_IN_MINOR


class Scene:
    """A collection by Ann, with two works, and Bob, with one; its whole price is for them."""

    def __init__(self, seller: Organization, buyer: Organization) -> None:
        self.seller, self.buyer = seller, buyer
        self.collection: Collection = make_works(seller, {"ann": 2, "bob": 1})
        set_rule(seller, self.collection, basis_points=10_000)
        self.offer: Offer = make_offer(seller, collection=self.collection)

    def give(self, amount_minor: int, reference: str = "SEPA 1", **values: Any) -> Any:
        said = {"amount_minor": amount_minor, "currency": "USD", "reference": reference, **values}
        return advances.give(caller_for(self.seller), str(self.collection.pk), **said)

    def sold(self, price_minor: int) -> Order:
        order = sell(self.buyer, self.offer, price_minor=price_minor)
        drain()
        return order

    def lines(self) -> list[tuple[int, int]]:
        """What moved, and what was open after it."""
        with access.system("read in a test"):
            rows = RoyaltyAdvanceLine.objects.order_by("currency", "number")
            return [(row.moved_minor, row.open_minor) for row in rows]


@pytest.fixture
def scene(archive: Organization, lab: Organization) -> Scene:
    return Scene(archive, lab)


def drain() -> None:
    while royalties.allocate_due():
        pass


def owed() -> dict[str, int]:
    found = balances()
    return {code: found.get(code, 0) for code in ("royalty_pool", "royalty_payable")} | {
        "seller_payable": found.get("seller_payable", 0)
    }


def test_pools_pay_an_advance_back_before_contributors_have_a_share(scene: Scene) -> None:
    before = scene.sold(300)
    scene.give(1_000)

    first, second = scene.sold(900), scene.sold(400)

    # What accrued before the advance stays with those who earned it.
    assert accrued(before) == {"ann": 200 * M, "bob": 100 * M}
    assert accrued(first) == {}
    assert accrued(second) == {"ann": 200 * M, "bob": 100 * M}
    assert scene.lines() == [(1_000, 1_000), (-900, 100), (-100, 0)]
    assert owed() == {"royalty_pool": 0, "royalty_payable": -600, "seller_payable": -1_000}
    assert accrued(scene.sold(300)) == {"ann": 200 * M, "bob": 100 * M}


def test_what_goes_back_takes_from_contributors_first_and_opens_the_advance_again(
    scene: Scene,
) -> None:
    scene.give(600)
    order = scene.sold(900)

    give_back(order, 200, cause="rfd_1")
    drain()
    kept = accrued(order)
    assert (sum(kept.values()), kept["bob"] // 10) == (100 * M, 100 * M // 30)
    assert scene.lines() == [(600, 600), (-600, 0)]

    give_back(order, 400, cause="rfd_2")
    drain()
    assert accrued(order) == {"ann": 0, "bob": 0}
    assert scene.lines() == [(600, 600), (-600, 0), (300, 300)]
    assert owed() == {"royalty_pool": 0, "royalty_payable": 0, "seller_payable": -300}

    # What is open again is paid back by the next sale.
    later = scene.sold(600)
    assert accrued(later) == {"ann": 200 * M, "bob": 100 * M}
    give_back(order, 300, cause="rfd_3")
    drain()
    assert scene.lines()[-2:] == [(-300, 0), (300, 300)]
    assert owed() == {"royalty_pool": 0, "royalty_payable": -300, "seller_payable": -300}


def test_a_reversal_waits_for_its_sale_and_replays_what_it_paid_back(scene: Scene) -> None:
    scene.give(100)
    order = sell(scene.buyer, scene.offer, price_minor=500)
    give_back(order, 450, cause="rfd_1")
    scene.give(1_000, "SEPA 2")
    sale, back = allocations(order)

    assert royalties.step(back.pk) is False
    assert scene.lines() == [(100, 100), (1_000, 1_100)]
    drain()

    assert [each.state for each in allocations(order)] == ["done", "done"]
    assert scene.lines() == [(100, 100), (1_000, 1_100), (-500, 600), (450, 1_050)]
    assert accrued(order) == {}
    assert owed() == {"royalty_pool": 0, "royalty_payable": 0, "seller_payable": -50}
    assert royalties.step(sale.pk) is False


def test_an_advance_is_recorded_once_by_its_reference(scene: Scene) -> None:
    first, again = scene.give(500), scene.give(500)

    assert first.pk == again.pk
    for other in ({"amount_minor": 501}, {"amount_minor": 500, "currency": "EUR"}):
        with pytest.raises(InvalidInput) as refused:
            scene.give(**{"amount_minor": 0, **other})  # type: ignore[arg-type]
        assert refused.value.data["param"] == "reference"
    assert scene.lines() == [(500, 500)]


def test_an_advance_that_cannot_be_meant_is_refused(scene: Scene, stranger: Organization) -> None:
    for fields, param in (
        ({"amount_minor": 0}, "amount_minor"),
        ({"amount_minor": 10**12}, "amount_minor"),
        ({"currency": "XXX"}, "currency"),
        ({"reference": "  "}, "reference"),
        ({"reference": "a" * 201}, "reference"),
    ):
        with pytest.raises(InvalidInput) as refused:
            scene.give(**{"amount_minor": 5, **fields})  # type: ignore[arg-type]
        assert refused.value.data["param"] == param
    with pytest.raises(NotFound):
        advances.give(
            caller_for(stranger),
            str(scene.collection.pk),
            amount_minor=5,
            currency="USD",
            reference="SEPA 1",
        )

    assert scene.lines() == []


def test_advances_of_another_mode_currency_or_collection_are_not_paid_back(scene: Scene) -> None:
    other = make_works(scene.seller, {"": 1}, name="Maps")
    caller = caller_for(scene.seller)
    advances.give(caller, str(other.pk), amount_minor=9, currency="USD", reference="SEPA 1")
    scene.give(7, currency="EUR")
    live = caller_for(scene.seller, livemode=True)
    said = {"amount_minor": 5, "currency": "USD", "reference": "SEPA 1"}
    advances.give(live, str(scene.collection.pk), **said)  # type: ignore[arg-type]

    order = scene.sold(300)

    assert accrued(order) == {"ann": 200 * M, "bob": 100 * M}
    assert sorted(scene.lines()) == [(5, 5), (7, 7), (9, 9)]


def test_a_preview_says_what_would_be_paid_back(scene: Scene, client_for: Any) -> None:
    scene.give(600)

    answer = client_for(scene.seller).post(
        "/v1/royalty-rules/preview",
        {
            "collection": str(scene.collection.pk), "basis_points": 10_000,
            "method": "equal_per_work", "price_minor": 900, "currency": "USD",
        },
    ).json()  # fmt: skip

    assert (answer["pool_minor"], answer["recouped_minor"]) == (900, 600)
    assert [each["amount_micro"] for each in answer["largest"]] == [200 * M, 100 * M]


def test_the_api_records_an_advance_and_lists_its_movements(scene: Scene, client_for: Any) -> None:
    client, at = client_for(scene.seller), f"/v1/collections/{scene.collection.pk}/royalty-advances"
    body = {"amount_minor": 600, "currency": "USD", "reference": "SEPA 1"}

    made = client.post(at, body)
    again = client.post(at, body)
    order = scene.sold(900)

    assert made.status_code == again.status_code == 201, made.content
    assert made.json() == again.json()
    shown = client.get(f"{at}?currency=USD").json()["data"]
    [allocation] = allocations(order)
    assert [
        (line["number"], line["moved_minor"], line["open_minor"], line["allocation"],
         line["reference"])
        for line in shown
    ] == [(2, -600, 0, str(allocation.pk), None), (1, 600, 600, None, "SEPA 1")]  # fmt: skip
    assert client.get(f"{at}?currency=EUR").json()["data"] == []


def test_each_line_of_a_statement_is_computed_again_from_what_it_says(
    scene: Scene, client_for: Any
) -> None:
    scene.give(1_234)
    order = scene.sold(1_999)
    scene.sold(777)
    give_back(order, 1_500, cause="rfd_1")
    drain()
    ann = person(scene.seller, "ann")

    statement = client_for(scene.seller).get(
        f"/v1/contributors/{ann.pk}/royalty-statement?currency=USD"
    ).json()  # fmt: skip

    lines = statement["lines"]
    assert [line["recoups_minor"] for line in lines] == [1_234, 0, 1_234]
    assert sum(line["amount_micro"] for line in lines) == statement["closing_micro"]
    for line in lines:
        kept, recoups = line["kept_before_minor"], line["recoups_minor"]
        amounts = {
            "before": royalty_shares.left(kept, recoups) * M,
            "after": royalty_shares.left(kept + line["pool_minor"], recoups) * M,
        }
        shares = {}
        for which, amount in amounts.items():
            remainder, last = line[f"cut_{which}_remainder"], line[f"cut_{which}_hash"]
            shares[which] = royalty_shares.share(
                amount,
                line["weight"],
                line["total_weight"],
                None if remainder is None else Cut(int(remainder), bytes.fromhex(last)),
                tie=TypeID.parse("ral", line["tie"]),
                contributor=ann.pk,
            )
        assert shares["after"] - shares["before"] == line["amount_micro"]


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(3))
def test_any_sales_advances_and_reversals_replay_from_the_words(seed: int, scene: Scene) -> None:
    """Everything again in plain integers, in the order in which it was shared out."""
    chance = random.Random(seed)
    orders: list[Order] = []
    open_minor, recouped, given = 0, {}, 0
    for number in range(25):
        what = chance.choice(["advance", "sale", "sale", "back", "back"])
        if what == "advance":
            scene.give(amount := chance.randint(1, 900), f"SEPA {number}")
            open_minor, given = open_minor + amount, given + amount
        elif what == "sale":
            orders.append(order := scene.sold(chance.randint(1, 700)))
            recouped[order.pk] = min(open_minor, order.paid_minor)
            open_minor -= recouped[order.pk]
        elif orders:
            order = chance.choice(orders)
            left = order.paid_minor - order.refunded_minor
            back = min(left, chance.randint(1, 400))
            if not back:
                continue
            give_back(order, back, cause=f"rfd_{number}")
            drain()
            open_minor += min(left, recouped[order.pk]) - min(left - back, recouped[order.pk])

    people = {name: person(scene.seller, name).pk for name in ("ann", "bob")}
    weights = {people["ann"]: 2, people["bob"]: 1}
    for order in orders:
        for made in allocations(order):
            with access.system("read in a test"):
                rows = RoyaltyAccrual.objects.filter(allocation=made)
                found = {row.contributor_id: row.amount_micro for row in rows}
            expected = royalty_shares.accruals(
                made.kept_before_minor, made.pool_minor, weights, made.sale_id or made.pk,
                recoups_minor=recouped[order.pk],
            )  # fmt: skip
            assert found == {who: amount for who, amount in expected.items() if amount}
    kept = sum(order.paid_minor - order.refunded_minor for order in orders)
    lines = scene.lines()
    assert sum(moved for moved, _open in lines) == open_minor
    assert [line[1] for line in lines][-1:] in ([open_minor], [])
    assert owed() == {
        "royalty_pool": 0,
        "royalty_payable": -(kept - (given - open_minor)),
        "seller_payable": -(given - open_minor),
    }
