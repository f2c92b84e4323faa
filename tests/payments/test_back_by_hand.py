"""What people take back of a transfer at Stripe's dashboard counts as given back by its seller."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from marketplace import access
from marketplace.errors import PaymentProviderRefused
from marketplace.models import Organization
from payments import commands, mismatches, stripe_gateway, transfers
from payments.journal import Code
from payments.models import Command, Order
from payments.stripe_facts import SettledFacts, TransferFacts
from tests.make import make_offer
from tests.payments.racing import at_once
from tests.payments.rows import make_connected_row
from tests.payments.royalty_sales import give_back, sell
from tests.payments.selling import onboarded, request_refund, reversals_of, transfer_of
from tests.payments.simulating import Stripe
from tests.payments.test_exchange import stands
from tests.payments.test_reconcile import check
from tests.payments.test_transfers import bought, settled
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


class FakeGateway:
    """Stands for a transfer of 500.00 at Stripe, and who took back what of it."""

    def __init__(self) -> None:
        self.is_empty = False
        self.by_hand: list[TransferFacts] = []
        self.ours: dict[str, TransferFacts] = {}

    def transfer(self, params: dict[str, Any], *, key: str) -> TransferFacts:
        return fact(f"tr_{key}", params["amount"], -params["amount"])

    def take(self, amount_minor: int) -> None:
        """Somebody takes a part of it back at the dashboard."""
        self.by_hand.insert(0, fact(f"trr_hand{len(self.by_hand)}", amount_minor))

    def reversals_by_others(self, transfer: str) -> tuple[TransferFacts, ...]:
        time.sleep(0.05)
        return tuple(self.by_hand)

    def reverse_transfer(self, transfer: str, params: dict[str, Any], *, key: str) -> TransferFacts:
        amount = params["amount"]
        if self.is_empty or self.taken + amount > 50_000:
            raise PaymentProviderRefused("No funds.", provider_code="balance_insufficient")
        self.ours[params["metadata"]["licet"]] = fact(f"trr_{key}", amount)
        return self.ours[params["metadata"]["licet"]]

    @property
    def called(self) -> list[int]:
        return [each.amount_minor for each in self.ours.values()]

    @property
    def taken(self) -> int:
        return sum(each.amount_minor for each in [*self.by_hand, *self.ours.values()])


def fact(id: str, amount_minor: int, moved_minor: int = 0) -> TransferFacts:
    settled = SettledFacts(f"txn_{id}", "USD", moved_minor or amount_minor, fee_minor=0)
    return TransferFacts(id, amount_minor, "USD", settled)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    fake = FakeGateway()
    for name in ("transfer", "reversals_by_others", "reverse_transfer"):
        monkeypatch.setattr(stripe_gateway, name, getattr(fake, name))
    monkeypatch.setattr(
        stripe_gateway, "find_reversal", lambda _transfer, ours: fake.ours.get(ours)
    )
    return fake


def sold(seller: Organization, buyer: Organization) -> Order:
    """A sale for 500.00, all of it sent to the seller."""
    order = sell(buyer, make_offer(seller, price_minor=50_000))
    with access.system("settle in a test"):
        make_connected_row(seller, stripe_id="acct_1", state="active")
        Order.objects.filter(pk=order.pk).update(
            charge="ch_1", settled_minor=50_000, settled_currency="USD", settled_fee_minor=0
        )
        transfers.plan(Order.objects.select_for_update().get(pk=order.pk))
    commands.complete_due()
    return order


def goes_back(order: Order, amount_minor: int) -> None:
    """A part of it is refunded; the call for the seller's part is due."""
    with access.system("refund in a test"):
        order.refresh_from_db()
    cause = f"rfd_{order.refunded_minor}"
    give_back(order, amount_minor, cause=cause)
    for _again in range(2):
        with access.system("take back in a test"):
            transfers.take_back(Order.objects.select_for_update().get(pk=order.pk), cause=cause)


def refunded(order: Order, amount_minor: int) -> None:
    goes_back(order, amount_minor)
    for _again in range(3):
        commands.complete_due()


def states(order: Order) -> list[tuple[str, int]]:
    return [(each.state, each.amount_minor) for each in reversals_of({"id": str(order.pk)})]


def money() -> tuple[int, int]:
    """What the market owes its seller, and is owed by it. At Stripe nothing but refunds is open."""
    return (
        -stands(Code.SELLER_PAYABLE).get("USD", 0),
        stands(Code.SELLER_RECEIVABLE).get("USD", 0),
    )


def test_less_than_a_refund_needs_leaves_the_rest_to_be_taken(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    order = sold(archive, lab)
    gateway.take(30_000)

    refunded(order, 40_000)

    assert (gateway.called, states(order), money()) == ([10_000], [("done", 40_000)], (0, 0))
    assert transfer_of({"id": str(order.pk)}).reversed_minor == gateway.taken == 40_000


def test_more_than_a_refund_needs_is_used_by_the_next_one(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    order = sold(archive, lab)
    gateway.take(30_000)

    refunded(order, 20_000)

    # 100.00 were taken that nobody had asked for: the seller sees them.
    assert (gateway.called, states(order), money()) == ([], [("done", 20_000)], (10_000, 0))

    refunded(order, 4_000)
    assert (gateway.called, money()) == ([], (6_000, 0))
    refunded(order, 26_000)

    assert (gateway.called, money()) == ([20_000], (0, 0))
    assert states(order) == [("done", 20_000), ("done", 4_000), ("done", 26_000)]
    assert transfer_of({"id": str(order.pk)}).reversed_minor == gateway.taken == 50_000


def test_what_an_empty_account_gave_back_by_hand_is_no_debt(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    order = sold(archive, lab)
    gateway.take(30_000)
    gateway.is_empty = True

    refunded(order, 40_000)

    assert (gateway.called, states(order), money()) == ([], [("owed", 40_000)], (0, 10_000))


def test_a_reply_that_was_lost_counts_what_it_made_and_what_was_taken_by_hand(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    order = sold(archive, lab)
    gateway.take(30_000)
    goes_back(order, 40_000)
    with access.system("lose a reply in a test"):
        command = Command.objects.get(kind="reverse_transfer")
        command.attempts = 1
        command.save(update_fields=["attempts"])
    commands.CALLS[command.kind].send(command)
    # Meanwhile somebody takes another part.
    gateway.take(5_000)

    for _again in range(2):
        commands.complete_due()

    assert (gateway.called, states(order), money()) == ([10_000], [("done", 40_000)], (0, 0))


@pytest.mark.chaos
@pytest.mark.django_db(transaction=True)
def test_of_two_reversals_at_once_one_counts_what_was_taken_by_hand(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    """Seen to fail without `_uncounted` in `transfers._keep_reversal`."""
    order = sold(archive, lab)
    gateway.take(15_000)
    goes_back(order, 20_000)
    goes_back(order, 10_000)
    with access.system("find calls in a test"):
        due = list(
            Command.objects.filter(kind="reverse_transfer")
            .order_by("pk")
            .values_list("pk", flat=True)
        )

    results = at_once(*[lambda pk=pk: commands.carry_out(pk) for pk in due])
    for _again in range(2):
        commands.complete_due()

    assert [each.state for each in results] == ["done", "done"]
    assert gateway.taken == 30_000
    assert (states(order), money()) == ([("done", 20_000), ("done", 10_000)], (0, 0))


# --- through Stripe ---------------------------------------------------------------------------


@pytest.mark.oracle
def test_a_reversal_by_hand_is_told_with_its_order_until_a_refund_needs_it(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    onboarded(archive, stripe)
    order = bought(client_for(lab), archive, stripe)
    settled(order)
    transfer = transfer_of(order).stripe_id
    stripe.post(f"/v1/transfers/{transfer}/reversals", {"amount": 30_000})
    check()
    with access.system("read mismatches"):
        [row] = mismatches.still_open(livemode=False)
        assert (row.kind, row.subject_type) == ("missing_in_journal", "transfer_refund")
        assert (str(row.order_id), row.expected_minor) == (order["id"], 30_000)

    assert request_refund(client_for(archive), order, amount_minor=40_000).status_code == 201
    settled(order)

    [made] = stripe.list("/v1/transfers")
    assert made["amount_reversed"] == 40_000
    assert [(each.state, each.amount_minor) for each in reversals_of(order)] == [("done", 40_000)]
    assert stands(Code.SELLER_RECEIVABLE) == stands(Code.SELLER_PAYABLE) == {}
    assert stands(Code.STRIPE_CLEARING) == {}
    check()
    with access.system("read mismatches"):
        assert list(mismatches.still_open(livemode=False)) == []
