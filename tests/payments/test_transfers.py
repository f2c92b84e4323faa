"""Transfers: a seller's share is sent once, and taken back as far as the account covers it."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from marketplace import access
from marketplace.errors import MissingScope, PaymentProviderRefused
from marketplace.models import Audit, Organization, User
from payments import commands, connect, journal, stripe_gateway, sync, transfers
from payments.journal import Code, Key
from payments.models import Command, Journal, Order, Transfer
from payments.stripe_facts import SettledFacts, TransferFacts
from tests.make import make_offer
from tests.payments.buying import balances, order_for, order_now
from tests.payments.racing import at_once
from tests.payments.rows import make_connected_row
from tests.payments.royalty_sales import give_back, sell
from tests.payments.selling import (
    onboarded,
    opened,
    request_refund,
    reversals_of,
    set_fee,
    transfer_of,
)
from tests.payments.simulating import Stripe, work
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def buyer(lab: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(lab)


@pytest.fixture
def seller(archive: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(archive)


@pytest.fixture
def operator() -> User:
    return User.objects.create(email="op@example.org", name="Op", is_operator=True)


def bought(buyer: ApiClient, seller: Organization, stripe: Stripe, **fields: Any) -> dict[str, Any]:
    """An order that was paid and granted."""
    order = order_for(buyer, make_offer(seller, price_minor=50_000, **fields))
    stripe.pay(order)
    stripe.deliver()
    work()
    return order_now(buyer, order)


def settled(order: dict[str, Any]) -> None:
    """Let everything that follows from an order happen."""
    for _pass in range(3):
        with access.system("let the time pass in a test"):
            Order.objects.filter(pk=order["id"]).update(next_sync_at=timezone.now())
            Command.objects.filter(state="pending").update(next_attempt_at=timezone.now())
        work()


def test_a_share_is_sent_once_from_its_charge(
    archive: Organization, buyer: ApiClient, seller: ApiClient, stripe: Stripe, operator: User
) -> None:
    set_fee(1_000, operator)
    account = onboarded(archive, stripe)

    order = bought(buyer, archive, stripe)
    settled(order)

    [made] = stripe.list("/v1/transfers")
    assert made["amount"] == 45_000
    assert made["destination"] == account.stripe_id
    assert made["transfer_group"] == order["id"]
    assert made["source_transaction"].startswith("ch_dev_")
    transfer = transfer_of(order)
    assert (transfer.state, transfer.stripe_id) == ("sent", made["id"])
    assert balances() == {
        "buyer_receivable": 0,
        "market_fee": -5_000,
        "seller_payable": 0,
        "stripe_balance": 50_000 - 1_480 - 45_000,
        "stripe_clearing": 0,
        "stripe_fees": 1_480,
    }
    sale = seller.get(f"/v1/sales/{order['id']}").json()
    assert sale["shares"] == {
        "seller_minor": 45_000,
        "royalties_minor": 0,
        "fee_minor": 5_000,
        "tax_minor": 0,
    }
    assert (sale["transfer"]["state"], sale["transfer"]["sent_minor"]) == ("sent", 45_000)
    assert seller.get("/v1/transfers").json()["data"][0]["order"] == order["id"]


def test_a_share_waits_for_an_account_that_can_be_paid(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    order = bought(buyer, archive, stripe)
    assert transfer_of(order).state == "waiting"
    account = opened(archive)
    settled(order)
    assert transfer_of(order).state == "waiting"

    stripe.account(str(account.stripe_id), "complete")
    connect.sync_account(account.pk)
    settled(order)

    assert transfer_of(order).state == "sent"
    assert len(stripe.list("/v1/transfers")) == 1


def test_a_lost_answer_sends_one_transfer(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    onboarded(archive, stripe)
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.pay(order)
    sync.sync_order(_id(order))
    stripe.drop_responses(stripe_gateway.RETRIES_MAX + 1)

    work()
    assert transfer_of(order).state == "sending"
    settled(order)

    assert transfer_of(order).state == "sent"
    assert len(stripe.list("/v1/transfers")) == 1


def test_a_transfer_whose_key_stripe_forgot_is_found(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    onboarded(archive, stripe)
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.pay(order)
    sync.sync_order(_id(order))
    stripe.drop_responses(stripe_gateway.RETRIES_MAX + 1)
    work()
    stripe.advance(25 * 3600)
    with access.system("let a day pass"):
        Command.objects.filter(kind="transfer").update(
            first_sent_at=timezone.now() - timedelta(hours=25)
        )

    settled(order)

    assert transfer_of(order).state == "sent"
    assert len(stripe.list("/v1/transfers")) == 1


def test_an_account_that_lost_its_capability_is_waited_for(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    account = onboarded(archive, stripe)
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    # Before we hear of it.
    stripe.account(str(account.stripe_id), "restrict", requirement="identity.individual.documents")
    stripe.pay(order)
    settled(order)

    waiting = transfer_of(order)
    assert waiting.state == "waiting"
    assert "capabilities" in waiting.refusal
    assert order_now(buyer, order)["status"] == "granted"

    stripe.account(str(account.stripe_id), "complete")
    connect.sync_account(account.pk)
    settled(order)
    assert transfer_of(order).state == "sent"


@pytest.mark.django_db(transaction=True)
def test_eight_workers_at_once_plan_and_send_one_transfer(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    """Seen to fail without the order's lock in `sync`."""
    onboarded(archive, stripe)
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.pay(order)
    order_id = _id(order)

    at_once(
        *[lambda: sync.sync_order(order_id)] * 4,
        *[lambda: transfers.start_waiting()] * 4,
    )
    settled(order)

    with access.system("count in a test"):
        assert Transfer.objects.count() == 1
        assert Command.objects.filter(kind="transfer").count() == 1
    assert len(stripe.list("/v1/transfers")) == 1


def test_stripes_fee_comes_out_of_the_share_where_the_seller_bears_it(
    archive: Organization, buyer: ApiClient, stripe: Stripe, operator: User
) -> None:
    set_fee(1_000, operator, stripe_fees="seller")
    onboarded(archive, stripe)

    order = bought(buyer, archive, stripe)
    settled(order)

    assert [made["amount"] for made in stripe.list("/v1/transfers")] == [45_000 - 1_480]
    found = balances()
    assert (found["seller_payable"], found["stripe_fees"], found["stripe_clearing"]) == (0, 0, 0)


def test_what_comes_in_one_currency_and_is_settled_in_another_is_sent_as_it_is_settled(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    stripe.settle_in("eur", usd="0.9")
    onboarded(archive, stripe)

    order = bought(buyer, archive, stripe)
    settled(order)

    [made] = stripe.list("/v1/transfers")
    assert (made["amount"], made["currency"]) == (45_000, "eur")
    with access.system("read the journals"):
        for posted in Journal.objects.all():
            sums: dict[str, int] = {}
            for posting in posted.postings.all():
                sums[posting.currency] = sums.get(posting.currency, 0) + posting.amount_minor
            assert set(sums.values()) <= {0}
    assert balances()["stripe_clearing"] == 0
    assert transfer_of(order).settled_currency == "EUR"


# --- back again -------------------------------------------------------------------------------


def test_a_refund_takes_the_sellers_part_back(
    archive: Organization, buyer: ApiClient, seller: ApiClient, stripe: Stripe, operator: User
) -> None:
    set_fee(1_000, operator)
    onboarded(archive, stripe)
    order = bought(buyer, archive, stripe)
    settled(order)

    assert request_refund(seller, order, amount_minor=20_000).status_code == 201
    settled(order)

    assert order_now(buyer, order)["status"] == "partially_refunded"
    [reversal] = reversals_of(order)
    assert (reversal.state, reversal.settled_minor) == ("done", 18_000)
    found = balances()
    assert found["seller_payable"] == found["stripe_clearing"] == found["buyer_receivable"] == 0
    assert found["market_fee"] == -3_000

    assert request_refund(seller, order).status_code == 201
    settled(order)

    assert order_now(buyer, order)["status"] == "refunded"
    assert [each.settled_minor for each in reversals_of(order)] == [18_000, 27_000]
    [made] = stripe.list("/v1/transfers")
    assert (made["amount_reversed"], made["reversed"]) == (45_000, True)
    found = balances()
    assert found["seller_payable"] == found["stripe_clearing"] == found["market_fee"] == 0


@pytest.mark.oracle
def test_a_seller_who_lacks_the_balance_owes_it_and_later_sales_pay_it(
    archive: Organization, buyer: ApiClient, seller: ApiClient, stripe: Stripe
) -> None:
    account = onboarded(archive, stripe)
    order = bought(buyer, archive, stripe)
    settled(order)
    stripe.account(str(account.stripe_id), "pay_out")

    assert request_refund(seller, order, amount_minor=30_000).status_code == 201
    settled(order)

    [reversal] = reversals_of(order)
    assert (reversal.state, reversal.stripe_id) == ("owed", None)
    with access.system("read a debt"):
        owed = transfers.owed_minor(archive.pk, livemode=False, currency="USD")
        [owing] = Journal.objects.filter(kind=journal.OWED)
    assert owed == 30_000
    # A debt has an age.
    assert timezone.now() - owing.occurred_at < timedelta(minutes=5)

    second = bought(buyer, archive, stripe)
    settled(second)

    paid = transfer_of(second)
    assert (paid.withheld_minor, paid.sent_minor) == (30_000, 20_000)
    found = balances()
    assert found["seller_receivable"] == found["seller_payable"] == found["stripe_clearing"] == 0


def test_what_went_back_before_the_share_was_sent_is_not_sent(
    archive: Organization, buyer: ApiClient, seller: ApiClient, stripe: Stripe
) -> None:
    order = bought(buyer, archive, stripe)
    assert request_refund(seller, order, amount_minor=20_000).status_code == 201
    settled(order)

    onboarded(archive, stripe)
    settled(order)

    assert [made["amount"] for made in stripe.list("/v1/transfers")] == [30_000]
    assert reversals_of(order) == []
    assert balances()["seller_payable"] == 0


def test_nothing_is_sent_where_all_went_back_before(
    archive: Organization, buyer: ApiClient, seller: ApiClient, stripe: Stripe
) -> None:
    order = bought(buyer, archive, stripe)
    assert request_refund(seller, order).status_code == 201
    settled(order)
    onboarded(archive, stripe)
    settled(order)

    assert transfer_of(order).state == "dropped"
    assert stripe.list("/v1/transfers") == []
    assert balances()["seller_payable"] == 0


@pytest.mark.oracle
def test_a_lost_answer_reverses_once(
    archive: Organization, buyer: ApiClient, seller: ApiClient, stripe: Stripe
) -> None:
    onboarded(archive, stripe)
    order = bought(buyer, archive, stripe)
    settled(order)
    request_refund(seller, order, amount_minor=20_000)
    work()
    sync.sync_order(_id(order))
    stripe.drop_responses(stripe_gateway.RETRIES_MAX + 1)
    work()
    settled(order)

    [made] = stripe.list("/v1/transfers")
    assert made["amount_reversed"] == 20_000
    assert [each.state for each in reversals_of(order)] == ["done"]


def _id(order: dict[str, Any]) -> Any:
    with access.system("read an order in a test"):
        return Order.objects.get(pk=order["id"]).pk


# --- not sent: rows alone, and a gateway that refuses -------------------------------------------


class FakeGateway:
    """Stands for Stripe's transfers: refuses them at first."""

    def __init__(self) -> None:
        self.is_refusing = True
        self.sent: list[int] = []

    def transfer(self, params: dict[str, Any], *, key: str) -> TransferFacts:
        if self.is_refusing:
            raise PaymentProviderRefused("No funds.", provider_code="balance_insufficient")
        amount = params["amount"]
        self.sent.append(amount)
        settled = SettledFacts(f"txn_{key}", "USD", amount_minor=-amount, fee_minor=0)
        return TransferFacts(f"tr_{key}", amount, "USD", settled)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    fake = FakeGateway()
    monkeypatch.setattr(stripe_gateway, "transfer", fake.transfer)
    return fake


def shared_out(seller: Organization, buyer: Organization) -> Order:
    """A sale for 500.00 that came to 485.20 at Stripe, its share on the way."""
    order = sell(buyer, make_offer(seller, price_minor=50_000))
    with access.system("settle in a test"):
        make_connected_row(seller, stripe_id="acct_1", state="active")
        Order.objects.filter(pk=order.pk).update(
            charge="ch_1", settled_minor=50_000, settled_currency="USD", settled_fee_minor=1_480
        )
        transfers.plan(Order.objects.select_for_update().get(pk=order.pk))
    commands.complete_due()
    return order


def goes_back(order: Order, amount_minor: int, *, cause: str = "rfd_1") -> None:
    """A part of a sale is given back; that it is heard of again changes nothing."""
    give_back(order, amount_minor, cause=cause)
    for _again in range(2):
        with access.system("take back in a test"):
            transfers.take_back(Order.objects.select_for_update().get(pk=order.pk), cause=cause)


def shown(order: Order) -> tuple[str, list[tuple[str, int]], int, int]:
    """How a share stands: its state, what was taken back, and what the seller is owed and owes."""
    named = {"id": str(order.pk)}
    found = balances()
    return (
        transfer_of(named).state,
        [(each.state, each.amount_minor) for each in reversals_of(named)],
        -found["seller_payable"],
        found.get("seller_receivable", 0),
    )


def test_an_operator_has_a_refused_transfer_sent_again_once(
    archive: Organization, lab: Organization, operator: User, gateway: FakeGateway
) -> None:
    order = shared_out(archive, lab)
    assert shown(order) == ("refused", [], 50_000, 0)
    id, said = str(transfer_of({"id": str(order.pk)}).pk), io.StringIO()
    gateway.is_refusing = False
    assert transfers.start_waiting() == 0
    with pytest.raises(MissingScope):
        transfers.send_again(User(email="nobody@example.org"), id)
    with pytest.raises(CommandError, match="no transfer"):
        call_command("transfer", "again", "trf_x", "--operator", operator.email)
    assert shown(order) == ("refused", [], 50_000, 0)

    for _again in range(2):
        call_command("transfer", "again", id, "--operator", operator.email, stdout=said)
        commands.complete_due()

    assert said.getvalue().split()[1::2] == ["sending", "sent"]
    assert (gateway.sent, shown(order)) == ([50_000], ("sent", [], 0, 0))
    with access.system("read the audit"):
        assert Audit.objects.filter(action="transfer.sent_again", subject=id).count() == 1


def test_what_goes_back_while_a_transfer_is_refused_is_taken_once(
    archive: Organization, lab: Organization, operator: User, gateway: FakeGateway
) -> None:
    order = shared_out(archive, lab)
    goes_back(order, 20_000)
    # Nothing was sent: nothing is owed, and so much less is sent.
    assert shown(order) == ("refused", [], 30_000, 0)
    gateway.is_refusing = False

    transfers.send_again(operator, str(transfer_of({"id": str(order.pk)}).pk))
    commands.complete_due()

    assert (gateway.sent, shown(order)) == ([30_000], ("sent", [], 0, 0))


def test_a_debt_that_an_unsent_share_paid_is_owed_again_as_far_as_the_share_goes_back(
    archive: Organization, lab: Organization, operator: User, gateway: FakeGateway
) -> None:
    with access.system("a debt of 400.00 in a test"):
        posted = journal.begin(archive.pk, livemode=False, kind=journal.OWED, reference="trr_1")
        lines = {Code.SELLER_RECEIVABLE: 40_000, Code.ROYALTY_PAYABLE: -40_000}
        keyed = [(Key(code, archive.pk, None, "USD"), minor) for code, minor in lines.items()]
        journal.write(posted, keyed)
    order = shared_out(archive, lab)
    assert shown(order) == ("refused", [], 10_000, 0)

    goes_back(order, 30_000)

    # 100.00 were still here; the rest had paid the debt.
    assert shown(order) == ("refused", [("owed", 20_000)], 0, 20_000)
    gateway.is_refusing = False
    transfers.send_again(operator, str(transfer_of({"id": str(order.pk)}).pk))
    commands.complete_due()
    assert (gateway.sent, shown(order)) == ([], ("dropped", [("owed", 20_000)], 0, 20_000))


def test_a_share_that_stripes_fee_takes_whole_is_owed_no_more(
    archive: Organization, lab: Organization, operator: User, gateway: FakeGateway
) -> None:
    set_fee(9_980, operator, stripe_fees="seller")

    order = shared_out(archive, lab)

    # Of 14.80 that Stripe took, the seller bore its 1.00.
    assert (gateway.sent, shown(order)) == ([], ("dropped", [], 0, 0))
    assert balances()["stripe_fees"] == -100
    goes_back(order, 50_000)
    assert shown(order) == ("dropped", [("owed", 100)], 0, 100)
