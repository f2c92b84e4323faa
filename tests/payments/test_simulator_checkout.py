"""Checkout sessions: what may be opened, and what paying, declining and expiring do."""

from __future__ import annotations

import time
from typing import Any

import pytest
import stripe

from tests.payments.simulator_account import Account, account, line, session_params, wait_until

__all__ = ["account"]


def refused(account: Account, **changed: Any) -> stripe.InvalidRequestError:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.open(**changed)
    assert refusal.value.http_status == 400
    assert account.client.v1.checkout.sessions.list().data == []
    return refusal.value


def test_a_session_adds_its_lines_up(account: Account) -> None:
    session = account.open(line_items=[line("A", 1_250, quantity=3), line("B", 1)])

    assert (session.amount_subtotal, session.amount_total) == (3_751, 3_751)
    assert (session.status, session.payment_status) == ("open", "unpaid")
    assert session.currency == "usd"
    assert session.payment_intent is None
    assert session.id.startswith("cs_test_dev_")
    assert session.url == f"{account.url}/pay/{session.id}"


def test_what_the_caller_noted_comes_back(account: Account) -> None:
    session = account.retrieve(account.open().id, "line_items")

    assert session.client_reference_id == "ord_1"
    assert session.metadata is not None
    assert session.metadata.to_dict() == {"order": "ord_1"}
    assert session.success_url == session_params()["success_url"]
    assert session.line_items is not None
    assert [(each.description, each.amount_total) for each in session.line_items.data] == [
        ("License", 50_000),
        ("Tax", 9_500),
    ]


def test_line_items_can_be_listed(account: Account) -> None:
    session = account.open()

    items = account.client.v1.checkout.sessions.line_items.list(session.id)

    assert [each.quantity for each in items.data] == [1, 1]
    price = items.data[0].price
    assert price is not None
    assert (price.unit_amount, str(price.unit_amount_decimal)) == (50_000, "50000")


@pytest.mark.parametrize(
    ("currency", "amount", "code"),
    [
        ("usd", 49, "amount_too_small"),
        ("gbp", 29, "amount_too_small"),
        ("jpy", 49, "amount_too_small"),
        ("huf", 17_499, "amount_too_small"),
        ("usd", 100_000_000, "amount_too_large"),
    ],
)
def test_an_amount_that_cannot_be_charged_is_refused(
    account: Account, currency: str, amount: int, code: str
) -> None:
    error = refused(account, line_items=[line("A", amount, currency=currency)])

    assert error.code == code


@pytest.mark.parametrize(("currency", "amount"), [("usd", 50), ("gbp", 30), ("usd", 99_999_999)])
def test_the_smallest_and_the_largest_amount_pass(
    account: Account, currency: str, amount: int
) -> None:
    session = account.open(line_items=[line("A", amount, currency=currency)])

    assert session.amount_total == amount


def test_a_total_is_refused_that_no_single_line_exceeds(account: Account) -> None:
    lines = [line("A", 50_000_000), line("B", 50_000_000)]

    assert refused(account, line_items=lines).code == "amount_too_large"


def test_an_order_that_costs_nothing_is_not_covered(account: Account) -> None:
    with pytest.raises(stripe.APIError) as refusal:
        account.open(line_items=[line("A", 0)])

    assert refusal.value.http_status == 501


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"line_items": [line("A", 100, currency="xyz")]}, "line_items[0][price_data][currency]"),
        (
            {"line_items": [line("A", 100), line("B", 100, currency="eur")]},
            "line_items[1][price_data][currency]",
        ),
        ({"line_items": [line("A", -1)]}, "line_items[0][price_data][unit_amount]"),
        ({"line_items": [line("A", 100, quantity=0)]}, "line_items[0][quantity]"),
        ({"line_items": [line(" ", 100)]}, "line_items[0][price_data][product_data][name]"),
        ({"line_items": [{"quantity": 1}]}, "line_items[0][price_data]"),
        ({"line_items": [{"quantity": 1, "price": "price_1"}]}, "line_items[0][price]"),
        ({"line_items": [line("A", 1)] * 101}, "line_items"),
        ({"line_items": []}, "line_items"),
        ({"line_items": [line("A", 1_005, currency="kwd")]}, "line_items"),
        ({"success_url": "market.example/return"}, "success_url"),
        ({"success_url": "javascript:alert(1)"}, "success_url"),
        ({"cancel_url": "https://market.example/a b"}, "cancel_url"),
        ({"currency": "eur"}, "currency"),
        ({"client_reference_id": "x" * 201}, "client_reference_id"),
        ({"metadata": {"k" * 41: "v"}}, f"metadata[{'k' * 41}]"),
        ({"metadata": {"k": "v" * 501}}, "metadata[k]"),
        ({"metadata": {str(n): "v" for n in range(51)}}, "metadata"),
        (
            {"payment_intent_data": {"metadata": {"k": "v" * 501}}},
            "payment_intent_data[metadata][k]",
        ),
        (
            {"payment_intent_data": {"description": "x" * 1_001}},
            "payment_intent_data[description]",
        ),
    ],
)
def test_a_wrong_session_is_refused_by_its_parameter(
    account: Account, changed: dict[str, Any], param: str
) -> None:
    assert refused(account, **changed).param == param


def test_a_session_needs_an_address_to_go_back_to(account: Account) -> None:
    params = session_params()
    del params["success_url"]

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.create(params)

    assert (refusal.value.param, refusal.value.code) == ("success_url", "parameter_missing")


def test_a_session_stays_open_from_30_minutes_to_24_hours(account: Account) -> None:
    now = int(time.time())
    for seconds in (29 * 60, 24 * 3600 + 60):
        assert refused(account, expires_at=now + seconds).param == "expires_at"
    for seconds in (31 * 60, 24 * 3600 - 5):
        assert account.open(expires_at=now + seconds).expires_at == now + seconds
        account.control("reset", {})

    assert account.open().expires_at == pytest.approx(now + 24 * 3600, abs=10)


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"mode": "subscription"}, "mode"),
        ({"ui_mode": "elements"}, "ui_mode"),
        ({"adaptive_pricing": {"enabled": True}}, "adaptive_pricing[enabled]"),
        ({"customer": "cus_1"}, "customer"),
        ({"payment_intent_data": {"on_behalf_of": "acct_1"}}, "payment_intent_data[on_behalf_of]"),
    ],
)
def test_what_the_simulator_cannot_do_is_said_and_not_ignored(
    account: Account, changed: dict[str, Any], param: str
) -> None:
    with pytest.raises(stripe.APIError) as refusal:
        account.open(**changed)

    assert refusal.value.http_status == 501
    assert list(account.control("uncovered")["data"]) == [f"POST /v1/checkout/sessions: {param}"]


def test_paying_completes_the_session_and_charges_once(account: Account) -> None:
    session = account.paid()

    assert (session.status, session.payment_status) == ("complete", "paid")
    assert session.url is None
    intent = session.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert (intent.status, intent.amount_received) == ("succeeded", 59_500)
    assert (intent.transfer_group, intent.description) == ("ord_1", "License ord_1")
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert (charge.paid, charge.captured, charge.refunded) == (True, True, False)
    assert charge.metadata.to_dict() == {"order": "ord_1"}
    assert charge.transfer_group == "ord_1"
    assert intent.id.startswith("pi_dev_")
    assert charge.id.startswith("ch_dev_")


def test_paying_twice_charges_once(account: Account) -> None:
    session = account.paid()

    account.control(f"sessions/{session.id}/pay", {})

    assert len(account.client.v1.charges.list().data) == 1
    types = [event.type for event in account.client.v1.events.list({"limit": 100}).data]
    assert types.count("checkout.session.completed") == 1


def test_the_fee_and_the_net_stand_in_the_balance(account: Account) -> None:
    session = account.paid()

    (entry,) = account.client.v1.balance_transactions.list().data

    # 2.9 % of 59,500 is 1,725.5: half up, and 30.
    assert (entry.amount, entry.fee, entry.net) == (59_500, 1_756, 57_744)
    intent = session.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert isinstance(intent.latest_charge, stripe.Charge)
    assert entry.source == intent.latest_charge.id
    assert intent.latest_charge.balance_transaction == entry.id


def test_a_declined_card_leaves_the_session_open_to_pay_otherwise(account: Account) -> None:
    session = account.open()
    account.control(f"sessions/{session.id}/decline", {"decline_code": "insufficient_funds"})

    declined = account.retrieve(session.id, "payment_intent.latest_charge")
    assert (declined.status, declined.payment_status) == ("open", "unpaid")
    assert declined.url == session.url
    intent = declined.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert intent.status == "requires_payment_method"
    assert intent.last_payment_error is not None
    assert intent.last_payment_error.decline_code == "insufficient_funds"
    assert isinstance(intent.latest_charge, stripe.Charge)
    assert (intent.latest_charge.paid, intent.latest_charge.status) == (False, "failed")

    account.control(f"sessions/{session.id}/pay", {})

    paid = account.retrieve(session.id, "payment_intent.latest_charge")
    assert paid.payment_status == "paid"
    assert isinstance(paid.payment_intent, stripe.PaymentIntent)
    assert paid.payment_intent.id == intent.id
    assert paid.payment_intent.last_payment_error is None
    assert len(account.client.v1.charges.list().data) == 2


def test_an_expired_session_cannot_be_paid(account: Account) -> None:
    session = account.open()
    expired = account.client.v1.checkout.sessions.expire(session.id)

    assert (expired.status, expired.url) == ("expired", None)
    for verb in ("pay", "decline"):
        status, error = account.refusal(f"/_simulator/sessions/{session.id}/{verb}", b"{}")
        assert (status, "has expired" in error["message"]) == (400, True)
    assert account.client.v1.payment_intents.list().data == []


def test_a_paid_session_can_be_neither_expired_nor_declined(account: Account) -> None:
    session = account.paid()

    with pytest.raises(stripe.InvalidRequestError):
        account.client.v1.checkout.sessions.expire(session.id)
    assert account.refusal(f"/_simulator/sessions/{session.id}/decline", b"{}")[0] == 400

    assert account.retrieve(session.id).status == "complete"


def test_a_session_expires_by_itself_when_its_time_is_up(account: Account) -> None:
    kept = account.open()
    session = account.open(expires_at=int(time.time()) + 31 * 60)

    account.control("clock", {"advance_seconds": 31 * 60})
    wait_until(lambda: account.retrieve(session.id).status == "expired", lambda: "still open")

    assert account.retrieve(kept.id).status == "open"
    account.wait_for_events("checkout.session.expired")


def test_sessions_are_found_by_their_payment_and_status(account: Account) -> None:
    paid, is_open = account.paid(), account.open()
    assert isinstance(paid.payment_intent, stripe.PaymentIntent)
    find = account.client.v1.checkout.sessions.list

    assert [each.id for each in find({"payment_intent": paid.payment_intent.id}).data] == [paid.id]
    assert [each.id for each in find({"status": "open"}).data] == [is_open.id]


@pytest.mark.parametrize("verb", ["pay", "decline", "expire"])
def test_an_unknown_session_is_404(account: Account, verb: str) -> None:
    status, error = account.refusal(f"/_simulator/sessions/cs_none/{verb}", b"{}")

    assert (status, error["code"]) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.retrieve("cs_none")
    assert (refusal.value.http_status, refusal.value.code) == (404, "resource_missing")
