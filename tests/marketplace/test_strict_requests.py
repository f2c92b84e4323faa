"""Nothing that a client sends is silently ignored: what is refused, and which way out is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from marketplace import strict_requests
from marketplace.access import acting
from marketplace.errors import MalformedRequest
from marketplace.models import Collection, Organization
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]
COLLECTIONS = "/v1/collections"


@pytest.fixture
def client(client_for: ClientFor, archive: Organization) -> ApiClient:
    return client_for(archive)


def send(client: ApiClient, data: bytes, *, url: str = COLLECTIONS, **headers: Any) -> Any:
    kind = headers.pop("content_type", "application/json")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client._client.generic(
        "POST", url, data, content_type=kind,
        headers={"Authorization": f"Bearer {client.secret}", **named},
    )  # fmt: skip


def refused(answer: Any) -> tuple[int, str, str | None]:
    body = answer.json()
    assert answer["Content-Type"] == "application/problem+json"
    return answer.status_code, body["code"], body.get("param")


def count(organization: Organization) -> int:
    with acting(caller_for(organization), writing=False):
        return Collection.objects.filter(organization=organization).count()


# --- the address ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "code", "param", "detail"),
    [
        ("limt=5", "invalid_query", "limt", "Did you mean “limit”?"),
        ("zzz=5", "invalid_query", "zzz", "Known: cursor, limit, q."),
        ("format=xml", "invalid_query", "format", "This parameter is unknown here."),
        ("format=json", "invalid_query", "format", "This parameter is unknown here."),
        ("limit=5&limit=5", "invalid_query", "limit", "Give this parameter once."),
        ("limit=5&limi%74=6", "invalid_query", "limit", "Give this parameter once."),
        ("q=%ff", "malformed_request", "q", "UTF-8"),
        ("%ff=1", "malformed_request", "query", "UTF-8"),
        ("q=\xff", "malformed_request", "q", "UTF-8"),
        ("&".join(f"x{n}=1" for n in range(5_000)), "malformed_request", None, "malformed"),
        ("q=a%00", "malformed_request", "q", "null character"),
        ("&".join(f"x{n}=1" for n in range(500)), "invalid_query", "x0", "unknown"),
    ],
)  # fmt: skip
def test_a_query_that_is_not_understood_is_refused(
    client: ApiClient, query: str, code: str, param: str | None, detail: str
) -> None:
    answer = client._client.get(
        COLLECTIONS, headers={"Authorization": f"Bearer {client.secret}"}, QUERY_STRING=query
    )
    assert refused(answer) == (400, code, param)
    assert detail in answer.json()["detail"]


def test_a_write_with_an_unknown_parameter_changes_nothing(
    client: ApiClient, archive: Organization
) -> None:
    answer = client.post(f"{COLLECTIONS}?dry_run=true", {"name": "a"}, Idempotency_Key="k1")
    assert refused(answer) == (400, "invalid_query", "dry_run")
    assert "None are known here." in answer.json()["detail"]
    assert count(archive) == 0
    # Refused before it was looked at: the key is free for the request as it was meant.
    assert client.post(COLLECTIONS, {"name": "a"}, Idempotency_Key="k1").status_code == 201


def test_what_is_known_is_the_operations_own(client: ApiClient) -> None:
    assert client.get("/v1/works?collection=col_x").status_code != 400
    assert refused(client.get(f"{COLLECTIONS}?collection=col_x"))[0] == 400


def test_a_path_with_a_null_character_is_malformed(client: ApiClient) -> None:
    assert refused(client.get("/v1/works/a%00")) == (400, "malformed_request", "path")


def test_an_answers_form_that_there_is_not_is_refused_with_those_there_are(
    client: ApiClient,
) -> None:
    answer = client.get("/v1/grants/grt_x/certificate?format=html")
    assert refused(answer) == (422, "invalid_input", "format")
    assert "json, pdf" in answer.json()["detail"]


def test_a_head_knows_the_same_parameters(client: ApiClient) -> None:
    assert client.request("HEAD", f"{COLLECTIONS}?zzz=1").status_code == 400
    assert client.request("HEAD", COLLECTIONS).status_code == 200


def test_what_there_is_the_document_says_and_not_options(client: ApiClient) -> None:
    answer = client.request("OPTIONS", COLLECTIONS)
    assert refused(answer) == (405, "method_not_allowed", None)
    assert answer["Allow"] == "GET, POST, HEAD"


def test_a_method_that_there_is_not_is_told_before_what_it_says(client: ApiClient) -> None:
    for url in (COLLECTIONS, f"{COLLECTIONS}?zzz=1", f"{COLLECTIONS}?zzz=%ff"):
        assert client.request("DELETE", url).status_code == 405
    assert client.request("DELETE", f"{COLLECTIONS}?format=xml").status_code == 400


# --- bodies -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "param", "detail"),
    [
        (b'{"name": "a", "name": "b"}', "name", "Give this member once."),
        (b'{"name": "a", "n\\u0061me": "b"}', "name", "Give this member once."),
        (b'{"name": "a", "x": [{"y": 1, "y": 1}]}', "y", "Give this member once."),
        (b'{"name": "\xff"}', "body", "Byte 10 is not UTF-8."),
        (b"\xff\xfe{\x00}\x00", "body", "UTF-8"),
        (b'{"name": NaN}', "body", "“NaN” is no JSON number."),
        (b'{"name": -Infinity}', "body", "“-Infinity” is no JSON number."),
        (b'{"name": 1e999}', "body", "1e999 is too large a number."),
        (b'{"name": ' + b"9" * 5_000 + b"}", "body", "This is not JSON"),
        (b'{"name": "a"', "body", "This is not JSON"),
        (b"name=a", "body", "This is not JSON"),
        (b" ", "body", "This is not JSON"),
        (b'{"name": ' + b"[" * 32 + b"]" * 32 + b"}", "body", "at most 32 deep"),
        (b'{"name": ' + b'{"a":' * 32 + b"1" + b"}" * 32 + b"}", "body", "at most 32 deep"),
        (b"[" * 100_000, "body", "at most 32 deep"),
    ],
)  # fmt: skip
def test_a_body_that_readers_would_understand_differently_is_malformed(
    client: ApiClient, archive: Organization, data: bytes, param: str, detail: str
) -> None:
    answer = send(client, data)
    assert refused(answer) == (400, "malformed_request", param)
    assert detail in answer.json()["detail"]
    assert count(archive) == 0


def test_what_is_nested_32_deep_is_read() -> None:
    deepest = "[" * 32 + "]" * 32
    assert json.dumps(strict_requests.loads(deepest)) == deepest
    # Many brackets are not many levels.
    assert strict_requests.loads("[" + "[]," * 100 + "[]]") == [[]] * 101
    with pytest.raises(MalformedRequest):
        strict_requests.loads(f"[{deepest}]")


@pytest.mark.parametrize(
    ("body", "param", "detail"),
    [
        ({"name": "a", "nam": "b"}, "nam", "Did you mean “name”?"),
        ({"name": "a", "xyz": 1}, "xyz", "Known: languages, name"),
        ({"name": "a", "x" * 500_000: 1}, "x" * 500_000, "This field is unknown."),
    ],
)
def test_an_unknown_member_is_refused_with_those_there_are(
    client: ApiClient, archive: Organization, body: Any, param: str, detail: str
) -> None:
    answer = client.post(COLLECTIONS, body)
    assert refused(answer) == (422, "invalid_input", param)
    assert detail in answer.json()["detail"]
    assert count(archive) == 0


@pytest.mark.parametrize(
    ("url", "body", "param"),
    [
        ("/v1/quotes", {"model": {"name": "G", "relase": "closed_api"}}, "model.relase"),
        ("/v1/orders", {"quote": "quo_x", "accept": {"nam": "a"}}, "accept.nam"),
        ("/v1/decisions", {"question": {"use": "pretrain", "model": {"x": 1}}}, "question.model.x"),
        ("/v1/terms", {"name": "t", "typed": {"v": 2, "permitt": []}}, "typed"),
        ("/v1/offers", {"price": {"kind": "free", "x": 1}}, "price"),
    ],
)
def test_an_unknown_member_is_refused_at_any_depth(
    client: ApiClient, url: str, body: Any, param: str
) -> None:
    answer = client.post(url, body)
    status, code, named = refused(answer)
    assert (status, code) == (422, "invalid_input")
    assert named is not None


def test_a_body_over_the_cap_is_refused_unread_with_the_cap(
    client: ApiClient, archive: Organization
) -> None:
    answer = send(client, b'{"name": "' + b"x" * (1 << 20) + b'"}')
    assert refused(answer) == (413, "request_too_large", None)
    assert answer.json()["length_max"] == 1 << 20
    assert "1,048,576 bytes" in answer.json()["detail"]
    just = b'{"name": "a"}'.ljust(1 << 20)
    assert send(client, just).status_code == 201
    assert count(archive) == 1
    # Whoever may name ten thousand works by ids of their own has more room.
    assert refused(send(client, just + b" ", url="/v1/opt-outs"))[0] == 422


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"content_type": "text/plain"}, "Send application/json."),
        ({"content_type": "application/x-www-form-urlencoded"}, "Send application/json."),
        ({"content_type": "application/json; charset=latin-1"}, "UTF-8"),
        ({"Content_Encoding": "gzip"}, "without Content-Encoding"),
    ],
)
def test_a_body_of_another_kind_is_refused_with_those_that_are_read(
    client: ApiClient, archive: Organization, headers: dict[str, str], named: str
) -> None:
    answer = send(client, b'{"name": "a"}', **headers)
    assert refused(answer)[:2] == (415, "unsupported_media_type")
    assert named in answer.json()["detail"]
    assert count(archive) == 0


def test_the_charset_that_json_has_may_be_named(client: ApiClient) -> None:
    answer = send(client, b'{"name": "a"}', content_type='application/json; charset="UTF-8"')
    assert answer.status_code == 201


def test_a_piece_of_an_upload_is_no_json(client: ApiClient) -> None:
    answer = client.patch("/v1/uploads/upl_x", b"{}", content_type="application/json")
    assert refused(answer)[:2] == (415, "unsupported_media_type")
    assert "application/offset+octet-stream" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("url", "named"),
    [
        (COLLECTIONS, "application/json"),
        ("/v1/grants/grt_x/certificate", "application/json, application/pdf"),
    ],
)
def test_an_answer_that_there_is_not_is_refused_with_those_there_are(
    client: ApiClient, url: str, named: str
) -> None:
    answer = client.get(url, Accept="text/html")
    assert refused(answer)[:2] == (406, "not_acceptable")
    assert f"answers in {named}." in answer.json()["detail"]


def test_a_body_without_its_length_is_refused_and_not_taken_for_none(
    client: ApiClient, archive: Organization
) -> None:
    for method, expected in (
        ("POST", (411, "length_required", None)),
        ("GET", (400, "malformed_request", "body")),
    ):
        answer = client.request(method, COLLECTIONS, Transfer_Encoding="chunked")
        assert refused(answer) == expected
    assert count(archive) == 0
