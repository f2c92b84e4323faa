"""Webhooks: signed, sent until they are taken, and to be looked into."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.core import mail
from django.core.management import call_command
from django.db import DatabaseError, transaction
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from marketplace import events, organizations, webhook_deliveries, webhooks
from marketplace.access import Scope, acting, system
from marketplace.models import (
    Audit,
    Event,
    Organization,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)
from tests.people import ApiClient, caller_for
from tests.webhooks import Received, Receiver, receiver

__all__ = ["receiver"]
pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
HOOK = "https://hooks.example.org/licet"


@pytest.fixture(autouse=True)
def to_loopback(settings: Any) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True


def made(client: ApiClient, url: str, **fields: Any) -> Any:
    answer = client.post("/v1/webhook-endpoints", {"url": url, **fields})
    assert answer.status_code == 201, answer.content
    return answer.json()


def tell(organization: Organization, type: str = "offer.published") -> Event:
    with acting(caller_for(organization)):
        [event] = events.record(type, to=[organization.pk], livemode=False, subject=organization)
    return event


def work() -> None:
    webhook_deliveries.queue_new()
    webhook_deliveries.deliver_due()


def make_due() -> None:
    """Let the time pass until everything that waits is due."""
    with system("let time pass in a test"):
        past = timezone.now() - timedelta(seconds=1)
        WebhookDelivery.objects.filter(state="pending").update(next_attempt_at=past)
        WebhookEndpoint.objects.update(rests_until=None)


def delivered(client: ApiClient, endpoint: Any) -> list[Any]:
    """An endpoint's deliveries, newest first, each with its attempts."""
    listed = client.get(f"/v1/webhook-endpoints/{endpoint['id']}/deliveries").json()["data"]
    return [client.get(f"/v1/webhook-deliveries/{each['id']}").json() for each in listed]


def verified(request: Received, secret: str) -> Any:
    """What a receiver reads, with a library that we did not write."""
    return Webhook(secret).verify(request.body.decode(), request.headers)


# --- signed -----------------------------------------------------------------------------------


def test_an_event_is_sent_signed_as_standard_webhooks_are(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    event = tell(archive)
    work()
    [request] = receiver.requests
    shown = client.get(f"/v1/events/{event.pk}").json()
    body = verified(request, endpoint["secret"])
    assert body == shown | {"timestamp": shown["created_at"]}
    assert request.headers["webhook-id"] == str(event.pk)
    assert request.headers["content-type"].startswith("application/json")
    [delivery] = delivered(client, endpoint)
    assert (delivery["state"], delivery["attempts"]) == ("delivered", 1)
    [attempt] = delivery["tries"]
    assert (attempt["number"], attempt["status"], attempt["error"], attempt["answer"]) == (
        1, 200, "", "ok",
    )  # fmt: skip


@pytest.mark.parametrize("part", ["body", "id", "timestamp", "secret"])
def test_a_request_that_was_changed_does_not_verify(
    part: str, client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    endpoint = made(client_for(archive), receiver.url)
    tell(archive)
    work()
    [request] = receiver.requests
    headers, body, secret = dict(request.headers), request.body, endpoint["secret"]
    if part == "body":
        body = body.replace(b"published", b"withdrawn")
    elif part == "secret":
        secret = "whsec_" + base64.b64encode(bytes(32)).decode()
    else:
        headers[f"webhook-{part}"] = str(int(headers["webhook-timestamp"]) + 1)
    with pytest.raises(WebhookVerificationError):
        verified(Received("/", headers, body), secret)


def test_the_ed25519_signature_verifies_with_the_public_key_alone(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    tell(archive)
    work()
    [request] = receiver.requests
    shown = client.get(f"/v1/webhook-endpoints/{endpoint['id']}").json()
    key = Ed25519PublicKey.from_public_bytes(
        base64.b64decode(shown["public_key"].removeprefix("whpk_"))
    )
    [signature] = [
        base64.b64decode(each.removeprefix("v1a,"))
        for each in request.headers["webhook-signature"].split(" ")
        if each.startswith("v1a,")
    ]
    head = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}."
    key.verify(signature, head.encode() + request.body)
    with pytest.raises(InvalidSignature):
        key.verify(signature, head.encode() + request.body + b" ")


def test_the_secret_is_shown_once_and_kept_sealed(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    body = {"url": HOOK}
    first = client.post("/v1/webhook-endpoints", body, Idempotency_Key="k").json()
    again = client.post("/v1/webhook-endpoints", body, Idempotency_Key="k").json()
    assert first["secret"].startswith("whsec_")
    assert (again["id"], again["secret"], again["secret_already_shown"]) == (
        first["id"], None, True,
    )  # fmt: skip
    assert "secret" not in client.get(f"/v1/webhook-endpoints/{first['id']}").json()
    with system("look at what is stored in a test"):
        row = WebhookEndpoint.objects.get()
        said = str(list(Audit.objects.values()))
    raw = base64.b64decode(first["secret"].removeprefix("whsec_"))
    assert raw not in bytes(row.secret)
    assert first["secret"] not in said


def test_both_secrets_sign_for_the_overlap_and_the_new_one_alone_after_it(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    rotate = f"/v1/webhook-endpoints/{endpoint['id']}/rotate-secret"
    new = client.post(rotate, {"overlap_seconds": 60}).json()["secret"]
    refused = client.post(rotate)
    assert (refused.status_code, refused.json()["code"]) == (409, "webhook_secret_overlaps")
    tell(archive)
    work()
    with system("let time pass in a test"):
        WebhookEndpoint.objects.update(previous_secret_ends_at=timezone.now())
    tell(archive)
    work()
    during, afterwards = receiver.requests
    for secret in (endpoint["secret"], new):
        assert verified(during, secret)["type"] == "offer.published"
    assert verified(afterwards, new)["type"] == "offer.published"
    with pytest.raises(WebhookVerificationError):
        verified(afterwards, endpoint["secret"])
    assert new != endpoint["secret"]


def test_secrets_are_sealed_anew_with_a_new_key(
    client_for: ClientFor, archive: Organization, receiver: Receiver, settings: Any
) -> None:
    endpoint = made(client_for(archive), receiver.url)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another"
    call_command("reseal_webhooks", stdout=None)
    settings.SECRET_KEY_FALLBACKS = []
    tell(archive)
    work()
    [request] = receiver.requests
    assert verified(request, endpoint["secret"])["type"] == "offer.published"


# --- sent until taken -------------------------------------------------------------------------


@pytest.mark.parametrize("status", [300, 404, 503])
def test_nothing_but_2xx_is_taken(
    status: int, client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    receiver.answers = [(status, {}, b"no")]
    tell(archive)
    work()
    [delivery] = delivered(client, endpoint)
    assert (delivery["state"], delivery["tries"][0]["status"]) == ("pending", status)
    make_due()
    work()
    [delivery] = delivered(client, endpoint)
    assert (delivery["state"], delivery["attempts"]) == ("delivered", 2)
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


def test_an_attempt_that_died_is_made_again_with_the_same_id(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    """The process ended after the endpoint took it, and before that was kept."""
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    tell(archive)
    webhook_deliveries.queue_new()
    with system("find an endpoint in a test"):
        row = WebhookEndpoint.objects.get()
    claimed = webhook_deliveries._claim(row.pk)
    assert claimed is not None
    webhook_deliveries._attempt(claimed)
    assert webhook_deliveries.deliver_due() == 0
    make_due()
    assert webhook_deliveries.deliver_due() == 1
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    [delivery] = delivered(client, endpoint)
    assert [each["number"] for each in delivery["tries"]] == [2]


def test_waits_grow_over_three_days_and_then_the_delivery_has_failed(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    tell(archive)
    webhook_deliveries.queue_new()
    waits = []
    for _each in webhook_deliveries.SCHEDULE_SECONDS:
        receiver.answers = [(500, {}, b"")]
        webhook_deliveries.deliver_due()
        with system("look at a delivery in a test"):
            at = WebhookDelivery.objects.get().next_attempt_at
        assert at is not None
        waits.append((at - timezone.now()).total_seconds())
        make_due()
    receiver.answers = [(500, {}, b"")]
    webhook_deliveries.deliver_due()
    for wait, planned in zip(waits, webhook_deliveries.SCHEDULE_SECONDS, strict=True):
        assert planned - 2 < wait <= planned * (1 + webhook_deliveries.JITTER)
    assert 3 * 86_400 <= sum(webhook_deliveries.SCHEDULE_SECONDS) < 3.5 * 86_400
    [delivery] = delivered(client, endpoint)
    assert (delivery["state"], delivery["attempts"], delivery["next_attempt_at"]) == (
        "failed", 10, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "least", "most"), [("3600", 3_590, 3_600), ("99999999", 86_390, 86_400)]
)
def test_an_endpoint_that_asks_for_time_is_given_it_within_bounds(
    asked: str, least: int, most: int, client_for: ClientFor, archive: Organization,
    receiver: Receiver,
) -> None:  # fmt: skip
    made(client_for(archive), receiver.url)
    receiver.answers = [(503, {"Retry-After": asked}, b"")]
    tell(archive)
    work()
    with system("look at a delivery in a test"):
        delivery, endpoint = WebhookDelivery.objects.get(), WebhookEndpoint.objects.get()
    for at in (delivery.next_attempt_at, endpoint.rests_until):
        assert at is not None
        assert least < (at - timezone.now()).total_seconds() <= most


def test_410_disables_an_endpoint_at_once_and_its_owners_are_told(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    organizations.admit(
        archive, email="ada@example.org", name="Ada", password="correct horse", role="owner"
    )
    endpoint = made(client, receiver.url)
    receiver.answers = [(410, {}, b"")]
    tell(archive)
    tell(archive)
    work()
    shown = client.get(f"/v1/webhook-endpoints/{endpoint['id']}").json()
    assert shown["disabled_because"] == "gone"
    assert {each["state"] for each in delivered(client, endpoint)} == {"canceled"}
    assert [(each.to, each.subject) for each in mail.outbox] == [
        (["ada@example.org"], "A webhook was disabled")
    ]
    assert receiver.url in mail.outbox[0].body
    tell(archive)
    make_due()
    work()
    assert len(receiver.requests) == 1
    with system("look at the audit in a test"):
        row = Audit.objects.get(action="webhook_endpoint.disabled")
        told = Event.objects.get(type="webhook_endpoint.disabled")
    assert (row.actor, row.data) == ("system", {"because": "gone"})
    assert told.data == {"webhook_endpoint": endpoint["id"], "because": "gone"}


def test_an_endpoint_that_took_nothing_for_days_is_disabled(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    receiver.answers = [(500, {}, b"")] * 2
    tell(archive)
    work()
    since = timezone.now() - timedelta(days=webhook_deliveries.FAILING_DAYS, minutes=1)
    with system("let time pass in a test"):
        WebhookEndpoint.objects.update(failing_since=since)
    make_due()
    work()
    shown = client.get(f"/v1/webhook-endpoints/{endpoint['id']}").json()
    assert shown["disabled_because"] == "failing"
    webhook_deliveries.queue_new()
    shown = client.post(f"/v1/webhook-endpoints/{endpoint['id']}", {"disabled": False}).json()
    assert (shown["disabled_at"], shown["failing_since"]) == (None, None)
    tell(archive)
    work()
    assert len(receiver.requests) == 3


def test_an_endpoint_that_fails_is_left_alone_for_a_while_whatever_waits_for_it(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    made(client_for(archive), receiver.url)
    receiver.answers = [(500, {}, b"")] * 5
    for _each in range(5):
        tell(archive)
    work()
    webhook_deliveries.deliver_due()
    assert len(receiver.requests) == 1


def test_only_what_an_endpoint_wants_is_sent_to_it_and_only_in_its_mode(
    client_for: ClientFor, archive: Organization, lab: Organization, receiver: Receiver
) -> None:
    made(client_for(archive), receiver.url, types=["offer.withdrawn"])
    made(client_for(archive, livemode=True), receiver.url)
    made(client_for(lab), receiver.url)
    tell(archive)
    wanted = tell(archive, "offer.withdrawn")
    work()
    assert [each.headers["webhook-id"] for each in receiver.requests] == [str(wanted.pk)]


@pytest.mark.django_db(transaction=True)
def test_a_silent_endpoint_holds_up_nobody(
    client_for: ClientFor, archive: Organization, lab: Organization, receiver: Receiver
) -> None:
    silent = Receiver()
    silent.is_silent = True
    deliverer = webhook_deliveries.Deliverer()
    try:
        made(client_for(archive), silent.url)
        made(client_for(lab), receiver.url)
        tell(archive)
        tell(lab)
        webhook_deliveries.queue_new()
        assert deliverer.run_once() == 2
        for _turn in range(200):
            if receiver.requests:
                break
            threading.Event().wait(0.02)
        assert len(receiver.requests) == 1
        with system("look at deliveries in a test"):
            states = dict(WebhookDelivery.objects.values_list("organization_id", "state"))
        assert states[archive.pk] == "pending"
        # The one that is being waited for is not asked twice.
        assert deliverer.run_once() == 0
    finally:
        silent.close()
        deliverer.close()


def test_slow_endpoints_of_one_organization_leave_slots_to_others(archive: Organization) -> None:
    deliverer = webhook_deliveries.Deliverer()
    most = webhook_deliveries.SLOTS_OF_ORGANIZATION
    for _each in range(most):
        assert deliverer._has_room(archive.pk, fails=False)
        deliverer._busy[Event().pk] = archive.pk, False
    assert not deliverer._has_room(archive.pk, fails=False)
    assert deliverer._has_room(Event().pk, fails=False)
    for _each in range(webhook_deliveries.SLOTS_OF_FAILING):
        deliverer._busy[Event().pk] = Event().pk, True
    assert not deliverer._has_room(Event().pk, fails=True)
    assert deliverer._has_room(Event().pk, fails=False)


# --- verbs ------------------------------------------------------------------------------------


def test_a_test_reaches_the_endpoint_that_it_is_for_alone(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    made(client, receiver.url + "other")
    endpoint = made(client, receiver.url + "tested", types=["grant.issued"])
    answer = client.post(f"/v1/webhook-endpoints/{endpoint['id']}/test")
    assert answer.status_code == 201
    assert answer["Location"] == f"/v1/events/{answer.json()['id']}"
    work()
    [request] = receiver.requests
    assert request.path == "/tested"
    said = verified(request, endpoint["secret"])
    assert (said["type"], said["data"]) == (
        "webhook_endpoint.tested",
        {"webhook_endpoint": endpoint["id"]},
    )


def test_a_replay_sends_the_same_again_by_its_whole_schedule(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    tell(archive)
    work()
    [delivery] = delivered(client, endpoint)
    again = client.post(f"/v1/webhook-deliveries/{delivery['id']}/replay")
    assert (again.status_code, again.json()["state"]) == (200, "pending")
    receiver.answers = [(500, {}, b"")]
    work()
    with system("look at a delivery in a test"):
        at = WebhookDelivery.objects.get().next_attempt_at
    assert at is not None
    assert (at - timezone.now()).total_seconds() < 7
    make_due()
    work()
    [delivery] = delivered(client, endpoint)
    assert (delivery["state"], delivery["attempts"]) == ("delivered", 3)
    assert len({each.headers["webhook-id"] for each in receiver.requests}) == 1


def test_a_disabled_endpoint_is_neither_tested_nor_sent_again_to(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    tell(archive)
    work()
    [delivery] = delivered(client, endpoint)
    client.post(f"/v1/webhook-endpoints/{endpoint['id']}", {"disabled": True})
    for url in (
        f"/v1/webhook-endpoints/{endpoint['id']}/test",
        f"/v1/webhook-deliveries/{delivery['id']}/replay",
    ):
        answer = client.post(url)
        assert (answer.status_code, answer.json()["code"]) == (409, "webhook_endpoint_disabled")
    work()
    assert len(receiver.requests) == 1
    assert delivered(client, endpoint) == [delivery]


def test_what_is_changed_stands_and_the_rest_stays(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    endpoint = made(client, HOOK, types=["grant.issued"], description="ours")
    url = f"/v1/webhook-endpoints/{endpoint['id']}"
    changed = client.post(url, {"types": []}).json()
    assert (changed["url"], changed["types"], changed["description"]) == (HOOK, [], "ours")
    assert client.get("/v1/webhook-endpoints").json()["data"] == [changed]
    with system("look at the audit in a test"):
        acts = Audit.objects.filter(action__startswith="webhook").order_by("pk")
        assert [row.action for row in acts] == [
            "webhook_endpoint.created",
            "webhook_endpoint.changed",
        ]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": "http://example.org/"}, "url"),
        ({"url": HOOK, "types": ["grant.sold"]}, "types[0]"),
        ({"url": HOOK, "types": "grant.issued"}, "types"),
        ({"url": HOOK, "types": [7]}, "types[0]"),
        ({"url": HOOK, "secret": "whsec_"}, "secret"),
        ({}, "url"),
    ],
)
def test_what_is_no_endpoint_is_refused(
    body: Any, param: str, client_for: ClientFor, archive: Organization
) -> None:
    answer = client_for(archive).post("/v1/webhook-endpoints", body)
    assert (answer.status_code, answer.json()["param"]) == (422, param)
    with system("count in a test"):
        assert WebhookEndpoint.objects.count() == 0


def test_an_organization_has_so_many_endpoints_and_no_more(
    client_for: ClientFor, archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "ENDPOINTS_MAX", 2)
    client = client_for(archive)
    first, *_others = [made(client, HOOK) for _each in range(webhooks.ENDPOINTS_MAX)]
    refused = client.post("/v1/webhook-endpoints", {"url": HOOK})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_webhook_endpoints")
    client.post(f"/v1/webhook-endpoints/{first['id']}", {"disabled": True})
    made(client, HOOK)
    back = client.post(f"/v1/webhook-endpoints/{first['id']}", {"disabled": False})
    assert (back.status_code, back.json()["code"]) == (409, "too_many_webhook_endpoints")
    with system("count in a test"):
        enabled = WebhookEndpoint.objects.filter(disabled_at__isnull=True)
        assert enabled.count() == webhooks.ENDPOINTS_MAX


def test_a_key_that_reads_does_not_write(client_for: ClientFor, archive: Organization) -> None:
    client = client_for(archive, scopes=[Scope.WEBHOOKS_READ])
    assert client.post("/v1/webhook-endpoints", {"url": HOOK}).status_code == 403
    assert client.get("/v1/webhook-endpoints").json()["data"] == []


def test_a_list_of_deliveries_is_of_one_state_if_asked(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    tell(archive)
    work()
    url = f"/v1/webhook-endpoints/{endpoint['id']}/deliveries?state="
    assert len(client.get(url + "delivered").json()["data"]) == 1
    assert client.get(url + "failed").json()["data"] == []
    assert client.get(url + "lost").json()["param"] == "state"


def test_what_ended_weeks_ago_is_swept_and_its_event_stays(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    made(client_for(archive), receiver.url)
    for _each in range(2):
        tell(archive)
    work()
    old = timezone.now() - timedelta(days=webhook_deliveries.KEPT_DAYS, minutes=1)
    with system("let time pass in a test"):
        first = WebhookDelivery.objects.order_by("pk").first()
        assert first is not None
        WebhookDelivery.objects.filter(pk=first.pk).update(ended_at=old)
    assert webhook_deliveries.sweep() == 1
    with system("count in a test"):
        assert WebhookDelivery.objects.exclude(pk=first.pk).count() == 1
        assert WebhookAttempt.objects.count() == 1
        assert Event.objects.count() == 2


def test_a_tenant_deletes_no_attempt_and_nobody_changes_one(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    made(client_for(archive), receiver.url)
    tell(archive)
    work()
    for block in (acting(caller_for(archive)), system("change an attempt in a test")):
        with pytest.raises(DatabaseError), block, transaction.atomic():
            WebhookAttempt.objects.update(answer="x")
    for model in (WebhookAttempt, WebhookDelivery):
        with pytest.raises(DatabaseError), acting(caller_for(archive)), transaction.atomic():
            model._default_manager.all().delete()
    with system("look at an attempt in a test"):
        assert WebhookAttempt.objects.get().answer == "ok"


def test_a_body_is_the_same_bytes_each_time_and_less_than_20_kb(archive: Organization) -> None:
    event = tell(archive)
    with system("read an event in a test"):
        read = Event.objects.get()
    assert webhook_deliveries.body(read) == webhook_deliveries.body(event)
    assert json.loads(webhook_deliveries.body(event)) == webhook_deliveries.payload(event)
    assert events.DATA_LENGTH_MAX < 20_000
