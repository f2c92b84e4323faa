"""Stripe's events: refused unless signed, stored once, acted on once for each order."""

from __future__ import annotations

import json
import logging
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from marketplace import access
from marketplace.models import Organization
from payments import stripe_events, sync
from payments.models import Order, StripeEvent
from tests.payments.rows import make_offer_row, make_order_row, make_quote_row
from tests.payments.signing import event_body, signature

pytestmark = pytest.mark.django_db

SECRET = settings.STRIPE_WEBHOOK_SECRETS[0]


def deliver(raw: bytes, header: str | None = None) -> Any:
    header = signature(raw, SECRET) if header is None else header
    return Client().post(
        "/stripe/webhook",
        data=raw,
        content_type="application/json",
        headers={"Stripe-Signature": header} if header else {},
    )


def stored() -> list[StripeEvent]:
    with access.system("test what was stored"):
        return list(StripeEvent.objects.all())


def test_a_signed_event_is_stored_before_it_is_answered() -> None:
    response = deliver(event_body())

    assert (response.status_code, response.json()) == (200, {"received": "evt_1"})
    [event] = stored()
    assert event.type == "checkout.session.completed"
    assert event.api_version == "2026-10-28.endive"
    assert event.object_id == "cs_test_1"
    assert event.body == json.loads(event_body())
    assert event.handled_at is None


def test_a_repeated_event_is_answered_and_stored_once() -> None:
    answers = [deliver(event_body()).status_code for _repeat in range(3)]

    assert answers == [200, 200, 200]
    assert len(stored()) == 1


REFUSED = {
    "another secret": lambda raw: signature(raw, "whsec_other"),
    "301 seconds old": lambda raw: signature(raw, SECRET, at=int(time.time()) - 301),
    "another body": lambda raw: signature(raw + b" ", SECRET),
    "no header": lambda raw: "",
    "not a header": lambda raw: "v1",
    "no signature of the scheme": lambda raw: signature(raw, SECRET).replace("v1=", "v0="),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_stripe_did_not_sign_is_refused_and_not_stored(wrong: str) -> None:
    raw = event_body()

    response = deliver(raw, REFUSED[wrong](raw))

    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "webhook_signature_invalid"
    assert stored() == []


def test_a_body_that_is_no_text_is_refused() -> None:
    raw = b"\xff\xfe"

    response = deliver(raw)

    assert (response.status_code, stored()) == (400, [])


def test_both_secrets_hold_while_one_replaces_the_other(settings: Any) -> None:
    settings.STRIPE_WEBHOOK_SECRETS = ["whsec_new", "whsec_old"]

    for number, secret in enumerate(settings.STRIPE_WEBHOOK_SECRETS):
        raw = event_body(id=f"evt_{number}")
        assert deliver(raw, signature(raw, secret)).status_code == 200

    assert len(stored()) == 2


def test_an_event_of_the_other_mode_is_refused() -> None:
    response = deliver(event_body(livemode=True))

    assert response.status_code == 400
    assert response.json()["code"] == "webhook_mode_mismatch"
    assert stored() == []


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b"{",
        event_body(id=""),
        event_body(id=7),
        event_body(id="e" * 256),
        event_body(type=None),
        event_body(livemode="false"),
        event_body(data={"object": {"id": "a\x00b"}}),
        event_body(data={"object": {"id": "a", "amount": float("nan")}}),
    ],
)
def test_what_is_signed_but_no_event_is_refused(raw: bytes) -> None:
    response = deliver(raw)

    assert response.status_code == 400
    assert response.json()["code"] == "malformed_request"
    assert stored() == []


def test_an_event_is_delivered_by_post_only() -> None:
    response = Client().get("/stripe/webhook")

    assert (response.status_code, response["Allow"]) == (405, "POST")


# --- handling ---------------------------------------------------------------------------------


@pytest.fixture
def order(archive: Organization, lab: Organization) -> Order:
    with access.system("test events"):
        quote = make_quote_row(lab, make_offer_row(archive))
        return make_order_row(
            quote, checkout_session="cs_test_1", payment_intent="pi_1", charge="ch_1"
        )


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """The orders that were synced, without asking Stripe."""
    calls: list[UUID] = []
    monkeypatch.setattr(sync, "sync_order", calls.append)
    return calls


def receive(**fields: Any) -> None:
    raw = event_body(**fields)
    stripe_events.receive(raw, signature(raw, SECRET))


def subject(**fields: Any) -> dict[str, Any]:
    return {"data": {"object": {"id": "x_1", **fields}}}


def test_several_events_of_one_order_cost_one_sync(order: Order, synced: list[UUID]) -> None:
    receive(id="evt_1")
    receive(id="evt_2", **subject(client_reference_id=str(order.pk)))
    receive(id="evt_3", **subject(metadata={"order": str(order.pk)}))
    receive(id="evt_4", **subject(id="pi_1"))
    # A dispute, and a refund that was made at Stripe, say no more than this.
    receive(id="evt_5", **subject(id="dp_1", payment_intent="pi_1", metadata={}))
    receive(id="evt_6", **subject(id="re_1", charge="ch_1", metadata={}))

    assert stripe_events.handle_due() == 6

    assert synced == [order.pk]
    assert [event.handled_at is not None for event in stored()] == [True] * 6


def test_a_thin_event_names_its_order_too(order: Order, synced: list[UUID]) -> None:
    receive(
        type="v1.checkout.session.completed",
        data=None,
        related_object={"id": "cs_test_1", "type": "checkout.session"},
    )

    stripe_events.handle_due()

    assert synced == [order.pk]


@pytest.mark.parametrize(
    "foreign",
    [
        subject(client_reference_id="ord_01kqzzzzzzzzzzzzzzzzzzzzzz"),
        subject(client_reference_id="somebody else's"),
        subject(metadata="none"),
        subject(id=""),
        {"data": {}},
    ],
)
def test_an_event_about_nothing_of_ours_is_handled_by_doing_nothing(
    foreign: dict[str, Any], order: Order, synced: list[UUID]
) -> None:
    receive(**foreign)

    assert stripe_events.handle_due() == 1

    assert synced == []
    assert [event.handled_at is not None for event in stored()] == [True]


def test_handled_events_are_not_handled_again(order: Order, synced: list[UUID]) -> None:
    receive()
    stripe_events.handle_due()

    assert stripe_events.handle_due() == 0
    assert synced == [order.pk]


def test_a_failure_is_kept_and_tried_again_later(
    order: Order, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_order_id: UUID) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(sync, "sync_order", fail)
    receive()

    with caplog.at_level(logging.CRITICAL):
        stripe_events.handle_due()

    [event] = stored()
    assert (event.handled_at, event.attempts) == (None, 1)
    assert event.last_error == "RuntimeError: no network"
    assert event.next_attempt_at is not None
    assert timedelta() < event.next_attempt_at - timezone.now() <= timedelta(seconds=2)
    assert stripe_events.handle_due() == 0


def test_an_event_whose_worker_died_is_taken_again(order: Order, synced: list[UUID]) -> None:
    receive()
    stripe_events._take(10)
    assert stripe_events.handle_due() == 0

    with access.system("let the time pass"):
        StripeEvent.objects.update(next_attempt_at=timezone.now())

    assert stripe_events.handle_due() == 1
    assert synced == [order.pk]
