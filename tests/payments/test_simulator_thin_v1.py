"""Thin events about objects of API version 1: read, verified and followed by the SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest
import stripe

from payments.simulator import contract, thin_v1
from payments.simulator.server import Simulator, in_thread
from tests.payments.simulator_account import SECRET, Account, Receiver, account, wait_until
from tests.payments.test_simulator_webhooks import PAID

__all__ = ["account"]

THIN = [f"v1.{type}" for type in PAID]


def notices(account: Account, secret: str = SECRET) -> list[Any]:
    return [
        account.client.parse_event_notification(raw, signature, secret)
        for raw, signature in zip(account.receiver.raws, account.receiver.signatures, strict=True)
    ]


def test_thin_events_tell_the_same_without_the_object(account: Account) -> None:
    account.control("webhooks", {"style": "thin"})

    session = account.paid()

    account.wait_for_events(*THIN)
    for raw in account.receiver.raws:
        sent = json.loads(raw)
        assert set(sent) & {"data", "changes"} == set()
        assert sent["object"] == "v2.core.event"
    completed = notices(account)[-1]
    assert type(completed).__name__ == "V1CheckoutSessionCompletedEventNotification"
    assert completed.related_object.id == session.id
    assert completed.related_object.type == "checkout.session"
    assert completed.fetch_related_object().payment_status == "paid"
    event = completed.fetch_event()
    assert type(event).__name__ == "V1CheckoutSessionCompletedEvent"
    assert event.fetch_related_object().id == session.id


def test_a_thin_event_names_the_one_that_holds_the_object(account: Account) -> None:
    account.control("webhooks", {"style": "both"})

    account.paid()

    both = [each for pair in zip(PAID, THIN, strict=True) for each in pair]
    account.wait_for_events(*both)
    bodies = [json.loads(raw) for raw in account.receiver.raws]
    for snapshot, thin in zip(bodies[::2], bodies[1::2], strict=True):
        assert thin["snapshot_event"] == snapshot["id"]
        assert thin["related_object"]["id"] == snapshot["data"]["object"]["id"]


def test_a_destination_of_thin_events_has_a_secret_of_its_own(account: Account) -> None:
    account.control("webhooks", {"style": "both", "thin_secrets": ["whsec_thin"]})
    account.paid()
    wait_until(lambda: len(account.receiver.raws) == 8, lambda: account.receiver.types)
    raws, signatures = account.receiver.raws, account.receiver.signatures

    account.client.construct_event(raws[0], signatures[0], SECRET)
    account.client.parse_event_notification(raws[1], signatures[1], "whsec_thin")

    with pytest.raises(stripe.SignatureVerificationError):
        account.client.parse_event_notification(raws[1], signatures[1], SECRET)


def test_disputes_and_refunds_are_told_thinly(account: Account) -> None:
    account.control("webhooks", {"style": "thin"})
    intent = account.paid().payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert isinstance(intent.latest_charge, stripe.Charge)
    refund = account.client.v1.refunds.create({"payment_intent": intent.id, "amount": 100})
    account.control(f"refunds/{refund.id}/fail", {})
    dispute = account.control(f"charges/{intent.latest_charge.id}/dispute", {})
    account.client.v1.disputes.close(dispute["id"])

    account.wait_for_events(
        *THIN,
        "v1.charge.refunded",
        "v1.refund.created",
        "v1.refund.updated",
        "v1.refund.updated",
        "v1.refund.failed",
        "v1.charge.updated",
        "v1.charge.dispute.created",
        "v1.charge.dispute.funds_withdrawn",
        "v1.charge.dispute.closed",
    )
    closed = notices(account)[-1]
    assert closed.fetch_related_object().status == "lost"
    assert closed.reason.request.id == account.control("requests")["data"][-2]["id"]


def test_without_a_destination_for_snapshots_none_is_pending(account: Account) -> None:
    account.control("webhooks", {"style": "thin"})
    account.paid()
    account.wait_for_events(*THIN)

    assert account.client.v1.events.list({"delivery_success": False}).data == []
    assert len(account.client.v1.events.list().data) == 4
    assert [each.type for each in account.client.v2.core.events.list().data] == THIN[::-1]


def test_the_style_is_chosen_at_the_start() -> None:
    receiver = Receiver()
    simulator = Simulator(webhook_url=receiver.url, webhook_secret=SECRET, event_style="thin")
    thread = in_thread(simulator)
    try:
        account = Account(simulator, receiver)
        account.control("webhooks", {"style": "both"})
        account.control("reset", {})
        account.paid()
        account.wait_for_events(*THIN)
    finally:
        simulator.stop()
        thread.join()
        receiver.close()


def test_every_kind_with_thin_events_is_fetched_where_they_say() -> None:
    for url in thin_v1.URLS.values():
        assert contract.find("GET", f"{url}/x")[0].template.startswith(url)
    assert contract.has_event("v1.charge.dispute.created")
    assert not contract.has_event("v1.charge.lost")
