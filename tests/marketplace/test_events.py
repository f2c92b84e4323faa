"""The feed: everything that committed, once, in an order that a reader can go on from."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from marketplace import events, webhook_deliveries, webhooks
from marketplace.access import Scope, acting, system
from marketplace.errors import InvalidCursor
from marketplace.models import Event, Organization
from tests.make import make_offer
from tests.people import ApiClient, caller_for
from tests.webhooks import Receiver, receiver

__all__ = ["receiver"]
pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


def tell(
    organization: Organization, *, type: str = "import.finished", livemode: bool = False
) -> Event:
    with acting(caller_for(organization, livemode=livemode)):
        [event] = events.record(type, to=[organization.pk], livemode=livemode, subject=organization)
    return event


def page(client: ApiClient, query: str = "") -> Any:
    answer = client.get(f"/v1/events{query}")
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_a_reader_goes_on_from_its_cursor_and_misses_nothing(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    told = [tell(archive) for _each in range(5)]
    assert page(client)["data"] == []
    webhook_deliveries.queue_new()
    seen, query = [], "?limit=2"
    while True:
        came = page(client, query)
        seen += [each["id"] for each in came["data"]]
        query = f"?limit=2&after={came['next_cursor']}"
        if not came["has_more"]:
            break
    assert seen == [str(event.pk) for event in told]
    assert page(client, query)["data"] == []
    later = tell(archive)
    webhook_deliveries.queue_new()
    assert [each["id"] for each in page(client, query)["data"]] == [str(later.pk)]


def test_an_event_says_its_type_its_mode_and_the_ids_to_fetch_it_by(
    client_for: ClientFor, archive: Organization
) -> None:
    event = tell(archive)
    webhook_deliveries.queue_new()
    [shown] = page(client_for(archive))["data"]
    at = event.created_at.isoformat().replace("+00:00", "Z")
    assert shown == {
        "object": "event",
        "id": str(event.pk),
        "livemode": False,
        "type": "import.finished",
        "created_at": at,
        "data": {"import": str(archive.pk)},
    }
    assert client_for(archive).get(f"/v1/events/{event.pk}").json() == shown
    assert webhook_deliveries.payload(event) == shown | {"timestamp": at}


def test_only_the_types_asked_for_come_and_the_cursor_passes_the_others(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    tell(archive, type="offer.published")
    wanted = tell(archive, type="offer.withdrawn")
    tell(archive, type="offer.published")
    webhook_deliveries.queue_new()
    came = page(client, "?types=offer.withdrawn,grant.issued")
    assert [each["id"] for each in came["data"]] == [str(wanted.pk)]
    assert page(client, f"?after={came['next_cursor']}")["data"] == []


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("?types=offer.sold", 422, "invalid_input"),
        ("?limit=0", 422, "invalid_input"),
        ("?limit=201", 422, "invalid_input"),
        ("?after=nonsense", 400, "invalid_cursor"),
        ("?after=" + base64.urlsafe_b64encode(b"\xff" * 12).decode(), 400, "invalid_cursor"),
        ("?after=" + base64.urlsafe_b64encode(bytes(12)).decode(), 400, "invalid_cursor"),
    ],
)
def test_what_is_no_page_of_the_feed_is_refused(
    query: str, status: int, code: str, client_for: ClientFor, archive: Organization
) -> None:
    answer = client_for(archive).get(f"/v1/events{query}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_cursor_of_another_organization_or_mode_is_refused(
    client_for: ClientFor, archive: Organization, lab: Organization
) -> None:
    tell(archive)
    webhook_deliveries.queue_new()
    cursor = page(client_for(archive))["next_cursor"]
    for client in (client_for(lab), client_for(archive, livemode=True)):
        answer = client.get(f"/v1/events?after={cursor}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


def test_a_cursor_from_before_a_restored_backup_is_refused(archive: Organization) -> None:
    caller = caller_for(archive)
    with acting(caller, writing=False), pytest.raises(InvalidCursor, match="not come so far"):
        events.after(caller, 1)


def test_a_feed_is_of_one_organization_and_mode(
    client_for: ClientFor, archive: Organization, lab: Organization
) -> None:
    tell(archive)
    live = tell(archive, livemode=True)
    tell(lab)
    webhook_deliveries.queue_new()
    assert [each["id"] for each in page(client_for(archive, livemode=True))["data"]] == [
        str(live.pk)
    ]
    with system("look at positions in a test"):
        assert list(Event.objects.values_list("position", flat=True)) == [1, 1, 1]


def test_who_acts_tells_the_other_party_and_does_not_read_what_that_is_told(
    archive: Organization, lab: Organization
) -> None:
    with acting(caller_for(archive)):
        events.record("grant.issued", to=[archive.pk, lab.pk], livemode=False, subject=archive)
        assert Event.objects.count() == 1
    with acting(caller_for(lab), writing=False):
        assert Event.objects.get().data == {"grant": str(archive.pk)}


def test_an_event_goes_with_an_act_that_fails_later(archive: Organization) -> None:
    caller = caller_for(archive)

    def act() -> None:
        with acting(caller):
            events.record("grant.issued", to=[archive.pk], livemode=False, subject=archive)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        act()
    with system("count in a test"):
        assert Event.objects.count() == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.update(position=7),
        lambda rows: rows.update(type="x"),
        lambda rows: rows.delete(),
    ],
)
def test_nobody_changes_what_has_its_place(
    archive: Organization, change: Callable[[Any], object]
) -> None:
    event = tell(archive)
    webhook_deliveries.queue_new()
    with pytest.raises(DatabaseError), system("change an event in a test"), transaction.atomic():
        change(Event.objects.all())
    with system("look at an event in a test"):
        event.refresh_from_db()
    assert (event.position, event.type) == (1, "import.finished")


def test_a_key_needs_the_scope(client_for: ClientFor, archive: Organization) -> None:
    client = client_for(archive, scopes=[Scope.WEBHOOKS_READ])
    assert client.get("/v1/events").json()["code"] == "missing_scope"


def test_every_type_has_a_noun_a_verb_in_the_past_and_a_sentence() -> None:
    for type, said in events.TYPES.items():
        noun, _point, verb = type.partition(".")
        assert noun.replace("_", "").isalpha()
        assert verb.endswith(("ed", "won", "lost", "paid", "past_due", "withdrawn")), type
        assert said.endswith("."), type


def test_publishing_and_withdrawing_an_offer_is_told_in_both_modes(
    client_for: ClientFor, archive: Organization
) -> None:
    offer = make_offer(archive)
    client_for(archive).post(f"/v1/offers/{offer.pk}/withdraw")
    webhook_deliveries.queue_new()
    for livemode in (False, True):
        came = page(
            client_for(archive, livemode=livemode), "?types=offer.published,offer.withdrawn"
        )
        assert [(each["type"], each["data"]) for each in came["data"]] == [
            ("offer.published", {"offer": str(offer.pk)}),
            ("offer.withdrawn", {"offer": str(offer.pk)}),
        ]


@pytest.mark.django_db(transaction=True)
def test_what_was_begun_first_and_committed_last_is_still_delivered(
    client_for: ClientFor, archive: Organization, receiver: Receiver, settings: Any
) -> None:
    """By two connections: a reader that has seen the second goes on and sees the first.

    A webhook is sent both as well, in the order of their places.
    """
    settings.WEBHOOKS_TO_LOOPBACK = True
    client, caller = client_for(archive), caller_for(archive)
    webhooks.create(caller, url=receiver.url)
    begun, commit = threading.Event(), threading.Event()
    first: list[Event] = []

    def slow() -> None:
        try:
            with acting(caller):
                first.extend(
                    events.record("grant.issued", to=[archive.pk], livemode=False, subject=archive)
                )
                begun.set()
                assert commit.wait(10)
        finally:
            connection.close()

    thread = threading.Thread(target=slow)
    thread.start()
    assert begun.wait(10)
    second = tell(archive)
    webhook_deliveries.queue_new()
    webhook_deliveries.deliver_due()
    seen = page(client)
    assert [each["id"] for each in seen["data"]] == [str(second.pk)]
    commit.set()
    thread.join(10)
    webhook_deliveries.queue_new()
    webhook_deliveries.deliver_due()
    late = page(client, f"?after={seen['next_cursor']}")
    # An order by what was begun first would have passed it over.
    assert first[0].pk < second.pk
    assert first[0].created_at < second.created_at
    assert [each["id"] for each in late["data"]] == [str(first[0].pk)]
    in_order = [each["id"] for each in page(client)["data"]]
    assert in_order == [str(second.pk), str(first[0].pk)]
    assert [each.headers["webhook-id"] for each in receiver.requests] == in_order


@pytest.mark.django_db(transaction=True)
def test_two_processes_give_each_place_once(archive: Organization) -> None:
    for _each in range(40):
        tell(archive)
    start = threading.Barrier(2)

    def give() -> None:
        try:
            start.wait(10)
            webhook_deliveries.queue_new()
        finally:
            connection.close()

    threads = [threading.Thread(target=give) for _each in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    with system("look at positions in a test"):
        places = Event.objects.order_by("pk").values_list("position", flat=True)
        assert list(places) == list(range(1, 41))
