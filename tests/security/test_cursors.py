"""A cursor is taken as it was given, for the list, the organization and the mode it is of."""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.make import make_collection
from tests.people import ApiClient
from tests.security.test_access_matrix import MATRIX
from tests.security.world import World

pytestmark = pytest.mark.django_db

DOCUMENT = json.loads((Path(__file__).parents[2] / "api_docs/openapi.json").read_text())
LISTS = [
    path
    for path, operations in DOCUMENT["paths"].items()
    if any(one.get("name") == "cursor" for one in operations.get("get", {}).get("parameters", []))
]
# Its cursor is a number of the caller's own entries: it says nothing to anybody else.
NUMBERED = {"/v1/ledger/entries"}
SIGNED = [path for path in LISTS if path not in NUMBERED]


def address(world: World, path: str) -> str:
    row = MATRIX.get(path.removeprefix("/v1/").replace("{id}", "<pk>"))
    return path.replace("{id}", str(world.subject(row.subject)) if row else "")


def refused(answer: Any) -> bool:
    body = answer.json()
    return bool((answer.status_code, body["code"]) == (400, "invalid_cursor"))


@pytest.fixture
def shelves(world: World) -> ApiClient:
    for number in range(3):
        make_collection(world.archive, name=f"Number {number}")
    return world.client(world.archive)


@pytest.mark.parametrize("path", SIGNED)
def test_a_forged_cursor_is_refused_by_every_list(world: World, path: str) -> None:
    url = address(world, path)
    clients = [world.client(each) for each in (world.archive, world.lab)]
    client = next(each for each in clients if each.get(url).status_code == 200)
    for length in (0, 1, 7, 8, 16, 24, 40, 48, 61):
        made = base64.urlsafe_b64encode(secrets.token_bytes(length)).rstrip(b"=").decode()
        if made:
            assert refused(client.get(f"{url}?cursor={made}")), made
    for text in ("x", "%F0%9F%92%A9", "1", str(world.subject("collection"))):
        assert refused(client.get(f"{url}?cursor={text}")), text


def test_each_changed_bit_of_a_cursor_is_refused(shelves: ApiClient) -> None:
    cursor = shelves.get("/v1/collections?limit=1").json()["next_cursor"]
    assert shelves.get(f"/v1/collections?cursor={cursor}").status_code == 200
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    for bit in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        text = base64.urlsafe_b64encode(bytes(changed)).rstrip(b"=").decode()
        assert refused(shelves.get(f"/v1/collections?cursor={text}"))
    # Other spellings of the same bytes.
    for text in (f"{cursor}=", f"{cursor}%0A", f"%20{cursor}"):
        assert refused(shelves.get(f"/v1/collections?cursor={text}")), text


def test_a_cursor_is_of_one_organization_one_mode_one_list_and_one_filter(
    world: World, shelves: ApiClient
) -> None:
    cursor = shelves.get("/v1/collections?limit=1").json()["next_cursor"]
    for client in (
        world.client(world.lab),
        world.client(world.archive, livemode=True),
    ):
        assert refused(client.get(f"/v1/collections?cursor={cursor}"))
    assert refused(shelves.get(f"/v1/contributors?cursor={cursor}"))
    assert refused(shelves.get(f"/v1/collections?q=number&cursor={cursor}"))
    filtered = shelves.get("/v1/collections?q=number&limit=1").json()["next_cursor"]
    assert refused(shelves.get(f"/v1/collections?cursor={filtered}"))
    assert shelves.get(f"/v1/collections?q=number&cursor={filtered}").status_code == 200
    # A page may be longer than the one before, and asked for with another key of the same mode.
    again = world.client(world.archive)
    assert again.get(f"/v1/collections?limit=2&cursor={cursor}").status_code == 200


def test_a_cursor_outlives_the_key_that_signed_it_while_that_is_named(
    shelves: ApiClient, settings: Any
) -> None:
    cursor = shelves.get("/v1/collections?limit=1").json()["next_cursor"]
    before = settings.SECRET_KEY
    settings.SECRET_KEY_FALLBACKS = [before]
    settings.SECRET_KEY = "x" * 60
    assert shelves.get(f"/v1/collections?cursor={cursor}").status_code == 200
    settings.SECRET_KEY_FALLBACKS = []
    assert refused(shelves.get(f"/v1/collections?cursor={cursor}"))
