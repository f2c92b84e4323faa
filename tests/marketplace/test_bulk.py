"""Many at once: a result for each item, one transaction, and an answer that commits with it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from marketplace import bulk, uploads
from marketplace.access import system
from marketplace.http import TenantViewSet
from marketplace.models import Audit, IdempotencyKey, Organization, Upload, Work
from marketplace.typeid import TypeID
from tests.api_docs.examples import misfit
from tests.payments.racing import at_once, meeting_after
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, settings: Any) -> None:
    settings.STORAGE_DIR = tmp_path / "store"
    settings.UPLOAD_DIR = tmp_path / "store" / "uploads"


def uploaded(organization: Organization, *contents: bytes) -> list[str]:
    """Finished uploads of these bytes."""
    caller, ids = caller_for(organization), []
    for content in contents:
        upload = uploads.begin(caller, length=len(content))
        uploads.append(caller, upload.pk, 0, io.BytesIO(content))
        ids.append(str(uploads.finish(caller, upload.pk).pk))
    return ids


def item(upload: str, number: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "upload": upload,
        "external_id": f"letter-{number}",
        "media_type": "text/plain",
        **fields,
    }


@pytest.fixture
def shelf(archive: Organization, client_for: ClientFor) -> str:
    """Where works are added in bulk."""
    made = client_for(archive).post("/v1/collections", {"name": "Letters"}).json()
    return f"/v1/collections/{made['id']}/works/bulk"


def names(organization: Organization) -> list[str]:
    with system("look in a test"):
        rows = Work.objects.filter(organization=organization).order_by("external_id")
        return [work.external_id for work in rows]


def used(id: str) -> Any:
    with system("look in a test"):
        return Upload.objects.get(pk=id).used_at


# --- a result for each ------------------------------------------------------------------------


def test_each_item_has_the_result_of_a_request_of_its_own(
    archive: Organization, client_for: ClientFor, shelf: str
) -> None:
    client, (first, second) = client_for(archive), uploaded(archive, b"one", b"two")

    answer = client.post(shelf, {"items": [item(first, 1), item(second, 2, title="Two")]})

    assert answer.status_code == 200, answer.json()
    body = answer.json()
    assert (body["succeeded"], body["failed"]) == (2, 0)
    for index, result in enumerate(body["results"]):
        assert (result["index"], result["ok"], result["status"]) == (index, True, 201)
        assert result["error"] is None
        assert client.get(f"/v1/works/{result['item']['id']}").json() == result["item"]
    assert names(archive) == ["letter-1", "letter-2"]
    with system("look in a test"):
        assert Audit.objects.filter(action="work.hosted").count() == 2


def test_a_refused_item_leaves_no_trace_and_takes_nothing_with_it(
    archive: Organization, client_for: ClientFor, shelf: str
) -> None:
    client, ids = client_for(archive), uploaded(archive, b"one", b"two", b"three")
    before = used(ids[1])
    items = [
        item(ids[0], 1),
        item(ids[1], 1),  # a name that was taken a moment before
        item(ids[2], 3, media_type="no type"),
        item(ids[2], 4, units={"words": -1}),
        item(str(TypeID.new("upl")), 5),
        item("upl_x", 6),
        item(ids[2], 7, sold="yes"),
        item(ids[2], 8),
    ]

    body = client.post(shelf, {"items": items}).json()

    assert (body["succeeded"], body["failed"]) == (2, 6)
    assert misfit({"$ref": "#/components/schemas/WorkResults"}, body) is None
    said = [
        each["error"] and (each["status"], each["error"]["code"], each["error"].get("param"))
        for each in body["results"]
    ]
    assert said == [
        None,
        (409, "work_refused", None),
        (422, "invalid_input", "items[2].media_type"),
        (422, "invalid_input", "items[3].units.words"),
        (404, "not_found", None),
        (422, "invalid_input", "items[5].upload"),
        (422, "invalid_input", "items[6].sold"),
        None,
    ]
    assert body["results"][1]["error"]["reason"] == "name_taken"
    for each in body["results"]:
        assert (each["item"] is None) is (each["error"] is not None) is (not each["ok"])
        if each["error"]:
            assert each["error"]["status"] == each["status"]
            assert each["error"]["request_id"].startswith("req_")
    assert names(archive) == ["letter-1", "letter-8"]
    # A request of its own would have rolled that back, too.
    assert used(ids[1]) == before


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "items"),
        ({"items": None}, "items"),
        ({"items": {}}, "items"),
        ({"items": "x"}, "items"),
        ({"items": []}, "items"),
        ({"items": [{}] * 101}, "items"),
        ({"items": [{}], "collection": "x"}, "collection"),
    ],
)
def test_a_body_that_is_no_list_of_items_is_refused_whole(
    archive: Organization, client_for: ClientFor, shelf: str, body: Any, param: str
) -> None:
    answer = client_for(archive).post(shelf, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["param"] == param


@pytest.mark.parametrize("wrong", [None, 7, "x", [], True])
def test_an_item_that_is_no_object_refuses_all(
    archive: Organization, client_for: ClientFor, shelf: str, wrong: Any
) -> None:
    [id] = uploaded(archive, b"one")
    answer = client_for(archive).post(shelf, {"items": [item(id), wrong]})
    assert (answer.status_code, answer.json()["param"]) == (422, "items[1]")
    assert names(archive) == []


def test_a_collection_of_somebody_else_is_not_there(
    archive: Organization, stranger: Organization, client_for: ClientFor, shelf: str
) -> None:
    [id] = uploaded(stranger, b"one")
    before = used(id)
    answer = client_for(stranger).post(shelf, {"items": [item(id)]})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert names(stranger) == []
    assert used(id) == before


def test_an_item_names_no_upload_of_somebody_else(
    archive: Organization, stranger: Organization, client_for: ClientFor, shelf: str
) -> None:
    [hidden], missing = uploaded(stranger, b"theirs"), str(TypeID.new("upl"))
    body = client_for(archive).post(shelf, {"items": [item(hidden), item(missing)]}).json()
    told = [str(each["error"]).replace(hidden, "X") for each in body["results"]]
    assert body["results"][0]["error"]["code"] == "not_found"
    assert told[0] == told[1].replace(missing, "X")
    assert names(archive) == []


@pytest.mark.oracle
def test_a_hundred_are_taken(archive: Organization, client_for: ClientFor, shelf: str) -> None:
    ids = uploaded(archive, *(f"letter {number}".encode() for number in range(100)))
    items = [item(id, number) for number, id in enumerate(ids)]
    body = client_for(archive).post(shelf, {"items": items}).json()
    assert (body["succeeded"], body["failed"]) == (bulk.ITEMS_MAX, 0)
    assert [each["item"]["external_id"] for each in body["results"]] == [
        each["external_id"] for each in items
    ]


def test_an_item_asks_no_more_than_its_verb(
    archive: Organization, client_for: ClientFor, shelf: str
) -> None:
    """The answer is read once for all of them, and so are the locks."""
    client, ids = client_for(archive), uploaded(archive, *(bytes([n]) for n in range(1, 14)))
    counted = []
    for some in (ids[:2], ids[2:12]):
        items = [item(id, ids.index(id)) for id in some]
        with CaptureQueriesContext(connection) as queries:
            assert client.post(shelf, {"items": items}).json()["failed"] == 0
        counted.append(len(queries))
    with CaptureQueriesContext(connection) as queries:
        single = shelf.removesuffix("/bulk")
        assert client.post(single, item(ids[12], 12)).status_code == 201
    # With the two of its savepoint.
    assert (counted[1] - counted[0]) / 8 < len(queries) - 2


# --- sent again -------------------------------------------------------------------------------


def test_a_retry_gets_the_first_answer(
    archive: Organization, client_for: ClientFor, shelf: str
) -> None:
    client, [id] = client_for(archive), uploaded(archive, b"one")
    # The second finds the bytes there: done anew, the first would be refused as well.
    items = {"items": [item(id, 1), item(id, 2)]}
    first = client.post(shelf, items, Idempotency_Key="k")
    again = client.post(shelf, items, Idempotency_Key="k")
    assert [each["ok"] for each in first.json()["results"]] == [True, False]
    assert (again.status_code, again.json()) == (200, first.json())
    assert again["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    assert names(archive) == ["letter-1"]


def test_the_answer_of_a_bulk_that_refused_all_is_kept(
    archive: Organization, client_for: ClientFor, shelf: str
) -> None:
    client, missing = client_for(archive), str(TypeID.new("upl"))
    first = client.post(shelf, {"items": [item(missing)]}, Idempotency_Key="k")
    again = client.post(shelf, {"items": [item(missing)]}, Idempotency_Key="k")
    assert (first.status_code, first.json()["failed"]) == (200, 1)
    assert again.json() == first.json()


class Died(BaseException):
    """The process ended here: nothing that catches errors sees it."""


def test_a_bulk_that_died_halfway_left_nothing_and_is_done_by_its_retry(
    archive: Organization, client_for: ClientFor, shelf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, ids = client_for(archive), uploaded(archive, b"one", b"two", b"three")
    items = {"items": [item(id, number) for number, id in enumerate(ids)]}
    host, done = uploads.host, []

    def dies(*arguments: Any, **named: Any) -> Any:
        if len(done) == 2:
            raise Died
        done.append(host(*arguments, **named))
        return done[-1]

    with monkeypatch.context() as patch:
        patch.setattr(uploads, "host", dies)
        with pytest.raises(Died):
            client.post(shelf, items, Idempotency_Key="k")
    assert (len(done), names(archive)) == (2, [])

    retry = client.post(shelf, items, Idempotency_Key="k")

    assert retry.json()["succeeded"] == 3
    assert "Idempotent-Replayed" not in retry
    assert names(archive) == ["letter-0", "letter-1", "letter-2"]


@pytest.mark.django_db(transaction=True)
def test_a_bulk_whose_connection_broke_halfway_is_done_by_its_retry(
    archive: Organization, client_for: ClientFor, shelf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, ids = client_for(archive), uploaded(archive, b"one", b"two", b"three")
    items = {"items": [item(id, number) for number, id in enumerate(ids)]}
    host = uploads.host

    def cut(caller: Any, collection: Any, **named: Any) -> Any:
        if named["upload"] == ids[2]:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return host(caller, collection, **named)

    with monkeypatch.context() as patch:
        patch.setattr(uploads, "host", cut)
        first = client.post(shelf, items, Idempotency_Key="k")
    assert first.status_code == 500
    assert names(archive) == []
    retry = client.post(shelf, items, Idempotency_Key="k")
    assert retry.json()["succeeded"] == 3
    assert names(archive) == ["letter-0", "letter-1", "letter-2"]


def test_a_bulk_that_died_after_its_commit_is_answered_truly(
    archive: Organization, client_for: ClientFor, shelf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail (in flight, then everything refused as repeated) with the answer kept later."""
    client, ids = client_for(archive), uploaded(archive, b"one", b"two")
    items = {"items": [item(id, number) for number, id in enumerate(ids)]}

    def dies(*_arguments: Any, **_named: Any) -> Any:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(TenantViewSet, "finalize_response", dies)
        with pytest.raises(Died):
            client.post(shelf, items, Idempotency_Key="k")

    retry = client.post(shelf, items, Idempotency_Key="k")

    assert (retry.status_code, retry["Idempotent-Replayed"]) == (200, "true")
    assert [each["status"] for each in retry.json()["results"]] == [201, 201]
    shown = [client.get(f"/v1/works/{each['item']['id']}") for each in retry.json()["results"]]
    assert [each.json()["external_id"] for each in shown] == ["letter-0", "letter-1"]
    assert names(archive) == ["letter-0", "letter-1"]


def test_a_failure_of_ours_ends_the_whole_and_keeps_no_answer(
    archive: Organization, client_for: ClientFor, shelf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, ids = client_for(archive), uploaded(archive, b"one", b"two")
    items = {"items": [item(id, number) for number, id in enumerate(ids)]}
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "_told", lambda *_arguments: 1 / 0)
        failed = client.post(shelf, items, Idempotency_Key="k")
    assert (failed.status_code, names(archive)) == (500, [])
    with system("look in a test"):
        assert not IdempotencyKey.objects.filter(key="k").exists()
    assert client.post(shelf, items, Idempotency_Key="k").json()["succeeded"] == 2


def test_what_may_succeed_later_ends_the_whole(
    archive: Organization, client_for: ClientFor, shelf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, ids = client_for(archive), uploaded(archive, b"one", b"two")
    items = {"items": [item(id, number) for number, id in enumerate(ids)]}
    host = uploads.host

    def busy(caller: Any, collection: Any, **named: Any) -> Any:
        if named["upload"] == ids[1]:
            raise uploads.UploadUnderWay("Later.")
        return host(caller, collection, **named)

    with monkeypatch.context() as patch:
        patch.setattr(uploads, "host", busy)
        answer = client.post(shelf, items, Idempotency_Key="k")
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_under_way")
    assert names(archive) == []
    assert client.post(shelf, items, Idempotency_Key="k").json()["succeeded"] == 2


# --- at once ----------------------------------------------------------------------------------


def crossed(client: ApiClient, url: str, ids: list[str]) -> list[Any]:
    """Two bulks of the same items in opposite orders, which meet after their first item."""
    items = [item(id, number) for number, id in enumerate(ids)]

    def post(order: list[dict[str, Any]]) -> Any:
        return ApiClient(client.secret).post(url, {"items": order})

    return at_once(lambda: post(items), lambda: post(items[::-1]))


@pytest.mark.django_db(transaction=True)
def test_two_bulks_of_the_same_uploads_in_opposite_orders_do_not_wait_for_each_other(
    archive: Organization, client_for: ClientFor, shelf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = uploaded(archive, b"one", b"two", b"three")
    monkeypatch.setattr(uploads, "host", meeting_after(uploads.host))
    answers = crossed(client_for(archive), shelf, ids)
    assert [each.status_code for each in answers] == [200, 200]
    assert sorted(each.json()["succeeded"] for each in answers) == [0, 3]
    assert names(archive) == ["letter-0", "letter-1", "letter-2"]


@pytest.mark.django_db(transaction=True)
def test_without_the_order_that_race_is_lost(
    archive: Organization, client_for: ClientFor, shelf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = uploaded(archive, b"one", b"two", b"three")
    monkeypatch.setattr(uploads, "host", meeting_after(uploads.host))
    monkeypatch.setattr(uploads, "hold", lambda *_arguments: None)
    answers = crossed(client_for(archive), shelf, ids)
    assert sorted(each.status_code for each in answers) == [200, 500]
    # Of the one that PostgreSQL ended, nothing stayed.
    assert names(archive) == ["letter-0", "letter-1", "letter-2"]


@pytest.mark.django_db(transaction=True)
def test_eight_bulks_at_once_with_one_key_take_effect_once(
    archive: Organization, client_for: ClientFor, shelf: str
) -> None:
    secret, ids = client_for(archive).secret, uploaded(archive, b"one", b"two")
    items = {"items": [item(id, number) for number, id in enumerate(ids)]}

    def post() -> Any:
        return ApiClient(secret).post(shelf, items, Idempotency_Key="k")

    answers = at_once(*[post] * 8)
    assert {each.status_code for each in answers} <= {200, 409}
    done = [each.json() for each in answers if each.status_code == 200]
    assert done
    assert all(each == done[0] and each["succeeded"] == 2 for each in done)
    assert names(archive) == ["letter-0", "letter-1"]
    with system("look in a test"):
        assert Audit.objects.filter(action="work.hosted").count() == 2
