"""Refunds: whole, in parts, never more than was paid."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.payments.simulator_account import Account, account

__all__ = ["account"]


@pytest.fixture
def intent(account: Account) -> str:
    """A payment of 595.00 USD."""
    session = account.paid()
    assert isinstance(session.payment_intent, stripe.PaymentIntent)
    return session.payment_intent.id


def charge_of(account: Account, intent: str) -> stripe.Charge:
    found = account.client.v1.payment_intents.retrieve(intent, {"expand": ["latest_charge"]})
    assert isinstance(found.latest_charge, stripe.Charge)
    return found.latest_charge


def refusal(account: Account, params: Any) -> stripe.InvalidRequestError:
    before = len(account.client.v1.refunds.list().data)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.client.v1.refunds.create(params)
    assert len(account.client.v1.refunds.list().data) == before
    return refused.value


def test_a_refund_gives_everything_back(account: Account, intent: str) -> None:
    refund = account.client.v1.refunds.create(
        {"payment_intent": intent, "metadata": {"order": "ord_1"}}
    )

    assert (refund.amount, refund.currency, refund.status) == (59_500, "usd", "succeeded")
    assert refund.payment_intent == intent
    assert refund.metadata is not None
    assert refund.metadata.to_dict() == {"order": "ord_1"}
    charge = charge_of(account, intent)
    assert (charge.amount_refunded, charge.refunded, charge.paid) == (59_500, True, True)


def test_a_charge_is_refunded_in_parts_until_nothing_is_left(account: Account, intent: str) -> None:
    for amount, so_far in ((100, 100), (9_400, 9_500)):
        account.client.v1.refunds.create({"payment_intent": intent, "amount": amount})
        charge = charge_of(account, intent)
        assert (charge.amount_refunded, charge.refunded) == (so_far, False)

    rest = account.client.v1.refunds.create({"charge": charge.id, "reason": "duplicate"})

    assert (rest.amount, rest.reason) == (50_000, "duplicate")
    assert charge_of(account, intent).refunded is True
    entries = account.client.v1.balance_transactions.list({"type": "refund"}).data
    assert [entry.net for entry in entries] == [-50_000, -9_400, -100]


def test_more_than_is_left_is_refused(account: Account, intent: str) -> None:
    account.client.v1.refunds.create({"payment_intent": intent, "amount": 59_000})

    error = refusal(account, {"payment_intent": intent, "amount": 501})

    assert (error.http_status, error.param) == (400, "amount")
    assert charge_of(account, intent).amount_refunded == 59_000


def test_a_refunded_charge_cannot_be_refunded_again(account: Account, intent: str) -> None:
    account.client.v1.refunds.create({"payment_intent": intent})

    error = refusal(account, {"payment_intent": intent})

    assert (error.http_status, error.code) == (400, "charge_already_refunded")


@pytest.mark.parametrize(
    ("params", "status", "param"),
    [
        ({"amount": 0}, 400, "amount"),
        ({"amount": -1}, 400, "amount"),
        ({"reason": "bored"}, 400, "reason"),
        ({"charge": "ch_1"}, 400, "charge"),
        ({"payment_intent": "pi_none"}, 404, "payment_intent"),
    ],
)
def test_a_wrong_refund_is_refused_by_its_parameter(
    account: Account, intent: str, params: dict[str, Any], status: int, param: str
) -> None:
    error = refusal(account, {"payment_intent": intent} | params)

    assert (error.http_status, error.param) == (status, param)


def test_a_refund_names_a_payment(account: Account) -> None:
    assert refusal(account, {"amount": 100}).code == "parameter_missing"


def test_a_payment_that_failed_cannot_be_refunded(account: Account) -> None:
    session = account.open()
    account.control(f"sessions/{session.id}/decline", {})
    (failed,) = account.client.v1.charges.list().data
    assert isinstance(failed.payment_intent, str)

    assert refusal(account, {"payment_intent": failed.payment_intent}).param == "payment_intent"
    assert refusal(account, {"charge": failed.id}).code == "charge_not_refundable"


def test_a_lost_answer_refunds_once(account: Account, intent: str) -> None:
    account.control("faults", {"drop_response": 1, "path": "/v1/refunds", "method": "POST"})

    refund = account.client.v1.refunds.create({"payment_intent": intent, "amount": 100})

    assert [each.id for each in account.client.v1.refunds.list().data] == [refund.id]
    assert charge_of(account, intent).amount_refunded == 100


def test_refunds_are_found_by_payment_and_charge(account: Account, intent: str) -> None:
    refund = account.client.v1.refunds.create({"payment_intent": intent, "amount": 1})
    other = account.paid()
    assert isinstance(other.payment_intent, stripe.PaymentIntent)
    account.client.v1.refunds.create({"payment_intent": other.payment_intent.id})
    find = account.client.v1.refunds.list

    assert [each.id for each in find({"payment_intent": intent}).data] == [refund.id]
    charge = charge_of(account, intent).id
    assert [each.id for each in find({"charge": charge}).data] == [refund.id]
    assert account.client.v1.refunds.retrieve(refund.id).amount == 1


def test_only_a_refunds_metadata_changes(account: Account, intent: str) -> None:
    refund = account.client.v1.refunds.create({"payment_intent": intent, "metadata": {"a": "1"}})

    changed = account.client.v1.refunds.update(refund.id, {"metadata": {"a": "", "b": "2"}})

    assert changed.metadata is not None
    assert changed.metadata.to_dict() == {"b": "2"}
    with pytest.raises(stripe.InvalidRequestError):
        account.client.v1.refunds.update(refund.id, {"amount": 1})  # type: ignore[arg-type]


def test_what_refunds_of_connected_accounts_need_is_not_covered(
    account: Account, intent: str
) -> None:
    with pytest.raises(stripe.APIError) as refused:
        account.client.v1.refunds.create({"payment_intent": intent, "reverse_transfer": True})

    assert refused.value.http_status == 501
