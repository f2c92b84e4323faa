"""Disputes: money withdrawn and reinstated, evidence handed in once, what banks and time decide."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import stripe

from payments.simulator.disputes import ANSWER_DAYS, DAY, INQUIRY_DAYS, TEXT_LENGTH_MAX
from tests.payments.simulator_account import Account, account, wait_until

__all__ = ["account"]

PAID = 59_500


def charge_of(account: Account, **changed: Any) -> stripe.Charge:
    session = account.paid(**changed)
    assert isinstance(session.payment_intent, stripe.PaymentIntent)
    assert isinstance(session.payment_intent.latest_charge, stripe.Charge)
    return session.payment_intent.latest_charge


def disputed(account: Account, **wanted: Any) -> stripe.Dispute:
    """A payment that its buyer disputes."""
    charge = charge_of(account)
    id = account.control(f"charges/{charge.id}/dispute", wanted)["id"]
    return account.client.v1.disputes.retrieve(id)


def answer(account: Account, dispute: stripe.Dispute, text: str = "Delivered.") -> stripe.Dispute:
    return account.client.v1.disputes.update(
        dispute.id, {"evidence": {"access_activity_log": text}}
    )


def control(account: Account, dispute: stripe.Dispute, verb: str) -> stripe.Dispute:
    account.control(f"disputes/{dispute.id}/{verb}", {})
    return account.client.v1.disputes.retrieve(dispute.id)


def told(account: Account) -> list[str]:
    """What was told since the payment, the oldest first."""
    types = [event.type for event in account.client.v1.events.list({"limit": 100}).data]
    return [type for type in reversed(types) if type.startswith("charge.dispute.")]


def lines(account: Account, dispute: stripe.Dispute) -> list[tuple[str, str, int, int, int]]:
    found = account.client.v1.balance_transactions.list({"source": dispute.id, "limit": 100}).data
    return [
        (line.type, line.reporting_category, line.amount, line.fee, line.net)
        for line in reversed(found)
    ]


def refusal(account: Account, verb: Any, *arguments: Any) -> stripe.InvalidRequestError:
    """A call that is refused, and that changed nothing."""
    before = account.client.v1.disputes.list().data, told(account)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        verb(*arguments)
    after = account.client.v1.disputes.list().data, told(account)
    assert [each.to_dict() for each in after[0]] == [each.to_dict() for each in before[0]]
    assert after[1] == before[1]
    return refused.value


def test_a_chargeback_withdraws_amount_and_fee_at_once(account: Account) -> None:
    dispute = disputed(account, reason="product_not_received")

    assert (dispute.amount, dispute.currency) == (PAID, "usd")
    assert (dispute.status, dispute.reason) == ("needs_response", "product_not_received")
    assert dispute.is_charge_refundable is False
    assert lines(account, dispute) == [("adjustment", "dispute", -PAID, 1500, -PAID - 1500)]
    (line,) = dispute.balance_transactions
    assert line.fee_details[0].description == "Dispute fee"
    assert isinstance(dispute.charge, str)
    charge = account.client.v1.charges.retrieve(dispute.charge)
    assert (charge.disputed, charge.paid, charge.amount_refunded) == (True, True, 0)
    assert told(account) == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]


def test_an_inquiry_withdraws_nothing_and_leaves_the_charge_refundable(account: Account) -> None:
    dispute = disputed(account, status="warning_needs_response")

    assert dispute.is_charge_refundable is True
    assert (dispute.balance_transactions, lines(account, dispute)) == ([], [])
    assert told(account) == ["charge.dispute.created"]


def test_a_dispute_that_nobody_may_answer_is_lost_at_once(account: Account) -> None:
    dispute = disputed(account, status="lost")

    assert dispute.status == "lost"
    assert told(account)[-1] == "charge.dispute.closed"
    assert refusal(account, answer, account, dispute).http_status == 400


def test_evidence_is_staged_and_then_submitted_once(account: Account) -> None:
    dispute = disputed(account)
    update = account.client.v1.disputes.update
    staged = update(dispute.id, {"evidence": {"customer_name": "A"}, "submit": False})
    assert (staged.status, staged.evidence_details.has_evidence) == ("needs_response", True)
    assert staged.evidence_details.submission_count == 0
    update(dispute.id, {"evidence": {"product_description": "Works"}, "submit": False})

    submitted = update(dispute.id, {"submit": True})

    assert (submitted.status, submitted.evidence.product_description) == ("under_review", "Works")
    assert submitted.evidence_details.submission_count == 1
    assert submitted.evidence_details.submission_method == "manual"
    again = refusal(account, answer, account, dispute)
    assert (again.http_status, again.param) == (400, "evidence")
    assert told(account)[2:] == ["charge.dispute.updated"] * 3


def test_evidence_is_submitted_unless_it_is_said_to_be_staged(account: Account) -> None:
    dispute = disputed(account)

    assert answer(account, dispute).status == "under_review"


def test_metadata_submits_nothing_and_changes_until_the_end(account: Account) -> None:
    dispute = disputed(account)
    update = account.client.v1.disputes.update
    noted = update(dispute.id, {"metadata": {"order": "ord_1"}})
    assert (noted.status, noted.metadata.to_dict()) == ("needs_response", {"order": "ord_1"})
    answer(account, dispute)

    assert update(dispute.id, {"metadata": {"order": ""}}).metadata.to_dict() == {}


def test_a_text_of_evidence_has_at_most_20000_characters(account: Account) -> None:
    dispute = disputed(account)
    error = refusal(account, answer, account, dispute, "x" * (TEXT_LENGTH_MAX + 1))
    assert error.param == "evidence[access_activity_log]"

    assert answer(account, dispute, "x" * TEXT_LENGTH_MAX).status == "under_review"


def test_all_evidence_has_at_most_150000_characters(account: Account) -> None:
    dispute = disputed(account)
    names = (
        "access_activity_log",
        "cancellation_policy_disclosure",
        "cancellation_rebuttal",
        "duplicate_charge_explanation",
        "product_description",
        "refund_policy_disclosure",
        "refund_refusal_explanation",
    )
    most = dict.fromkeys(names, "x" * TEXT_LENGTH_MAX)
    update: Any = account.client.v1.disputes.update
    over = {"evidence": most | {"uncategorized_text": "x" * 10_001}}
    assert refusal(account, update, dispute.id, over).param == "evidence"

    params = {"evidence": most | {"uncategorized_text": "x" * 10_000}}
    assert update(dispute.id, params).status == "under_review"


def test_nothing_is_submitted_where_there_is_no_evidence(account: Account) -> None:
    dispute = disputed(account)

    refusal(account, account.client.v1.disputes.update, dispute.id, {"submit": True})


def test_files_as_evidence_are_not_covered(account: Account) -> None:
    dispute = disputed(account)

    with pytest.raises(stripe.APIError) as refused:
        account.client.v1.disputes.update(dispute.id, {"evidence": {"receipt": "file_1"}})

    assert refused.value.http_status == 501
    assert account.client.v1.disputes.retrieve(dispute.id).status == "needs_response"


def test_a_won_dispute_gives_the_amount_back_and_keeps_the_fee(account: Account) -> None:
    dispute = disputed(account)
    answer(account, dispute)

    won = control(account, dispute, "win")

    assert (won.status, won.is_charge_refundable) == ("won", True)
    assert lines(account, dispute)[1:] == [("adjustment", "dispute_reversal", PAID, 0, PAID)]
    assert [line.amount for line in won.balance_transactions] == [-PAID, PAID]
    assert told(account)[-2:] == ["charge.dispute.funds_reinstated", "charge.dispute.closed"]
    assert isinstance(won.charge, str)
    assert account.client.v1.refunds.create({"charge": won.charge}).amount == PAID


def test_the_fee_of_an_answer_comes_back_only_with_a_won_dispute(account: Account) -> None:
    first, second = disputed(account), disputed(account)
    for dispute, verb in ((first, "win"), (second, "lose")):
        answer(account, dispute)
        control(account, dispute, verb)

    fees = account.client.v1.balance_transactions.list({"type": "stripe_fee"}).data

    assert [(fee.net, fee.reporting_category) for fee in fees] == [
        (-1500, "fee"),
        (1500, "fee"),
        (-1500, "fee"),
    ]


def test_a_lost_dispute_moves_no_money_any_more(account: Account) -> None:
    dispute = disputed(account)
    answer(account, dispute)
    before = lines(account, dispute)

    lost = control(account, dispute, "lose")

    assert (lost.status, lost.is_charge_refundable) == ("lost", False)
    assert lines(account, dispute) == before
    assert told(account)[-1] == "charge.dispute.closed"


def test_a_dispute_is_won_only_with_evidence(account: Account) -> None:
    dispute = disputed(account)

    status, error = account.refusal(f"/_simulator/disputes/{dispute.id}/win", b"{}")

    assert (status, error["message"]) == (
        409,
        "A dispute that is needs_response cannot become won.",
    )
    assert account.client.v1.disputes.retrieve(dispute.id).status == "needs_response"


def test_closing_a_dispute_accepts_its_loss_for_good(account: Account) -> None:
    dispute = disputed(account)

    closed = account.client.v1.disputes.close(dispute.id)

    assert closed.status == "lost"
    assert told(account)[-1] == "charge.dispute.closed"
    error = refusal(account, account.client.v1.disputes.close, dispute.id)
    assert error.user_message == "This dispute is already closed"
    refusal(account, answer, account, dispute)


def test_an_inquiry_cannot_be_closed_by_the_seller(account: Account) -> None:
    dispute = disputed(account, status="warning_needs_response")

    refusal(account, account.client.v1.disputes.close, dispute.id)


def test_an_inquiry_that_escalates_is_a_chargeback(account: Account) -> None:
    dispute = disputed(account, status="warning_needs_response")
    assert answer(account, dispute).status == "warning_under_review"

    escalated = control(account, dispute, "escalate")

    assert (escalated.status, escalated.is_charge_refundable) == ("needs_response", False)
    assert escalated.payment_method_details is not None
    assert escalated.payment_method_details.card is not None
    assert escalated.payment_method_details.card.case_type == "chargeback"
    assert [line.amount for line in escalated.balance_transactions] == [-PAID]
    assert told(account)[-2:] == ["charge.dispute.updated", "charge.dispute.funds_withdrawn"]
    assert answer(account, dispute).status == "under_review"


def test_an_inquiry_ends_without_a_verdict_after_120_days(account: Account) -> None:
    dispute = disputed(account, status="warning_needs_response")

    account.control("clock", {"advance_seconds": INQUIRY_DAYS * DAY + 1})

    closed = account.client.v1.disputes.retrieve(dispute.id)
    assert (closed.status, closed.balance_transactions) == ("warning_closed", [])
    assert told(account)[-1] == "charge.dispute.closed"


def test_a_full_refund_closes_an_inquiry_and_one_of_a_part_does_not(account: Account) -> None:
    dispute = disputed(account, status="warning_needs_response")
    assert isinstance(dispute.charge, str)
    account.client.v1.refunds.create({"charge": dispute.charge, "amount": 100})
    assert account.client.v1.disputes.retrieve(dispute.id).status == "warning_needs_response"

    account.client.v1.refunds.create({"charge": dispute.charge})

    assert account.client.v1.disputes.retrieve(dispute.id).status == "warning_closed"


def test_a_dispute_without_an_answer_in_time_is_lost(account: Account) -> None:
    dispute = disputed(account)
    due_by = dispute.evidence_details.due_by
    assert due_by is not None
    assert 0 < due_by - dispute.created <= ANSWER_DAYS * DAY

    account.control("clock", {"advance_seconds": ANSWER_DAYS * DAY + 1})

    assert account.client.v1.disputes.retrieve(dispute.id).status == "lost"
    refusal(account, answer, account, dispute)


def test_a_charge_that_was_charged_back_cannot_be_refunded(account: Account) -> None:
    dispute = disputed(account)
    assert isinstance(dispute.charge, str)

    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.client.v1.refunds.create({"charge": dispute.charge})

    assert (refused.value.http_status, refused.value.code) == (400, "charge_disputed")
    assert account.client.v1.refunds.list().data == []


@pytest.mark.parametrize("refunded", [9_500, PAID])
def test_a_refunded_charge_can_still_be_disputed_as_a_whole(
    account: Account, refunded: int
) -> None:
    charge = charge_of(account)
    account.client.v1.refunds.create({"charge": charge.id, "amount": refunded})

    dispute = account.control(f"charges/{charge.id}/dispute", {"reason": "credit_not_processed"})

    assert dispute["amount"] == PAID
    assert account.client.v1.charges.retrieve(charge.id).amount_refunded == refunded


def test_a_part_of_a_charge_can_be_disputed(account: Account) -> None:
    dispute = disputed(account, amount=100)

    assert (dispute.amount, dispute.balance_transactions[0].net) == (100, -1600)


@pytest.mark.parametrize(
    "wanted",
    [
        {"reason": "bored"},
        {"amount": 0},
        {"amount": "1"},
        {"status": "won"},
        {"color": "red"},
    ],
)
def test_a_dispute_that_cannot_be_is_not_opened(account: Account, wanted: dict[str, Any]) -> None:
    charge = charge_of(account)
    path = f"/_simulator/charges/{charge.id}/dispute"
    assert account.refusal(path, json.dumps(wanted).encode())[0] == 400
    assert account.client.v1.disputes.list().data == []
    assert account.client.v1.charges.retrieve(charge.id).disputed is False


def test_disputes_are_found_by_charge_and_payment(account: Account) -> None:
    dispute, other = disputed(account), disputed(account)
    assert isinstance(dispute.charge, str)
    assert isinstance(dispute.payment_intent, str)
    find = account.client.v1.disputes.list

    assert [each.id for each in find({"charge": dispute.charge}).data] == [dispute.id]
    by_payment = find({"payment_intent": dispute.payment_intent}).data
    assert [each.id for each in by_payment] == [dispute.id]
    assert [each.id for each in find().data] == [other.id, dispute.id]
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.client.v1.disputes.retrieve("du_dev_none")
    assert (refused.value.http_status, refused.value.param) == (404, "dispute")


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("status", "text", "end"),
    [
        ("needs_response", "winning_evidence", "won"),
        ("needs_response", "losing_evidence", "lost"),
        ("warning_needs_response", "losing_evidence", "warning_closed"),
        ("warning_needs_response", "escalate_inquiry_evidence", "needs_response"),
    ],
)
def test_texts_of_test_mode_decide_a_dispute(
    account: Account, status: str, text: str, end: str
) -> None:
    dispute = disputed(account, status=status)
    account.client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": text}})

    def now() -> str:
        return str(account.client.v1.disputes.retrieve(dispute.id).status)

    assert now() in {"under_review", "warning_under_review"}
    wait_until(lambda: now() == end, now)


def test_a_dispute_is_expanded_to_its_charge(account: Account) -> None:
    dispute = disputed(account)

    found = account.client.v1.disputes.retrieve(
        dispute.id, {"expand": ["charge", "payment_intent.latest_charge"]}
    )

    assert isinstance(found.charge, stripe.Charge)
    assert found.charge.disputed is True
    (line,) = account.client.v1.balance_transactions.list(
        {"source": dispute.id, "expand": ["data.source"]}
    ).data
    assert isinstance(line.source, stripe.Dispute)


def test_a_lost_answer_submits_once(account: Account) -> None:
    dispute = disputed(account)
    account.control("faults", {"drop_response": 1, "path": "/v1/disputes", "method": "POST"})

    assert answer(account, dispute).evidence_details.submission_count == 1


def test_the_cards_of_test_mode_are_disputed_soon_after(account: Account) -> None:
    session = account.open()
    before = time.time()
    account.control(
        f"sessions/{session.id}/pay",
        {"card": "disputed_not_received", "disputed_after_seconds": 1},
    )
    find = account.client.v1.disputes.list
    assert find().data == [] or time.time() - before >= 1

    wait_until(lambda: len(find().data) == 1, lambda: "no dispute")

    (dispute,) = find().data
    assert (dispute.reason, dispute.status) == ("product_not_received", "needs_response")
    assert dispute.created >= int(before) + 1


def test_a_refund_that_is_pending_fails_when_its_charge_is_disputed(account: Account) -> None:
    session = account.open()
    account.control(f"sessions/{session.id}/pay", {"card": "refund_pending"})
    intent = account.retrieve(session.id, "payment_intent").payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert isinstance(intent.latest_charge, str)
    refund = account.client.v1.refunds.create({"payment_intent": intent.id, "amount": 100})
    assert refund.status == "pending"

    account.control(f"charges/{intent.latest_charge}/dispute", {})

    def now() -> stripe.Refund:
        return account.client.v1.refunds.retrieve(refund.id)

    wait_until(lambda: now().status == "failed", now)
    assert now().failure_reason == "charge_for_pending_refund_disputed"
    charge = account.client.v1.charges.retrieve(intent.latest_charge)
    assert (charge.amount_refunded, charge.disputed) == (0, True)


def test_a_debit_that_was_paid_is_taken_back_by_a_dispute_that_is_lost(account: Account) -> None:
    session = account.open()
    for verb in ("debit", "settle"):
        account.control(f"sessions/{session.id}/{verb}", {})
    (charge,) = account.client.v1.charges.list().data

    opened = account.control(
        f"charges/{charge.id}/dispute", {"reason": "debit_not_authorized", "status": "lost"}
    )

    dispute = account.client.v1.disputes.retrieve(opened["id"])
    assert (dispute.status, dispute.payment_method_details) == ("lost", None)
    assert [line.amount for line in dispute.balance_transactions] == [-PAID]


def test_what_a_dispute_takes_comes_from_what_is_pending_of_its_charge(account: Account) -> None:
    dispute = disputed(account)
    assert isinstance(dispute.charge, str)
    charge = account.client.v1.charges.retrieve(dispute.charge, {"expand": ["balance_transaction"]})
    assert isinstance(charge.balance_transaction, stripe.BalanceTransaction)
    (line,) = dispute.balance_transactions
    assert (line.status, line.available_on) == ("pending", charge.balance_transaction.available_on)

    account.control("clock", {"advance_seconds": 3 * DAY})

    (line,) = account.client.v1.disputes.retrieve(dispute.id).balance_transactions
    assert line.status == "available"
    (balance,) = account.client.v1.balance.retrieve().available
    assert balance.amount == charge.balance_transaction.net - PAID - 1500
    later = disputed(account)
    assert later.balance_transactions[0].status == "pending"


def test_what_a_dispute_takes_later_is_taken_at_once(account: Account) -> None:
    charge = charge_of(account)
    account.control("clock", {"advance_seconds": 3 * DAY})

    opened = account.control(f"charges/{charge.id}/dispute", {})

    (line,) = account.client.v1.disputes.retrieve(opened["id"]).balance_transactions
    assert line.status == "available"


def test_a_charge_may_be_disputed_more_than_once(account: Account) -> None:
    charge = charge_of(account)
    first, second = (
        account.control(f"charges/{charge.id}/dispute", {"amount": amount, "reason": reason})["id"]
        for amount, reason in ((100, "duplicate"), (200, "product_not_received"))
    )
    account.client.v1.disputes.update(first, {"evidence": {"duplicate_charge_id": "ch_2"}})
    account.control(f"disputes/{first}/win", {})

    # The other one is still open.
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.client.v1.refunds.create({"charge": charge.id, "amount": 1})

    assert refused.value.code == "charge_disputed"
    found = account.client.v1.disputes.list({"charge": charge.id}).data
    assert [(each.id, each.status) for each in found] == [
        (second, "needs_response"),
        (first, "won"),
    ]
