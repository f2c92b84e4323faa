"""What a seller earned: by month, collection and use, counted by hand over real sales."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from licensing.models import Offer
from marketplace import access, panels
from marketplace.access import acting
from marketplace.models import Organization, User
from marketplace.panels import Period, Question, Series, Stat
from payments import (
    earnings,
    journal,
    market_panels,
    mismatches,
    payout_panels,
    settlements,
    spending,
)
from payments.models import Journal, StripeEvent
from tests.make import TYPED, make_collection, make_offer
from tests.payments.rows import make_command_row, make_quote_row, paid_order_row
from tests.payments.royalty_sales import give_back, make_works, sell, set_rule
from tests.payments.selling import onboarded, request_refund, set_fee
from tests.payments.simulating import Stripe
from tests.payments.test_transfers import bought, settled
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
AUCKLAND = ZoneInfo("Pacific/Auckland")


@pytest.fixture
def buyer(lab: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(lab)


@pytest.fixture
def seller(archive: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(archive)


@pytest.fixture
def operator() -> User:
    return User.objects.create(email="op@example.org", name="Op", is_operator=True)


def read(
    organization: Organization,
    panel: Callable[[Question], Any],
    *,
    livemode: bool = False,
    period: Period | None = None,
) -> Any:
    caller = caller_for(organization, livemode=livemode)
    with acting(caller, writing=False):
        return panel(panels.ask(caller, period=period))


def for_all(panel: Callable[[Question], Any], *, livemode: bool = False) -> Any:
    with access.system("an operator looks in a test"):
        return panel(panels.ask(None, livemode=livemode))


def sums(series: Series) -> dict[str, int]:
    return {line.label: sum(line.values) for line in series.lines}


def named(stat: Stat) -> list[tuple[str, int, str]]:
    return [(figure.label, figure.value, figure.unit) for figure in stat.figures]


def sold_at(buyer: Organization, offer: Offer, at: datetime) -> None:
    """The journal of a sale from another time."""
    with access.system("sell in a test"):
        quote = make_quote_row(buyer, offer)
        order = paid_order_row(quote, settlement=settlements.fix(quote, royalties=None))
        posted = Journal(
            organization=buyer, livemode=False, kind=journal.SALE, order=order, occurred_at=at
        )
        posted.save(force_insert=True)
        lines = journal.sale(order, settlements.of(order))
        keys = [journal.Key(one.code, one.organization_id, None, order.currency) for one in lines]
        amounts = [one.amount_minor for one in lines]
        journal.write(posted, list(zip(keys, amounts, strict=True)))


@pytest.mark.oracle
def test_a_month_has_what_was_earned_after_fees_and_refunds(
    archive: Organization,
    buyer: ApiClient,
    seller: ApiClient,
    lab: Organization,
    stripe: Stripe,
    operator: User,
) -> None:
    set_fee(1_000, operator)
    onboarded(archive, stripe)
    first, second = bought(buyer, archive, stripe), bought(buyer, archive, stripe)
    settled(first)
    settled(second)
    request_refund(seller, first, amount_minor=20_000)
    settled(first)

    earned = read(archive, earnings.by_month)

    # Twice 500.00 less a tenth; of 200.00 that went back, the seller bears nine tenths.
    assert sums(earned) == {"USD": 2 * 45_000 - 18_000}
    assert earned.lines[0].values == (*(0,) * 11, 72_000)
    assert earned.sentence == "You earned 720.00 USD in these 12 months, after fees and tax."
    assert sums(read(lab, spending.by_month)) == {"USD": 100_000 - 20_000}
    assert named(read(lab, spending.by_seller)) == [(archive.name, 80_000, "USD")]
    assert sums(for_all(market_panels.volume)) == {"Volume, USD": 80_000, "Fees, USD": 8_000}
    assert named(read(archive, payout_panels.payouts)) == [("Sent in these months", 72_000, "USD")]


@pytest.mark.oracle
def test_a_dispute_that_is_lost_takes_the_share_back(
    archive: Organization, buyer: ApiClient, lab: Organization, stripe: Stripe
) -> None:
    onboarded(archive, stripe)
    order = bought(buyer, archive, stripe)
    settled(order)
    dispute = stripe.dispute(order)
    settled(order)

    held = read(archive, earnings.by_month)
    [row] = for_all(market_panels.disputes).rows
    assert (row[0], row[4], row[6]) == (order["id"], panels.Money(50_000, "USD"), "under_review")
    stripe.decide(dispute["id"], "lose")
    settled(order)

    assert sums(held) == {"USD": 50_000}
    assert sums(read(archive, earnings.by_month)) == {"USD": 0}
    assert read(archive, earnings.by_month).is_empty
    assert sums(read(lab, spending.by_month)) == {}
    assert for_all(market_panels.disputes).is_empty


def test_collections_and_uses_have_their_own_sums(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    maps = make_collection(archive, name="=Maps")
    bought(buyer, archive, stripe)
    bought(buyer, archive, stripe, collection=maps)
    bought(
        buyer,
        archive,
        stripe,
        collection=make_collection(archive, name="Diaries"),
        typed={**TYPED, "permit": [{**TYPED["permit"][0], "uses": ["pretrain", "embed"]}]},
        currency="EUR",
    )

    assert named(read(archive, earnings.by_collection)) == [
        ("Diaries", 50_000, "EUR"),
        # As much as each other: the older one first.
        ("=Maps", 50_000, "USD"),
        ("Letters", 50_000, "USD"),
    ]
    assert panels.csv_text(read(archive, earnings.by_collection)).splitlines() == [
        "Collection,Value,Currency",
        "Diaries,500.00,EUR",
        "'=Maps,500.00,USD",
        "Letters,500.00,USD",
    ]
    assert named(read(archive, earnings.by_use)) == [
        ("pretrain", 50_000, "EUR"),
        ("pretrain", 100_000, "USD"),
    ]


def test_what_is_not_named_is_in_one_sum(
    archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earnings, "NAMED_MAX", 0)
    sell(lab, make_offer(archive))

    assert named(read(archive, earnings.by_collection)) == [("Other collections", 50_000, "USD")]
    assert named(read(archive, earnings.by_use)) == [("Other uses", 50_000, "USD")]


def test_currencies_without_and_with_three_decimals_stay_apart(
    archive: Organization, lab: Organization
) -> None:
    sell(lab, make_offer(archive, currency="JPY", price_minor=1_500), price_minor=1_500)
    sell(lab, make_offer(archive, currency="KWD", price_minor=12_340), price_minor=12_340)
    sell(lab, make_offer(archive))

    earned = read(archive, earnings.by_month)

    assert sums(earned) == {"JPY": 1_500, "KWD": 12_340, "USD": 50_000}
    assert earned.sentence == (
        "You earned 1,500 JPY, 12.340 KWD and 500.00 USD in these 12 months, after fees and tax."
    )
    assert panels.csv_text(earned).splitlines()[-1].split(",")[1:] == [
        "1500", "JPY", "12.340", "KWD", "500.00", "USD",
    ]  # fmt: skip


def test_months_begin_where_the_viewer_is(archive: Organization, lab: Organization) -> None:
    offer = make_offer(archive)
    # Midnight of December 1 in Auckland, where it is summer: 13 hours ahead.
    border = datetime(2026, 11, 30, 11, tzinfo=UTC)
    sold_at(lab, offer, border - timedelta(seconds=1))
    sold_at(lab, offer, border)
    sold_at(lab, offer, border + timedelta(hours=1))
    there = panels.last_months(3, zone=AUCKLAND, now=border)
    utc = panels.last_months(3, zone=UTC, now=border)

    assert [day.isoformat() for day in there.days] == ["2026-10-01", "2026-11-01", "2026-12-01"]
    price = sums(read(archive, earnings.by_month, period=utc))["USD"] // 3
    assert read(archive, earnings.by_month, period=utc).lines[0].values == (0, 0, 3 * price)
    assert read(archive, earnings.by_month, period=there).lines[0].values == (0, price, 2 * price)


def test_nobody_else_sees_it_and_the_modes_are_apart(
    archive: Organization, lab: Organization, stranger: Organization
) -> None:
    order = sell(lab, make_offer(archive))

    for panel in (earnings.by_month, earnings.by_collection, earnings.by_use):
        assert not read(archive, panel).is_empty
        assert read(stranger, panel).is_empty
        assert read(lab, panel).is_empty
        assert read(archive, panel, livemode=True).is_empty
    assert read(archive, spending.by_month).is_empty
    assert read(stranger, spending.by_month).is_empty
    assert read(lab, spending.by_month, livemode=True).is_empty
    assert sums(for_all(market_panels.volume)) == {"Volume, USD": 50_000, "Fees, USD": 0}
    assert for_all(market_panels.volume, livemode=True).is_empty
    assert order.seller_id == archive.pk


def test_the_function_gives_a_tenant_its_own_lines_alone(
    archive: Organization, lab: Organization
) -> None:
    sell(lab, make_offer(archive))

    def lines(organization: Organization | None) -> list[tuple[Any, ...]]:
        codes = ["seller_payable", "buyer_receivable", "market_fee", "stripe_clearing"]
        with connection.cursor() as cursor:
            sql = (
                "SELECT code, amount_minor FROM payments_own_movements(false, %s, NULL, NULL, NULL)"
            )
            if organization is None:
                cursor.execute(sql, [codes])
                return cursor.fetchall()
            with acting(caller_for(organization), writing=False):
                cursor.execute(sql, [codes])
                found = cursor.fetchall()
                # Nothing of it stays behind: the walls stand as before.
                assert Journal.objects.count() == 0
                return found

    assert lines(archive) == [("seller_payable", -50_000)]
    assert sorted(lines(lab)) == [("buyer_receivable", -50_000), ("buyer_receivable", 50_000)]
    assert lines(None) == []


def test_royalties_are_no_earnings_and_are_owed(archive: Organization, lab: Organization) -> None:
    collection = make_works(archive, {"ada": 1, "grace": 1})
    set_rule(archive, collection)
    order = sell(lab, make_offer(archive, collection=collection))
    give_back(order, 10_000, cause="rfd_1")

    assert sums(read(archive, earnings.by_month)) == {"USD": 25_000 - 5_000}
    assert named(read(archive, payout_panels.royalties)) == [("Not shared out yet", 20_000, "USD")]
    assert read(archive, payout_panels.royalties).sentence == (
        "Your contributors are owed 200.00 USD."
    )


def test_a_share_that_waits_is_due(archive: Organization, buyer: ApiClient, stripe: Stripe) -> None:
    bought(buyer, archive, stripe)

    shown = read(archive, payout_panels.payouts)

    assert named(shown) == [("Waits for an account that can be paid", 50_000, "USD")]
    assert shown.sentence == "500.00 USD is due to you."
    assert named(for_all(market_panels.payouts)) == [
        ("Shares that wait for an account", 50_000, "USD")
    ]


def test_operators_see_what_waits_at_stripe_and_does_not_agree(
    archive: Organization, lab: Organization
) -> None:
    order = sell(lab, make_offer(archive))
    assert for_all(market_panels.mismatches).is_empty
    assert for_all(market_panels.stripe).is_empty
    with access.system("make rows in a test"):
        make_command_row(order)
        StripeEvent.objects.create(
            id="evt_1", type="charge.refunded", livemode=False, body={}, last_error="No order."
        )
    mismatches.paid_otherwise(order, found_minor=40_000, expected_minor=50_000)

    [found] = for_all(market_panels.mismatches).rows
    assert found[:4] == (
        "Another amount was paid than was owed",
        str(order.pk),
        panels.Money(50_000, "USD"),
        panels.Money(40_000, "USD"),
    )
    waiting = for_all(market_panels.stripe)
    assert [row[1] for row in waiting.rows if isinstance(row[1], int)] == [1, 1, 1, 0]
    for panel in (market_panels.mismatches, market_panels.stripe):
        assert for_all(panel, livemode=True).is_empty
        # No tenant's rows: under a tenant's walls there is nothing.
        assert read(archive, panel).is_empty
