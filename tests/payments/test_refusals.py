"""Refused calls that move money: each is told with its age, until its money went after all."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from marketplace import access
from marketplace.errors import PaymentProviderRefused
from marketplace.models import Organization, User
from payments import commands, reconcile, remittances, royalty_payments, transfers
from payments.models import Mismatch, Remittance, TransferReversal
from tests.payments.buying import order_now
from tests.payments.selling import onboarded, request_refund, reversals_of, transfer_of
from tests.payments.simulating import Stripe
from tests.payments.test_payouts import Market, market  # noqa: F401
from tests.payments.test_remittances import owe, payable
from tests.payments.test_transfers import FakeGateway, bought, gateway, settled, shared_out
from tests.people import ApiClient

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
__all__ = ["gateway"]


@pytest.fixture
def buyer(lab: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(lab)


@pytest.fixture
def seller(archive: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(archive)


@pytest.fixture
def operator() -> User:
    return User.objects.create(email="op@example.org", name="Op", is_operator=True)


def told() -> list[tuple[str, str, int | None]]:
    """What is open, as (subject, call, amount)."""
    with access.system("read mismatches in a test"):
        rows = Mismatch.objects.filter(resolved_at=None, kind="command_refused").order_by("pk")
        return [(row.subject, row.subject_type, row.expected_minor) for row in rows]


def ages() -> set[Any]:
    with access.system("read mismatches in a test"):
        return set(Mismatch.objects.values_list("since", flat=True))


# --- through Stripe ---------------------------------------------------------------------------


@pytest.mark.oracle
def test_a_refund_that_stripe_refuses_is_told_until_another_one_gives_it_back(
    archive: Organization, buyer: ApiClient, seller: ApiClient, stripe: Stripe
) -> None:
    """Seen to fail: only the refund's own row said so."""
    order = bought(buyer, archive, stripe)
    stripe.fail("/v1/refunds", status=400)
    refused = request_refund(seller, order, amount_minor=20_000).json()["id"]
    settled(order)

    assert told() == [(refused, "refund", 20_000)]
    said = io.StringIO()
    with pytest.raises(CommandError, match="1 mismatches are open"):
        call_command("reconcile", json=True, stdout=said, stderr=io.StringIO())
    [shown] = json.loads(said.getvalue())["open"]
    assert (shown["kind"], shown["type"], shown["order"]) == (
        "command_refused",
        "refund",
        order["id"],
    )
    assert (shown["expected"], shown["age_hours"]) == ("200.00 USD", 0)

    # Less than that is not all of it.
    for amount, left in ((5_000, 1), (15_000, 0)):
        assert request_refund(seller, order, amount_minor=amount).status_code == 201
        settled(order)
        assert len(told()) == left
    assert order_now(buyer, order)["refunded_minor"] == 20_000


@pytest.mark.oracle
def test_a_reversal_that_the_account_does_not_cover_is_told_until_the_debt_is_paid(
    archive: Organization, buyer: ApiClient, seller: ApiClient, stripe: Stripe
) -> None:
    account = onboarded(archive, stripe)
    order = bought(buyer, archive, stripe)
    settled(order)
    stripe.account(str(account.stripe_id), "pay_out")
    request_refund(seller, order, amount_minor=20_000)
    settled(order)

    [reversal] = reversals_of(order)
    assert reversal.state == TransferReversal.State.OWED
    assert told() == [(str(reversal.pk), "reverse_transfer", 20_000)]
    reconcile.check_balance()
    assert len(told()) == 1

    settled(bought(buyer, archive, stripe))
    reconcile.check_balance()

    assert told() == []


# --- rows alone, and a gateway that refuses ---------------------------------------------------


def test_a_share_that_is_refused_is_told_with_one_age_until_it_is_sent(
    archive: Organization, lab: Organization, operator: User, gateway: FakeGateway
) -> None:
    order = shared_out(archive, lab)
    id = str(transfer_of({"id": str(order.pk)}).pk)
    assert told() == [(id, "transfer", 48_520 + 1_480)]
    since = ages()

    transfers.send_again(operator, id)
    commands.complete_due()
    assert (told(), ages()) == ([(id, "transfer", 50_000)], since)

    gateway.is_refusing = False
    transfers.send_again(operator, id)
    commands.complete_due()
    assert told() == []
    with access.system("read a mismatch in a test"):
        assert Mismatch.objects.get().resolved_by == "system"


def test_what_a_seller_is_owed_beside_its_sales_is_told_once_until_it_arrives(
    archive: Organization, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    payable(archive)
    owe(archive, 12_000)
    monkeypatch.setattr(remittances, "EVERY", timedelta())
    for _day in range(3):
        assert remittances.start_due() == 1
        commands.complete_due()
    with access.system("read the first in a test"):
        first, *_others = Remittance.objects.order_by("pk")
    assert told() == [(str(first.pk), "remittance", 12_000)]

    gateway.is_refusing = False
    remittances.start_due()
    commands.complete_due()

    assert told() == []


def test_royalties_that_are_refused_are_told_until_a_later_payment_arrives(
    market: Market,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    gateway: FakeGateway,
) -> None:
    def refuse(params: dict[str, Any], *, key: str) -> Any:
        raise PaymentProviderRefused("No such account.")

    market.sold()
    market.account("ann")
    market.confirm()
    sending = gateway.transfer
    gateway.is_refusing = False
    monkeypatch.setattr("payments.stripe_gateway.transfer", refuse)
    royalty_payments.send_due()
    commands.complete_due()
    assert [(call, amount) for _id, call, amount in told()] == [("royalty_transfer", 10_000)]

    monkeypatch.setattr("payments.stripe_gateway.transfer", sending)
    market.confirm()
    royalty_payments.send_due()
    commands.complete_due()

    assert told() == []
