"""Takes examples for the OpenAPI document from what tests send to the API and are answered.

`make examples` runs tests of the API with the plugin `tests.api_docs.taking`. Of each operation it
keeps one request and one answer per status that say much in few lines, and that fit the document.
An example that is there stays until it no longer fits, or one is met that says more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from api_docs.document import EXAMPLES, operations
from tests.people import ApiClient

DOCUMENT: dict[str, Any] = json.loads((EXAMPLES.parent / "openapi.json").read_text())
LENGTH_WANTED = 2_500
# What nobody should find in a repository, even where it opens nothing.
SECRET = re.compile(r"(licet_(?:test|live)_|whsec_|/opt-out/)[\w+/=-]+")


class Taken:
    """What was seen so far: by operation, the best request and the best answer of each status."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.seen: dict[tuple[str, ...], tuple[Any, ...]] = {}
        # What was answered, and is not what the document says.
        self.misfits: dict[tuple[str, ...], str] = {}
        self.routes = [
            (re.compile(re.escape(path).replace(r"\{id\}", "[^/]+")), method, operation)
            for path, method, operation in operations(DOCUMENT)
        ]
        for place, media in places(DOCUMENT):
            value = example_at(known, place)
            if value is not None:
                self._keep(place, media, value)
        self.misfits.clear()

    def look(self, method: str, url: str, body: Any, answer: Any) -> None:
        operation = self._operation(method, url.partition("?")[0])
        if operation is None or not 200 <= answer.status_code < 300:
            return
        name, status = operation["operationId"], str(answer.status_code)
        media_type = answer.headers.get("Content-Type", "").partition(";")[0]
        taken = operation["requestBody"]["content"] if "requestBody" in operation else {}
        if body is not None and "application/json" in taken:
            self._keep((name, "request"), taken["application/json"], body)
        media = operation["responses"].get(status, {}).get("content", {}).get(media_type)
        if media is None or getattr(answer, "streaming", False):
            return
        if media_type == "application/json":
            self._keep((name, status, media_type), media, answer.json())
        elif media_type.startswith("text/"):
            self._keep((name, status, media_type), media, answer.content.decode())

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        for route, of, operation in self.routes:
            if of == method and route.fullmatch(path):
                return operation
        return None

    def _keep(self, place: tuple[str, ...], media: dict[str, Any], value: Any) -> None:
        text = SECRET.sub(r"\1example", json.dumps(value))
        if len(text) > LENGTH_WANTED and isinstance(value, dict) and value.get("data"):
            # Of what answers all that there is at once, the first row.
            text = SECRET.sub(r"\1example", json.dumps({**value, "data": value["data"][:1]}))
            value = json.loads(text)
        # A list without rows says nothing, however short it is.
        says = not (isinstance(value, dict) and value.get("data") == [])
        is_short = len(text) <= LENGTH_WANTED
        rank = (says, is_short, _members(value) if is_short else 0, -len(text))
        if place in self.seen and self.seen[place][0] >= rank:
            return
        value = json.loads(text)
        wrong = misfit(media["schema"], value)
        if wrong is None:
            self.seen[place] = (rank, value)
        else:
            self.misfits[place] = wrong

    def written(self) -> str:
        """The examples as they are committed."""
        found: dict[str, Any] = {}
        for place, (_rank, value) in self.seen.items():
            at = found.setdefault(place[0], {})
            if place[1] == "request":
                at["request"] = value
            else:
                at.setdefault("responses", {}).setdefault(place[1], {})[place[2]] = value
        return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def places(document: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Where the document may have an example: of JSON that is sent, and of what is answered."""
    for _path, _method, operation in operations(document):
        name = operation["operationId"]
        sent = operation.get("requestBody", {}).get("content", {})
        if "application/json" in sent:
            yield (name, "request"), sent["application/json"]
        for status, answer in operation["responses"].items():
            for media_type, media in answer.get("content", {}).items():
                is_text = media_type == "application/json" or media_type.startswith("text/")
                if is_text and status.startswith("2"):
                    yield (name, status, media_type), media


def example_at(known: dict[str, Any], place: tuple[str, ...]) -> Any:
    """The example that a place has, or None."""
    name, status, *media_type = place
    if status == "request":
        return known.get(name, {}).get("request")
    return known.get(name, {}).get("responses", {}).get(status, {}).get(*media_type)


def misfit(schema: dict[str, Any], value: Any) -> str | None:
    """What of a value does not fit a schema of the document, or None."""
    whole = {**schema, "components": DOCUMENT["components"]}
    error = best_match(Draft202012Validator(whole).iter_errors(value))
    return None if error is None else f"{error.json_path}: {error.message[:300]}"


def _members(value: Any) -> int:
    """How many different members a value fills: rows that say the same count once."""
    names: set[str] = set()

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict):
            for name, inner in node.items():
                walk(inner, f"{path}.{name}")
        elif isinstance(node, list):
            for inner in node:
                walk(inner, f"{path}[]")
        elif node not in (None, ""):
            names.add(path)

    walk(value, "")
    return len(names)


def watch() -> Taken:
    """From now on, look at all that the tests' clients send."""
    taken = Taken(json.loads(EXAMPLES.read_text()) if EXAMPLES.exists() else {})

    def watched(name: str) -> Callable[..., Any]:
        send = getattr(ApiClient, name)

        def sent(client: ApiClient, url: str, *given: Any, **named: Any) -> Any:
            answer = send(client, url, *given, **named)
            body = given[0] if name == "post" and given else named.get("body")
            taken.look(name, url, None if isinstance(body, bytes) else body, answer)
            return answer

        return sent

    for name in ("get", "post", "patch"):
        setattr(ApiClient, name, watched(name))
    return taken
