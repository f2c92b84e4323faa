"""Transfers: a seller's share is sent once, and taken back as far as the account covers it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from marketplace import access
from marketplace.models import Organization, User
from payments import connect, journal, stripe_gateway, sync, transfers
from payments.models import Command, Journal, Order, Transfer
from tests.make import make_offer
from tests.payments.buying import balances, order_for, order_now
from tests.payments.racing import at_once
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
    """Seen to fail without the order's lock in `sync` and `transfers.start_waiting`."""
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
