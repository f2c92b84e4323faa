"""JSON Schema (2020-12) of typed terms, version 2, made from their one table. No Django."""

from __future__ import annotations

from typing import Any

from licensing import terms_schema as schema

_ONE_LINE = r"^[^\x00-\x1f\x7f]*$"
_TERRITORY = "^([A-Z]{2}|\\*)$"


def root() -> dict[str, Any]:
    """The whole of typed terms, as clients send them."""
    made = _object(schema.ROOT)
    made["properties"] = {"v": {"type": "integer", "enum": [2]}, **made["properties"]}
    made["required"] = ["v", *made["required"]]
    made["description"] = (
        "License conditions, version 2. Every part is required: a contract has no silent defaults."
        " `other` holds the parties' own words, which a human reads, always."
    )
    return made


def _of(kind: schema.Kind) -> dict[str, Any]:
    match kind:
        case schema.Word(words):
            return {"type": "string", "enum": [word.value for word in words]}
        case schema.Words(words, least):
            each = {"type": "string", "enum": [word.value for word in words]}
            return {"type": "array", "items": each, "uniqueItems": True, "minItems": least}
        case schema.Whole(least, most, null):
            number = ["integer", "null"] if null else "integer"
            return {"type": number, "minimum": least, "maximum": most}
        case schema.Names():
            name: dict[str, Any] = {
                "type": "string",
                "minLength": 1,
                "maxLength": kind.length,
                "pattern": f"^{kind.pattern}$" if kind.pattern else _ONE_LINE,
            }
            return {
                "type": "array",
                "items": name,
                "uniqueItems": True,
                "minItems": kind.least,
                "maxItems": kind.most,
            }
        case schema.Territories(least):
            code = {"type": "string", "pattern": _TERRITORY}
            return {
                "type": "array",
                "items": code,
                "uniqueItems": True,
                "minItems": least,
                "maxItems": schema.TERRITORIES_MAX,
            }
        case schema.Law():
            return {"type": ["string", "null"], "pattern": "^[A-Z]{2}(-[A-Z0-9]{1,3})?$"}
        case schema.Objects(of, least, most):
            return {"type": "array", "items": _object(of), "minItems": least, "maxItems": most}
        case schema.Object():
            return _object(kind)


def _object(kind: schema.Object) -> dict[str, Any]:
    members = {**kind.fields, **kind.optional}
    made: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _member(member) for name, member in members.items()},
        # What stands only beside a word of another field, `terms.parse` asks for by name.
        "required": [name for name, member in kind.fields.items() if member.beside is None],
    }
    if kind.is_nonempty:
        made["minProperties"] = 1
    if not made["required"]:
        del made["required"]
    return made


def _member(member: schema.Member) -> dict[str, Any]:
    says = member.says
    if isinstance(member.kind, schema.Whole) and member.kind.null:
        says += f" Null: {member.kind.null}."
    if member.beside is not None:
        other, words = member.beside
        says += f" Required where `{other}` is {', '.join(word.value for word in words)}."
    return {**_of(member.kind), "description": says}
