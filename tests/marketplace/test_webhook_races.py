"""Verbs of webhooks, each done by several at once, and against the worker that sends.

Each test that names a lock was seen to fail without it. What looks is slow (`slowly`), so that
somebody comes between the look and the change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from marketplace import events, webhook_deliveries, webhook_secrets, webhooks
from marketplace.access import acting, system
from marketplace.errors import DomainError
from marketplace.models import Audit, Event, Organization, WebhookDelivery, WebhookEndpoint
from marketplace.webhook_deliveries import Claimed, Outcome
from marketplace.webhook_http import Answer
from tests.payments.racing import at_once
from tests.people import caller_for
from tests.webhooks import Receiver, receiver

__all__ = ["receiver"]
pytestmark = [pytest.mark.chaos, pytest.mark.django_db(transaction=True)]
Slowly = Callable[[Any, str], None]
HOOK = "https://hooks.example.org/licet"


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Slowly:
    """Have a function take a while after it did what it does."""

    def patch(owner: Any, name: str) -> None:
        whole = getattr(owner, name)

        def slow(*args: Any, **kwargs: Any) -> Any:
            found = whole(*args, **kwargs)
            time.sleep(0.2)
            return found

        monkeypatch.setattr(owner, name, slow)

    return patch


def made(organization: Organization) -> WebhookEndpoint:
    return webhooks.create(caller_for(organization), url=HOOK)[0]


def tell(organization: Organization) -> Event:
    with acting(caller_for(organization)):
        [event] = events.record(
            "offer.published", to=[organization.pk], livemode=False, subject=organization
        )
    return event


def begun(endpoint: WebhookEndpoint) -> Claimed:
    """An attempt that is under way."""
    claimed = webhook_deliveries._claim(endpoint.pk)
    assert claimed is not None
    return claimed


def answered(status: int) -> Outcome:
    return Outcome(timezone.now(), 5, Answer(status, b"", None), "")


def a_moment_later(act: Callable[[], Any]) -> Callable[[], Any]:
    """While somebody else is between the look and the change."""

    def late() -> Any:
        time.sleep(0.1)
        return act()

    return late


def refused(results: list[Any]) -> list[str]:
    """The codes of those that were refused; anything else that was raised is an error."""
    raised = [each for each in results if isinstance(each, Exception)]
    assert [each for each in raised if not isinstance(each, DomainError)] == []
    return sorted(each.code for each in raised)


def states(endpoint: WebhookEndpoint) -> list[str]:
    with system("look at deliveries in a test"):
        rows = WebhookDelivery.objects.filter(endpoint=endpoint).order_by("event")
        return list(rows.values_list("state", flat=True))


def test_of_two_rotations_at_once_one_is_refused_and_the_other_s_secret_signs(
    archive: Organization, slowly: Slowly
) -> None:
    """The lock on the endpoint: without it both succeed, and one shown secret signs nothing."""
    endpoint, caller = made(archive), caller_for(archive)
    slowly(webhook_secrets, "new")
    results = at_once(
        lambda: webhooks.rotate_secret(caller, endpoint.pk),
        lambda: webhooks.rotate_secret(caller, endpoint.pk),
    )
    assert refused(results) == ["webhook_secret_overlaps"]
    [(_endpoint, shown)] = [each for each in results if not isinstance(each, Exception)]
    with system("look at an endpoint in a test"):
        row = WebhookEndpoint.objects.get()
        assert Audit.objects.filter(action="webhook_endpoint.secret_rotated").count() == 1
    assert webhook_secrets.shown(webhook_secrets.opened(row.secret)) == shown
    assert row.previous_secret is not None
    assert bytes(row.previous_secret) == bytes(endpoint.secret)


def test_what_is_queued_while_an_endpoint_is_disabled_is_not_left_pending(
    archive: Organization, slowly: Slowly
) -> None:
    """The lock of queueing: without it a delivery waits at an endpoint that is sent nothing."""
    endpoint, caller = made(archive), caller_for(archive)
    tell(archive)
    slowly(webhook_deliveries, "_wants")
    results = at_once(
        webhook_deliveries.queue_new,
        a_moment_later(lambda: webhooks.change(caller, endpoint.pk, disabled=True)),
    )
    assert refused(results) == []
    assert states(endpoint) in ([], ["canceled"])


def test_an_attempt_that_fails_while_its_endpoint_is_disabled_is_not_planned_anew(
    archive: Organization, slowly: Slowly
) -> None:
    """The locks of keeping an attempt: without them the delivery is pending, and never sent."""
    endpoint, caller = made(archive), caller_for(archive)
    tell(archive)
    webhook_deliveries.queue_new()
    claimed = begun(endpoint)
    slowly(webhook_deliveries, "_drawn_out")
    results = at_once(
        lambda: webhook_deliveries._keep(claimed, answered(503)),
        a_moment_later(lambda: webhooks.change(caller, endpoint.pk, disabled=True)),
    )
    assert refused(results) == []
    assert states(endpoint) == ["canceled"]


def test_a_replay_and_a_disabling_at_once_leave_nothing_pending(
    archive: Organization, slowly: Slowly
) -> None:
    """The lock on the endpoint: without it the replay finds it enabled, and is never sent."""
    endpoint, caller = made(archive), caller_for(archive)
    tell(archive)
    webhook_deliveries.queue_new()
    claimed = begun(endpoint)
    webhook_deliveries._keep(claimed, answered(200))
    slowly(webhooks, "_check_enabled")
    results = at_once(
        lambda: webhooks.replay(caller, claimed.delivery),
        a_moment_later(lambda: webhooks.change(caller, endpoint.pk, disabled=True)),
    )
    assert refused(results) in ([], ["webhook_endpoint_disabled"])
    assert states(endpoint) in (["canceled"], ["delivered"])


def test_two_replays_at_once_send_it_once_more(
    archive: Organization, slowly: Slowly, receiver: Receiver, settings: Any
) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    caller = caller_for(archive)
    webhooks.create(caller, url=receiver.url)
    event = tell(archive)
    webhook_deliveries.queue_new()
    assert webhook_deliveries.deliver_due() == 1
    with system("find a delivery in a test"):
        delivery = WebhookDelivery.objects.get()
    slowly(webhooks, "_check_enabled")
    results = at_once(*[lambda: webhooks.replay(caller, delivery.pk)] * 2)
    assert refused(results) == []
    assert webhook_deliveries.deliver_due() == 1
    assert webhook_deliveries.deliver_due() == 0
    assert len(receiver.came(str(event.pk))) == 2


def test_two_that_catch_up_at_once_make_each_delivery_once(
    archive: Organization, slowly: Slowly
) -> None:
    """The lock on the endpoint: without it both make what was missed, and one breaks."""
    endpoint, caller = missed(archive, events=3)
    slowly(webhooks, "_check_enabled")
    since = timezone.now() - timedelta(hours=1)
    results = at_once(*[lambda: webhooks.replay_since(caller, endpoint.pk, since=since)] * 2)
    assert refused(results) == []
    assert sorted(webhooks.replayed(each).deliveries for each in results) == [0, 3]
    assert states(endpoint) == ["pending"] * 3


def test_catching_up_and_a_disabling_at_once_leave_nothing_pending(
    archive: Organization, slowly: Slowly
) -> None:
    """The same lock: without it what was missed waits at an endpoint that is sent nothing."""
    endpoint, caller = missed(archive, events=2)
    slowly(webhooks, "_check_enabled")
    since = timezone.now() - timedelta(hours=1)
    results = at_once(
        lambda: webhooks.replay_since(caller, endpoint.pk, since=since),
        a_moment_later(lambda: webhooks.change(caller, endpoint.pk, disabled=True)),
    )
    assert refused(results) in ([], ["webhook_endpoint_disabled"])
    assert states(endpoint) in ([], ["canceled"] * 2)


def missed(organization: Organization, *, events: int) -> tuple[WebhookEndpoint, Any]:
    """An endpoint that was disabled while something happened."""
    endpoint, caller = made(organization), caller_for(organization)
    webhooks.change(caller, endpoint.pk, disabled=True)
    for _each in range(events):
        tell(organization)
    webhook_deliveries.queue_new()
    webhooks.change(caller, endpoint.pk, disabled=False)
    assert states(endpoint) == []
    return endpoint, caller


def test_of_two_that_take_the_last_place_one_is_refused(
    archive: Organization, slowly: Slowly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock on an organization's endpoints: without it each finds room."""
    caller = caller_for(archive)
    made(archive)
    monkeypatch.setattr(webhooks, "ENDPOINTS_MAX", 2)
    slowly(webhooks, "_check_room")
    results = at_once(*[lambda: webhooks.create(caller, url=HOOK)] * 2)
    assert refused(results) == ["too_many_webhook_endpoints"]
    with system("count in a test"):
        assert WebhookEndpoint.objects.count() == 2


def test_of_one_that_is_made_and_one_that_is_enabled_for_the_last_place_one_is_refused(
    archive: Organization, slowly: Slowly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same lock."""
    endpoint, caller = made(archive), caller_for(archive)
    webhooks.change(caller, endpoint.pk, disabled=True)
    monkeypatch.setattr(webhooks, "ENDPOINTS_MAX", 1)
    slowly(webhooks, "_check_room")
    results = at_once(
        lambda: webhooks.create(caller, url=HOOK),
        lambda: webhooks.change(caller, endpoint.pk, disabled=False),
    )
    assert refused(results) == ["too_many_webhook_endpoints"]
    with system("count in a test"):
        assert WebhookEndpoint.objects.filter(disabled_at=None).count() == 1
