"""JSON Schema (2020-12) of ledger entries, written from the tables of the code that reads them.

python -m api_docs.ledger_schema > api_docs/ledger_entry.schema.json
"""

from __future__ import annotations

import json
from typing import Any

from licensing.ledger import commitments

_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_TIME = {
    "type": "string",
    "pattern": r"^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z$",
}


def document() -> dict[str, Any]:
    """The whole schema. It says what a body may hold; that it is canonical JSON, bytes say."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An entry of a Licet ledger",
        "description": "The body of an entry of a published kind: the bytes that a leaf hashes, as"
        " api_docs/ledger_format.md has them. A published kind never gains or loses a field.",
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in commitments.FIELDS],
        "$defs": {kind: _kind(kind) for kind in commitments.FIELDS},
    }


def _kind(kind: str) -> dict[str, Any]:
    always, sometimes = commitments.FIELDS[kind]
    properties: dict[str, Any] = {
        "v": {"enum": list(commitments.VERSIONS)},
        "kind": {"const": kind},
        "log": {"enum": list(commitments.LOGS)},
        "at": _TIME,
        commitments.ref_name(kind): {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "seq": {"type": "integer", "minimum": 0},
        "prev": {"anyOf": [_SHA256, {"type": "null"}]},
        "commitments": {
            "type": "object",
            "properties": dict.fromkeys(sorted(always | sometimes), _SHA256),
            "required": sorted(always),
            "additionalProperties": False,
        },
    }
    required = list(properties)
    # Since version 2.
    properties["parties"] = {"type": "array", "items": _SHA256, "uniqueItems": True}
    later = ["parties"]
    if kind in commitments.PUBLIC:
        shown = sorted(commitments.PUBLIC[kind])
        properties["public"] = {
            "type": "object",
            "properties": dict.fromkeys(shown, True),
            "required": shown,
            "additionalProperties": False,
        }
        later.append("public")
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        "allOf": [
            {
                "if": {"properties": {"v": {"const": 1}}},
                "then": {"properties": dict.fromkeys(later, False)},
                "else": {"required": later},
            },
            {
                "if": {"properties": {"seq": {"const": 0}}},
                "then": {"properties": {"prev": {"type": "null"}}},
                "else": {"properties": {"prev": _SHA256}},
            },
        ],
    }


if __name__ == "__main__":
    print(json.dumps(document(), indent=2))
