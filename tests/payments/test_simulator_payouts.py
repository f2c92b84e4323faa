"""Payouts: which balance transactions reached the bank together."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.payments.simulator_account import Account, account
from tests.payments.simulator_sellers import onboarded, paid_charge

__all__ = ["account"]

TWO_DAYS = 2 * 24 * 3600
NET = 59_500 - 1756


def lines_of(account: Account, payout: str) -> list[tuple[str, int]]:
    found = account.client.v1.balance_transactions.list({"payout": payout})
    return [(line.type, line.net) for line in found]


def test_a_payout_takes_along_what_is_available_and_was_not_paid_out(account: Account) -> None:
    seller = onboarded(account)
    first, second = paid_charge(account), paid_charge(account)
    wanted: Any = {"amount": 50_000, "currency": "usd", "destination": seller}
    account.client.v1.transfers.create(wanted | {"source_transaction": first.id})
    account.control("clock", {"advance_seconds": TWO_DAYS})
    pending = paid_charge(account)

    payout = account.control("payouts", {"currency": "usd"})

    assert payout["amount"] == 2 * NET - 50_000
    assert lines_of(account, payout["id"]) == [
        ("payout", 50_000 - 2 * NET),
        ("transfer", -50_000),
        ("charge", NET),
        ("charge", NET),
    ]
    assert account.client.v1.balance.retrieve().available[0].amount == 0
    sources = {
        line.source
        for line in account.client.v1.balance_transactions.list(
            {"payout": payout["id"], "type": "charge"}
        )
    }
    assert sources == {first.id, second.id}
    account.control("clock", {"advance_seconds": TWO_DAYS})
    again = account.control("payouts", {})
    assert (again["amount"], len(lines_of(account, again["id"]))) == (NET, 2)
    (line,) = account.client.v1.balance_transactions.list(
        {"payout": again["id"], "type": "charge"}
    ).data
    assert line.source == pending.id


def test_a_payout_is_told_until_it_is_reconciled(account: Account) -> None:
    paid_charge(account)
    account.control("clock", {"advance_seconds": TWO_DAYS})
    account.control("payouts", {})

    events: list[Any] = account.client.v1.events.list({"type": "payout.*"}).data

    assert [each.type for each in events][::-1] == [
        "payout.created",
        "payout.paid",
        "payout.reconciliation_completed",
    ]
    states = [(each.data.object.status, each.data.object.reconciliation_status) for each in events]
    assert states[::-1] == [
        ("in_transit", "in_progress"),
        ("paid", "in_progress"),
        ("paid", "completed"),
    ]


def test_nothing_that_is_pending_is_paid_out(account: Account) -> None:
    paid_charge(account)

    assert account.refusal("/_simulator/payouts", b"{}")[0] == 409
    assert account.refusal("/_simulator/payouts", b'{"currency": "xyz"}')[0] == 400

    assert account.client.v1.payouts.list().data == []


def test_payouts_are_fetched_and_listed(account: Account) -> None:
    paid_charge(account)
    account.control("clock", {"advance_seconds": TWO_DAYS})
    payout = account.control("payouts", {})["id"]
    find = account.client.v1.payouts.list

    assert [each.id for each in find({"status": "paid"})] == [payout]
    assert find({"status": "failed"}).data == []
    assert find({"arrival_date": {"lt": 1}}).data == []
    found: Any = account.client.v1.payouts.retrieve(payout, {"expand": ["balance_transaction"]})
    assert (found.automatic, found.reconciliation_status) == (True, "completed")
    assert found.balance_transaction.net == -NET
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.client.v1.balance_transactions.list({"payout": "po_none"})
    assert (refused.value.code, refused.value.param) == ("resource_missing", "payout")


def test_making_payouts_by_the_api_is_not_covered(account: Account) -> None:
    with pytest.raises(stripe.APIError) as refused:
        account.client.v1.payouts.create({"amount": 1, "currency": "usd"})

    assert refused.value.http_status == 501


def test_an_account_without_the_capability_is_not_paid_out(account: Account) -> None:
    seller = onboarded(account)
    wanted: Any = {"amount": 100, "currency": "usd", "destination": seller}
    account.client.v1.transfers.create(wanted | {"source_transaction": paid_charge(account).id})
    account.control(f"accounts/{seller}/restrict", {"requirement": "external_account"})

    assert account.refusal(f"/_simulator/accounts/{seller}/pay_out", b"{}")[0] == 409

    balance = account.client.v1.balance.retrieve({}, {"stripe_account": seller})
    assert balance.pending[0].amount == 100
