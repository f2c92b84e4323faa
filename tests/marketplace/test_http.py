"""What every endpoint does alike: problem documents, request ids, pages, idempotent POSTs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from marketplace import collections, idempotency
from marketplace.access import Scope, acting
from marketplace.models import Collection, IdempotencyKey, Organization
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
BODY = {"name": "Letters"}


def count(organization: Organization) -> int:
    with acting(caller_for(organization), writing=False):
        return Collection.objects.filter(organization=organization).count()


@pytest.mark.parametrize(
    ("method", "url", "status", "code"),
    [
        ("GET", "/v1/nothing-here", 404, "not_found"),
        ("GET", "/v1/collections", 401, "unauthenticated"),
        ("GET", "/nothing", 404, "not_found"),
    ],
)
def test_every_error_is_a_problem_document(
    client: Client, method: str, url: str, status: int, code: str
) -> None:
    response = client.generic(method, url)
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json")
    body = response.json()
    assert (body["code"], body["status"]) == (code, status)
    assert body["request_id"] == response["Request-Id"]


def test_a_method_that_is_not_there_is_named(client_for: ClientFor, archive: Organization) -> None:
    response = client_for(archive).request("DELETE", "/v1/collections")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert "GET" in response["Allow"]


def test_our_own_failure_is_a_problem_document_without_its_details(
    client_for: ClientFor, archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("a secret of the inside")

    monkeypatch.setattr(collections, "create", fail)
    response = client_for(archive).post("/v1/collections", BODY)
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert "secret" not in response.content.decode()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "a", "nam": "b"}, "nam"),
        ({"name": 7}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({}, "name"),
        ([], "body"),
    ],
)
def test_a_wrong_body_names_its_field_and_changes_nothing(
    client_for: ClientFor, archive: Organization, body: object, param: str
) -> None:
    response = client_for(archive).post("/v1/collections", body)
    if body == []:
        response = client_for(archive).post("/v1/collections", [1])
    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")
    assert response.json()["param"] == param
    assert count(archive) == 0


@pytest.mark.parametrize(
    ("url", "body", "param"),
    [
        ("/v1/collections", {"\x00": 1}, "\\u0000"),
        ("/v1/collections", {"\ud800": 1}, "\\ud800"),
        ("/v1/collections", {"name": "\ud800"}, "name"),
        ("/v1/terms", {"name": "t", "typed": {"v": 1, "\x00": 1}}, "typed.\\u0000"),
        ("/v1/terms", {"name": "t", "typed": {"v": "\ud800"}}, "typed"),
    ],
)
def test_a_refusal_that_repeats_what_cannot_be_stored_is_kept_all_the_same(
    client_for: ClientFor, archive: Organization, url: str, body: object, param: str
) -> None:
    client = client_for(archive)
    first = client.post(url, body, Idempotency_Key="k1")
    assert (first.status_code, first.json()["code"]) == (422, "invalid_input")
    assert first.json()["param"].startswith(param)
    assert client.post(url, body, Idempotency_Key="k1").json() == first.json()


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k1"}])
@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"[" * 200_000, 400, "malformed_request"),
        (b'"' + b"x" * 3_000_000 + b'"', 413, "request_too_large"),
    ],
)
def test_a_body_that_would_exhaust_the_server_is_refused(
    client: Client,
    client_for: ClientFor,
    archive: Organization,
    data: bytes,
    status: int,
    code: str,
    headers: dict[str, str],
) -> None:
    response = client.post(
        "/v1/collections",
        data=data,
        content_type="application/json",
        headers={"Authorization": f"Bearer {client_for(archive).secret}", **headers},
    )
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert count(archive) == 0


def test_whoever_reads_pages_gets_a_page_for_what_is_not_there(client: Client) -> None:
    page = client.get("/nothing", headers={"Accept": "text/html"})
    assert (page.status_code, page["Content-Type"]) == (404, "text/html; charset=utf-8")
    api = client.get("/v1/nothing", headers={"Accept": "text/html"})
    assert (api.status_code, api["Content-Type"]) == (404, "application/problem+json")


def test_a_search_for_what_is_no_word_is_refused(client: Client) -> None:
    response = client.get("/v1/listings?q=%00")
    assert (response.status_code, response.json()["param"]) == (400, "q")


def test_a_body_that_is_no_json_is_malformed(
    client: Client, client_for: ClientFor, archive: Organization
) -> None:
    secret = client_for(archive).secret
    response = client.post(
        "/v1/collections",
        data=b"{",
        content_type="application/json",
        headers={"Authorization": f"Bearer {secret}"},
    )
    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")


def test_another_media_type_is_refused(
    client: Client, client_for: ClientFor, archive: Organization
) -> None:
    response = client.post(
        "/v1/collections",
        data="name=a",
        content_type="text/plain",
        headers={"Authorization": f"Bearer {client_for(archive).secret}"},
    )
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


def test_a_missing_scope_is_named(client_for: ClientFor, archive: Organization) -> None:
    response = client_for(archive, scopes=[Scope.COLLECTIONS_READ]).post("/v1/collections", BODY)
    assert (response.status_code, response.json()["code"]) == (403, "missing_scope")
    assert response.json()["scope"] == "collections:write"
    assert count(archive) == 0


def test_pages_join_without_gap_or_repeat(client_for: ClientFor, archive: Organization) -> None:
    client = client_for(archive)
    made = [client.post("/v1/collections", {"name": f"c{n}"}).json()["id"] for n in range(7)]
    seen, cursor = [], ""
    for _page in range(4):
        page = client.get(f"/v1/collections?limit=2{cursor}").json()
        seen += [row["id"] for row in page["data"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert sorted(seen) == sorted(made)
    assert (page["has_more"], page["next_cursor"]) == (False, None)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("limit=0", 422, "invalid_input"),
        ("limit=201", 422, "invalid_input"),
        ("limit=x", 422, "invalid_input"),
        ("cursor=x", 400, "invalid_cursor"),
        ("cursor=%00", 400, "malformed_request"),
    ],
)
def test_a_wrong_page_is_refused(
    client_for: ClientFor, archive: Organization, query: str, status: int, code: str
) -> None:
    response = client_for(archive).get(f"/v1/collections?{query}")
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_a_repeated_post_takes_effect_once_and_answers_alike(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    first = client.post("/v1/collections", BODY, Idempotency_Key="k1")
    second = client.post("/v1/collections", BODY, Idempotency_Key="k1")
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.content == first.content
    assert second["Location"] == first["Location"]
    assert "Idempotent-Replayed" not in first
    assert second["Idempotent-Replayed"] == "true"
    assert count(archive) == 1


def test_a_refusal_is_repeated_too(client_for: ClientFor, archive: Organization) -> None:
    client = client_for(archive)
    first = client.post("/v1/collections", {"name": 7}, Idempotency_Key="k1")
    second = client.post("/v1/collections", {"name": 7}, Idempotency_Key="k1")
    assert (first.status_code, second.status_code) == (422, 422)
    assert second.content == first.content
    assert second["Idempotent-Replayed"] == "true"


def test_a_key_used_for_another_request_is_refused_and_the_first_answer_stands(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    first = client.post("/v1/collections", BODY, Idempotency_Key="k1")
    other = client.post("/v1/collections", {"name": "Other"}, Idempotency_Key="k1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert client.post("/v1/collections", BODY, Idempotency_Key="k1").json() == first.json()
    assert count(archive) == 1


def test_a_refusal_that_loses_a_race_does_not_replace_the_first_answer(
    client_for: ClientFor, archive: Organization
) -> None:
    client = client_for(archive)
    first = client.post("/v1/collections", BODY, Idempotency_Key="k1")
    caller = caller_for(archive)
    # The loser began before the first one's row could be seen, and ends after it.
    idempotency.store(caller, "k1", b"another request's print" + bytes(9), 422, {"code": "x"}, "")
    assert client.post("/v1/collections", BODY, Idempotency_Key="k1").json() == first.json()


def test_two_organizations_may_use_the_same_key(
    client_for: ClientFor, archive: Organization, lab: Organization
) -> None:
    for organization in (archive, lab):
        answer = client_for(organization).post("/v1/collections", BODY, Idempotency_Key="k1")
        assert answer.status_code == 201
        assert "Idempotent-Replayed" not in answer


def test_a_retry_after_a_crash_finds_what_was_made(
    client_for: ClientFor, archive: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_for(archive)
    with monkeypatch.context() as patch:
        patch.setattr(idempotency, "store", lambda *_args, **_others: None)  # died before storing
        first = client.post("/v1/collections", BODY, Idempotency_Key="k1")
    early = client.post("/v1/collections", BODY, Idempotency_Key="k1")
    assert (early.status_code, early.json()["code"]) == (409, "idempotency_in_flight")
    later = timezone.now() + timedelta(minutes=1)
    monkeypatch.setattr(idempotency.timezone, "now", lambda: later)
    retry = client.post("/v1/collections", BODY, Idempotency_Key="k1")
    assert (retry.status_code, retry.json()["id"]) == (201, first.json()["id"])
    assert count(archive) == 1


def test_a_secret_is_not_replayed(client_for: ClientFor, archive: Organization) -> None:
    client = client_for(archive)
    body = {"name": "k", "scopes": ["works:read"]}
    first = client.post("/v1/api-keys", body, Idempotency_Key="k1").json()
    second = client.post("/v1/api-keys", body, Idempotency_Key="k1").json()
    assert first["secret"].startswith("licet_test_")
    assert (second["id"], second["secret"], second["secret_already_shown"]) == (
        first["id"],
        None,
        True,
    )
    with acting(caller_for(archive), writing=False):
        assert first["secret"] not in str(list(IdempotencyKey.objects.values()))


@pytest.mark.parametrize("key", ["x" * 256, "a\tb"])
def test_a_key_that_cannot_be_kept_is_refused(
    client_for: ClientFor, archive: Organization, key: str
) -> None:
    response = client_for(archive).post("/v1/collections", BODY, Idempotency_Key=key)
    assert (response.status_code, response.json()["param"]) == (422, "Idempotency-Key")
    assert count(archive) == 0


@pytest.mark.django_db(transaction=True)
def test_eight_racing_posts_with_one_key_take_effect_once(
    client_for: ClientFor, archive: Organization
) -> None:
    """Seen to fail (eight collections) with the key's row left out of the first transaction."""
    secret = client_for(archive).secret
    barrier, answers = threading.Barrier(8), []

    def post() -> None:
        client = ApiClient(secret)
        barrier.wait()
        answers.append(client.post("/v1/collections", BODY, Idempotency_Key="k1").status_code)
        connection.close()

    threads = [threading.Thread(target=post) for _number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(archive) == 1
    assert set(answers) <= {201, 409}
    assert answers.count(201) >= 1
