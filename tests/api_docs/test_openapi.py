"""The OpenAPI document: as it is made, valid, and complete; and the page of error codes."""

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
from django.utils import translation
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from openapi_spec_validator import OpenAPIV31SpecValidator

from api_docs.bounds import INT32_MAX
from api_docs.document import EXAMPLES, parameters
from api_docs.refusals import all_kinds
from api_docs.tags import TAGS
from marketplace import api_versions, errors
from tests.api_docs.examples import example_at, misfit, places

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
PROBLEM = {"$ref": "#/components/schemas/Problem"}
CODES = {kind.code for kind in all_kinds()}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


every_operation = pytest.mark.parametrize(
    ("path", "method", "operation"),
    [pytest.param(*each, id=f"{each[1]} {each[0]}") for each in operations()],
)


def test_the_document_committed_is_the_one_of_the_code() -> None:
    with translation.override("en"):
        made = SchemaGenerator().get_schema(request=None, public=True)
    differing = list(differences(json.loads(OpenApiJsonRenderer().render(made)), DOCUMENT))
    assert not differing, f"Run `make openapi` and commit its result: {differing[:5]}"


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two documents differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            yield from differences(one.get(name), other.get(name), f"{path}/{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for n, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from differences(mine, theirs, f"{path}/{n}")
    elif one != other:
        yield f"{path}: {str(one)[:200]} here, {str(other)[:200]} there"


def test_anybody_may_read_it_with_any_key_or_none(client: Client) -> None:
    answer = client.get("/openapi.json", headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 200


@pytest.mark.oracle
def test_it_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_it_names_the_market_and_its_license() -> None:
    info = DOCUMENT["info"]
    assert (info["title"], info["license"]["identifier"]) == ("Licet", "Apache-2.0")
    assert info["version"] == api_versions.newest().date


@every_operation
def test_an_operation_takes_the_version_that_a_client_was_written_for(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    [header] = [each for each in parameters(DOCUMENT, operation) if each["name"] == "Licet-Version"]
    assert (header["in"], header.get("required", False)) == ("header", False)
    assert header["schema"] == {"$ref": "#/components/schemas/ApiVersion"}
    words = DOCUMENT["components"]["schemas"]["ApiVersion"]["enum"]
    assert words == [each.date for each in api_versions.known()]


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


def test_operations_are_named_by_a_verb_and_nouns_each_otherwise() -> None:
    ids = [operation["operationId"] for _path, _method, operation in operations()]
    assert len(ids) == len(set(ids))
    assert [each for each in ids if not re.fullmatch(r"[a-z]+(_[a-z]+)+", each)] == []
    assert {"list_grants", "get_grant_receipt", "create_order", "rotate_api_key"} <= set(ids)


def test_tags_are_described_in_their_order_and_all_used() -> None:
    used = {operation["tags"][0] for _path, _method, operation in operations()}
    assert DOCUMENT["webhooks"]["event"]["post"]["tags"] == ["webhooks"]
    # A class of its own in clients, beside that of the endpoints: generators overwrite it else.
    assert "webhooks" not in used
    used.add("webhooks")
    assert [tag["name"] for tag in DOCUMENT["tags"]] == [name for name in TAGS if name in used]
    assert {tag["name"] for tag in DOCUMENT["tags"]} == used
    assert all(tag["description"] for tag in DOCUMENT["tags"])


@every_operation
def test_an_operation_says_what_it_does(path: str, method: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    scope = operation.get("x-required-scope")
    needs = "Needs no key." if scope is None else f"Needs the scope `{scope}`."
    assert needs in operation["description"]
    [tag] = operation["tags"]
    assert tag == path.split("/")[2]


def _answer(operation: dict[str, Any], status: str) -> dict[str, Any]:
    answer: dict[str, Any] = operation["responses"][status]
    if "$ref" in answer:
        answer = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return answer


@every_operation
def test_an_operation_says_how_it_refuses(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    answers = operation["responses"]
    refusals = {status for status in answers if status == "default" or status >= "400"}
    expected = {"default", "400", "401", "406", "429", "500"}
    if "{id}" in path:
        expected |= {"404"}
    if {} not in operation["security"]:
        expected |= {"403"}
    if method in {"post", "patch"}:
        expected |= {"409", "413", "415", "422"} - ({"409"} if path in ONLY_ASK else set())
    assert refusals >= expected
    for status in refusals:
        answer = _answer(operation, status)
        assert answer["content"]["application/problem+json"]["schema"] == PROBLEM, status
        named = set(re.findall(r"`(\w+)`", answer["description"]))
        assert named <= CODES, status
        assert named or status in {"429", "default"}
        for example in answer["content"]["application/problem+json"].get("examples", {}).values():
            assert str(example["value"]["status"]) == status
    assert any(status.startswith("2") for status in answers)


@every_operation
def test_every_answer_has_its_headers(path: str, method: str, operation: dict[str, Any]) -> None:
    for status in operation["responses"]:
        headers = _answer(operation, status)["headers"]
        always = {"Request-Id", "Licet-Version", "Deprecation", "Sunset"}
        assert always | {"RateLimit", "RateLimit-Policy"} <= set(headers), status
        assert ("Location" in headers) == (status == "201")
        assert ("WWW-Authenticate" in headers) == (status == "401")
        assert "Retry-After" in headers or status != "429"


def test_a_verb_s_own_refusals_are_named() -> None:
    order = DOCUMENT["paths"]["/v1/orders"]["post"]
    said = _answer(order, "409")["description"]
    for code in ("quote_expired", "rights_taken", "opted_out", "accepted_document_mismatch"):
        assert f"`{code}`" in said
    assert "upload_under_way" not in said
    append = DOCUMENT["paths"]["/v1/uploads/{id}"]["patch"]
    assert "`upload_offset_mismatch`" in _answer(append, "409")["description"]


def test_a_code_may_be_new_to_a_client() -> None:
    code = DOCUMENT["components"]["schemas"]["ProblemCode"]
    assert "enum" not in code
    assert set(code["x-extensible-enum"]) == CODES


def _schemas(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for name, inner in node.items():
            if name not in {"example", "examples", "default"}:
                yield from _schemas(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _schemas(inner)


def test_every_list_of_words_has_one_name() -> None:
    named = DOCUMENT["components"]["schemas"].values()
    roots = {id(schema) for schema in named}
    inline = [
        schema["enum"]
        for schema in _schemas({"schemas": DOCUMENT["components"]["schemas"], **DOCUMENT["paths"]})
        if isinstance(schema.get("enum"), list) and len(schema["enum"]) > 1
        if id(schema) not in roots
    ]
    assert inline == []
    words = [tuple(sorted(map(str, schema["enum"]))) for schema in named if "enum" in schema]
    assert len([each for each in words if len(each) > 1]) > 50


def test_a_word_that_may_be_missing_is_said_to_be_null_then() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for kind, member in (("WebhookEndpoint", "disabled_because"), ("GrantEvent", "by")):
        assert {"type": "null"} in schemas[kind]["properties"][member]["oneOf"]
    assert not [name for name, schema in schemas.items() if "" in schema.get("enum", ())]


def test_every_number_has_a_format_and_limits() -> None:
    found = [schema for schema in _schemas(DOCUMENT) if schema.get("type") == "integer"]
    assert len(found) > 200
    for schema in found:
        wide = "int32" if schema["maximum"] <= INT32_MAX else "int64"
        assert schema["format"] == wide
        assert schema["minimum"] <= schema["maximum"]


def test_nothing_is_said_in_the_words_of_openapi_3_0() -> None:
    assert '"nullable"' not in json.dumps(DOCUMENT)
    assert "NullEnum" not in DOCUMENT["components"]["schemas"]


def test_every_body_of_json_has_an_example_that_its_schema_allows() -> None:
    known = json.loads(EXAMPLES.read_text())
    wrong = {}
    for place, media in places(DOCUMENT):
        example = example_at(known, place)
        if example is not None:
            wrong[place] = misfit(media["schema"], example)
        elif place[-1] in {"request", "application/json"}:
            wrong[place] = "no example"
    wrong = {" ".join(place): said for place, said in wrong.items() if said is not None}
    assert wrong == {}, "Run `make examples`, with FROM= the tests that ask this of the API."


def test_an_example_of_a_list_has_a_row() -> None:
    known = json.loads(EXAMPLES.read_text())
    assert {name for name, at in known.items() if _answered(at).get("data") == []} == set()


def _answered(examples: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = examples.get("responses", {}).get("200", {}).get("application/json", {})
    return found


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
    [header] = [
        each for each in parameters(DOCUMENT, operation) if each["name"] == "Idempotency-Key"
    ]
    assert (header["in"], header.get("required", False)) == ("header", False)
    assert "takes effect once" in header["description"]


def test_a_post_that_only_asks_takes_no_idempotency_key() -> None:
    for path in ONLY_ASK:
        named = parameters(DOCUMENT, DOCUMENT["paths"][path]["post"])
        assert {each["name"] for each in named} <= {"id", "Licet-Version"}


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
    for kind in all_kinds():
        [row] = re.findall(rf'<tr id="{kind.code}">.*?</tr>', text, re.DOTALL)
        assert f"<code>{kind.code}</code>" in row
        assert f"<td>{kind.status}</td>" in row
        assert f"{kind.title}. {kind.__doc__}" in row
        assert f"<td>{'yes' if kind.retryable else 'no'}</td>" in row
    assert set(re.findall(r'<tr id="(\w+)">', text)) == _codes_in_the_source()


def test_every_error_has_a_code_a_status_and_a_sentence_of_its_own() -> None:
    kinds = all_kinds()
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
