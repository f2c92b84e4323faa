"""Disputes: a buyer's bank takes a payment back, or asks first; the seller may answer once."""

from __future__ import annotations

from typing import Any

from payments.simulator import balance, cards, events, lists, metadata, payment_intents, schedule
from payments.simulator.errors import ApiError, Uncovered
from payments.simulator.state import Resource, World, new_id

KIND = "dispute"
URL = "/v1/disputes"

# https://docs.stripe.com/disputes/how-disputes-work: what a status may become.
NEXT: dict[str, frozenset[str]] = {
    "warning_needs_response": frozenset(
        {"warning_under_review", "warning_closed", "needs_response"}
    ),
    "warning_under_review": frozenset({"warning_closed", "needs_response"}),
    "needs_response": frozenset({"under_review", "lost"}),
    "under_review": frozenset({"won", "lost"}),
    # warning_closed, won and lost are final.
}
# As a dispute may begin. One that nobody may answer is lost at once.
FIRST = ("needs_response", "warning_needs_response", "lost")
# https://docs.stripe.com/api/disputes/object#dispute_object-reason
REASONS = (
    "bank_cannot_process",
    "check_returned",
    "credit_not_processed",
    "customer_initiated",
    "debit_not_authorized",
    "duplicate",
    "fraudulent",
    "general",
    "incorrect_account_details",
    "insufficient_funds",
    "noncompliant",
    "product_not_received",
    "product_unacceptable",
    "subscription_canceled",
    "unrecognized",
)
DAY = 24 * 3600
# Stripe says 7 to 21 days, by the network; an inquiry is closed after 120.
ANSWER_DAYS, INQUIRY_DAYS = 14, 120
# https://docs.stripe.com/api/disputes/update
TEXT_LENGTH_MAX, TEXTS_LENGTH_MAX = 20_000, 150_000
LONG_TEXTS = frozenset(
    {
        "access_activity_log",
        "cancellation_policy_disclosure",
        "cancellation_rebuttal",
        "duplicate_charge_explanation",
        "product_description",
        "refund_policy_disclosure",
        "refund_refusal_explanation",
        "uncategorized_text",
    }
)
TEXTS = LONG_TEXTS | {
    "billing_address",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "duplicate_charge_id",
    "service_date",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_tracking_number",
}
# Ids of uploaded files: the simulator takes no uploads.
FILES = (
    "cancellation_policy",
    "customer_communication",
    "customer_signature",
    "duplicate_charge_documentation",
    "receipt",
    "refund_policy",
    "service_documentation",
    "shipping_documentation",
    "uncategorized_file",
)
# https://docs.stripe.com/testing#disputes: this text decides a dispute in test mode.
DECIDING = {
    "winning_evidence": "won",
    "losing_evidence": "lost",
    "escalate_inquiry_evidence": "needs_response",
}
DECIDED_AFTER_SECONDS = 1


def retrieve(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    return _shown(world, world.get(KIND, arguments["dispute"], param="dispute"))


def list_(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    by = ("charge", "payment_intent")
    page = lists.page(world, KIND, URL, params, lambda dispute: True, by=by)
    page["data"] = [_shown(world, each) for each in page["data"]]
    return page


def open_(
    world: World,
    charge_id: str,
    *,
    reason: str = "fraudulent",
    amount: int | None = None,
    status: str = "needs_response",
    network_code: str | None = None,
) -> Resource:
    """A buyer disputes a charge, all of it or a part, whatever was refunded of it before."""
    charge = world.get(payment_intents.CHARGE, charge_id, param="charge")
    if charge["status"] != "succeeded":
        raise ApiError(f"Charge {charge_id} did not succeed: there is nothing to dispute.")
    amount = charge["amount"] if amount is None else amount
    _check_opening(reason, amount, status)
    is_inquiry = status.startswith("warning_")
    dispute = _dispute(
        world, charge, reason=reason, amount=amount, status=status, network_code=network_code
    )
    world.add(dispute)
    if not charge["disputed"]:
        charge["disputed"] = True
        world.put(charge)
    events.emit(world, "charge.dispute.created", dispute)
    if is_inquiry:
        schedule.later(world, INQUIRY_DAYS * DAY, "close_inquiry", dispute["id"])
        return dispute
    _withdraw(world, dispute)
    if status == "lost":
        events.emit(world, "charge.dispute.closed", dispute)
    return dispute


def open_by_card(world: World, charge_id: str, *, reason: str, status: str, code: str) -> None:
    """The dispute that a test card brings, unless its charge never succeeded."""
    charge = world.get(payment_intents.CHARGE, charge_id)
    if charge["status"] == "succeeded":
        open_(world, charge_id, reason=reason, status=status, network_code=code)


def update(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Keep evidence, and by default hand it in: once, and no more after that."""
    if "intended_submission_method" in params:
        raise Uncovered("the way of submission", param="intended_submission_method")
    dispute = world.get(KIND, arguments["dispute"], param="dispute")
    _check_open(dispute)
    notes = metadata.merged(dispute["metadata"], params.get("metadata"))
    before = {"metadata": dispute["metadata"], "evidence": dispute["evidence"]}
    before |= {"evidence_details": dispute["evidence_details"], "status": dispute["status"]}
    evidence = params.get("evidence")
    is_handed_in = params.get("submit", evidence is not None)
    if (evidence or is_handed_in) and dispute["evidence_details"]["submission_count"]:
        raise ApiError(
            "Evidence was already submitted for this dispute; it can be submitted once.",
            param="evidence",
            is_outcome=True,
        )
    merged = _evidence(dispute["evidence"], evidence or {})
    dispute |= {"metadata": notes, "evidence": merged}
    dispute["evidence_details"] = before["evidence_details"] | {"has_evidence": _has_any(merged)}
    if is_handed_in:
        _hand_in(world, dispute)
    changed = {name: value for name, value in before.items() if dispute[name] != value}
    if changed:
        world.put(dispute)
        events.emit(world, "charge.dispute.updated", dispute, previous=changed)
    return _shown(world, dispute)


def close(world: World, arguments: dict[str, str], params: dict[str, Any]) -> Resource:
    """Accept a dispute without an answer: it is lost for good."""
    dispute = world.get(KIND, arguments["dispute"], param="dispute")
    _check_open(dispute)
    if dispute["status"] != "needs_response":
        raise ApiError(
            f"This dispute is {dispute['status']} and cannot be closed.", is_outcome=True
        )
    return _shown(world, _end(world, dispute, "lost"))


# --- what the buyer's bank does ----------------------------------------------------------------


def win(world: World, id: str) -> Resource:
    """The bank decides for the seller, who must have answered: the money comes back."""
    dispute = _reinstated(world, _moved(world, id, "won"))
    balance.of_countered_dispute(world, dispute, is_returned=True)
    return _told(world, dispute)


def win_appeal(world: World, id: str) -> Resource:
    """The bank decides anew, and for the seller, what it had decided for the buyer."""
    dispute = world.get(KIND, id, param="dispute")
    if dispute["status"] != "lost":
        raise ApiError("Only a dispute that was lost is appealed.", status=409)
    return _told(world, _reinstated(world, dispute | {"status": "won"}))


def change(world: World, id: str, *, amount: int) -> Resource:
    """The bank wants another amount than it took at first: the difference moves, too."""
    dispute = world.get(KIND, id, param="dispute")
    _check_open(dispute)
    _check_amount(amount)
    before = dispute["amount"]
    if dispute["balance_transactions"] and amount != before:
        line = balance.of_changed_dispute(world, dispute, amount - before)
        dispute["balance_transactions"] = [*dispute["balance_transactions"], line]
    dispute["amount"] = amount
    world.put(dispute)
    events.emit(world, "charge.dispute.updated", dispute, previous={"amount": before})
    return dispute


def lose(world: World, id: str) -> Resource:
    """The bank decides for the buyer: the money was withdrawn before."""
    return _end(world, _moved(world, id, "lost"), "lost")


def escalate(world: World, id: str) -> Resource:
    """An inquiry becomes a chargeback: the amount is withdrawn now."""
    before = world.get(KIND, id, param="dispute")
    if not before["status"].startswith("warning_"):
        raise ApiError("Only an inquiry is escalated.", status=409)
    dispute = _moved(world, id, "needs_response")
    dispute["is_charge_refundable"] = False
    dispute["payment_method_details"] = _details(dispute["network_reason_code"], "chargeback")
    # The chargeback is answered anew.
    dispute["evidence_details"] = _evidence_details(world) | {
        "has_evidence": before["evidence_details"]["has_evidence"]
    }
    world.put(dispute)
    events.emit(
        world,
        "charge.dispute.updated",
        dispute,
        previous={name: before[name] for name in ("status", "is_charge_refundable")},
    )
    _withdraw(world, dispute)
    return dispute


def close_inquiry(world: World, id: str) -> Resource:
    """An inquiry ends without a chargeback. Banks say no more than that."""
    return _end(world, _moved(world, id, "warning_closed"), "warning_closed")


# --- what time does ----------------------------------------------------------------------------


def decide(world: World, id: str, *, outcome: str) -> None:
    """What a text of Stripe's test mode decides, once it was handed in."""
    dispute = world.get(KIND, id)
    is_inquiry = dispute["status"] == "warning_under_review"
    if is_inquiry:
        (escalate if outcome == "needs_response" else close_inquiry)(world, id)
    elif dispute["status"] == "under_review":
        (win if outcome == "won" else lose)(world, id)


def past_due(world: World, id: str) -> None:
    """Nobody answered in time: the dispute is lost."""
    if world.get(KIND, id)["status"] == "needs_response":
        lose(world, id)


def close_old_inquiry(world: World, id: str) -> None:
    if world.get(KIND, id)["status"].startswith("warning_") and _is_open(world.get(KIND, id)):
        close_inquiry(world, id)


# --- what it means for refunds -----------------------------------------------------------------


def of_charge(world: World, charge: Resource) -> list[Resource]:
    if not charge["disputed"]:
        return []
    return list(world.newest(KIND, match={"charge": charge["id"]}))


def check_refundable(world: World, charge: Resource) -> None:
    """Refuse a refund where the buyer's bank took the money, or may still."""
    if any(not each["is_charge_refundable"] for each in of_charge(world, charge)):
        raise ApiError(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.",
            code="charge_disputed",
            is_outcome=True,
        )


def after_refund(world: World, charge: Resource) -> None:
    """A full refund answers an inquiry: it is closed. One of a part does not."""
    if charge["refunded"]:
        for each in of_charge(world, charge):
            if each["status"].startswith("warning_") and _is_open(each):
                close_inquiry(world, each["id"])


# --- private -----------------------------------------------------------------------------------


def _check_opening(reason: str, amount: int, status: str) -> None:
    if reason not in REASONS:
        raise ApiError(f"reason is one of {', '.join(REASONS)}.", param="reason")
    if status not in FIRST:
        raise ApiError(f"A dispute begins as {', '.join(FIRST)}.", param="status")
    _check_amount(amount)


def _check_amount(amount: int) -> None:
    if type(amount) is not int or amount < 1:
        raise ApiError("amount is a positive integer.", param="amount")


def _shown(world: World, dispute: Resource) -> Resource:
    """A dispute with its balance transactions as they are now: they become available."""
    lines = [world.get(balance.KIND, line["id"]) for line in dispute["balance_transactions"]]
    return dispute | {"balance_transactions": lines}


def _is_open(dispute: Resource) -> bool:
    return dispute["status"] in NEXT


def _check_open(dispute: Resource) -> None:
    if not _is_open(dispute):
        raise ApiError("This dispute is already closed", is_outcome=True)


def _moved(world: World, id: str, status: str) -> Resource:
    """The dispute in its next status, not kept yet. Raises where the status cannot follow."""
    dispute = world.get(KIND, id, param="dispute")
    if status not in NEXT.get(dispute["status"], frozenset()):
        raise ApiError(f"A dispute that is {dispute['status']} cannot become {status}.", status=409)
    dispute["status"] = status
    return dispute


def _end(world: World, dispute: Resource, status: str) -> Resource:
    dispute["status"] = status
    world.put(dispute)
    events.emit(world, "charge.dispute.closed", dispute)
    return dispute


def _reinstated(world: World, dispute: Resource) -> Resource:
    lines = balance.of_won_dispute(world, dispute)
    dispute["balance_transactions"] = [*dispute["balance_transactions"], *lines]
    # Nothing of the charge is withdrawn any more.
    dispute["is_charge_refundable"] = True
    world.put(dispute)
    return dispute


def _told(world: World, dispute: Resource) -> Resource:
    events.emit(world, "charge.dispute.funds_reinstated", dispute)
    events.emit(world, "charge.dispute.closed", dispute)
    return dispute


def _withdraw(world: World, dispute: Resource) -> None:
    # https://docs.stripe.com/refunds#failed-refunds: charge_for_pending_refund_disputed
    schedule.later(world, 0, "fail_pending_refunds", dispute["charge"])
    dispute["balance_transactions"] = [balance.of_dispute(world, dispute)]
    world.put(dispute)
    events.emit(world, "charge.dispute.funds_withdrawn", dispute)
    if dispute["status"] == "needs_response":
        schedule.later(world, ANSWER_DAYS * DAY, "dispute_past_due", dispute["id"])


def _hand_in(world: World, dispute: Resource) -> None:
    details = dispute["evidence_details"]
    if not details["has_evidence"]:
        raise ApiError("There is no evidence to submit.", param="evidence", is_outcome=True)
    dispute["evidence_details"] = details | {
        "submission_count": details["submission_count"] + 1,
        "submission_method": "manual",
    }
    is_inquiry = dispute["status"] == "warning_needs_response"
    dispute["status"] = "warning_under_review" if is_inquiry else "under_review"
    if not is_inquiry:
        balance.of_countered_dispute(world, dispute)
    outcome = DECIDING.get(dispute["evidence"]["uncategorized_text"] or "")
    if outcome is not None:
        schedule.later(
            world, DECIDED_AFTER_SECONDS, "decide_dispute", dispute["id"], outcome=outcome
        )


def _evidence(old: Resource, given: dict[str, Any]) -> Resource:
    """Evidence after an update. Raises where it is too long."""
    merged = dict(old)
    for name, text in given.items():
        if name not in TEXTS:
            raise Uncovered(f"{name} as evidence", param=f"evidence[{name}]")
        if name in LONG_TEXTS and len(text) > TEXT_LENGTH_MAX:
            raise ApiError(
                f"Invalid string: must be at most {TEXT_LENGTH_MAX} characters",
                param=f"evidence[{name}]",
            )
        merged[name] = text
    if sum(len(merged[name] or "") for name in TEXTS) > TEXTS_LENGTH_MAX:
        raise ApiError(
            f"The combined character count of all evidence must be at most {TEXTS_LENGTH_MAX}.",
            param="evidence",
        )
    return merged


def _has_any(evidence: Resource) -> bool:
    return any(evidence[name] for name in TEXTS)


def _evidence_details(world: World) -> Resource:
    return {
        "due_by": world.now() + ANSWER_DAYS * DAY,
        "enhanced_eligibility": {},
        "has_evidence": False,
        "past_due": False,
        "submission_count": 0,
        "submission_method": "not_submitted",
    }


def _details(network_code: str | None, case_type: str) -> Resource:
    return {
        "card": {
            "brand": "visa",
            "case_type": case_type,
            "network": "visa",
            "network_reason_code": network_code,
        },
        "type": "card",
    }


def _dispute(
    world: World,
    charge: Resource,
    *,
    reason: str,
    amount: int,
    status: str,
    network_code: str | None,
) -> Resource:
    is_inquiry = status.startswith("warning_")
    by_card = charge["payment_method_details"]["type"] == "card"
    code = network_code or ("10.4" if reason == "fraudulent" else None)
    return {
        "id": new_id("du"),
        "object": KIND,
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": world.now(),
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {
            **dict.fromkeys(sorted(TEXTS)),
            **dict.fromkeys(FILES),
            "enhanced_evidence": {},
        },
        "evidence_details": _evidence_details(world),
        "intended_submission_method": None,
        "is_charge_refundable": is_inquiry,
        "livemode": False,
        "metadata": {},
        "network_reason_code": code,
        "payment_intent": charge["payment_intent"],
        "payment_method_details": _details(code, "inquiry" if is_inquiry else "chargeback")
        if by_card
        else None,
        "reason": reason,
        "status": status,
    }


assert set(DECIDING.values()) <= {"won", "lost", "needs_response"}
assert all(card.dispute is None or card.dispute[1] in FIRST for card in cards.CARDS.values())
