"""The last hand on the OpenAPI document: what concerns it as a whole, and not one view."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api_docs import answer_headers, bounds, named_enums, problems
from api_docs.tags import TAGS
from marketplace import api_versions
from marketplace.typeid import SUFFIX_PATTERN

EXAMPLES = Path(__file__).parent / "examples.json"
_SERVER = {
    "url": "/",
    "description": "This market, in production. A key is of test mode or of live mode, and sees "
    "that mode's data alone.",
    "x-internal": False,
}
_CONTACT = {"name": "The operator of this market"}


def finish(result: dict[str, Any], generator: Any, **_others: Any) -> dict[str, Any]:
    """drf-spectacular's hook: complete the document, in an order that is always the same."""
    result["info"] |= {"contact": _CONTACT, "version": api_versions.newest().date}
    result["servers"] = [_SERVER]
    named = [operation for _path, _method, operation in operations(result)]
    named += [sent for methods in result["webhooks"].values() for sent in methods.values()]
    used = {tag for operation in named for tag in operation["tags"]}
    result["tags"] = [
        {"name": name, "description": says} for name, says in TAGS.items() if name in used
    ]
    components = result["components"]
    components["headers"] = answer_headers.COMPONENTS
    components["schemas"] |= problems.schemas()
    problems.share(result)
    named_enums.name_all(result)
    _name_ids(result)
    bounds.set_all(result)
    _give_examples(result)
    _take_versions(result)
    return result


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every path, method and operation of a document."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _take_versions(document: dict[str, Any]) -> None:
    """Have each operation take the header that names a version of the API, said once."""
    components = document["components"]
    components["schemas"]["ApiVersion"] = {
        "type": "string",
        "enum": [each.date for each in api_versions.known()],
        "description": "A version of the API, by the day from which on it is there.",
    }
    components["parameters"] = {
        "LicetVersion": {
            "name": api_versions.HEADER,
            "in": "header",
            "description": "The version of the API that you wrote for. Without it, the one that "
            f"your key is pinned to ([versions]({api_versions.GUIDE})).",
            "schema": {"$ref": "#/components/schemas/ApiVersion"},
        }
    }
    for _path, _method, operation in operations(document):
        # Behind those of the operation itself: in some clients, calls have them in this order.
        operation.setdefault("parameters", []).append(
            {"$ref": "#/components/parameters/LicetVersion"}
        )


def parameters(document: dict[str, Any], operation: dict[str, Any]) -> list[dict[str, Any]]:
    """The parameters of an operation, also those that are said once for all."""
    shared = document["components"].get("parameters", {})
    return [
        shared[each["$ref"].rpartition("/")[2]] if "$ref" in each else each
        for each in operation.get("parameters", [])
    ]


def _name_ids(document: dict[str, Any]) -> None:
    """Say of the id in each path what it looks like: as the resource at that address says."""
    # Templates have names of their own, the same in every market.
    patterns: dict[str, str | None] = {"terms-templates": "^[a-z0-9-]{1,60}$"}
    for path, method, operation in operations(document):
        if method == "get":
            noun, _id, rest = path.removeprefix("/v1/").partition("/{id}")
            found = _id_of(document, operation) if not rest else None
            # Of a list and of one row; where there is only a list, its rows say it.
            patterns.setdefault(noun, found)
            patterns[noun] = patterns[noun] or found
    for path, _method, operation in operations(document):
        noun = path.removeprefix("/v1/").partition("/{id}")[0]
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                pattern = patterns.get(noun) or f"^[a-z]{{3,4}}_{SUFFIX_PATTERN}$"
                parameter["schema"] = {"type": "string", "pattern": pattern}
                parameter["description"] = "Its id, as its list and its making answer it."


def _id_of(document: dict[str, Any], operation: dict[str, Any]) -> str | None:
    content = operation["responses"].get("200", {}).get("content", {})
    schema = resolved(document, content.get("application/json", {}).get("schema", {}))
    rows = schema.get("properties", {}).get("data", {}).get("items")
    row = resolved(document, rows) if rows else schema
    pattern: str | None = row.get("properties", {}).get("id", {}).get("pattern")
    return pattern


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference names, or the schema itself."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _give_examples(document: dict[str, Any]) -> None:
    """Put real requests and answers beside their schemas (`tests.api_docs.examples` takes them)."""
    if not EXAMPLES.exists():
        return
    known = json.loads(EXAMPLES.read_text())
    for _path, _method, operation in operations(document):
        examples = known.get(operation["operationId"], {})
        for media in operation.get("requestBody", {}).get("content", {}).values():
            if "request" in examples:
                media.pop("examples", None)
                media["example"] = examples["request"]
        for status, body in examples.get("responses", {}).items():
            for media_type, value in body.items():
                media = operation["responses"].get(status, {}).get("content", {}).get(media_type)
                if media is not None:
                    media["example"] = value
