"""The reference and the try-it page: whole, readable without scripts, and of the same document."""

from __future__ import annotations

import gzip
import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from api_docs import prose, reference
from api_docs.document import operations, parameters

pytestmark = pytest.mark.django_db
COMMITTED = (Path(__file__).parents[2] / "api_docs/openapi.json").read_bytes()
DOCUMENT: dict[str, Any] = json.loads(COMMITTED)
TAGS = [tag["name"] for tag in DOCUMENT["tags"]]


def read(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return str(answer.content.decode())


def test_the_document_is_served_as_it_is_committed(client: Client) -> None:
    answer = client.get("/openapi.json")
    assert (answer.content, answer["Content-Type"]) == (COMMITTED, "application/json")
    # Tools on other sites' pages may read it, and nothing but it.
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Origin" not in client.get("/docs/")


def test_it_is_packed_for_who_unpacks(client: Client) -> None:
    answer = client.get("/openapi.json", headers={"Accept-Encoding": "br, gzip"})
    assert (answer["Content-Encoding"], answer["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(answer.content) == COMMITTED


def test_who_has_it_is_not_sent_it_again(client: Client) -> None:
    tag = client.get("/openapi.json")["ETag"]
    again = client.get("/openapi.json", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", tag)
    assert client.get("/openapi.json", headers={"If-None-Match": '"other"'}).status_code == 200


def test_it_cannot_be_written_to(client: Client) -> None:
    for path in ("/openapi.json", "/docs/", "/docs/try/", "/docs/guide/"):
        assert client.post(path).status_code == 405, path


def test_the_overview_leads_to_every_operation(client: Client) -> None:
    text = html.unescape(read(client, "/docs/"))
    for path, method, operation in operations(DOCUMENT):
        address = f"/docs/reference/{operation['tags'][0]}/#{operation['operationId']}"
        assert f'<a href="{address}">{operation["summary"]}</a>' in text
        assert f"<code>{method.upper()} {path}</code>" in text
    assert 'href="/openapi.json"' in text


@pytest.mark.parametrize("tag", TAGS)
def test_a_noun_s_page_says_all_that_the_document_says(client: Client, tag: str) -> None:
    text = html.unescape(read(client, f"/docs/reference/{tag}/"))
    of_tag = [each for each in operations(DOCUMENT) if each[2]["tags"] == [tag]]
    # One of them is of what we send, and nobody asks for.
    assert of_tag or tag == "webhooks"
    for path, method, operation in of_tag:
        name = operation["operationId"]
        [section] = re.findall(
            rf'<section class="operation" aria-labelledby="{name}">.*?</section>', text, re.DOTALL
        )
        assert f"<b>{method.upper()}</b> {path}" in section
        for parameter in parameters(DOCUMENT, operation):
            assert f"<dt><code>{parameter['name']}</code>" in section
        for status, answer in operation["responses"].items():
            assert f"<h4>{status}</h4>" in section
            for code in codes(answer):
                assert f'<a href="/docs/errors#{code}"><code>{code}</code></a>' in section
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for member in members(content["schema"]):
                assert f"<dt><code>{member}</code>" in section


def test_what_is_sent_to_clients_is_described(client: Client) -> None:
    text = html.unescape(read(client, "/docs/reference/webhooks/"))
    [section] = re.findall(r'aria-labelledby="receive_event">.*?</section>', text, re.DOTALL)
    sent = DOCUMENT["webhooks"]["event"]["post"]
    names = [each["name"] for each in sent["parameters"]]
    for name in (*names, *members({"$ref": "/Event"}), "timestamp"):
        assert f"<dt><code>{name}</code>" in section
    assert all(f"<h4>{status}</h4>" in section for status in sent["responses"])


def codes(answer: dict[str, Any]) -> list[str]:
    if "$ref" in answer:
        answer = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    problem = answer.get("content", {}).get("application/problem+json", {})
    return list(problem.get("examples", {}))


def members(schema: dict[str, Any]) -> list[str]:
    named = schema.get("$ref", "").rpartition("/")[2]
    return list(DOCUMENT["components"]["schemas"].get(named, schema).get("properties", {}))


@pytest.mark.oracle
def test_no_link_of_the_reference_leads_nowhere(client: Client) -> None:
    seen: dict[str, str] = {}
    waiting = ["/docs/", *(f"/docs/reference/{tag}/" for tag in TAGS)]
    while waiting:
        path = waiting.pop()
        seen[path] = read(client, path)
        found = set(re.findall(r'href="(/docs/(?:reference|schemas|guide)/[^"#]*)', seen[path]))
        waiting += [each for each in found if each not in seen and each not in waiting]
    schemas = [path for path in seen if path.startswith("/docs/schemas/")]
    assert len(schemas) >= 150
    for name in ("Quote", "Price"):
        text = seen[f"/docs/schemas/{name}/"]
        assert all(f"<code>{each}</code>" in text for each in members({"$ref": f"/{name}"}))


def test_an_operation_is_shown_as_a_command() -> None:
    shown = reference.by_id()["create_quote"].sample
    assert shown.startswith('curl -H "Authorization: Bearer $KEY"')
    assert shown.endswith('"$MARKET/v1/quotes"')
    assert "Authorization" not in reference.by_id()["list_listings"].sample


def test_the_try_it_page_has_a_form_for_each_operation(client: Client) -> None:
    for name, operation in reference.by_id().items():
        text = html.unescape(read(client, f"/docs/try/{name}/"))
        assert f'data-method="{operation.method}" data-path="{operation.path}"' in text
        assert f'<option value="{name}" selected>' in text
        for field in operation.parameters:
            assert f'name="{field.name}" data-place="{field.place}"' in text
        if operation.is_sent_as_json:
            assert f">{operation.body.example if operation.body else ''}</textarea>" in text
    chosen = read(client, "/docs/try/?operation=create_quote")
    assert 'data-path="/v1/quotes"' in chosen


@pytest.mark.parametrize(
    "path", ["/docs/reference/nothing/", "/docs/schemas/Nothing/", "/docs/try/nothing/"]
)
def test_what_is_not_in_the_document_is_not_there(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_pages_are_in_english_whoever_asks(client: Client) -> None:
    for path in ("/docs/", "/docs/try/", "/docs/reference/quotes/", "/docs/guide/verify/"):
        answer = client.get(path, headers={"Accept-Language": "de"})
        assert '<html lang="en">' in answer.content.decode(), path


def test_nothing_of_a_description_becomes_markup() -> None:
    assert prose.html("<script>x</script> <b>") == (
        "<p>&lt;script&gt;x&lt;/script&gt; &lt;b&gt;</p>\n"
    )
    assert 'href="javascript:' not in prose.html("[x](javascript:alert(1))")
