"""What breaks a client of the API is found by its place; what does not, passes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api_docs import breaking

ROOT = Path(__file__).parents[2] / "api_docs"
WHOLE: dict[str, Any] = json.loads((ROOT / "openapi.json").read_text())
# As much of it as the changes below are about: each of them is tried on a copy.
PATHS = (
    "/v1/collections/{id}/royalty-advances",
    "/v1/listings",
    "/v1/orders",
    "/v1/orders/{id}/cancel",
    "/v1/quotes",
    "/v1/terms/{id}",
)


def _part_of(whole: dict[str, Any]) -> dict[str, Any]:
    """The document of `PATHS` alone, with the components that they lead to."""
    paths = {path: whole["paths"][path] for path in PATHS}
    components: dict[str, Any] = {}
    waiting = [json.dumps(paths)]
    while waiting:
        for kind, name in re.findall(r"#/components/(\w+)/(\w+)", waiting.pop()):
            if name not in components.setdefault(kind, {}):
                components[kind][name] = whole["components"][kind][name]
                waiting.append(json.dumps(components[kind][name]))
    return {**whole, "paths": paths, "components": components}


DOCUMENT = _part_of(WHOLE)
Change = Callable[[dict[str, Any]], None]


def _at(document: dict[str, Any], pointer: str) -> tuple[Any, Any]:
    """The object that holds what `pointer` names, and its key there."""
    *parts, last = pointer.removeprefix("/").split("/")
    node: Any = document
    for part in parts:
        node = node[int(part) if isinstance(node, list) else part.replace("~1", "/")]
    return node, int(last) if isinstance(node, list) else last.replace("~1", "/")


def gone(pointer: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        node, last = _at(document, pointer)
        del node[last]

    return change


def put(pointer: str, value: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        node, last = _at(document, pointer)
        node[last] = value

    return change


def dropped(pointer: str, value: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        node, last = _at(document, pointer)
        node[last].remove(value)

    return change


def added(pointer: str, value: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        node, last = _at(document, pointer)
        node.setdefault(last, []).append(value)

    return change


ORDERS = "/paths/~1v1~1orders"
SCHEMAS = "/components/schemas"
QUOTE = f"{SCHEMAS}/MakeQuoteRequest"
ORDER = f"{SCHEMAS}/Order"
KEY = f"{ORDERS}/post/parameters/0/schema"
PARAMETER = {"name": "x", "in": "query", "schema": {"type": "string"}}

BREAKING: dict[str, tuple[Change, str]] = {
    "a path goes": (gone(ORDERS), ORDERS),
    "an operation goes": (gone(f"{ORDERS}/post"), f"{ORDERS}/post"),
    "an operation is renamed": (
        put(f"{ORDERS}/post/operationId", "place_order"),
        f"{ORDERS}/post/operationId",
    ),
    "another scope is needed": (
        put(f"{ORDERS}/get/x-required-scope", "orders:write"),
        f"{ORDERS}/get/x-required-scope",
    ),
    "a public operation needs a key": (
        dropped("/paths/~1v1~1listings/get/security", {}),
        "/paths/~1v1~1listings/get/security",
    ),
    "a way to sign in goes": (
        dropped(f"{ORDERS}/get/security", {"session": []}),
        f"{ORDERS}/get/security",
    ),
    "a parameter goes": (
        gone(f"{ORDERS}/post/parameters/0"),
        f"{ORDERS}/post/parameters/Idempotency-Key",
    ),
    "a parameter becomes required": (
        put(f"{ORDERS}/post/parameters/0/required", True),
        f"{ORDERS}/post/parameters/Idempotency-Key",
    ),
    "a required parameter is new": (
        added(f"{ORDERS}/post/parameters", {**PARAMETER, "required": True}),
        f"{ORDERS}/post/parameters/x",
    ),
    "a parameter is shorter": (
        put(f"{KEY}/maxLength", 100),
        f"{ORDERS}/post/parameters/Idempotency-Key/schema/maxLength",
    ),
    "a parameter is longer at least": (
        put(f"{KEY}/minLength", 8),
        f"{ORDERS}/post/parameters/Idempotency-Key/schema/minLength",
    ),
    "a parameter’s pattern changes": (
        put(f"{KEY}/pattern", "^[a-z]+$"),
        f"{ORDERS}/post/parameters/Idempotency-Key/schema/pattern",
    ),
    "a body goes": (gone(f"{ORDERS}/post/requestBody"), f"{ORDERS}/post/requestBody"),
    "a body is new, and required": (
        put(
            f"{ORDERS}~1{{id}}~1cancel/post/requestBody",
            {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
        ),
        f"{ORDERS}~1{{id}}~1cancel/post/requestBody",
    ),
    "a body’s media type goes": (
        gone(f"{ORDERS}/post/requestBody/content/application~1json"),
        f"{ORDERS}/post/requestBody/content/application~1json",
    ),
    "a field of a request goes": (
        gone(f"{QUOTE}/properties/offer"),
        f"{QUOTE}/properties/offer",
    ),
    "a field of a request becomes required": (
        added(f"{QUOTE}/required", "starts_at"),
        f"{QUOTE}/required/starts_at",
    ),
    "a field of a request has another type": (
        put(f"{QUOTE}/properties/offer/type", "integer"),
        f"{QUOTE}/properties/offer/type",
    ),
    "a word is not taken any more": (
        dropped(f"{SCHEMAS}/UseEnum/enum", "pretrain"),
        f"{SCHEMAS}/UseEnum/enum",
    ),
    "any text becomes some words": (
        put(f"{QUOTE}/properties/uses/items/enum", ["pretrain"]),
        f"{QUOTE}/properties/uses/items/enum",
    ),
    "a list is shorter": (
        put(f"{QUOTE}/properties/territories/maxItems", 1),
        f"{QUOTE}/properties/territories/maxItems",
    ),
    "a list takes nothing twice": (
        put(f"{QUOTE}/properties/territories/uniqueItems", True),
        f"{QUOTE}/properties/territories/uniqueItems",
    ),
    "a number is smaller": (
        put(f"{SCHEMAS}/RecordAdvanceRequest/properties/amount_minor/maximum", 10),
        f"{SCHEMAS}/RecordAdvanceRequest/properties/amount_minor/maximum",
    ),
    "a number is larger at least": (
        put(f"{SCHEMAS}/RecordAdvanceRequest/properties/amount_minor/minimum", 10),
        f"{SCHEMAS}/RecordAdvanceRequest/properties/amount_minor/minimum",
    ),
    "a request’s format changes": (
        put(f"{QUOTE}/properties/starts_at/format", "date"),
        f"{QUOTE}/properties/starts_at/format",
    ),
    "an answer goes": (
        gone(f"{ORDERS}/post/responses/409"),
        f"{ORDERS}/post/responses/409",
    ),
    "another success is answered": (
        put(f"{ORDERS}/post/responses/202", {"description": "Later."}),
        f"{ORDERS}/post/responses/202",
    ),
    "an answer’s media type goes": (
        gone(f"{ORDERS}/get/responses/200/content/application~1json"),
        f"{ORDERS}/get/responses/200/content/application~1json",
    ),
    "an answer’s header goes": (
        gone(f"{ORDERS}/post/responses/201/headers/Location"),
        f"{ORDERS}/post/responses/201/headers/Location",
    ),
    "a header may be missing": (
        gone("/components/headers/RequestId/required"),
        f"{ORDERS}/post/responses/201/headers/Request-Id",
    ),
    "a field of an answer goes": (
        gone(f"{ORDER}/properties/total_minor"),
        f"{ORDER}/properties/total_minor",
    ),
    "a field of an answer may be missing": (
        dropped(f"{ORDER}/required", "total_minor"),
        f"{ORDER}/required/total_minor",
    ),
    "a field of an answer may be null": (
        put(f"{ORDER}/properties/currency/type", ["string", "null"]),
        f"{ORDER}/properties/currency/type",
    ),
    "a field of an answer has another format": (
        gone(f"{ORDER}/properties/granted_at/format"),
        f"{ORDER}/properties/granted_at/format",
    ),
    "a field of an answer may be any word": (
        gone(f"{SCHEMAS}/OrderStatusEnum/enum"),
        f"{SCHEMAS}/OrderStatusEnum/enum",
    ),
    "typed terms lose a version": (
        gone(f"{SCHEMAS}/Terms/properties/typed/oneOf/0"),
        f"{SCHEMAS}/Terms/properties/typed/oneOf",
    ),
}
HARMLESS: dict[str, Change] = {
    "a new path": put("/paths/~1v1~1new", {"get": {"operationId": "get_new", "responses": {}}}),
    "a new operation": put(f"{ORDERS}/patch", {"operationId": "x_y", "responses": {}}),
    "a new optional parameter": added(f"{ORDERS}/get/parameters", PARAMETER),
    "a longer parameter": put(f"{KEY}/maxLength", 1000),
    "a parameter without a pattern": gone(f"{KEY}/pattern"),
    "a new optional field of a request": put(
        f"{QUOTE}/properties/note", {"type": "string", "maxLength": 9}
    ),
    "a field of a request that need not be": dropped(f"{QUOTE}/required", "offer"),
    "a field of a request that may be null": put(
        f"{QUOTE}/properties/offer/type", ["string", "null"]
    ),
    "a new field of an answer": put(f"{ORDER}/properties/note", {"type": "string"}),
    "a new word of an answer": added(f"{SCHEMAS}/OrderStatusEnum/enum", "resting"),
    "a longer list": put(f"{QUOTE}/properties/territories/maxItems", 9_999),
    "a new refusal": put(f"{ORDERS}/get/responses/451", {"description": "Law."}),
    "a new code": added(f"{SCHEMAS}/ProblemCode/x-extensible-enum", "new_code"),
    "another way to sign in": added(f"{ORDERS}/get/security", {"other": []}),
    "another text": put(f"{ORDERS}/post/description", "Otherwise."),
    "an answer that is always there": added(f"{ORDER}/required", "object"),
}


def _copy(document: dict[str, Any]) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(document))
    return copied


def broken_by(change: Change) -> list[str]:
    new = _copy(DOCUMENT)
    change(new)
    assert new != DOCUMENT
    return [each.pointer for each in breaking.breaks(DOCUMENT, new)]


@pytest.mark.parametrize(("change", "pointer"), BREAKING.values(), ids=BREAKING)
def test_a_breaking_change_is_named_by_its_place(change: Change, pointer: str) -> None:
    assert pointer in broken_by(change)


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_a_harmless_change_passes(change: Change) -> None:
    assert broken_by(change) == []


def test_a_document_does_not_break_itself() -> None:
    assert breaking.breaks(WHOLE, _copy(WHOLE)) == []


def test_what_was_released_is_still_promised() -> None:
    released = json.loads((ROOT / "openapi.released.json").read_text())
    assert len(released["paths"]) >= 124
    assert [str(each) for each in breaking.breaks(released, WHOLE)] == []


def test_the_promise_holds_all_that_is_compared() -> None:
    promise = breaking.promised(DOCUMENT)
    missed = []
    for name, (change, pointer) in BREAKING.items():
        new = _copy(promise)
        change(new)
        if pointer not in [each.pointer for each in breaking.breaks(promise, new)]:
            missed.append(name)
    assert missed == []


def test_the_command_names_each_place_and_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(DOCUMENT))
    changed = _copy(DOCUMENT)
    gone(f"{ORDERS}/post")(changed)
    new.write_text(json.dumps(changed))

    assert breaking.main([str(old), str(old)]) == 0
    assert capsys.readouterr().out == ""
    assert breaking.main([str(old), str(new)]) == 1
    said = capsys.readouterr().out
    assert f"{ORDERS}/post: the operation is gone" in said
    assert breaking.WAY_OUT in said


def test_the_command_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert breaking.main([]) == 2
    assert "--promise" in capsys.readouterr().err
