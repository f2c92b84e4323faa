"""The OpenAPI document: served as committed, valid, and complete; and the page of error codes."""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from openapi_spec_validator import OpenAPIV31SpecValidator

from api_docs.schema import error_codes
from marketplace import errors

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "api_docs" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(COMMITTED.read_text())
# These change nothing: sent again, they answer anew.
ONLY_ASK = {
    "/v1/decisions",
    "/v1/payout-account/links",
    "/v1/contributors/{id}/payout-account/links",
    "/v1/royalty-payouts/preview",
    "/v1/royalty-rules/preview",
}
METHODS = ("get", "post", "put", "patch", "delete")
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


every_operation = pytest.mark.parametrize(
    ("path", "method", "operation"),
    [pytest.param(*each, id=f"{each[1]} {each[0]}") for each in operations()],
)


def test_the_document_served_is_the_one_committed(client: Client) -> None:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    assert json.loads(answer.content) == DOCUMENT, "Run `make openapi` and commit its result."


def test_anybody_may_read_it_with_any_key_or_none(client: Client) -> None:
    answer = client.get("/openapi.json", headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 200


def test_it_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_it_names_the_market_and_its_license() -> None:
    info = DOCUMENT["info"]
    assert (info["title"], info["license"]["identifier"]) == ("Licet", "Apache-2.0")


def test_every_route_of_the_api_is_in_it() -> None:
    found = {
        (re.sub(r"<pk>", "{id}", path), method)
        for path, pattern in _walk(get_resolver().url_patterns)
        if path.startswith("/v1/")
        for method in pattern.callback.actions  # type: ignore[attr-defined]
        if method in METHODS
    }
    assert {(path, method) for path, method, _operation in operations()} == found


def _walk(patterns: Any, prefix: str = "/") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        shown = re.sub(r"\(\?P<(\w+)>[^)]*\)|<(?:\w+:)?(\w+)>", r"<\1\2>", str(pattern.pattern))
        path = prefix + shown.replace("^", "").replace("$", "").replace("\\Z", "")
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, path)
        else:
            yield path.rstrip("/"), pattern


def test_no_two_operations_share_an_id() -> None:
    ids = [operation["operationId"] for _path, _method, operation in operations()]
    assert len(ids) == len(set(ids))


@every_operation
def test_an_operation_says_what_it_does(path: str, method: str, operation: dict[str, Any]) -> None:
    assert operation["operationId"]
    assert operation.get("summary") or operation.get("description")
    [tag] = operation["tags"]
    assert tag == path.split("/")[2]


@every_operation
def test_an_operation_says_how_it_refuses(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    answers = operation["responses"]
    refusals = {code for code in answers if code == "default" or code >= "400"}
    expected = {"default"}
    if operation["tags"] != ["listings"]:
        expected |= {"401", "403"}
    if "{id}" in path:
        expected |= {"404"}
    if method == "post":
        expected |= {"409", "422"}
    assert refusals >= expected
    for code in refusals:
        assert answers[code]["content"] == PROBLEM, code
        assert answers[code]["description"]
    assert any(code.startswith("2") for code in answers)


@every_operation
def test_an_operation_takes_a_key_or_a_session(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    assert {"apiKey": []} in operation["security"]
    assert {"session": []} in operation["security"]


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        pytest.param(path, operation, id=path)
        for path, method, operation in operations()
        if method == "post" and path not in ONLY_ASK
    ],
)
def test_every_post_may_be_sent_again(path: str, operation: dict[str, Any]) -> None:
    [header] = [each for each in operation["parameters"] if each["name"] == "Idempotency-Key"]
    assert (header["in"], header.get("required", False)) == ("header", False)
    assert "takes effect once" in header["description"]


def test_a_post_that_only_asks_takes_no_idempotency_key() -> None:
    for path in ONLY_ASK:
        named = DOCUMENT["paths"][path]["post"].get("parameters", [])
        assert [each["in"] for each in named if each["in"] != "path"] == []


def test_nothing_but_get_and_post_is_offered_and_pieces_of_uploads() -> None:
    others = {(path, method) for path, method, _operation in operations()}
    others = {(path, method) for path, method in others if method not in {"get", "post"}}
    assert others == {("/v1/uploads/{id}", "patch")}


def test_money_is_a_whole_number_and_never_a_float() -> None:
    found = [
        (name, field, schema)
        for name, component in DOCUMENT["components"]["schemas"].items()
        for field, schema in component.get("properties", {}).items()
        # A facet is named as its parameter is, and holds counts.
        if field.endswith("_minor") and name != "Facets"
    ]
    assert len(found) >= 5
    for name, field, schema in found:
        # A minimum is said for each currency.
        amount = schema["additionalProperties"] if schema["type"] == "object" else schema
        assert amount["type"] in ("integer", ["integer", "null"]), (name, field)
    assert '"type": "number"' not in json.dumps(DOCUMENT)


def test_a_problem_names_the_members_that_clients_act_on() -> None:
    problem = DOCUMENT["components"]["schemas"]["Problem"]
    assert set(problem["required"]) == {
        "type",
        "title",
        "status",
        "detail",
        "code",
        "retryable",
        "request_id",
    }


def _codes_in_the_source() -> set[str]:
    """Every code that a class of ours carries, read without importing anything."""
    found = set()
    for app in ("marketplace", "licensing", "payments", "api_docs"):
        for path in (ROOT / app).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and {
                    ast.unparse(base).rpartition(".")[2] for base in node.bases
                } & {"DomainError"}:
                    text = ast.unparse(node)
                    code = re.search(r"code(?:, status, title)? = \(?'(\w+)'", text)
                    found.add(code[1] if code else errors.InternalError.code)
    return found


def test_the_page_of_errors_lists_each_with_its_meaning(client: Client) -> None:
    text = html.unescape(client.get("/docs/errors").content.decode())
    for kind in error_codes():
        [row] = re.findall(rf'<tr id="{kind.code}">.*?</tr>', text, re.DOTALL)
        assert f"<code>{kind.code}</code>" in row
        assert f"<td>{kind.status}</td>" in row
        assert f"{kind.title}. {kind.__doc__}" in row
        assert f"<td>{'yes' if kind.retryable else 'no'}</td>" in row
    assert set(re.findall(r'<tr id="(\w+)">', text)) == _codes_in_the_source()


def test_every_error_has_a_code_a_status_and_a_sentence_of_its_own() -> None:
    kinds = error_codes()
    assert len({kind.code for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code), kind
        assert 400 <= kind.status < 600, kind
        assert kind.__doc__, kind
        assert kind.__doc__.endswith("."), kind


def test_a_problem_s_type_leads_to_its_row(client: Client) -> None:
    address, _hash, code = client.get("/nothing").json()["type"].partition("#")
    assert f'id="{code}"' in client.get(address).content.decode()


@pytest.mark.parametrize("scheme", ["apiKey", "session"])
def test_each_way_to_sign_in_is_described(scheme: str) -> None:
    assert DOCUMENT["components"]["securitySchemes"][scheme]["description"]
