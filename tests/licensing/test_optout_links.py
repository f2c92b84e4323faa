"""A contributor's way out: one address, good once, that takes all of their works out."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from licensing import optout_links
from licensing.models import ContributorLink, OptOut
from marketplace import collections, contributors, imports, works
from marketplace.access import acting, system
from marketplace.errors import LinkUsed
from marketplace.models import Collection, Contributor, Organization
from tests.database import wait_for_a_waiter
from tests.make import records
from tests.people import ApiClient, caller_for

ClientFor = Callable[..., ApiClient]
pytestmark = pytest.mark.django_db


@pytest.fixture
def contributor(archive: Organization) -> Contributor:
    """Whose are two of the archive's three works."""
    caller = caller_for(archive)
    made = contributors.add(
        caller, external_id="c-1", consent="granted", name="Con", email="c@example.org"
    )
    collection = collections.create(caller, name="Letters")
    rows = [
        dataclasses.replace(record, contributor="c-1" if number < 2 else record.contributor)
        for number, record in enumerate(records(3))
    ]
    imports.run(caller, str(collection.pk), imports.Records(rows))
    return made


def make(client_for: ClientFor, archive: Organization, contributor: Contributor) -> Any:
    return client_for(archive).post(f"/v1/contributors/{contributor.pk}/opt-out-links").json()


def path_of(link: Any) -> str:
    return str(link["secret"]).removeprefix("http://127.0.0.1:8000")


def sizes() -> list[int]:
    with system("look in a test"):
        return list(OptOut.objects.values_list("size", flat=True))


def test_opening_the_page_takes_nothing_out_and_its_button_takes_out_all(
    client_for: ClientFor, archive: Organization, contributor: Contributor
) -> None:
    link = make(client_for, archive, contributor)
    browser = Client()
    page = browser.get(path_of(link))
    assert page.status_code == 200
    assert "2 works of yours" in page.content.decode()
    assert sizes() == []
    done = browser.post(path_of(link))
    assert (done.status_code, "Your works are out" in done.content.decode()) == (200, True)
    assert sizes() == [2]
    with acting(caller_for(archive), writing=False):
        assert Contributor.objects.get(pk=contributor.pk).consent == "withdrawn"
        out = OptOut.objects.get()
        used = ContributorLink.objects.get()
    assert (out.by, used.opt_out_id) == ("contributor", out.pk)
    assert used.used_at is not None


def test_a_link_works_once(
    client_for: ClientFor, archive: Organization, contributor: Contributor
) -> None:
    path = path_of(make(client_for, archive, contributor))
    Client().post(path)
    for answer in (Client().get(path), Client().post(path)):
        assert answer.status_code == 410
        assert "This link was used" in answer.content.decode()
    assert sizes() == [2]


def test_a_forged_link_is_not_there(
    client_for: ClientFor, archive: Organization, contributor: Contributor
) -> None:
    path = path_of(make(client_for, archive, contributor))
    forged = path[:-1] + ("A" if path[-1] != "A" else "B")
    for wrong in (forged, path[:-1], "/opt-out/x", f"/opt-out/{'x' * 5000}"):
        assert Client().get(wrong).status_code == 404
        assert Client().post(wrong).status_code == 404
    assert sizes() == []


def test_a_link_ends_after_its_days(
    client_for: ClientFor, archive: Organization, contributor: Contributor, monkeypatch: Any
) -> None:
    path = path_of(make(client_for, archive, contributor))
    with acting(caller_for(archive), writing=False):
        ends = ContributorLink.objects.get().expires_at
    monkeypatch.setattr("licensing.optout_links.timezone.now", lambda: ends + timedelta(seconds=1))
    answer = Client().post(path)
    assert (answer.status_code, "This link ended on" in answer.content.decode()) == (410, True)
    assert sizes() == []


def test_a_revoked_link_takes_nothing_out(
    client_for: ClientFor, archive: Organization, contributor: Contributor
) -> None:
    link = make(client_for, archive, contributor)
    client = client_for(archive)
    first = client.post(f"/v1/opt-out-links/{link['id']}/revoke").json()
    assert client.post(f"/v1/opt-out-links/{link['id']}/revoke").json() == first
    answer = Client().post(path_of(link))
    assert (answer.status_code, "taken back" in answer.content.decode()) == (410, True)
    assert sizes() == []


def test_the_address_is_shown_once_and_kept_nowhere(
    client_for: ClientFor, archive: Organization, contributor: Contributor
) -> None:
    link = make(client_for, archive, contributor)
    token = path_of(link).rsplit("/", 1)[1]
    client = client_for(archive)
    listed = client.get(f"/v1/contributors/{contributor.pk}/opt-out-links")
    assert [row["id"] for row in listed.json()["data"]] == [link["id"]]
    with system("look for a token in a test"):
        kept = str(list(ContributorLink.objects.values()))
    assert token not in listed.content.decode() + kept


def test_a_contributor_without_works_withdraws_the_consent_all_the_same(
    client_for: ClientFor, archive: Organization
) -> None:
    made = contributors.add(caller_for(archive), external_id="c-2", consent="granted", name="N")
    answer = Client().post(path_of(make(client_for, archive, made)))
    assert answer.status_code == 200
    assert sizes() == []
    with acting(caller_for(archive), writing=False):
        assert Contributor.objects.get(pk=made.pk).consent == "withdrawn"


@pytest.mark.django_db(transaction=True)
def test_two_who_press_the_button_at_once_are_one_use(
    client_for: ClientFor, archive: Organization, contributor: Contributor
) -> None:
    token = path_of(make(client_for, archive, contributor)).rsplit("/", 1)[1]
    barrier, outcomes = threading.Barrier(4), []

    def press() -> None:
        barrier.wait(10)
        try:
            optout_links.use(token)
            outcomes.append("out")
        except LinkUsed:
            outcomes.append("used")
        finally:
            connection.close()

    threads = [threading.Thread(target=press) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["out", "used", "used", "used"]
    assert sizes() == [2]


@pytest.mark.django_db(transaction=True)
def test_the_button_and_an_import_of_the_same_contributor_wait_for_each_other(
    client_for: ClientFor, archive: Organization, contributor: Contributor
) -> None:
    """An import holds the works and then its contributors: so does the button, in this order."""
    token = path_of(make(client_for, archive, contributor)).rsplit("/", 1)[1]
    caller = caller_for(archive)
    with acting(caller, writing=False):
        collection = Collection.objects.get()
    outcomes: list[Any] = []

    def press() -> None:
        try:
            outcomes.append(optout_links.use(token).works)
        except Exception as error:
            outcomes.append(error)
        finally:
            connection.close()

    pressing = threading.Thread(target=press)
    with acting(caller):
        works.hold(caller, collection)
        pressing.start()
        wait_for_a_waiter()
        person = contributors.Person(name="Con", email="c@example.org", consent="granted")
        settled = contributors.settle(caller, [(0, "c-1", person)])
    pressing.join(30)
    assert outcomes == [2]
    # The import came first, so nothing of it was refused.
    assert settled.refused == []
    with acting(caller, writing=False):
        assert Contributor.objects.get(pk=contributor.pk).consent == "withdrawn"
