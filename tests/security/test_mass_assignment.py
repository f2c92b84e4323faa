"""No request sets what it may not: every field of a row, sent to every verb, is refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import resolve

from tests.people import ApiClient
from tests.security.test_access_matrix import MATRIX
from tests.security.world import World

pytestmark = pytest.mark.django_db

DOCUMENT = json.loads((Path(__file__).parents[2] / "api_docs/openapi.json").read_text())
JSON = "application/json"
# What rows of every kind have, or somebody might try.
TRIED = {
    *("id", "pk", "object", "organization", "organization_id", "livemode", "state", "status"),
    *("created_at", "actor", "owner", "role", "scopes", "secret", "digest", "is_staff"),
}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def verbs() -> Iterator[str]:
    """Each path whose POST is described, and reads JSON or nothing."""
    for path, operations in DOCUMENT["paths"].items():
        body = operations.get("post", {}).get("requestBody")
        if "post" in operations and (body is None or JSON in body["content"]):
            yield path


def described(path: str) -> set[str]:
    """The members that a verb takes."""
    body = DOCUMENT["paths"][path]["post"].get("requestBody")
    schema = resolved(body["content"][JSON]["schema"]) if body else {}
    shapes = [resolved(each) for each in schema.get("oneOf", [schema])]
    return {name for shape in shapes for name in shape.get("properties", {})}


def of_an_item(path: str) -> set[str] | None:
    """The members that each item of a bulk takes; None of what is no bulk."""
    body = DOCUMENT["paths"][path]["post"].get("requestBody")
    items = resolved(body["content"][JSON]["schema"]).get("properties", {}) if body else {}
    if set(items) != {"items"}:
        return None
    return set(resolved(items["items"]["items"])["properties"])


def address(world: World, path: str) -> str:
    row = MATRIX.get(path.removeprefix("/v1/").replace("{id}", "<pk>"))
    return path.replace("{id}", str(world.subject(row.subject)) if row else "")


def fields_of(url: str) -> set[str]:
    """The names of what the rows have that a verb is about, and of what is shown of them."""
    view = resolve(url).func.cls  # type: ignore[attr-defined]
    columns = view.model._meta.concrete_fields
    serializer = getattr(view, "serializer_class", None)
    shown = set(serializer().fields) if serializer else set()
    return shown | {name for each in columns for name in (each.name, each.attname)}


@pytest.mark.parametrize("path", sorted(verbs()))
def test_a_verb_refuses_every_field_that_it_does_not_take(world: World, path: str) -> None:
    url, known = address(world, path), described(path)
    clients = [world.client(each) for each in (world.archive, world.lab)]
    before = world.fingerprint()
    for name in sorted((fields_of(url) | TRIED) - known):
        for client in clients:
            refused(client, url, name)
    assert world.fingerprint() == before


def refused(client: ApiClient, url: str, name: str) -> None:
    answer = client.post(url, {name: None})
    body = answer.json()
    assert (answer.status_code, body.get("param"), body["code"]) == (422, name, "invalid_input"), (
        name,
        body,
    )


@pytest.mark.parametrize("path", sorted(path for path in verbs() if of_an_item(path)))
def test_an_item_of_a_bulk_takes_no_field_that_its_verb_does_not(world: World, path: str) -> None:
    url, known = address(world, path), of_an_item(path) or set()
    names = sorted((fields_of(url) | TRIED) - known)
    client, before = world.client(world.archive), world.fingerprint()
    for begin in range(0, len(names), 100):
        some = names[begin : begin + 100]
        answer = client.post(url, {"items": [{name: None} for name in some]}).json()
        assert (answer["succeeded"], answer["failed"]) == (0, len(some))
        said = [(each["status"], each["error"]["param"]) for each in answer["results"]]
        assert said == [(422, f"items[{index}].{name}") for index, name in enumerate(some)]
    assert world.fingerprint() == before


def test_every_verb_of_the_api_is_tried() -> None:
    described_posts = [path for path, each in DOCUMENT["paths"].items() if "post" in each]
    assert len(list(verbs())) == len(described_posts) >= 70
    assert len([path for path in verbs() if of_an_item(path)]) == 3
