"""The simulator's webhooks: signed as Stripe signs, repeated until taken, in order, and held."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from payments.simulator.server import Simulator, in_thread
from tests.payments.simulator_account import (
    SECRET,
    Account,
    Receiver,
    account,
    wait_until,
)

__all__ = ["account"]

PAID = (
    "payment_intent.created",
    "charge.succeeded",
    "payment_intent.succeeded",
    "checkout.session.completed",
)


def verified(receiver: Receiver, number: int, secret: str = SECRET) -> stripe.Event:
    client = stripe.StripeClient("sk_test_devstripe")
    return client.construct_event(receiver.raws[number], receiver.signatures[number], secret)


def test_a_payment_is_told_in_the_order_in_which_it_happened(account: Account) -> None:
    account.paid()

    account.wait_for_events(*PAID)


def test_a_decline_an_expiry_and_a_refund_are_told(account: Account) -> None:
    session = account.open()
    account.control(f"sessions/{session.id}/decline", {})
    account.control(f"sessions/{session.id}/expire", {})
    account.wait_for_events(
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
        "checkout.session.expired",
    )
    account.receiver.raws.clear()
    paid = account.paid()
    assert isinstance(paid.payment_intent, stripe.PaymentIntent)
    account.client.v1.refunds.create({"payment_intent": paid.payment_intent.id})

    account.wait_for_events(*PAID, "charge.refunded", "refund.created", "refund.updated")


def test_the_sdk_accepts_the_signature(account: Account) -> None:
    session = account.paid()
    account.wait_for_events(*PAID)

    event = verified(account.receiver, 3)

    assert event.type == "checkout.session.completed"
    assert event.api_version == stripe.api_version
    assert event.livemode is False
    about: Any = event.data.object
    assert about["id"] == session.id
    assert about["client_reference_id"] == "ord_1"


def test_the_sdk_refuses_another_body_secret_or_day(account: Account) -> None:
    account.paid()
    account.wait_for_events(*PAID)
    raw, signature = account.receiver.raws[0], account.receiver.signatures[0]
    verify: Any = stripe.WebhookSignature.verify_header
    assert verify(raw, signature, SECRET, 300) is True

    account.receiver.raws[0] = raw.replace(b"payment_intent.created", b"payment_intent.creates")
    with pytest.raises(stripe.SignatureVerificationError):
        verified(account.receiver, 0)
    with pytest.raises(stripe.SignatureVerificationError):
        verified(account.receiver, 1, "whsec_other")
    time.sleep(1.1)
    with pytest.raises(stripe.SignatureVerificationError):
        verify(raw, signature, SECRET, tolerance=0.05)


def test_an_event_that_was_not_taken_comes_again_with_a_new_signature(account: Account) -> None:
    account.receiver.statuses = [500, 302]
    session = account.open()
    account.control(f"sessions/{session.id}/expire", {})

    account.wait_for_events(*["checkout.session.expired"] * 3)

    assert len({json.loads(raw)["id"] for raw in account.receiver.raws}) == 1
    assert verified(account.receiver, 2).type == "checkout.session.expired"
    expected = [
        {
            "event": json.loads(account.receiver.raws[0])["id"],
            "type": "checkout.session.expired",
            "attempts": 3,
            "status": 200,
            "is_pending": 0,
        }
    ]
    wait_until(
        lambda: account.control("deliveries")["data"] == expected,
        lambda: account.control("deliveries"),
    )


def test_one_event_that_is_not_taken_does_not_keep_the_others(account: Account) -> None:
    account.receiver.statuses = [500]
    account.paid()

    account.wait_for_events(*PAID, PAID[0])


def test_deliveries_that_succeeded_and_that_did_not_are_told_apart(account: Account) -> None:
    account.paid()
    account.wait_for_events(*PAID)
    find = account.client.v1.events.list
    wait_until(lambda: find({"delivery_success": False}).data == [], lambda: "still pending")

    account.control("faults", {"hold_webhooks": True})
    session = account.open()
    account.client.v1.checkout.sessions.expire(session.id)

    pending = find({"delivery_success": False}).data
    assert [event.type for event in pending] == ["checkout.session.expired"]
    assert pending[0].pending_webhooks == 1
    assert len(find({"delivery_success": True}).data) == 4


def test_held_events_are_delivered_when_they_are_let_go(account: Account) -> None:
    account.control("faults", {"hold_webhooks": True})
    account.paid()
    time.sleep(0.3)
    assert account.receiver.types == []

    account.control("faults", {"hold_webhooks": False})

    account.wait_for_events(*PAID)


def test_an_event_is_delivered_again_on_request(account: Account) -> None:
    account.paid()
    account.wait_for_events(*PAID)
    first = json.loads(account.receiver.raws[3])

    by_type = account.control("redeliver", {"type": "checkout.session.completed"})
    by_id = account.control("redeliver", {"event": first["id"]})

    answer = {"event": first["id"], "type": "checkout.session.completed", "status": 200}
    assert [by_type, by_id] == [answer, answer]
    account.wait_for_events(*PAID, PAID[3], PAID[3])
    assert account.refusal("/_simulator/redeliver", b'{"type": "charge.lost"}')[0] == 404


def test_an_event_keeps_the_object_as_it_was_then(account: Account) -> None:
    session = account.paid()
    assert isinstance(session.payment_intent, stripe.PaymentIntent)
    intent = session.payment_intent.id
    account.client.v1.refunds.create({"payment_intent": intent, "amount": 100})
    account.client.v1.refunds.create({"payment_intent": intent})

    refunded: Any = account.client.v1.events.list({"type": "charge.refunded"}).data

    second, first = ((each.data.object, each.data.previous_attributes) for each in refunded)
    assert (first[0]["amount_refunded"], first[0]["refunded"]) == (100, False)
    assert first[1].to_dict() == {"amount_refunded": 0}
    assert (second[0]["amount_refunded"], second[0]["refunded"]) == (59_500, True)
    assert second[1].to_dict() == {"amount_refunded": 100, "refunded": False}


def test_an_event_names_the_request_that_caused_it(account: Account) -> None:
    session = account.open()
    account.client.v1.checkout.sessions.expire(session.id, {}, {"idempotency_key": "end-1"})
    account.paid()

    events = account.client.v1.events.list({"limit": 100}).data

    by_api = next(event for event in events if event.type == "checkout.session.expired")
    assert by_api.request is not None
    assert by_api.request.idempotency_key == "end-1"
    assert by_api.request.id == account.control("requests")["data"][1]["id"]
    by_buyer = next(event for event in events if event.type == "checkout.session.completed")
    assert by_buyer.request is not None
    assert (by_buyer.request.id, by_buyer.request.idempotency_key) == (None, None)


def test_events_are_found_by_their_types(account: Account) -> None:
    account.paid()
    find = account.client.v1.events.list

    def types(**params: Any) -> list[str]:
        return [event.type for event in find(params).data]  # type: ignore[arg-type]

    assert types(type="charge.succeeded") == ["charge.succeeded"]
    assert types(type="payment_intent.*") == ["payment_intent.succeeded", "payment_intent.created"]
    assert types(types=["charge.succeeded", PAID[3]]) == [PAID[3], "charge.succeeded"]
    assert types(created={"gt": int(time.time()) + 60}) == []
    with pytest.raises(stripe.InvalidRequestError):
        find({"type": "charge.succeeded", "types": ["charge.succeeded"]})
    with pytest.raises(stripe.InvalidRequestError):
        find({"types": ["charge.succeeded"] * 21})


def test_an_event_can_be_fetched(account: Account) -> None:
    account.paid()
    (event,) = account.client.v1.events.list({"limit": 1}).data

    assert account.client.v1.events.retrieve(event.id).type == "checkout.session.completed"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_what_was_not_delivered_is_delivered_after_a_restart(
    receiver: Receiver, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "directory": tmp_path,
        "webhook_url": receiver.url,
        "webhook_secret": SECRET,
    }
    first = Simulator(**options)
    thread = in_thread(first)
    before = Account(first, receiver)
    before.control("faults", {"hold_webhooks": True})
    session = before.paid()
    first.stop()
    thread.join()
    assert receiver.types == []

    second = Simulator(**options)
    thread = in_thread(second)
    try:
        Account(second, receiver).wait_for_events(*PAID)
        assert Account(second, receiver).retrieve(session.id).payment_status == "paid"
    finally:
        second.stop()
        thread.join()
