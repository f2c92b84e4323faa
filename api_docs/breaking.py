"""Says what of a new OpenAPI document breaks clients of an old one: `python -m api_docs.breaking`.

    python -m api_docs.breaking OLD.json NEW.json

What a request may hold can only grow, what an answer holds can only grow: a client that sends what
it could, and reads what it was promised, goes on. Not breaking are new operations, optional
parameters and fields, answers' further fields and words, wider bounds, and every text for people.
Exits 1 where something breaks, naming each place by its JSON pointer (RFC 6901).

`make check` compares with `openapi.released.json`: what the last release promised, without the
texts. `python -m api_docs.breaking --promise NEW.json` prints that file anew, for a release.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WAY_OUT = (
    "The API under /v1/ is a promise. Keep the old beside the new; or make a new dated version"
    " that has the change, and say so in CHANGELOG.md."
)
# What people read, and nothing is generated from.
_FOR_PEOPLE = frozenset({"description", "summary", "example", "examples", "externalDocs", "title"})
# Of each bound: whether more of it allows more.
_BOUNDS = {
    "maximum": True,
    "exclusiveMaximum": True,
    "maxLength": True,
    "maxItems": True,
    "maxProperties": True,
    "minimum": False,
    "exclusiveMinimum": False,
    "minLength": False,
    "minItems": False,
    "minProperties": False,
}
_EXACT = ("pattern", "format", "multipleOf", "const")


@dataclass(frozen=True, slots=True)
class Break:
    """One change that a client can stumble over, and where it is in the old document."""

    pointer: str
    says: str

    def __str__(self) -> str:
        return f"{self.pointer}: {self.says}"


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[Break]:
    """Everything of `new` that breaks a client which was written for `old`, in the old's order."""
    return list(dict.fromkeys(_Comparison(old, new).run()))


def promised(document: dict[str, Any]) -> dict[str, Any]:
    """What a document promises to clients: the document without what only people read."""
    kept = {name: document[name] for name in ("openapi", "info", "paths", "components")}
    return {**_without_texts(kept), "info": document["info"]}


def _without_texts(node: Any, *, are_names: bool = False) -> Any:
    if isinstance(node, list):
        return [_without_texts(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    return {
        # Below `properties`, a key is the name of a field: it may be any word.
        name: _without_texts(inner, are_names=name == "properties" and not are_names)
        for name, inner in node.items()
        if are_names or name not in _FOR_PEOPLE
    }


@dataclass
class _Comparison:
    old: dict[str, Any]
    new: dict[str, Any]
    # Pairs of schemas that are compared already, or just now: schemas may hold themselves.
    seen: set[tuple[str, str, bool]] = field(default_factory=set)

    def run(self) -> Iterator[Break]:
        for path, methods in self.old["paths"].items():
            at = _pointer("", "paths", path)
            if path not in self.new["paths"]:
                yield Break(at, "the path is gone")
                continue
            for method, operation in methods.items():
                there = self.new["paths"][path].get(method)
                if there is None:
                    yield Break(_pointer(at, method), "the operation is gone")
                else:
                    yield from self._operation(_pointer(at, method), operation, there)

    def _operation(self, at: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Break]:
        if old.get("operationId") != new.get("operationId"):
            renamed = f"renamed from {old.get('operationId')} to {new.get('operationId')}"
            yield Break(_pointer(at, "operationId"), renamed)
        if old.get("x-required-scope") != new.get("x-required-scope"):
            yield Break(_pointer(at, "x-required-scope"), "another scope is needed")
        for way in old.get("security", []):
            if way not in new.get("security", []):
                yield Break(_pointer(at, "security"), f"no longer signs in by {sorted(way)}")
        yield from self._parameters(at, old, new)
        yield from self._body(_pointer(at, "requestBody"), old, new)
        yield from self._answers(_pointer(at, "responses"), old["responses"], new["responses"])

    def _parameters(self, at: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Break]:
        before = self._by_name(self.old, old)
        after = self._by_name(self.new, new)
        for key, parameter in before.items():
            here = _pointer(at, "parameters", key[1])
            if key not in after:
                yield Break(here, "the parameter is gone")
                continue
            if after[key].get("required") and not parameter.get("required"):
                yield Break(here, "the parameter is required now")
            schemas = parameter.get("schema", {}), after[key].get("schema", {})
            yield from self._schema(_pointer(here, "schema"), *schemas, is_sent=True)
        for key in after.keys() - before.keys():
            if after[key].get("required"):
                yield Break(_pointer(at, "parameters", key[1]), "a new parameter is required")

    def _by_name(
        self, document: dict[str, Any], operation: dict[str, Any]
    ) -> dict[tuple[str, str], dict[str, Any]]:
        """The parameters of an operation, by where they stand and their names."""
        every = (self._whole(document, each) for each in operation.get("parameters", []))
        return {(each["in"], each["name"]): each for each in every}

    def _body(self, at: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Break]:
        before, after = old.get("requestBody"), new.get("requestBody")
        if before is None:
            if after is not None and after.get("required"):
                yield Break(at, "a body is required now")
            return
        if after is None:
            yield Break(at, "a body is not taken any more")
            return
        if after.get("required") and not before.get("required"):
            yield Break(at, "a body is required now")
        yield from self._content(_pointer(at, "content"), before, after, is_sent=True)

    def _answers(self, at: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Break]:
        for status, answer in old.items():
            if status not in new:
                yield Break(_pointer(at, status), "the answer is gone")
                continue
            before, after = self._whole(self.old, answer), self._whole(self.new, new[status])
            for header, said in before.get("headers", {}).items():
                if header not in after.get("headers", {}):
                    yield Break(_pointer(at, status, "headers", header), "the header is gone")
                elif self._whole(self.old, said).get("required"):
                    there = self._whole(self.new, after["headers"][header])
                    if not there.get("required"):
                        where = _pointer(at, status, "headers", header)
                        yield Break(where, "the header may be missing now")
            where = _pointer(at, status, "content")
            yield from self._content(where, before, after, is_sent=False)
        for status in new.keys() - old.keys():
            if status.startswith("2"):
                yield Break(_pointer(at, status), "another success is answered")

    def _content(
        self, at: str, old: dict[str, Any], new: dict[str, Any], *, is_sent: bool
    ) -> Iterator[Break]:
        for media_type, media in old.get("content", {}).items():
            there = new.get("content", {}).get(media_type)
            if there is None:
                yield Break(_pointer(at, media_type), "the media type is gone")
                continue
            schemas = media.get("schema", {}), there.get("schema", {})
            yield from self._schema(_pointer(at, media_type, "schema"), *schemas, is_sent=is_sent)

    # --- schemas: `is_sent` by a client, or read by it ---

    def _schema(
        self, at: str, old: dict[str, Any], new: dict[str, Any], *, is_sent: bool
    ) -> Iterator[Break]:
        if "$ref" in old:
            at = old["$ref"].removeprefix("#")
            pair = (json.dumps(old, sort_keys=True), json.dumps(new, sort_keys=True), is_sent)
            if pair in self.seen:
                return
            self.seen.add(pair)
        before, after = self._whole(self.old, old), self._whole(self.new, new)
        yield from _types(at, before, after, is_sent=is_sent)
        yield from _words(at, before, after, is_sent=is_sent)
        yield from _bounds(at, before, after, is_sent=is_sent)
        yield from self._fields(at, before, after, is_sent=is_sent)
        for inner in ("items", "additionalProperties"):
            if isinstance(before.get(inner), dict) and isinstance(after.get(inner), dict):
                where = _pointer(at, inner)
                yield from self._schema(where, before[inner], after[inner], is_sent=is_sent)
        was_open = before.get("additionalProperties", True) is not False
        if is_sent and was_open and after.get("additionalProperties") is False:
            yield Break(_pointer(at, "additionalProperties"), "other fields are refused now")
        yield from self._choices(at, before, after, is_sent=is_sent)

    def _fields(
        self, at: str, old: dict[str, Any], new: dict[str, Any], *, is_sent: bool
    ) -> Iterator[Break]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name, schema in before.items():
            where = _pointer(at, "properties", name)
            if name in after:
                yield from self._schema(where, schema, after[name], is_sent=is_sent)
            else:
                yield Break(where, "the field is gone")
        needed, given = set(old.get("required", [])), set(new.get("required", []))
        if is_sent:
            for name in sorted(given - needed):
                yield Break(_pointer(at, "required", name), "the field is required now")
        else:
            for name in sorted((needed - given) & set(after)):
                yield Break(_pointer(at, "required", name), "the field may be missing now")

    def _choices(
        self, at: str, old: dict[str, Any], new: dict[str, Any], *, is_sent: bool
    ) -> Iterator[Break]:
        for kind in ("oneOf", "anyOf", "allOf"):
            before, after = old.get(kind, []), new.get(kind, [])
            if len(after) < len(before) if is_sent else len(after) != len(before):
                yield Break(_pointer(at, kind), "there are other choices")
                continue
            for place, (first, second) in enumerate(zip(before, after, strict=False)):
                where = _pointer(at, kind, str(place))
                yield from self._schema(where, first, second, is_sent=is_sent)

    @staticmethod
    def _whole(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
        """What a reference names, with what stands beside it."""
        while "$ref" in node:
            target: Any = document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            node = {**target, **{name: value for name, value in node.items() if name != "$ref"}}
        return node


def _types(at: str, old: dict[str, Any], new: dict[str, Any], *, is_sent: bool) -> Iterator[Break]:
    before, after = _named(old), _named(new)
    lost = before - after if is_sent else after - before
    # Without a type, anything is meant.
    if lost or (is_sent and after and not before) or (not is_sent and before and not after):
        yield Break(_pointer(at, "type"), f"was {_shown(before)} and is {_shown(after)}")


def _named(schema: dict[str, Any]) -> set[str]:
    kind = schema.get("type", [])
    found = {kind} if isinstance(kind, str) else set(kind)
    return found | {"integer"} if "number" in found else found


def _shown(kinds: set[str]) -> str:
    return " or ".join(sorted(kinds)) or "anything"


def _words(at: str, old: dict[str, Any], new: dict[str, Any], *, is_sent: bool) -> Iterator[Break]:
    before, after = old.get("enum"), new.get("enum")
    where = _pointer(at, "enum")
    if is_sent and after is not None:
        if before is None:
            yield Break(where, "only some words are taken now")
        else:
            for word in before:
                if word not in after:
                    yield Break(where, f"“{word}” is not taken any more")
    elif not is_sent and before is not None and after is None:
        yield Break(where, "may be any word now")


def _bounds(at: str, old: dict[str, Any], new: dict[str, Any], *, is_sent: bool) -> Iterator[Break]:
    for bound, more_is_wider in _BOUNDS.items():
        before, after = old.get(bound), new.get(bound)
        # Of answers, bounds are only said: a client that reads them has no limit of its own.
        if not is_sent or after is None or after == before:
            continue
        if before is None or (after < before) == more_is_wider:
            yield Break(_pointer(at, bound), f"was {before} and is {after}")
    for rule in _EXACT:
        before, after = old.get(rule), new.get(rule)
        if before != after and (after if is_sent else before) is not None:
            yield Break(_pointer(at, rule), f"was {before} and is {after}")
    if is_sent and new.get("uniqueItems") and not old.get("uniqueItems"):
        yield Break(_pointer(at, "uniqueItems"), "nothing may come twice now")


def _pointer(at: str, *names: str) -> str:
    """A JSON pointer to a member of what stands at `at`."""
    return at + "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)


_USAGE = """Usage: python -m api_docs.breaking OLD.json NEW.json
       python -m api_docs.breaking --promise NEW.json
"""


def main(arguments: list[str]) -> int:
    """Compare two files; 0 where nothing breaks, 1 where something does, 2 for other arguments."""
    if len(arguments) == 2 and arguments[0] == "--promise":
        document = json.loads(Path(arguments[1]).read_text())
        sys.stdout.write(json.dumps(promised(document), indent=1, sort_keys=True) + "\n")
        return 0
    if len(arguments) != 2:
        sys.stderr.write(_USAGE)
        return 2
    old, new = (json.loads(Path(name).read_text()) for name in arguments)
    found = breaks(old, new)
    for each in found:
        sys.stdout.write(f"{each}\n")
    if found:
        sys.stdout.write(f"{len(found)} breaking changes. {WAY_OUT}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
