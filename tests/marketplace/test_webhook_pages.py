"""Webhooks in the workspace: made, looked into, sent again, and all of it as the API does it."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from marketplace import events, organizations, webhook_deliveries, webhooks
from marketplace.access import acting, system
from marketplace.models import (
    Audit,
    Event,
    Organization,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)
from tests.marketplace.test_webhooks import make_due, verified, work
from tests.people import ApiClient, caller_for
from tests.webhooks import Receiver, receiver

__all__ = ["receiver"]
pytestmark = pytest.mark.django_db
LIST = "/studio/marketplace/webhookendpoint/"
DELIVERIES = "/studio/marketplace/webhookdelivery/"
ADD = f"{LIST}add/"
HOOK = "https://hooks.example.org/licet"
FORM = {"url": HOOK, "description": "Rights desk", "types": ["grant.revoked"], "form_token": "one"}


@pytest.fixture(autouse=True)
def to_loopback(settings: Any) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True


@pytest.fixture
def owner(lab: Organization) -> Client:
    return signed_in(lab, "owner")


def signed_in(organization: Organization, role: str) -> Client:
    user = organizations.admit(
        organization,
        email=f"{role}@example.org",
        name=role,
        password="correct horse battery",
        role=role,
    )
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def rows(model: Any = WebhookEndpoint) -> list[Any]:
    with system("read webhooks in a test"):
        return list(model.objects.order_by("pk"))


def text(answer: Any) -> str:
    """What a page says, without its markup."""
    said = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", answer.content.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", said)


def acts() -> list[tuple[str, Any]]:
    with system("read the audit in a test"):
        found = Audit.objects.filter(action__startswith="webhook").order_by("pk")
        return [(row.action, row.data) for row in found]


def state() -> list[Any]:
    """All that pages of webhooks could change."""
    models = (WebhookEndpoint, WebhookDelivery, WebhookAttempt, Event, Audit)
    with system("compare rows in a test"):
        return [list(model.objects.order_by("pk").values()) for model in models]


def page(row: Any, name: str = "change") -> str:
    return f"/studio/marketplace/{type(row).__name__.lower()}/{row.pk}/{name}/"


def made(organization: Organization, url: str = HOOK, **fields: Any) -> WebhookEndpoint:
    return webhooks.create(caller_for(organization), url=url, **fields)[0]


def tell(organization: Organization) -> Event:
    with acting(caller_for(organization)):
        [event] = events.record(
            "grant.revoked", to=[organization.pk], livemode=False, subject=organization
        )
    return event


def age(endpoint: WebhookEndpoint, **by: Any) -> None:
    """Let an endpoint have failed for so long."""
    with system("let time pass in a test"):
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(
            failures=1, failing_since=timezone.now() - timedelta(**by)
        )


# --- made -------------------------------------------------------------------------------------


def test_an_empty_list_says_what_webhooks_are_and_leads_to_the_guide(owner: Client) -> None:
    answer = owner.get(LIST)
    assert "You have no webhook yet. It tells a program of yours" in text(answer)
    assert 'href="/docs/guide/webhooks/"' in answer.content.decode()
    assert f'href="{ADD}"' in answer.content.decode()


def test_a_new_webhook_s_secret_stands_on_the_next_page_once_and_verifies_what_comes(
    owner: Client, lab: Organization, receiver: Receiver
) -> None:
    answer = owner.post(ADD, {**FORM, "url": receiver.url})
    [endpoint] = rows()
    assert (answer.status_code, answer.url) == (302, page(endpoint, "secret"))
    assert (endpoint.description, endpoint.types) == ("Rights desk", ["grant.revoked"])
    assert (endpoint.organization_id, endpoint.livemode) == (lab.pk, False)

    shown = owner.get(answer.url)
    secret = str(shown.context["secret"])
    assert secret.startswith("whsec_")
    assert secret in text(shown)
    assert "kept nowhere" not in text(shown)
    again = owner.get(answer.url, follow=True)
    assert again.redirect_chain == [(page(endpoint), 302)]
    assert "is not shown again" in text(again)
    assert secret not in text(again)

    event = tell(lab)
    work()
    [request] = receiver.requests
    assert verified(request, secret)["id"] == str(event.pk)
    assert webhooks.public_key(endpoint) in text(again)
    assert acts() == [
        ("webhook_endpoint.created", {"url": receiver.url, "types": ["grant.revoked"]})
    ]


def test_the_same_form_again_makes_no_second_webhook_and_says_so(owner: Client) -> None:
    owner.post(ADD, FORM)
    again = owner.post(ADD, FORM, follow=True)
    assert "You sent this form before." in text(again)
    [endpoint] = rows()
    assert again.redirect_chain == [(page(endpoint), 302)]
    owner.post(ADD, {**FORM, "form_token": "two"})
    assert len(rows()) == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/",
        "https://10.0.0.1/",
        "https://printer.local/",
        "https://hooks.example.org:25/",
        "https://user@hooks.example.org/",
        "https://2130706433/",
    ],
)
def test_an_address_that_the_api_refuses_is_refused_at_its_field_in_the_same_words(
    owner: Client, client_for: Any, lab: Organization, url: str
) -> None:
    api: ApiClient = client_for(lab)
    refused = api.post("/v1/webhook-endpoints", {"url": url}).json()
    endpoint = made(lab)

    new = owner.post(ADD, {**FORM, "url": url})
    changed = owner.post(page(endpoint, "edit"), {**FORM, "url": url})

    assert new.context["adminform"].form.errors["url"] == [refused["detail"]]
    assert changed.context["form"].errors["url"] == [refused["detail"]]
    assert [row.url for row in rows()] == [HOOK]
    assert len(acts()) == 1


def test_an_organization_that_has_its_twenty_is_told_to_disable_one(
    owner: Client, lab: Organization
) -> None:
    for _each in range(webhooks.ENDPOINTS_MAX):
        made(lab)
    refused = owner.post(ADD, FORM)
    assert "at most 20 endpoints. Disable one first." in text(refused)
    assert len(rows()) == webhooks.ENDPOINTS_MAX


def test_every_type_of_event_may_be_chosen_and_no_other(owner: Client, lab: Organization) -> None:
    offered = owner.get(ADD).context["adminform"].form.fields["types"].choices
    assert [name for name, _label in offered] == sorted(events.TYPES)
    assert dict(offered)["grant.issued"] == "<code>grant.issued</code> A license was given."
    assert "ended for good, from effective_at on" in dict(offered)["grant.revoked"]
    refused = owner.post(ADD, {**FORM, "types": ["grant.sung"]})
    assert "grant.sung" in str(refused.context["adminform"].form.errors["types"])
    assert rows() == []
    owner.post(ADD, {**FORM, "types": []})
    [endpoint] = rows()
    assert endpoint.types == []
    assert "All" in text(owner.get(LIST))


# --- changed ----------------------------------------------------------------------------------


def seen(client: Client, url: str) -> str:
    return str(client.get(url).context["form"]["seen"].value())


def test_what_is_changed_stands_and_the_second_of_two_editors_is_told(
    owner: Client, lab: Organization
) -> None:
    endpoint = made(lab, types=["grant.issued"])
    url = page(endpoint, "edit")
    form = {**FORM, "seen": seen(owner, url)}
    assert owner.get(url).context["form"]["types"].value() == ["grant.issued"]

    assert "Saved." in text(owner.post(url, form, follow=True))
    late = owner.post(url, {**form, "description": "Mine", "form_token": "two"})
    assert "Somebody else changed this while you wrote." in text(late)
    same = owner.post(url, {**form, "form_token": "three"}, follow=True)
    assert "It stands so already" in text(same)

    [row] = rows()
    assert (row.url, row.description, row.types) == (HOOK, "Rights desk", ["grant.revoked"])
    assert acts()[1:] == [
        (
            "webhook_endpoint.changed",
            {"url": HOOK, "types": ["grant.revoked"], "changed": ["types", "description"]},
        )
    ]


def test_a_new_secret_is_shown_once_and_both_sign_until_the_old_one_ends(
    owner: Client, lab: Organization, receiver: Receiver
) -> None:
    endpoint, first = webhooks.create(caller_for(lab), url=receiver.url)
    url, form = page(endpoint, "rotate"), {"overlap_seconds": "3600", "form_token": "one"}

    answer = owner.post(url, form)
    assert answer.url == page(endpoint, "secret")
    second = str(owner.get(answer.url).context["secret"])
    again = owner.post(url, form, follow=True)
    assert "it was done then, and not again now" in text(again)
    assert second not in text(again)
    tell(lab)
    work()
    [request] = receiver.requests
    assert verified(request, first) == verified(request, second)
    assert "Signs as well until" in text(owner.get(page(endpoint)))

    refused = owner.post(url, {**form, "form_token": "two"})
    [error] = refused.context["form"].errors["overlap_seconds"]
    assert "signs until" in error
    assert "overlap_seconds" not in error
    ended = owner.post(url, {"overlap_seconds": "0", "form_token": "three"})
    assert ended.url == page(endpoint, "secret")
    assert "Signs no more" in text(owner.get(page(endpoint)))
    assert acts()[1:] == [
        ("webhook_endpoint.secret_rotated", {"overlap_seconds": 3600}),
        ("webhook_endpoint.secret_rotated", {"overlap_seconds": 0}),
    ]


def test_a_disabled_webhook_says_what_helps_and_is_enabled_again(
    owner: Client, lab: Organization
) -> None:
    endpoint = made(lab)
    told = owner.post(page(endpoint, "disable"), follow=True)
    assert "nothing is sent to it any more" in text(told)
    assert "Disabled by your organization" in text(owner.get(LIST))
    said = text(told)
    assert "Nothing is sent to it until you enable it. Once it is enabled, “Send what it" in said
    assert page(endpoint, "test") not in told.content.decode()

    refused = owner.post(page(endpoint, "test"), follow=True)
    assert "This endpoint is disabled." in text(refused)
    assert rows(Event) == []

    assert "It stands so already" in text(owner.post(page(endpoint, "disable"), follow=True))
    told = owner.post(page(endpoint, "enable"), follow=True)
    assert "what happens from now on is sent to it" in text(told)
    assert "It stands so already" in text(owner.post(page(endpoint, "enable"), follow=True))
    assert [action for action, _data in acts()[1:]] == [
        "webhook_endpoint.disabled",
        "webhook_endpoint.enabled",
    ]


def test_what_a_webhook_missed_is_sent_once_it_is_asked_for(
    owner: Client, lab: Organization, receiver: Receiver
) -> None:
    endpoint = made(lab, receiver.url)
    owner.post(page(endpoint, "disable"))
    assert page(endpoint, "catch_up") not in owner.get(page(endpoint)).content.decode()
    missed = [tell(lab), tell(lab)]
    work()
    owner.post(page(endpoint, "enable"))
    url, form = page(endpoint, "catch_up"), {"since": "24", "form_token": "one"}
    assert url in owner.get(page(endpoint)).content.decode()

    assert "2 events are on their way." in text(owner.post(url, form, follow=True))
    again = owner.post(url, form, follow=True)
    assert "it was done then, and not again now" in text(again)
    work()
    assert sorted(each.headers["webhook-id"] for each in receiver.requests) == sorted(
        str(event.pk) for event in missed
    )
    nothing = owner.post(url, {"since": "720", "form_token": "two"}, follow=True)
    assert "It missed nothing in that time." in text(nothing)
    refused = owner.post(url, {"since": "721", "form_token": "three"})
    assert "since" in refused.context["form"].errors
    assert [
        data["deliveries"] for action, data in acts() if action == "webhook_endpoint.replayed"
    ] == [2, 0]


@pytest.mark.parametrize(
    ("status", "days", "state", "help"),
    [
        (410, 0, "Disabled: it answered 410", "it is gone for good. Correct the URL"),
        (500, 6, "Disabled: it took nothing", "took nothing for 5 days; its deliveries say why"),
        (500, 1, "Active, but it fails", "after 5 days of it, it is disabled"),
    ],
)
def test_a_webhook_that_fails_says_why_and_what_to_do(
    owner: Client,
    lab: Organization,
    receiver: Receiver,
    status: int,
    days: int,
    state: str,
    help: str,
) -> None:
    endpoint = made(lab, receiver.url)
    if days:
        age(endpoint, days=days)
    receiver.answers = [(status, {}, b"No.")]
    tell(lab)
    work()
    assert state in text(owner.get(LIST))
    assert help in text(owner.get(page(endpoint)))
    assert ("Disable" in state) == bool(rows()[0].disabled_at)


def test_a_secret_that_cannot_be_opened_costs_no_page(
    owner: Client, lab: Organization, settings: Any
) -> None:
    endpoint = made(lab)
    with system("spoil a secret in a test"):
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(secret=b"spoiled")
    answer = owner.get(page(endpoint))
    assert answer.status_code == 200
    assert "The secret cannot be opened" in text(answer)


# --- looked into ------------------------------------------------------------------------------


def test_a_test_is_sent_and_its_delivery_shows_each_attempt_and_the_body(
    owner: Client, lab: Organization, receiver: Receiver
) -> None:
    endpoint = made(lab, receiver.url)
    told = owner.post(page(endpoint, "test"), {"form_token": "one"}, follow=True)
    assert "A test is on its way." in text(told)
    owner.post(page(endpoint, "test"), {"form_token": "one"})
    receiver.answers = [(500, {}, b"<b>Full</b>"), (200, {}, b"taken")]
    work()
    make_due()
    work()

    [delivery] = rows(WebhookDelivery)
    assert f'href="{page(delivery)}"' in owner.get(page(endpoint)).content.decode()
    shown = owner.get(page(delivery))
    said = text(shown)
    assert "webhook_endpoint.tested" in said
    assert "&lt;b&gt;Full&lt;/b&gt;" in shown.content.decode()
    assert [word for word in ("500", "taken", "Delivered", receiver.url) if word not in said] == []
    assert said.index("taken") < said.index("Full")
    body = owner.get(page(delivery, "body"))
    assert [body.content, body.content] == [request.body for request in receiver.requests]
    assert "attachment" in body["Content-Disposition"]
    [printed] = re.findall(r"<pre>(\{.*?\})</pre>", shown.content.decode(), re.DOTALL)
    assert json.loads(printed.replace("&quot;", '"')) == json.loads(body.content)
    assert "Delivered 20" in text(owner.get(LIST))


def test_an_attempt_without_an_answer_says_why_in_english(
    owner: Client, lab: Organization, receiver: Receiver
) -> None:
    receiver.close()
    made(lab, receiver.url)
    tell(lab)
    work()
    [attempt] = rows(WebhookAttempt)
    [delivery] = rows(WebhookDelivery)
    shown = owner.get(page(delivery)).content.decode()
    assert attempt.error
    assert f'<span lang="en">{attempt.error}</span>' in shown


def test_deliveries_are_listed_newest_first_and_by_state_and_by_endpoint(
    owner: Client, lab: Organization, receiver: Receiver
) -> None:
    taking, other = made(lab, receiver.url), made(lab, f"{receiver.url}other")
    tell(lab)
    work()
    owner.post(page(other, "disable"))
    tell(lab)
    webhook_deliveries.queue_new()

    def shown(query: str = "") -> list[Any]:
        return list(owner.get(f"{DELIVERIES}{query}").context["cl"].result_list)

    assert shown() == rows(WebhookDelivery)[::-1]
    assert [row.state for row in shown("?state__exact=pending")] == ["pending"]
    assert shown("?state__exact=failed") == []
    led = owner.get(page(other, "deliveries"))
    assert led.url == f"{DELIVERIES}?endpoint__id__exact={other.pk}"
    assert [row.endpoint_id for row in shown(led.url.removeprefix(DELIVERIES))] == [other.pk]
    assert len(shown(f"?endpoint__id__exact={taking.pk}")) == 2


def test_a_replay_sends_the_same_again_once_for_each_form(
    owner: Client, lab: Organization, receiver: Receiver
) -> None:
    made(lab, receiver.url)
    tell(lab)
    work()
    [delivery] = rows(WebhookDelivery)
    for _time in range(2):
        owner.post(page(delivery, "replay"), {"form_token": "one"})
        work()
    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert [action for action, _data in acts()[1:]] == ["webhook_delivery.replayed"]


@pytest.mark.parametrize(
    ("state", "help"),
    [("failed", "No attempt of three days was taken."), ("canceled", "Its endpoint was disabled")],
)
def test_what_was_not_taken_says_what_to_do(
    owner: Client, lab: Organization, state: str, help: str
) -> None:
    endpoint = made(lab)
    tell(lab)
    webhook_deliveries.queue_new()
    with system("end a delivery in a test"):
        WebhookDelivery.objects.update(state=state, next_attempt_at=None, ended_at=timezone.now())
    [delivery] = rows(WebhookDelivery)
    assert help in text(owner.get(page(delivery)))
    assert page(delivery, "replay") in owner.get(page(delivery)).content.decode()
    webhooks.change(caller_for(lab), endpoint.pk, disabled=True)
    assert page(delivery, "replay") not in owner.get(page(delivery)).content.decode()
    refused = owner.post(page(delivery, "replay"), follow=True)
    assert "This endpoint is disabled." in text(refused)
    assert [row.state for row in rows(WebhookDelivery)] == [state]


# --- who ------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["viewer", "editor", "finance"])
def test_a_role_that_reads_sees_all_of_it_and_changes_nothing(
    lab: Organization, receiver: Receiver, role: str
) -> None:
    endpoint = made(lab, receiver.url)
    tell(lab)
    work()
    [delivery] = rows(WebhookDelivery)
    client = signed_in(lab, role)
    before = state()
    for url in (LIST, DELIVERIES, page(endpoint), page(delivery), page(delivery, "body")):
        assert client.get(url).status_code == 200
    shown = client.get(page(endpoint)).content.decode()
    for verb in ("test", "catch_up", "edit", "rotate", "disable", "enable"):
        assert page(endpoint, verb) not in shown
        form = {**FORM, "overlap_seconds": "0", "since": "24"}
        assert client.post(page(endpoint, verb), form).status_code == 403
    assert client.post(page(delivery, "replay")).status_code == 403
    assert client.post(ADD, FORM).status_code == 403
    assert state() == before


def test_each_mode_has_webhooks_of_its_own(owner: Client, lab: Organization) -> None:
    in_test = made(lab)
    live = webhooks.create(caller_for(lab, livemode=True), url=f"{HOOK}/live")[0]
    assert f"{HOOK}/live" not in text(owner.get(LIST))
    assert owner.get(page(live)).status_code == 404
    owner.post("/studio/mode/", {"mode": "live"})
    assert f"{HOOK}/live" in text(owner.get(LIST))
    assert owner.get(page(in_test)).status_code == 404
    owner.post(ADD, {**FORM, "url": f"{HOOK}/new"})
    assert [row.livemode for row in rows()] == [False, True, True]
