"""The bounds of numbers, texts and lists in the OpenAPI document that follow from what it says."""

from __future__ import annotations

from collections.abc import Iterator
from re import _parser  # type: ignore[attr-defined]  # It alone knows how long a match can be.
from typing import Any

from marketplace import full_text
from marketplace.http import WHOLE_MAX
from marketplace.typeid import SUFFIX_PATTERN

INT32_MAX = 2**31 - 1
# Of formats, the longest text of any client: RFC 3339 with nine digits; RFC 5321, 4.5.3.1.3.
_FORMAT_LENGTHS = {"date-time": 40, "date": 10, "email": 254, "uuid": 36}
# All that `StrictCharField` refuses of a text, in a spelling that every engine reads.
NO_NULL = r"^[^\x00]*$"
_LANGUAGE = "^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,4}$"
# Of parameters, which are read by hand: what each may hold, whatever it is a parameter of.
_PARAMETERS: dict[str, dict[str, Any]] = {
    "q": {"maxLength": full_text.LENGTH_MAX, "pattern": NO_NULL},
    "cursor": {"pattern": "^[ -~]*$", "maxLength": 64},
    "currency": {"pattern": "^[A-Z]{3}$"},
    "territory": {"pattern": r"^([A-Z]{2}|\*)$"},
    "language": {"pattern": _LANGUAGE},
    "as_of": {"pattern": "^[0-9TZ:.+-]+$", "maxLength": 40},
    "collection": {"pattern": f"^col_{SUFFIX_PATTERN}$"},
    "grant": {"pattern": f"^grt_{SUFFIX_PATTERN}$"},
    "payout": {"pattern": f"^rpo_{SUFFIX_PATTERN}$"},
    "after": {"minimum": 0},
    "max_price_minor": {"minimum": 0},
    "Upload-Offset": {"minimum": 0},
}
# What they say where a view says nothing of its own.
_SAYINGS = {
    "format": "The form of the answer, instead of the header `Accept`.",
    "status": "Only those with this status.",
    "state": "Only those in this state.",
    "currency": "ISO 4217, such as “USD”.",
    "begins_at": "From this instant on.",
    "ends_at": "Up to this instant, without it.",
    "from": "From this instant on.",
    "to": "Up to this instant, without it.",
    "Upload-Offset": "Where the piece begins: how many bytes came before it.",
}


def set_all(document: dict[str, Any]) -> None:
    """Add `maxLength`, `maxItems`, `format` and limits wherever they follow. In place.

    A pattern has a longest text, a format one that is agreed on, different words of an enum are no
    more than there are. Integers are whole to every reader of JSON (`±WHOLE_MAX`, which the fields
    that read them enforce), and of 32 bits where their maximum is, else of 64.
    """
    schemas = document["components"]["schemas"]
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                name = parameter["name"]
                known = _PARAMETERS.get(name, {})
                if "minimum" in known and "integer" not in _types(parameter["schema"]):
                    # A cursor of the same name is no number.
                    known = {}
                parameter["schema"] = known | parameter["schema"]
                parameter.setdefault("description", _SAYINGS.get(name, ""))
    for schema in _schemas(document):
        _join_blank(schema)
    for schema in _schemas(document):
        _bound_text(schema)
        _bound_list(schema, schemas)
        _bound_number(schema)
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                if parameter["schema"].get("format") == "date-time":
                    # In an address it has no other form, and clients in Go measure no time's text.
                    parameter["schema"].pop("maxLength", None)


def _types(schema: dict[str, Any]) -> set[str]:
    kind = schema.get("type", [])
    return {kind} if isinstance(kind, str) else set(kind)


def _join_blank(schema: dict[str, Any]) -> None:
    """Of a text that may be blank: one schema where its own takes that in, else two that differ."""
    first, *others = schema.get("oneOf", [{}])
    if others != [{"type": "string", "maxLength": 0}]:
        return
    if first.get("pattern") == NO_NULL:
        del schema["oneOf"]
        schema |= first
    else:
        others[0]["pattern"] = "^$"


def _bound_text(schema: dict[str, Any]) -> None:
    if "string" not in _types(schema) or {"enum", "const", "maxLength"} & set(schema):
        return
    if "pattern" in schema:
        longest = _parser.parse(schema["pattern"]).getwidth()[1]
        if longest < 10_000:
            schema["maxLength"] = longest
    elif schema.get("format") in _FORMAT_LENGTHS:
        schema["maxLength"] = _FORMAT_LENGTHS[schema["format"]]


def _bound_list(schema: dict[str, Any], schemas: dict[str, Any]) -> None:
    if "array" not in _types(schema) or "maxItems" in schema or not schema.get("uniqueItems"):
        return
    words = schemas.get(schema.get("items", {}).get("$ref", "").rpartition("/")[2], {})
    if "enum" in words:
        schema["maxItems"] = len(words["enum"])


def _bound_number(schema: dict[str, Any]) -> None:
    if "integer" not in _types(schema):
        return
    words = schema.get("enum", [])
    if not {"minimum", "exclusiveMinimum"} & set(schema):
        schema["minimum"] = min(words, default=-WHOLE_MAX)
    if not {"maximum", "exclusiveMaximum"} & set(schema):
        schema["maximum"] = max(words, default=WHOLE_MAX)
    is_small = schema.get("maximum", WHOLE_MAX) <= INT32_MAX
    schema.setdefault("format", "int32" if is_small else "int64")


def _schemas(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if ("type" in node or "oneOf" in node) and "in" not in node:
            yield node
        for name, inner in node.items():
            if name not in {"example", "examples", "default"}:
                yield from _schemas(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _schemas(inner)
