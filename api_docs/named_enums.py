"""Every list of words in the OpenAPI document has one name, wherever it is used."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from licensing import dimensions, vocabulary
from licensing.search_documents import MODALITIES

# Words that stand only among parameters.
_NAMED = {
    frozenset({"buyer", "seller"}): "TradeRole",
    frozenset({"json", "text"}): "TextFormat",
    frozenset({"json", "pdf"}): "CertificateFormat",
    frozenset({"json", "csv"}): "ReportFormat",
    frozenset({"newest", "relevance"}): "ListingSort",
    frozenset(MODALITIES): "ListingModality",
}


def name_all(document: dict[str, Any]) -> None:
    """Move each enum of several words into a component, and refer to it. In place.

    What has a name keeps it; others are called as their class in `vocabulary` or `dimensions`.
    An enum that is the null of a field which may be null becomes JSON Schema's.
    """
    schemas = document["components"]["schemas"]
    for holder in list(_dicts(document)):
        _spell_null(holder)
    schemas.pop("NullEnum", None)
    names = {
        frozenset(schema["enum"]): name for name, schema in schemas.items() if "enum" in schema
    }
    roots = {id(schema) for schema in schemas.values()}
    for holder in list(_dicts(document)):
        if "enum" in holder and id(holder) not in roots and _is_wordy(holder["enum"]):
            words = frozenset(holder["enum"])
            if words not in names:
                names[words] = _new_name(words)
                schemas[names[words]] = {"type": "string", "enum": holder["enum"]}
                roots.add(id(schemas[names[words]]))
            del holder["enum"], holder["type"]
            holder["$ref"] = f"#/components/schemas/{names[words]}"
    document["components"]["schemas"] = dict(sorted(schemas.items()))


def _is_wordy(words: list[Any]) -> bool:
    return len(words) > 1 and all(isinstance(word, str) for word in words)


def _spell_null(holder: dict[str, Any]) -> None:
    for either in holder.get("oneOf", []) if isinstance(holder.get("oneOf"), list) else []:
        if either == {"$ref": "#/components/schemas/NullEnum"}:
            either.clear()
            either["type"] = "null"


def _new_name(words: frozenset[str]) -> str:
    for module in (vocabulary, dimensions):
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, StrEnum) and words == {word.value for word in kind}:
                return f"{name}Enum"
    if words not in _NAMED:
        raise LookupError(f"Name the enum {sorted(words)} in api_docs/named_enums.py.")
    return _NAMED[words]


def _dicts(node: Any) -> Iterator[dict[str, Any]]:
    """Every object of the document but those in examples, which are data."""
    if isinstance(node, dict):
        yield node
        for name, inner in node.items():
            if name not in {"example", "examples", "default"}:
                yield from _dicts(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _dicts(inner)
