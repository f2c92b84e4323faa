"""An endpoint that was down is sent what it missed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.utils import timezone

from marketplace import events, idempotency, webhook_deliveries, webhooks
from marketplace.access import Scope, acting, system
from marketplace.models import Audit, Event, Organization, WebhookDelivery, WebhookEndpoint
from tests.marketplace.test_webhooks import made, tell, verified, work
from tests.people import ApiClient, caller_for
from tests.webhooks import Receiver, receiver

__all__ = ["receiver"]
pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture(autouse=True)
def to_loopback(settings: Any) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True


def hour_ago() -> str:
    return (timezone.now() - timedelta(hours=1)).isoformat()


def catch_up(client: ApiClient, endpoint: Any, **body: Any) -> Any:
    return client.post(
        f"/v1/webhook-endpoints/{endpoint['id']}/replay", {"since": hour_ago(), **body}
    )


def set_disabled(client: ApiClient, endpoint: Any, disabled: bool) -> None:
    answer = client.post(f"/v1/webhook-endpoints/{endpoint['id']}", {"disabled": disabled})
    assert answer.status_code == 200


def end(event: Event, state: str) -> None:
    """Have a delivery ended as if its schedule was over, or it was disabled, or it was taken."""
    with system("end a delivery in a test"):
        WebhookDelivery.objects.filter(event=event).update(
            state=state, ended_at=timezone.now(), next_attempt_at=None, attempts=10
        )


def ids(receiver: Receiver) -> list[str]:
    return [each.headers["webhook-id"] for each in receiver.requests]


def test_what_happened_while_an_endpoint_was_disabled_is_sent_once_it_is_asked_for(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url, types=["offer.published"])
    canceled = tell(archive)
    webhook_deliveries.queue_new()
    set_disabled(client, endpoint, True)
    missed = [tell(archive), tell(archive)]
    tell(archive, "offer.withdrawn")
    work()
    set_disabled(client, endpoint, False)
    work()
    assert receiver.requests == []

    since = hour_ago()
    answer = catch_up(client, endpoint, since=since)
    assert answer.status_code == 200, answer.content
    said = answer.json()
    until = datetime.fromisoformat(said.pop("until"))
    assert abs(until - timezone.now()) < timedelta(minutes=1)
    assert datetime.fromisoformat(said.pop("since")) == datetime.fromisoformat(since)
    assert said == {
        "object": "webhook_replay",
        "endpoint": endpoint["id"],
        "state": None,
        "deliveries": 3,
        "next_since": None,
    }
    work()
    assert sorted(ids(receiver)) == sorted(str(event.pk) for event in [canceled, *missed])
    for request in receiver.requests:
        assert verified(request, endpoint["secret"])["type"] == "offer.published"
    # All of it was taken: there is nothing more to send.
    assert catch_up(client, endpoint).json()["deliveries"] == 0
    with system("look at the audit in a test"):
        rows = Audit.objects.filter(action="webhook_endpoint.replayed").order_by("pk")
        assert [(row.subject, row.data["deliveries"]) for row in rows] == [
            (endpoint["id"], 3),
            (endpoint["id"], 0),
        ]


def test_asking_again_before_it_was_sent_changes_nothing(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    event = tell(archive)
    webhook_deliveries.queue_new()
    end(event, "failed")
    assert [catch_up(client, endpoint).json()["deliveries"] for _each in range(2)] == [1, 0]
    work()
    assert ids(receiver) == [str(event.pk)]


def test_what_failed_goes_through_its_whole_schedule_again(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    event = tell(archive)
    webhook_deliveries.queue_new()
    end(event, "failed")
    with system("let an endpoint rest in a test"):
        WebhookEndpoint.objects.update(
            failures=9, failing_since=timezone.now(), rests_until=timezone.now() + timedelta(1)
        )
    catch_up(client, endpoint)
    receiver.answers = [(500, {}, b"")]
    work()
    with system("look at a delivery in a test"):
        row = WebhookDelivery.objects.get()
    assert (row.state, row.attempts, row.attempts_before) == ("pending", 11, 10)
    assert row.next_attempt_at is not None
    assert row.next_attempt_at < timezone.now() + timedelta(seconds=10)


@pytest.mark.parametrize("state", ["failed", "canceled", "delivered", "missed"])
def test_only_what_is_of_one_state_is_sent_if_asked(
    state: str, client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    told = {each: tell(archive) for each in ("failed", "canceled", "delivered", "pending")}
    webhook_deliveries.queue_new()
    for each in ("failed", "canceled", "delivered"):
        end(told[each], each)
    with system("forget a delivery in a test"):
        told["missed"] = told.pop("pending")
        WebhookDelivery.objects.filter(event=told["missed"]).delete()
    answer = catch_up(client, endpoint, state=state).json()
    assert (answer["state"], answer["deliveries"]) == (state, 1)
    work()
    assert ids(receiver) == [str(told[state].pk)]


def test_a_window_is_from_an_instant_on_and_before_another(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    told = [tell(archive) for _each in range(3)]
    webhook_deliveries.queue_new()
    for event in told:
        end(event, "failed")
    since, until = (event.created_at.isoformat() for event in told[1:])
    assert catch_up(client, endpoint, since=since, until=until).json()["deliveries"] == 1
    work()
    assert ids(receiver) == [str(told[1].pk)]


def test_a_window_ends_now_where_it_is_said_to_end_later(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    endpoint = made(client, "https://hooks.example.org/")
    said = catch_up(client, endpoint, until="9999-12-31T23:59:59-12:00").json()
    assert datetime.fromisoformat(said["until"]) <= timezone.now()


def test_more_than_one_request_takes_is_asked_for_from_where_it_ended(
    client_for: ClientFor, archive: Organization, receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(webhooks, "REPLAYED_AT_ONCE", 2)
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    told = [tell(archive) for _each in range(5)]
    webhook_deliveries.queue_new()
    for event in told:
        end(event, "delivered")
    since, counts = hour_ago(), []
    while since is not None:
        answer = catch_up(client, endpoint, since=since, state="delivered").json()
        counts.append(answer["deliveries"])
        since = answer["next_since"]
        work()
    assert counts == [2, 2, 1]
    assert ids(receiver) == [str(event.pk) for event in told]


def test_tests_of_other_endpoints_and_events_of_the_other_mode_are_not_sent(
    client_for: ClientFor, archive: Organization, lab: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint, other = made(client, receiver.url), made(client, receiver.url + "other")
    own, theirs = (webhooks.test(caller_for(archive), each["id"]) for each in (endpoint, other))
    with acting(caller_for(archive, livemode=True)):
        events.record("offer.published", to=[archive.pk], livemode=True, subject=archive)
    tell(lab)
    webhook_deliveries.queue_new()
    end(own, "failed")
    end(theirs, "failed")
    assert catch_up(client, endpoint).json()["deliveries"] == 1
    work()
    assert [each.path for each in receiver.requests] == ["/"]
    assert ids(receiver) == [str(own.pk)]


def test_an_event_that_waits_for_its_place_is_sent_once(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    event = tell(archive)
    assert catch_up(client, endpoint).json()["deliveries"] == 0
    work()
    assert ids(receiver) == [str(event.pk)]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"since": "2026-01-01T00:00:00"}, "since"),
        ({"since": "2020-01-01T00:00:00Z"}, "since"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "since"),
        ({"since": "9999-12-31T23:59:59-12:00"}, "since"),
        ({"since": 7}, "since"),
        ({"until": "2020-01-01T00:00:00Z"}, "until"),
        ({"state": "pending"}, "state"),
        ({"types": ["grant.issued"]}, "types"),
    ],
)
def test_what_is_no_window_is_refused(
    body: Any, param: str, client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    event = tell(archive)
    webhook_deliveries.queue_new()
    end(event, "failed")
    answer = catch_up(client, endpoint, **body)
    assert (answer.status_code, answer.json()["param"]) == (422, param)
    with system("look at a delivery in a test"):
        assert WebhookDelivery.objects.get().state == "failed"


def test_a_disabled_endpoint_and_a_key_that_only_reads_are_refused(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    endpoint = made(client, "https://hooks.example.org/")
    assert catch_up(client_for(archive, scopes=[Scope.WEBHOOKS_READ]), endpoint).status_code == 403
    set_disabled(client, endpoint, True)
    tell(archive)
    webhook_deliveries.queue_new()
    refused = catch_up(client, endpoint)
    assert (refused.status_code, refused.json()["code"]) == (409, "webhook_endpoint_disabled")
    with system("count in a test"):
        assert WebhookDelivery.objects.count() == 0


def test_a_retry_under_the_same_key_gets_the_first_answer_also_where_that_was_lost(
    client_for: ClientFor, archive: Organization, receiver: Receiver
) -> None:
    client = client_for(archive)
    endpoint = made(client, receiver.url)
    url, body = f"/v1/webhook-endpoints/{endpoint['id']}/replay", {"since": hour_ago()}
    for key, is_stored in (("stored", True), ("lost", False)):
        event = tell(archive)
        webhook_deliveries.queue_new()
        end(event, "failed")
        if is_stored:
            first = client.post(url, body, Idempotency_Key=key)
        else:
            with (
                patch.object(idempotency, "store"),
                patch.object(idempotency, "LEASE", timedelta()),
            ):
                first = client.post(url, body, Idempotency_Key=key)
        work()
        again = client.post(url, body, Idempotency_Key=key)
        assert again["Idempotent-Replayed"] == "true"
        assert (again.status_code, again.json()) == (200, first.json())
        assert first.json()["deliveries"] == 1
    assert len(receiver.requests) == 2
