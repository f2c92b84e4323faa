"""Ways to pay: cards that are refused or ask their owner, bank debits, refunds that fail later."""

from __future__ import annotations

import time
from typing import Any

import pytest
import stripe

from payments.simulator.cards import CARDS, DECLINES, RETURNS
from payments.simulator.refunds import ENDED_AFTER_SECONDS
from tests.payments.simulator_account import Account, account, line
from tests.payments.test_simulator_pages import Shown, browse, press

__all__ = ["account"]

TRIED = ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]


def intent_of(account: Account, session: stripe.checkout.Session) -> stripe.PaymentIntent:
    found = account.retrieve(session.id, "payment_intent.latest_charge").payment_intent
    assert isinstance(found, stripe.PaymentIntent)
    return found


def charge_of(account: Account, session: stripe.checkout.Session) -> stripe.Charge:
    charge = intent_of(account, session).latest_charge
    assert isinstance(charge, stripe.Charge)
    return charge


def do(account: Account, session: stripe.checkout.Session, verb: str, **wanted: Any) -> Any:
    return account.control(f"sessions/{session.id}/{verb}", wanted)


def refused(account: Account, session: stripe.checkout.Session, verb: str) -> None:
    """A control that the session's state does not allow, and that changed nothing."""
    before = account.retrieve(session.id, "payment_intent").to_dict()
    status, _error = account.refusal(f"/_simulator/sessions/{session.id}/{verb}", b"{}")
    assert status in {400, 409}
    assert account.retrieve(session.id, "payment_intent").to_dict() == before


def types(account: Account) -> list[str]:
    found = account.client.v1.events.list({"limit": 100}).data
    return [event.type for event in reversed(found)]


def page(account: Account, session: stripe.checkout.Session) -> Shown:
    return browse(account, f"/pay/{session.id}")


# --- declines ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code", "decline_code"),
    [
        ("generic_decline", "card_declined", "generic_decline"),
        ("insufficient_funds", "card_declined", "insufficient_funds"),
        ("lost_card", "card_declined", "lost_card"),
        ("stolen_card", "card_declined", "stolen_card"),
        ("expired_card", "expired_card", None),
        ("incorrect_cvc", "incorrect_cvc", None),
        ("processing_error", "processing_error", None),
    ],
)
def test_a_refused_card_says_why(
    account: Account, name: str, code: str, decline_code: str | None
) -> None:
    session = account.open()

    do(account, session, "decline", decline_code=name)

    intent = intent_of(account, session)
    error = intent.last_payment_error
    assert error is not None
    assert (error.type, error.code) == ("card_error", code)
    assert getattr(error, "decline_code", None) == decline_code
    assert (intent.status, intent.amount_received) == ("requires_payment_method", 0)
    charge = charge_of(account, session)
    assert (charge.status, charge.failure_code, charge.paid) == ("failed", code, False)
    assert account.retrieve(session.id).status == "open"
    assert types(account) == TRIED


def test_each_refusal_can_be_tried_on_the_page(account: Account) -> None:
    session = account.open()
    for name, decline in DECLINES.items():
        if name == "generic_decline":
            continue
        answer = press(account, page(account, session), f"decline:{name}")
        assert answer.status == 303
        assert page(account, session).says(f"{decline.message} You can try again.")
    assert press(account, page(account, session), "pay").status == 303
    assert account.retrieve(session.id).payment_status == "paid"


def test_a_card_that_there_is_not_is_refused(account: Account) -> None:
    session = account.open()
    for verb, wanted in (("pay", b'{"card": "gold"}'), ("decline", b'{"decline_code": "x"}')):
        status, _error = account.refusal(f"/_simulator/sessions/{session.id}/{verb}", wanted)
        assert status == 400
    assert account.retrieve(session.id).payment_intent is None


# --- authentication ----------------------------------------------------------------------------


def test_a_card_that_asks_its_owner_is_charged_once_he_answers(account: Account) -> None:
    session = account.open()
    do(account, session, "require_action")
    asked = intent_of(account, session)
    assert (asked.status, asked.latest_charge) == ("requires_action", None)
    assert asked.next_action is not None
    assert asked.next_action.type == "redirect_to_url"
    assert asked.next_action.redirect_to_url is not None
    assert asked.next_action.redirect_to_url.url == session.url
    assert account.retrieve(session.id).status == "open"

    do(account, session, "authenticate")

    intent = intent_of(account, session)
    assert (intent.id, intent.status, intent.next_action) == (asked.id, "succeeded", None)
    details = charge_of(account, session).payment_method_details
    assert details is not None
    assert details.card is not None
    assert details.card.three_d_secure is not None
    assert details.card.three_d_secure.result == "authenticated"
    assert types(account) == [
        "payment_intent.created",
        "payment_intent.requires_action",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]


def test_a_failed_authentication_charges_nothing_and_leaves_the_session_open(
    account: Account,
) -> None:
    session = account.open()
    do(account, session, "require_action")

    do(account, session, "fail_authentication")

    intent = intent_of(account, session)
    assert (intent.status, intent.latest_charge) == ("requires_payment_method", None)
    assert intent.last_payment_error is not None
    assert intent.last_payment_error.code == "payment_intent_authentication_failure"
    assert types(account)[-1] == "payment_intent.payment_failed"
    assert account.client.v1.charges.list().data == []
    do(account, session, "pay")
    assert account.retrieve(session.id).payment_status == "paid"


def test_an_abandoned_authentication_expires_with_its_session(account: Account) -> None:
    session = account.open(expires_at=int(time.time()) + 31 * 60)
    do(account, session, "require_action")

    account.control("clock", {"advance_seconds": 31 * 60})

    assert account.retrieve(session.id).status == "expired"
    assert types(account)[-1] == "checkout.session.expired"
    assert account.client.v1.charges.list().data == []
    refused(account, session, "authenticate")


def test_the_page_asks_and_takes_each_answer(account: Account) -> None:
    session = account.open()
    press(account, page(account, session), "require_action")
    asking = page(account, session)
    assert list(asking.page.buttons) == ["authenticate", "fail_authentication", "walk_away"]

    away = press(account, asking, "walk_away")
    assert away.headers["Location"] == "https://market.example/cancel"
    assert intent_of(account, session).status == "requires_action"
    press(account, asking, "fail_authentication")
    assert page(account, session).says("has failed authentication.")
    press(account, page(account, session), "require_action")
    done = press(account, asking, "authenticate")

    assert done.headers["Location"].startswith("https://market.example/return")
    assert account.retrieve(session.id).payment_status == "paid"


def test_nobody_authenticates_who_was_not_asked(account: Account) -> None:
    session = account.open()
    do(account, session, "decline")
    for verb in ("authenticate", "fail_authentication", "settle", "bounce"):
        refused(account, session, verb)


# --- bank debits -------------------------------------------------------------------------------


def test_a_debit_completes_the_session_and_is_paid_later(account: Account) -> None:
    session = account.open()
    do(account, session, "debit")
    done = account.retrieve(session.id)
    assert (done.status, done.payment_status) == ("complete", "unpaid")
    intent = intent_of(account, session)
    assert (intent.status, intent.amount_received) == ("processing", 0)
    pending = charge_of(account, session)
    assert (pending.status, pending.paid) == ("pending", False)
    (entry,) = account.client.v1.balance_transactions.list().data
    assert (entry.id, entry.status) == (pending.balance_transaction, "pending")

    do(account, session, "settle")

    assert account.retrieve(session.id).payment_status == "paid"
    charge = charge_of(account, session)
    assert (charge.id, charge.status, charge.paid) == (pending.id, "succeeded", True)
    assert charge.balance_transaction == entry.id
    (entry,) = account.client.v1.balance_transactions.list().data
    assert (entry.type, entry.reporting_category, entry.source) == ("payment", "charge", charge.id)
    assert types(account) == [
        "payment_intent.created",
        "charge.pending",
        "payment_intent.processing",
        "checkout.session.completed",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.async_payment_succeeded",
    ]


@pytest.mark.parametrize("failure_code", RETURNS)
def test_a_debit_that_the_bank_returns_leaves_the_session_unpaid(
    account: Account, failure_code: str
) -> None:
    session = account.open()
    do(account, session, "debit")

    do(account, session, "bounce", failure_code=failure_code)

    done = account.retrieve(session.id)
    assert (done.status, done.payment_status) == ("complete", "unpaid")
    charge = charge_of(account, session)
    assert (charge.status, charge.failure_code, charge.paid) == ("failed", failure_code, False)
    assert intent_of(account, session).status == "requires_payment_method"
    failure, expected = account.client.v1.balance_transactions.list().data
    assert (failure.type, failure.reporting_category) == (
        "payment_failure_refund",
        "charge_failure",
    )
    assert charge.failure_balance_transaction == failure.id
    assert (failure.net, expected.type) == (-expected.net, "payment")
    assert types(account)[-3:] == [
        "charge.failed",
        "payment_intent.payment_failed",
        "checkout.session.async_payment_failed",
    ]
    refused(account, session, "settle")


def test_a_debit_is_paid_or_returned_on_the_page(account: Account) -> None:
    paid, returned = account.open(), account.open()
    for session, button in ((paid, "settle"), (returned, "bounce")):
        answer = press(account, page(account, session), "debit")
        assert answer.headers["Location"].startswith("https://market.example/return")
        waiting = page(account, session)
        assert list(waiting.page.buttons) == ["settle", "bounce"]
        assert press(account, waiting, button).status == 303
    assert page(account, paid).says("This is paid")
    assert page(account, returned).says("The bank did not pay")
    assert account.retrieve(returned.id).payment_status == "unpaid"


def test_a_session_offers_what_debits_in_its_currency(account: Account) -> None:
    euro = account.open(line_items=[line("A", 5_000, currency="eur")])
    yen = account.open(line_items=[line("A", 5_000, currency="jpy")])
    card_only = account.open(allowed_payment_method_types=["card"])
    no_debit = account.open(excluded_payment_method_types=["us_bank_account"])

    assert euro.payment_method_types == ["card", "sepa_debit"]
    assert yen.payment_method_types == ["card"]
    assert "debit" not in page(account, card_only).page.buttons
    assert (card_only.payment_method_types, no_debit.payment_method_types) == (["card"],) * 2
    for session in (yen, card_only, no_debit):
        refused(account, session, "debit")
    by_bank = account.open(allowed_payment_method_types=["us_bank_account"])
    for verb in ("pay", "decline", "require_action"):
        refused(account, by_bank, verb)
    with pytest.raises(stripe.APIError) as uncovered:
        account.open(allowed_payment_method_types=["sepa_debit"])
    assert uncovered.value.http_status == 501


# --- refunds that end later --------------------------------------------------------------------


def paid_by(account: Account, card: str) -> stripe.Charge:
    session = account.open()
    do(account, session, "pay", card=card)
    return charge_of(account, session)


def refund_entries(account: Account) -> list[tuple[str, str, int]]:
    found = account.client.v1.balance_transactions.list({"limit": 100}).data
    return [
        (each.type, each.reporting_category, each.net)
        for each in reversed(found)
        if "refund" in each.type
    ]


def test_a_refund_of_a_slow_card_is_pending_until_it_succeeds(account: Account) -> None:
    charge = paid_by(account, "refund_pending")
    refund = account.client.v1.refunds.create({"charge": charge.id, "amount": 100})
    assert (refund.status, refund.pending_reason) == ("pending", "processing")
    assert account.client.v1.charges.retrieve(charge.id).amount_refunded == 100

    account.control("clock", {"advance_seconds": ENDED_AFTER_SECONDS + 1})

    assert account.client.v1.refunds.retrieve(refund.id).status == "succeeded"
    assert types(account)[-1] == "refund.updated"
    assert refund_entries(account) == [("refund", "refund", -100)]


def test_a_refund_that_fails_later_gives_the_money_back(account: Account) -> None:
    charge = paid_by(account, "refund_fails")
    refund = account.client.v1.refunds.create({"charge": charge.id})
    assert refund.status == "succeeded"
    assert account.client.v1.charges.retrieve(charge.id).refunded is True

    account.control("clock", {"advance_seconds": ENDED_AFTER_SECONDS + 1})

    failed = account.client.v1.refunds.retrieve(
        refund.id, {"expand": ["failure_balance_transaction"]}
    )
    assert (failed.status, failed.failure_reason) == ("failed", "unknown")
    assert isinstance(failed.failure_balance_transaction, stripe.BalanceTransaction)
    assert failed.failure_balance_transaction.source == refund.id
    assert refund_entries(account) == [
        ("refund", "refund", -59_500),
        ("refund_failure", "refund_failure", 59_500),
    ]
    assert types(account)[-3:] == ["refund.updated", "refund.failed", "charge.updated"]
    after = account.client.v1.charges.retrieve(charge.id)
    assert (after.amount_refunded, after.refunded) == (0, False)
    assert account.client.v1.refunds.create({"charge": charge.id}).amount == 59_500


def test_any_refund_fails_on_request_and_once(account: Account) -> None:
    charge = paid_by(account, "accepted")
    for amount in (100, 200):
        last = account.client.v1.refunds.create({"charge": charge.id, "amount": amount})
    wanted = {"failure_reason": "expired_or_canceled_card"}

    failed = account.control(f"refunds/{last.id}/fail", wanted)

    assert (failed["status"], failed["failure_reason"]) == ("failed", "expired_or_canceled_card")
    assert account.client.v1.charges.retrieve(charge.id).amount_refunded == 100
    for body in (b"{}", b'{"failure_reason": "bored"}'):
        assert account.refusal(f"/_simulator/refunds/{last.id}/fail", body)[0] in {400, 409}
    assert account.client.v1.charges.retrieve(charge.id).amount_refunded == 100


def test_a_refund_of_a_debit_is_pending_until_the_bank_says(account: Account) -> None:
    session = account.open()
    do(account, session, "debit")
    do(account, session, "settle")
    charge = charge_of(account, session)
    first, second = (
        account.client.v1.refunds.create({"charge": charge.id, "amount": amount})
        for amount in (100, 200)
    )
    assert (first.status, first.pending_reason) == ("pending", "processing")
    account.control("clock", {"advance_seconds": 24 * 3600})
    assert account.client.v1.refunds.retrieve(first.id).status == "pending"

    account.control(f"refunds/{first.id}/succeed", {})
    account.control(f"refunds/{second.id}/fail", {"failure_reason": "declined"})

    assert account.client.v1.refunds.retrieve(first.id).status == "succeeded"
    assert account.client.v1.refunds.retrieve(second.id).status == "failed"
    assert refund_entries(account) == [
        ("payment_refund", "refund", -100),
        ("payment_refund", "refund", -200),
        ("payment_refund", "refund", 200),
    ]
    assert account.refusal(f"/_simulator/refunds/{first.id}/succeed", b"{}")[0] == 409


def test_a_debit_that_is_under_way_cannot_be_refunded(account: Account) -> None:
    session = account.open()
    do(account, session, "debit")
    intent = intent_of(account, session)

    with pytest.raises(stripe.InvalidRequestError):
        account.client.v1.refunds.create({"payment_intent": intent.id})
    with pytest.raises(stripe.InvalidRequestError):
        account.client.v1.refunds.create({"charge": charge_of(account, session).id})

    assert account.client.v1.refunds.list().data == []


# --- settlement in another currency ------------------------------------------------------------


def test_a_charge_settles_in_the_accounts_currency_at_its_rate(account: Account) -> None:
    account.control("settlement", {"currency": "eur", "rates": {"usd": "0.9213"}})

    charge = paid_by(account, "accepted")

    assert (charge.amount, charge.currency) == (59_500, "usd")
    (entry,) = account.client.v1.balance_transactions.list().data
    # 59,500 × 0.9213 = 54,817.35; 2.9 % of it and 30.
    assert (entry.amount, entry.currency, entry.exchange_rate) == (54_817, "eur", 0.9213)
    assert (entry.fee, entry.net) == (1_620, 53_197)
    assert [(each.amount, each.currency) for each in entry.fee_details] == [(1_620, "eur")]


def test_a_refund_settles_at_the_rate_of_its_day_and_fails_at_the_same(account: Account) -> None:
    account.control("settlement", {"currency": "eur", "rates": {"usd": "0.9"}})
    charge = paid_by(account, "accepted")
    account.control("settlement", {"currency": "eur", "rates": {"usd": "0.8"}})
    refund = account.client.v1.refunds.create({"charge": charge.id, "amount": 1_000})
    account.control("settlement", {"currency": "eur", "rates": {"usd": "0.7"}})

    account.control(f"refunds/{refund.id}/fail", {})

    assert (refund.amount, refund.currency) == (1_000, "usd")
    found = account.client.v1.balance_transactions.list().data
    assert [(each.amount, each.exchange_rate) for each in reversed(found)] == [
        (53_550, 0.9),
        (-800, 0.8),
        (800, 0.8),
    ]


def test_a_dispute_withdraws_and_reinstates_in_the_currency_of_settlement(
    account: Account,
) -> None:
    account.control("settlement", {"currency": "eur", "rates": {"usd": "0.5"}})
    charge = paid_by(account, "accepted")
    dispute = account.control(f"charges/{charge.id}/dispute", {})
    account.client.v1.disputes.update(dispute["id"], {"evidence": {"customer_name": "A"}})
    account.control("settlement", {"currency": "eur", "rates": {"usd": "0.6"}})

    account.control(f"disputes/{dispute['id']}/win", {})

    won = account.client.v1.disputes.retrieve(dispute["id"])
    assert (won.amount, won.currency) == (59_500, "usd")
    assert [(each.amount, each.currency) for each in won.balance_transactions] == [
        (-29_750, "eur"),
        (29_750, "eur"),
    ]


def test_a_currency_without_a_rate_has_a_balance_of_its_own(account: Account) -> None:
    account.control("settlement", {"currency": "eur", "rates": {"jpy": "0.6"}})
    paid_by(account, "accepted")
    account.control("settlement", {})
    paid_by(account, "accepted")

    found = account.client.v1.balance_transactions.list().data

    assert [(each.currency, each.exchange_rate) for each in found] == [("usd", None)] * 2


@pytest.mark.parametrize(
    "wanted",
    [
        '{"currency": "xxx"}',
        '{"currency": "eur", "rates": {"usd": 0.9}}',
        '{"currency": "eur", "rates": {"usd": "0"}}',
        '{"currency": "eur", "rates": {"usd": "NaN"}}',
        '{"currency": "eur", "rates": {"usd": "much"}}',
        '{"currency": "eur", "rates": []}',
    ],
)
def test_a_settlement_that_cannot_be_is_refused(account: Account, wanted: str) -> None:
    assert account.refusal("/_simulator/settlement", wanted.encode())[0] == 400
    paid_by(account, "accepted")
    assert account.client.v1.balance_transactions.list().data[0].currency == "usd"


def test_every_card_pays(account: Account) -> None:
    for name, card in CARDS.items():
        details = paid_by(account, name).payment_method_details
        assert details is not None
        assert details.card is not None
        assert details.card.last4 == card.last4
