"""The committed OpenAPI document, as the reference's pages read it out."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from api_docs import prose
from api_docs.document import operations, parameters, resolved

PATH = Path(__file__).parent / "openapi.json"
# What a table says of an inner object without a name of its own; deeper ones are rare.
_DEPTH_MAX = 4
_LIMITS = {
    "format": "format {}",
    "pattern": "pattern {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
    "minimum": "from {}",
    "maximum": "to {}",
    "default": "default {}",
}
# Of every whole number that JSON can carry: it tells nobody anything.
_UNBOUND = {-(2**53) + 1, 2**53 - 1}


@dataclass(frozen=True, slots=True)
class Served:
    """The document's bytes as clients fetch them."""

    plain: bytes
    packed: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a member of a body."""

    name: str
    kind: SafeString
    is_required: bool
    meaning: SafeString
    limits: str = ""
    place: str = ""
    example: str = ""


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent or answered in one media type."""

    media_type: str
    kind: SafeString
    fields: list[Field]
    example: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a status says, with its bodies or with the errors' codes."""

    status: str
    meaning: SafeString
    bodies: list[Body]
    # Code and title.
    errors: list[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation, ready to be shown and to be tried. What it says is read when it is shown."""

    path: str
    method: str
    tag: str
    _said: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self._said["operationId"])

    @property
    def summary(self) -> str:
        return str(self._said["summary"])

    @property
    def description(self) -> SafeString:
        return prose.html(self._said["description"])

    @property
    def needs_key(self) -> bool:
        return {} not in self._said["security"]

    @functools.cached_property
    def parameters(self) -> list[Field]:
        return [_parameter(each) for each in parameters(document(), self._said)]

    @functools.cached_property
    def body(self) -> Body | None:
        content = self._said.get("requestBody", {}).get("content", {})
        return next((_body(*each) for each in content.items()), None)

    @functools.cached_property
    def answers(self) -> list[Answer]:
        return [_answer(*each) for each in self._said["responses"].items()]

    @property
    def is_sent_as_json(self) -> bool:
        return self.body is not None and self.body.media_type == "application/json"

    @property
    def sample(self) -> str:
        """The request as a command."""
        parts = []
        if self.method not in {"GET", "POST"} or (self.method == "POST" and self.body is None):
            parts.append(f"-X {self.method}")
        if self.needs_key:
            parts.append('-H "Authorization: Bearer $KEY"')
        if self.method == "POST":
            parts.append('-H "Idempotency-Key: $(uuidgen)"')
        if self.body is not None:
            parts.append(f'-H "Content-Type: {self.body.media_type}"')
            sent = f"-d {shlex.quote(self.body.example or '{}')}"
            parts.append(sent if self.is_sent_as_json else "--data-binary @FILE")
        parts.append(f'"$MARKET{self.path}"')
        return "curl " + " \\\n  ".join(parts)


@dataclass(frozen=True, slots=True)
class Tag:
    """A noun of the API, with its operations."""

    name: str
    meaning: str
    operations: list[Operation]
    # What the market sends, to addresses of its clients.
    sent: list[Operation]

    @property
    def title(self) -> str:
        return self.name.replace("-", " ").capitalize().replace("Api", "API")


@functools.cache
def served() -> Served:
    """The document as it is committed, plain and packed once."""
    plain = PATH.read_bytes()
    digest = hashlib.sha256(plain).hexdigest()[:32]
    # Weak: one tag for both forms of the same document.
    return Served(plain, gzip.compress(plain, mtime=0), f'W/"{digest}"')


@functools.cache
def document() -> dict[str, Any]:
    """The document, parsed. Nobody changes it."""
    parsed: dict[str, Any] = json.loads(served().plain)
    return parsed


@functools.cache
def tags() -> list[Tag]:
    """Every noun and operation, in the order in which somebody meets them."""
    found: dict[str, Tag] = {
        tag["name"]: Tag(tag["name"], tag["description"], [], []) for tag in document()["tags"]
    }
    for path, method, operation in operations(document()):
        name = operation["tags"][0]
        found[name].operations.append(Operation(path, method.upper(), name, operation))
    for methods in document()["webhooks"].values():
        for method, operation in methods.items():
            sent = Operation("", method.upper(), operation["tags"][0], operation)
            found[sent.tag].sent.append(sent)
    return list(found.values())


@functools.cache
def by_id() -> dict[str, Operation]:
    """Every operation, by its operationId."""
    return {each.id: each for tag in tags() for each in tag.operations}


def schemas() -> dict[str, dict[str, Any]]:
    """Every named schema."""
    found: dict[str, dict[str, Any]] = document()["components"]["schemas"]
    return found


def fields_of(schema: dict[str, Any]) -> list[Field]:
    """The members of an object, inner ones without a name of their own among them."""
    return list(_members(schema, "", 0))


def kind(schema: dict[str, Any]) -> SafeString:
    """What a value is, in words, with a link where it has a page of its own."""
    if "$ref" in schema:
        return _named(schema["$ref"].rpartition("/")[2])
    if len(schema.get("allOf", ())) == 1:
        return kind(schema["allOf"][0])
    if "const" in schema:
        return format_html("<code>{}</code>", json.dumps(schema["const"]))
    if "enum" in schema:
        return _one_of(schema["enum"])
    if several := variants(schema):
        return several
    types = schema.get("type", "any value")
    names = types if isinstance(types, list) else [types]
    return format_html_join(" or ", "{}", ((_plain(name, schema),) for name in names))


def variants(schema: dict[str, Any]) -> SafeString:
    """The several things that a value may be; empty where it is one thing."""
    several = schema.get("oneOf") or schema.get("anyOf") or ()
    return format_html_join(" or ", "{}", ((kind(each),) for each in several))


def _plain(name: str, schema: dict[str, Any]) -> SafeString:
    if name == "array":
        return format_html("list of {}", kind(schema.get("items", {})))
    return format_html(
        "{}", {"integer": "whole number", "boolean": "true or false"}.get(name, name)
    )


def _named(name: str) -> SafeString:
    schema = schemas()[name]
    if "enum" in schema:
        return _one_of(schema["enum"])
    if {"properties", "oneOf", "anyOf", "allOf", "additionalProperties"} & schema.keys():
        return format_html('<a href="{}">{}</a>', reverse("docs-schema", args=[name]), name)
    return kind(schema)


def _one_of(values: list[Any]) -> SafeString:
    words = ((json.dumps(value),) for value in values)
    return format_html("one of {}", format_html_join(", ", "<code>{}</code>", words))


def _limits(schema: dict[str, Any]) -> str:
    said = (
        words.format(schema[name])
        for name, words in _LIMITS.items()
        if name in schema and schema[name] not in _UNBOUND
    )
    return ", ".join(said)


def _members(schema: dict[str, Any], before: str, depth: int) -> Iterator[Field]:
    schema = resolved(document(), schema)
    for part in schema.get("allOf", ()):
        yield from _members(part, before, depth)
    required = set(schema.get("required", ()))
    for name, inner in schema.get("properties", {}).items():
        yield Field(
            name=f"{before}{name}",
            kind=kind(inner),
            is_required=name in required,
            meaning=prose.html(_description(inner)),
            limits=_limits(inner),
        )
        is_list = "items" in inner
        below = inner["items"] if is_list else inner
        if depth < _DEPTH_MAX and "properties" in below:
            yield from _members(below, f"{before}{name}{'[]' if is_list else ''}.", depth + 1)


def _description(schema: dict[str, Any]) -> str:
    if "description" in schema:
        return str(schema["description"])
    target = resolved(document(), schema)
    is_value = target.get("type") not in ("object", None)
    return str(target.get("description", "")) if is_value else ""


def _parameter(parameter: dict[str, Any]) -> Field:
    schema = parameter["schema"]
    return Field(
        name=parameter["name"],
        kind=kind(schema),
        is_required=parameter.get("required", False),
        meaning=prose.html(parameter["description"]),
        limits=_limits(schema),
        place=parameter["in"],
    )


def _body(media_type: str, media: dict[str, Any]) -> Body:
    schema = media.get("schema", {})
    example = media.get("example", "")
    return Body(
        media_type=media_type,
        kind=kind(schema),
        fields=fields_of(schema),
        example=example if isinstance(example, str) else _written(example),
    )


def _answer(status: str, answer: dict[str, Any]) -> Answer:
    if "$ref" in answer:
        answer = document()["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    content = answer.get("content", {})
    problem = content.get("application/problem+json")
    errors = problem.get("examples", {}) if problem else {}
    return Answer(
        status=status,
        # The codes behind the colon are listed with their titles.
        meaning=prose.html(
            answer["description"].partition(": `")[0] if errors else answer["description"]
        ),
        bodies=[_body(*each) for each in content.items() if each[1] is not problem],
        errors=[(code, each["summary"]) for code, each in errors.items()],
    )


def _written(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
