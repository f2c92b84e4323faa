"""Dated versions of the API: chosen by header or key, and what older ones look like."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.test import Client
from rest_framework import serializers

from marketplace import (
    api_keys,
    api_versions,
    known_keys,
    organizations,
    rate_limits,
    readplan,
)
from marketplace.access import Scope, acting
from marketplace.api_versions import Version
from marketplace.http import Body, StrictCharField
from marketplace.models import ApiKey, Collection, Organization
from marketplace.rate_limits import Buckets
from marketplace.serializers import CollectionSerializer, CreateCollection
from marketplace.views import CollectionViewSet
from tests.make import make_collection
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
NEW = api_versions.newest()
OLD = Version(
    "2026-10-01", "Collections had titles.", sunset=datetime(2027, 11, 28, 12, tzinfo=UTC)
)
# Before it, and as it: nothing changed between the two.
OLDEST = Version("2026-03-01", "Collections came.", sunset=datetime(2027, 3, 1, tzinfo=UTC))
COLLECTIONS = "/v1/collections"


class OldCollectionSerializer(CollectionSerializer):
    """A collection as it was while it had a title."""

    title = serializers.CharField(source="name", read_only=True)

    class Meta:
        model = Collection
        fields = ("id", "title", "created_at")
        read_only_fields = fields


class OldCreateCollection(Body):
    """What was sent then."""

    title = StrictCharField(max_length=200, source="name")


@pytest.fixture(autouse=True)
def versions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three versions, of which the older two show and take collections in another way."""
    monkeypatch.setattr(api_versions, "known", lambda: (OLDEST, OLD, NEW))
    older = {
        CollectionSerializer: {OLD.date: OldCollectionSerializer},
        CreateCollection: {OLD.date: OldCreateCollection},
    }
    monkeypatch.setattr(CollectionViewSet, "older", older)
    readplan.forget()
    yield
    readplan.forget()


@pytest.fixture(params=[True, False], ids=["planned", "serialized"])
def way(request: pytest.FixtureRequest, settings: Any) -> None:
    """Rows are written by PostgreSQL, and by their serializers."""
    settings.READPLAN = request.param


def client_of(organization: Organization, version: str | None = None) -> ApiClient:
    """A client whose key is pinned to a version."""
    caller = caller_for(organization)
    scopes = [scope.value for scope in Scope]
    return ApiClient(api_keys.create(caller, name="k", scopes=scopes, version=version)[1])


def names(row: Any) -> set[str]:
    return set(row) & {"name", "title", "languages"}


SHAPES = {NEW.date: {"name", "languages"}, OLD.date: {"title"}, OLDEST.date: {"title"}}
every_version = pytest.mark.parametrize("version", SHAPES)


# --- chosen by header and by key ----------------------------------------------------------------


def assert_shown(client: ApiClient, version: str, **headers: str) -> None:
    """What is made, listed, looked up and changed has the shape of the version, and says it."""
    title = "title" if "title" in SHAPES[version] else "name"
    made = client.post(COLLECTIONS, {title: "Maps"}, **headers)
    assert made.status_code == 201, made.content
    shown = client.get(made["Location"], **headers)
    listed = client.get(COLLECTIONS, **headers)
    changed = client.post(made["Location"], {"notice": "Handle with care."}, **headers)
    for answer in (made, shown, listed, changed):
        assert answer["Licet-Version"] == version
        assert "Licet-Version" in answer["Vary"].split(", ")
    rows = [made.json(), shown.json(), *listed.json()["data"], changed.json()]
    assert len(rows) == 4
    for row in rows:
        assert names(row) == SHAPES[version]
        assert (row["object"], row[title]) == ("collection", "Maps")


@every_version
def test_a_request_has_the_version_that_its_header_names(
    archive: Organization, client_for: ClientFor, way: None, version: str
) -> None:
    assert_shown(client_for(archive), version, Licet_Version=version)


@every_version
def test_a_request_without_the_header_has_the_version_of_its_key(
    archive: Organization, way: None, version: str
) -> None:
    assert_shown(client_of(archive, version), version)


@every_version
def test_the_header_counts_more_than_the_key(
    archive: Organization, way: None, version: str
) -> None:
    pinned = NEW.date if version != NEW.date else OLD.date
    assert_shown(client_of(archive, pinned), version, Licet_Version=version)


def test_versions_take_turns_and_each_keeps_its_shape(archive: Organization, way: None) -> None:
    """Neither the plan nor the key that a process remembers carries one version into another."""
    row = make_collection(archive)
    old, new = client_of(archive, OLD.date), client_of(archive, NEW.date)
    for _time in range(2):
        for client, pinned in ((old, OLD.date), (new, NEW.date)):
            for version in (*SHAPES, None):
                headers = {} if version is None else {"Licet_Version": version}
                expected = SHAPES[version or pinned]
                listed = client.get(COLLECTIONS, **headers).json()["data"]
                shown = client.get(f"{COLLECTIONS}/{row.pk}", **headers).json()
                assert [names(each) for each in (*listed, shown)] == [expected] * 2


def test_both_ways_write_an_older_version_alike(archive: Organization, settings: Any) -> None:
    row = make_collection(archive, name="Maps")
    client, answers = client_of(archive, OLD.date), []
    for settings.READPLAN in (True, False):
        answers += [client.get(url).json() for url in (COLLECTIONS, f"{COLLECTIONS}/{row.pk}")]
    assert answers[:2] == answers[2:]
    assert set(answers[1]) == {"object", "id", "title", "created_at"}
    # And the first was written by a plan.
    plans = {key[1]: plan for key, plan in readplan._plans.items()}
    assert plans[OldCollectionSerializer] is not None


def test_a_remembered_key_has_its_version_without_asking_for_it(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_collection(archive)
    client = client_of(archive, OLD.date)
    assert names(client.get(COLLECTIONS).json()["data"][0]) == {"title"}
    monkeypatch.setattr(known_keys, "_look_up", None)
    monkeypatch.setattr(known_keys.time, "monotonic", lambda: 0.0)
    assert names(client.get(COLLECTIONS).json()["data"][0]) == {"title"}


def test_people_and_visitors_have_the_newest(archive: Organization) -> None:
    make_collection(archive)
    user = organizations.admit(
        archive, email="ada@example.org", name="Ada", password="correct horse", role="owner"
    )
    browser = Client()
    browser.force_login(user)
    shown = browser.get(COLLECTIONS)
    assert (shown["Licet-Version"], names(shown.json()["data"][0])) == (NEW.date, SHAPES[NEW.date])
    older = browser.get(COLLECTIONS, headers={"Licet-Version": OLD.date})
    assert (older["Licet-Version"], names(older.json()["data"][0])) == (OLD.date, {"title"})
    assert ApiClient().get("/v1/listings")["Licet-Version"] == NEW.date


# --- keys -------------------------------------------------------------------------------------


def test_a_key_is_pinned_to_the_newest_of_its_day_unless_told_otherwise(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(archive)
    body = {"name": "k", "scopes": ["keys:read", "keys:write", "collections:read"]}
    made = client.post("/v1/api-keys", body).json()
    older = client.post("/v1/api-keys", {**body, "version": OLD.date}).json()
    assert (made["version"], older["version"]) == (NEW.date, OLD.date)

    later = Version("2027-05-01", "More.")
    monkeypatch.setattr(api_versions, "known", lambda: (OLD, NEW, later))
    assert ApiClient(made["secret"]).get(COLLECTIONS)["Licet-Version"] == NEW.date
    shown = client.get(f"/v1/api-keys/{made['id']}").json()
    assert shown["version"] == NEW.date
    assert client.post("/v1/api-keys", body).json()["version"] == later.date


def test_a_rotated_key_keeps_its_version(archive: Organization) -> None:
    client = client_of(archive)
    body = {"name": "k", "scopes": ["collections:read"], "version": OLD.date}
    old = client.post("/v1/api-keys", body).json()
    new = client.post(f"/v1/api-keys/{old['id']}/rotate", {}).json()
    assert (new["rotated_from"], new["version"]) == (old["id"], OLD.date)
    assert ApiClient(new["secret"]).get(COLLECTIONS)["Licet-Version"] == OLD.date


@pytest.mark.parametrize("version", ["2026-10-02", "newest", "", 20261128, None])
def test_no_key_is_pinned_to_a_version_that_there_is_not(
    archive: Organization, version: Any
) -> None:
    client = client_of(archive)
    body = {"name": "k", "scopes": ["collections:read"], "version": version}
    refused = client.post("/v1/api-keys", body)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert refused.json()["param"] == "version"
    if version == "2026-10-02":
        assert refused.json()["detail"] == f"Use one of: {OLDEST.date}, {OLD.date}, {NEW.date}."
    with acting(caller_for(archive)):
        assert ApiKey.objects.count() == 1


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "version", ["2026-10-02", "2026-1-1", "newest", "", f"{NEW.date}, {NEW.date}", "2" * 500]
)
def test_an_unknown_version_is_refused_and_nothing_changes(
    archive: Organization, client_for: ClientFor, version: str
) -> None:
    client = client_for(archive)
    refused = client.post(
        COLLECTIONS, {"name": "Maps"}, Licet_Version=version, Idempotency_Key="one"
    )
    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (400, "api_version_unknown")
    assert (problem["param"], problem["retryable"]) == ("Licet-Version", False)
    assert problem["known"] == [OLDEST.date, OLD.date, NEW.date]
    assert all(each in problem["detail"] for each in problem["known"])
    assert len(problem["detail"]) < 250
    assert refused["Licet-Version"] == NEW.date
    with acting(caller_for(archive)):
        assert not Collection.objects.exists()
    # The key of the request is free: nothing was begun with it.
    again = client.post(COLLECTIONS, {"name": "Maps"}, Idempotency_Key="one")
    assert (again.status_code, again.get("Idempotent-Replayed")) == (201, None)


def test_a_key_of_a_version_that_is_gone_works_with_the_header_alone(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_collection(archive)
    client = client_of(archive, OLDEST.date)
    monkeypatch.setattr(api_versions, "known", lambda: (OLD, NEW))
    refused = client.get(COLLECTIONS)
    assert (refused.status_code, refused.json()["code"]) == (400, "api_version_unknown")
    assert "the key is pinned to one that is gone" in refused.json()["detail"]
    assert refused.json()["known"] == [OLD.date, NEW.date]
    shown = client.get(COLLECTIONS, Licet_Version=OLD.date)
    assert (shown.status_code, names(shown.json()["data"][0])) == (200, {"title"})


def test_a_body_of_another_version_is_refused(archive: Organization) -> None:
    client = client_of(archive, NEW.date)
    for body, version in (({"title": "Maps"}, NEW), ({"name": "Maps"}, OLD)):
        refused = client.post(COLLECTIONS, body, Licet_Version=version.date)
        assert (refused.status_code, refused.json()["param"]) == (422, next(iter(body)))
    with acting(caller_for(archive)):
        assert not Collection.objects.exists()


# --- what was answered before -------------------------------------------------------------------


def test_a_replay_is_the_first_answer_in_the_version_that_it_had(archive: Organization) -> None:
    client = client_of(archive, OLD.date)
    first = client.post(COLLECTIONS, {"title": "Maps"}, Idempotency_Key="one")
    assert names(first.json()) == {"title"}
    for headers in ({}, {"Licet_Version": OLD.date}, {"Licet_Version": NEW.date}):
        again = client.post(COLLECTIONS, {"title": "Maps"}, Idempotency_Key="one", **headers)
        assert (again.status_code, again.json()) == (201, first.json())
        assert again["Idempotent-Replayed"] == "true"
        assert again["Licet-Version"] == OLD.date
        assert again["Sunset"] == first["Sunset"]
    with acting(caller_for(archive)):
        assert Collection.objects.count() == 1


def test_a_kept_answer_outlives_its_version(
    archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(archive, NEW.date)
    sent = {"Idempotency_Key": "one", "Licet_Version": OLDEST.date}
    first = client.post(COLLECTIONS, {"title": "Maps"}, **sent)
    monkeypatch.setattr(api_versions, "known", lambda: (OLD, NEW))
    assert client.post(COLLECTIONS, {"title": "Maps"}, **sent).status_code == 400
    again = client.post(COLLECTIONS, {"title": "Maps"}, Idempotency_Key="one")
    assert (again.json(), again["Licet-Version"]) == (first.json(), OLDEST.date)
    assert "Sunset" not in again


@pytest.mark.parametrize("url", [COLLECTIONS, "/v1/organization"])
def test_an_etag_is_of_one_version(archive: Organization, way: None, url: str) -> None:
    """Also where the answer is the same in both: it says its version, and when that ends."""
    make_collection(archive)
    client = client_of(archive, NEW.date)
    old, new = (client.get(url, Licet_Version=each.date) for each in (OLD, NEW))
    assert (old.content == new.content) == (url == "/v1/organization")
    assert old["ETag"] != new["ETag"]
    for version, etag, status in (
        (OLD, old["ETag"], 304),
        (NEW, old["ETag"], 200),
        (OLD, new["ETag"], 200),
        (NEW, new["ETag"], 304),
    ):
        answer = client.get(url, Licet_Version=version.date, If_None_Match=etag)
        assert (answer.status_code, answer["Licet-Version"]) == (status, version.date)


# --- what answers say ---------------------------------------------------------------------------


def answers(client: ApiClient, reader: ApiClient) -> Iterator[tuple[int, Any]]:
    """An answer of each kind, with the status that it should have."""
    etag = client.get(COLLECTIONS)["ETag"]
    yield 200, client.get(COLLECTIONS)
    yield 304, client.get(COLLECTIONS, If_None_Match=etag)
    yield 201, client.post(COLLECTIONS, {"title": "Maps"})
    yield 400, client.get(f"{COLLECTIONS}?zzz=1")
    yield 403, reader.post(COLLECTIONS, {"title": "Maps"})
    yield 404, client.get(f"{COLLECTIONS}/col_x")
    yield 405, client.request("DELETE", COLLECTIONS)
    yield 422, client.post(COLLECTIONS, {})
    yield 405, client.request("OPTIONS", COLLECTIONS)


def test_each_answer_of_an_older_version_says_when_it_ends(
    archive: Organization, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(archive, OLD.date)
    caller = caller_for(archive)
    _key, secret = api_keys.create(caller, name="r", scopes=["works:read"], version=OLD.date)
    found = list(answers(client, ApiClient(secret)))
    settings.RATE_KEY = (0.001, 1)
    monkeypatch.setattr(rate_limits, "here", Buckets())
    assert client.get(COLLECTIONS).status_code == 200
    found.append((429, client.get(COLLECTIONS)))
    assert [answer.status_code for _status, answer in found] == [each for each, _ in found]
    for _status, answer in found:
        assert answer["Licet-Version"] == OLD.date
        # Its successor came on this day.
        assert answer["Deprecation"] == "@1795824000"
        assert answer["Sunset"] == "Sun, 28 Nov 2027 12:00:00 GMT"
        assert answer["Link"] == '</docs/guide/versions/>; rel="sunset"'


def test_the_newest_version_says_no_end(archive: Organization) -> None:
    client = client_of(archive, NEW.date)
    for _status, answer in answers(client, client):
        assert answer["Licet-Version"] == NEW.date
        assert not {"Deprecation", "Sunset", "Link"} & set(answer.headers)


def test_who_is_not_let_in_is_answered_in_the_version_asked_for() -> None:
    for url, status in ((COLLECTIONS, 401), ("/v1/no-such", 404)):
        for version, answered in ((OLD.date, OLD.date), ("nonsense", NEW.date), (None, NEW.date)):
            headers = {} if version is None else {"Licet_Version": version}
            answer = ApiClient("no key").get(url, **headers)
            assert (answer.status_code, answer["Licet-Version"]) == (status, answered)
            assert ("Sunset" in answer) == (answered == OLD.date)


def test_the_link_of_a_version_that_ends_leads_to_the_guide(client: Client) -> None:
    assert "<title>Versions of the API" in client.get(api_versions.GUIDE).content.decode()


def test_pages_have_no_version(client: Client) -> None:
    answer = client.get("/docs/", headers={"Licet-Version": OLD.date})
    assert answer.status_code == 200
    assert not {"Licet-Version", "Sunset", "Deprecation"} & set(answer.headers)


# --- the versions that there are ----------------------------------------------------------------


def test_what_stands_for_a_class_is_its_next_older_one() -> None:
    older = {int: {"2026-03-01": bool, "2026-10-01": str}}

    def shape(date: str) -> type:
        return api_versions.shape(int, Version(date, ""), older)

    assert [shape(f"2026-{day}") for day in ("01-01", "03-01")] == [bool, bool]
    assert [shape(f"2026-{day}") for day in ("03-02", "10-01")] == [str, str]
    assert [shape(f"2026-{day}") for day in ("10-02", "11-28")] == [int, int]
    assert api_versions.shape(int, None, older) is int
    assert api_versions.shape(float, Version("2026-01-01", ""), older) is float


@pytest.mark.parametrize(
    "every", [api_versions._VERSIONS, (OLDEST, OLD, NEW)], ids=["ours", "test"]
)
def test_versions_are_in_their_order_and_only_older_ones_end(every: tuple[Version, ...]) -> None:
    days = [date.fromisoformat(version.date) for version in every]
    assert days == sorted(set(days))
    assert every[-1].sunset is None
    for version, following in zip(every, days[1:], strict=False):
        if version.sunset is not None:
            assert version.sunset.date() > following
    assert all(version.summary.endswith(".") for version in every)


def test_a_problem_of_an_unknown_version_is_json(archive: Organization) -> None:
    refused = client_of(archive).get(COLLECTIONS, Licet_Version="nonsense")
    assert refused["Content-Type"] == "application/problem+json"
    assert json.loads(refused.content)["type"] == "/docs/errors#api_version_unknown"
