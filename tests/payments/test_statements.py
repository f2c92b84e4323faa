"""What a seller is told of its money: every movement, and sums that anybody can add up again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.utils import timezone

from marketplace.models import Organization
from payments import statements
from tests.payments.selling import onboarded, request_refund
from tests.payments.simulating import Stripe
from tests.payments.test_transfers import bought, settled
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def buyer(lab: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(lab)


@pytest.fixture
def seller(archive: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(archive)


def statement(client: ApiClient, **fields: str) -> Any:
    now = timezone.now()
    asked = {
        "currency": "USD",
        "begins_at": (now - timedelta(days=1)).isoformat(),
        "ends_at": (now + timedelta(days=1)).isoformat(),
        **fields,
    }
    return client.get(f"/v1/statement?{urlencode(asked)}")


def test_a_statement_has_every_movement_and_adds_up(
    archive: Organization, buyer: ApiClient, seller: ApiClient, stripe: Stripe
) -> None:
    account = onboarded(archive, stripe)
    order = bought(buyer, archive, stripe)
    settled(order)
    stripe.account(str(account.stripe_id), "pay_out")
    request_refund(seller, order, amount_minor=30_000)
    settled(order)

    shown = statement(seller).json()

    assert [(line["kind"], line["amount_minor"]) for line in shown["lines"]] == [
        ("sale", 50_000),
        ("transfer", -50_000),
        ("refund", -30_000),
        # What it owes is moved from one account to the other.
        ("owed", -30_000),
        ("owed", 30_000),
    ]
    assert {line["order"] for line in shown["lines"]} == {order["id"]}
    assert shown["opening_minor"] == 0
    amounts = [line["amount_minor"] for line in shown["lines"]]
    assert shown["closing_minor"] == sum(amounts) == -30_000
    assert seller.get("/v1/balances").json()["data"] == [
        {"currency": "USD", "owed_to_you_minor": 0, "you_owe_minor": 30_000}
    ]


def test_a_later_statement_opens_where_the_earlier_one_closed(
    archive: Organization, buyer: ApiClient, seller: ApiClient, stripe: Stripe
) -> None:
    bought(buyer, archive, stripe)
    between = timezone.now()
    bought(buyer, archive, stripe)

    earlier = statement(seller, ends_at=between.isoformat()).json()
    later = statement(seller, begins_at=between.isoformat()).json()

    assert (earlier["opening_minor"], earlier["closing_minor"]) == (0, 50_000)
    assert (later["opening_minor"], later["closing_minor"]) == (50_000, 100_000)
    assert len(earlier["lines"]) == len(later["lines"]) == 1


def test_a_long_statement_says_that_there_is_more(
    archive: Organization,
    buyer: ApiClient,
    seller: ApiClient,
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statements, "LINES_MAX", 1)
    for _sale in range(2):
        bought(buyer, archive, stripe)

    shown = statement(seller).json()
    rest = statement(seller, after=str(shown["lines"][0]["id"])).json()

    assert (len(shown["lines"]), shown["has_more"], shown["closing_minor"]) == (1, True, 50_000)
    assert (len(rest["lines"]), rest["has_more"]) == (1, False)
    assert (rest["opening_minor"], rest["closing_minor"]) == (50_000, 100_000)
    assert statement(seller, after="999999").status_code == 422


def test_nobody_else_sees_a_sellers_money(
    archive: Organization,
    buyer: ApiClient,
    stranger: Organization,
    client_for: ClientFor,
    stripe: Stripe,
) -> None:
    bought(buyer, archive, stripe)

    for client in (buyer, client_for(stranger), client_for(archive, livemode=True)):
        assert client.get("/v1/balances").json()["data"] == []
        assert statement(client).json()["lines"] == []


@pytest.mark.parametrize(
    "fields",
    [{"currency": "usd"}, {"currency": "XXX"}, {"begins_at": "now"}, {"ends_at": "2020-01-01"}],
)
def test_a_statement_of_nothing_sensible_is_refused(
    fields: dict[str, str], seller: ApiClient
) -> None:
    assert statement(seller, **fields).status_code == 422
