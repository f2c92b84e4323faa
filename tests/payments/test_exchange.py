"""Who bears the exchange of currencies: what going back costs at another rate than it came at."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.utils import timezone

from marketplace import access
from marketplace.errors import PaymentProviderRefused
from marketplace.models import Organization
from payments import commands, journal, remittances, settlements, stripe_gateway, transfers
from payments.models import Journal, Order, Posting, Quote
from payments.stripe_facts import SettledFacts, TransferFacts
from tests.make import make_offer
from tests.payments.buying import order_for, order_now
from tests.payments.racing import at_once
from tests.payments.rows import make_connected_row, make_dispute_row
from tests.payments.royalty_sales import give_back, sell
from tests.payments.selling import onboarded, request_refund, reversals_of, transfer_of
from tests.payments.simulating import Stripe
from tests.payments.test_transfers import settled
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


class FakeGateway:
    """Stands for Stripe's transfers and reversals, and an account that may have nothing left."""

    def __init__(self) -> None:
        self.is_empty = False
        self.sent: list[tuple[int, str]] = []
        self.reversed: list[int] = []

    def transfer(self, params: dict[str, Any], *, key: str) -> TransferFacts:
        amount, currency = params["amount"], params["currency"].upper()
        self.sent.append((amount, currency))
        return TransferFacts(f"tr_{key}", amount, currency, _settled(key, -amount, currency))

    def reverse_transfer(self, transfer: str, params: dict[str, Any], *, key: str) -> TransferFacts:
        if self.is_empty:
            raise PaymentProviderRefused("No funds.", provider_code="balance_insufficient")
        amount = params["amount"]
        self.reversed.append(amount)
        return TransferFacts(f"trr_{key}", amount, "EUR", _settled(key, amount, "EUR"))


def _settled(key: str, amount_minor: int, currency: str) -> SettledFacts:
    return SettledFacts(f"txn_{key}", currency, amount_minor, fee_minor=0)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    fake = FakeGateway()
    monkeypatch.setattr(stripe_gateway, "transfer", fake.transfer)
    monkeypatch.setattr(stripe_gateway, "reverse_transfer", fake.reverse_transfer)
    monkeypatch.setattr(stripe_gateway, "reversals_by_others", lambda transfer: ())
    return fake


def payable(seller: Organization) -> None:
    with access.system("open an account in a test"):
        make_connected_row(seller, stripe_id="acct_1", state="active")


def sold(seller: Organization, buyer: Organization) -> Order:
    """A sale for 500.00 USD that came to 450.00 EUR, its share sent if it can be."""
    order = sell(buyer, make_offer(seller, price_minor=50_000))
    with access.system("settle in a test"):
        Order.objects.filter(pk=order.pk).update(
            charge=f"ch_{order.pk}",
            settled_minor=45_000,
            settled_currency="EUR",
            settled_fee_minor=0,
        )
        order.refresh_from_db()
        journal.settle(order, _settled(str(order.pk), 45_000, "EUR"), 50_000)
        transfers.plan(Order.objects.select_for_update().get(pk=order.pk))
    commands.complete_due()
    return order


def refunded(order: Order, amount_minor: int, *, cost_minor: int) -> None:
    """A part of it goes back, for which Stripe takes so much; that is heard of again and again."""
    cause = f"rfd_{order.refunded_minor}"
    with access.system("refund in a test"):
        order.refresh_from_db()
    give_back(order, amount_minor, cause=cause)
    for _again in range(2):
        with access.system("take back in a test"):
            locked = Order.objects.select_for_update().get(pk=order.pk)
            transfers.take_back(locked, cause=cause)
            moved = _settled(f"{order.pk}:{cause}", -cost_minor, "EUR")
            journal.settle(locked, moved, -amount_minor)
            transfers.bear_exchange(locked)
        commands.complete_due()


def stands(code: journal.Code, *orders: Order) -> dict[str, int]:
    """What stands on one kind of account, by currency, of some orders or of all."""
    found: dict[str, int] = {}
    with access.system("add up in a test"):
        postings = Posting.objects.filter(account__code=code)
        if orders:
            postings = postings.filter(journal__order__in=orders)
        for posting in postings:
            found[posting.currency] = found.get(posting.currency, 0) + posting.amount_minor
    return {currency: amount for currency, amount in found.items() if amount}


def in_statement(client: ApiClient, currency: str) -> list[tuple[str, int]]:
    asked = {
        "currency": currency,
        "begins_at": (timezone.now() - timedelta(days=1)).isoformat(),
        "ends_at": (timezone.now() + timedelta(days=1)).isoformat(),
    }
    lines = client.get(f"/v1/statement?{urlencode(asked)}").json()["lines"]
    return [(each["kind"], each["amount_minor"]) for each in lines]


Code = journal.Code


def test_a_refund_at_another_rate_is_the_sellers_in_parts_too(
    archive: Organization, lab: Organization, gateway: FakeGateway, client_for: ClientFor
) -> None:
    payable(archive)
    order = sold(archive, lab)

    # At 0.95: 190.00 for what had brought 180.00.
    refunded(order, 20_000, cost_minor=19_000)

    assert gateway.reversed == [18_000, 1_000]
    assert stands(Code.CURRENCY_EXCHANGE) == stands(Code.SELLER_RECEIVABLE) == {}
    assert stands(Code.SELLER_PAYABLE) == {}
    assert in_statement(client_for(archive), "EUR") == [
        ("exchange_loss", -1_000),
        ("reversal", 1_000),
    ]

    refunded(order, 30_000, cost_minor=28_500)

    # 260.00 of the transfer were left. 10.00 of the share and 15.00 of the exchange are owed.
    assert gateway.reversed == [18_000, 1_000, 26_000]
    assert stands(Code.SELLER_RECEIVABLE) == {"EUR": 2_500}
    assert stands(Code.CURRENCY_EXCHANGE) == stands(Code.SELLER_PAYABLE) == {}
    # Nobody but the seller lost by it: what Stripe has is what is owed.
    assert stands(Code.STRIPE_BALANCE) == {"EUR": -2_500}


def test_what_it_costs_more_is_owed_and_a_later_sale_pays_it_as_it_is_settled(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    payable(archive)
    first = sold(archive, lab)

    refunded(first, 50_000, cost_minor=47_500)

    assert gateway.reversed == [45_000]
    assert stands(Code.SELLER_RECEIVABLE) == {"EUR": 2_500}
    assert stands(Code.CURRENCY_EXCHANGE, first) == {}
    with access.system("read a debt"):
        [posted] = Journal.objects.filter(kind=journal.OWED)
        assert timezone.now() - posted.occurred_at < timedelta(minutes=5)

    second = sold(archive, lab)

    # 25.00 EUR are 27.78 USD of a sale that came at 0.90.
    assert transfer_of({"id": str(second.pk)}).withheld_minor == 2_778
    assert gateway.sent == [(45_000, "EUR"), (42_500, "EUR")]
    assert stands(Code.SELLER_RECEIVABLE) == stands(Code.SELLER_PAYABLE) == {}
    assert stands(Code.CURRENCY_EXCHANGE) == stands(Code.STRIPE_CLEARING) == {}
    assert stands(Code.STRIPE_BALANCE) == {}


def test_what_it_costs_less_is_sent_to_the_seller_as_it_is_settled(
    archive: Organization, lab: Organization, gateway: FakeGateway, client_for: ClientFor
) -> None:
    payable(archive)
    order = sold(archive, lab)

    refunded(order, 50_000, cost_minor=42_500)

    assert stands(Code.CURRENCY_EXCHANGE) == {}
    [shown] = [
        each
        for each in client_for(archive).get("/v1/balances").json()["data"]
        if each["currency"] == "EUR"
    ]
    assert (shown["owed_to_you_minor"], shown["you_owe_minor"]) == (2_500, 0)
    for _again in range(2):
        remittances.start_due()
        commands.complete_due()
    assert gateway.sent == [(45_000, "EUR"), (2_500, "EUR")]
    assert in_statement(client_for(archive), "EUR") == [
        ("exchange_gain", 2_500),
        ("remittance", -2_500),
    ]
    assert stands(Code.STRIPE_BALANCE) == {}


def test_where_the_market_bears_it_the_seller_gives_back_what_it_got(
    archive: Organization,
    lab: Organization,
    gateway: FakeGateway,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fixed = settlements.fix

    def by_market(quote: Quote, **fields: Any) -> dict[str, Any]:
        says = fixed(quote, **fields)
        return {**says, "bears": {**says["bears"], "currency_exchange": "market"}}

    monkeypatch.setattr(settlements, "fix", by_market)
    payable(archive)
    order = sold(archive, lab)

    refunded(order, 50_000, cost_minor=47_500)

    assert gateway.reversed == [45_000]
    assert stands(Code.SELLER_RECEIVABLE) == stands(Code.SELLER_PAYABLE) == {}
    assert stands(Code.CURRENCY_EXCHANGE) == {"EUR": 2_500}


def test_what_an_empty_account_does_not_cover_is_owed_as_it_was_sent(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    payable(archive)
    order = sold(archive, lab)
    gateway.is_empty = True

    refunded(order, 20_000, cost_minor=19_000)

    assert stands(Code.SELLER_RECEIVABLE) == {"EUR": 19_000}
    assert stands(Code.CURRENCY_EXCHANGE) == stands(Code.SELLER_PAYABLE) == {}


def test_what_was_not_sent_yet_pays_it_first(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    order = sold(archive, lab)
    refunded(order, 20_000, cost_minor=19_000)
    assert stands(Code.SELLER_RECEIVABLE) == {"EUR": 1_000}

    payable(archive)
    transfers.start_waiting()
    commands.complete_due()

    assert gateway.sent == [(26_000, "EUR")]
    assert stands(Code.SELLER_RECEIVABLE) == stands(Code.SELLER_PAYABLE) == {}
    assert stands(Code.CURRENCY_EXCHANGE) == stands(Code.STRIPE_BALANCE) == {}


def test_while_a_bank_holds_the_money_nobody_bears_what_it_may_come_to(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    payable(archive)
    order = sold(archive, lab)

    def heard(status: str) -> None:
        with access.system("a dispute in a test"):
            locked = Order.objects.select_for_update().get(pk=order.pk)
            order.disputes.update(
                status=status, closed_at=timezone.now() if status == "won" else None
            )
            transfers.bear_exchange(locked)
        commands.complete_due()

    with access.system("a dispute in a test"):
        make_dispute_row(order, amount_minor=50_000)
        journal.settle(order, _settled("held", -47_500, "EUR"), -50_000)
    heard("under_review")
    assert (gateway.reversed, stands(Code.CURRENCY_EXCHANGE)) == (
        [],
        {"USD": -50_000, "EUR": 47_500},
    )

    # It comes back at 0.93.
    with access.system("a dispute in a test"):
        journal.settle(order, _settled("back", 46_500, "EUR"), 50_000)
    for _again in range(2):
        heard("won")

    assert (gateway.reversed, stands(Code.CURRENCY_EXCHANGE)) == ([1_000], {})


@pytest.mark.chaos
@pytest.mark.django_db(transaction=True)
def test_looks_at_once_have_the_seller_bear_an_exchange_once(
    archive: Organization, lab: Organization, gateway: FakeGateway
) -> None:
    """Seen to fail without the order's lock."""
    payable(archive)
    order = sold(archive, lab)
    with access.system("refund in a test"):
        order.refresh_from_db()
    give_back(order, 20_000, cause="rfd_1")

    def look() -> None:
        with access.system("look in a test"):
            locked = Order.objects.select_for_update().get(pk=order.pk)
            transfers.take_back(locked, cause="rfd_1")
            journal.settle(locked, _settled("rfd_1", -19_000, "EUR"), -20_000)
            transfers.bear_exchange(locked)

    results = at_once(*[look] * 6)
    commands.complete_due()

    assert [each for each in results if each is not None] == []
    assert sorted(gateway.reversed) == [1_000, 18_000]
    assert stands(Code.CURRENCY_EXCHANGE) == stands(Code.SELLER_PAYABLE) == {}


# --- through Stripe ---------------------------------------------------------------------------


@pytest.mark.oracle
def test_a_refund_at_another_rate_through_stripe(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    stripe.settle_in("eur", usd="0.90")
    onboarded(archive, stripe)
    buyer = client_for(lab)
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.pay(order)
    settled(order)

    stripe.settle_in("eur", usd="0.95")
    assert request_refund(client_for(archive), order, amount_minor=20_000).status_code == 201
    settled(order)

    [made] = stripe.list("/v1/transfers")
    assert (made["amount"], made["amount_reversed"]) == (45_000, 19_000)
    assert [(each.settled_minor, each.state) for each in reversals_of(order)] == [
        (18_000, "done"),
        (1_000, "done"),
    ]
    assert stands(Code.CURRENCY_EXCHANGE) == stands(Code.STRIPE_CLEARING) == {}


@pytest.mark.oracle
def test_a_dispute_that_is_lost_at_another_rate_through_stripe(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    stripe.settle_in("eur", usd="0.90")
    onboarded(archive, stripe)
    buyer = client_for(lab)
    order = order_for(buyer, make_offer(archive, price_minor=50_000))
    stripe.pay(order)
    settled(order)

    stripe.settle_in("eur", usd="0.95")
    disputed = stripe.dispute(order)
    settled(order)
    assert reversals_of(order) == []
    stripe.decide(disputed["id"], "lose")
    settled(order)

    assert order_now(buyer, order)["status"] == "dispute_lost"
    assert [(each.settled_minor, each.state) for each in reversals_of(order)] == [
        (45_000, "done"),
        (2_500, "owed"),
    ]
    assert stands(Code.SELLER_RECEIVABLE) == {"EUR": 2_500}
    assert stands(Code.CURRENCY_EXCHANGE) == stands(Code.STRIPE_CLEARING) == {}
