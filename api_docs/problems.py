"""Refusals in the OpenAPI document: the problem document, its codes, and answers that hold it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from api_docs import answer_headers, refusals
from marketplace.errors import DomainError, InvalidInput
from marketplace.http import PROBLEM_TYPE
from marketplace.typeid import SUFFIX_PATTERN

_TITLES = {
    400: "It could not be read",
    401: "No key, or not a good one",
    403: "The key lacks a scope",
    404: "Not there, or not yours",
    406: "Another media type was asked for than there is",
    409: "The state of things does not allow it",
    410: "It is gone",
    411: "Nothing says how long the body is",
    413: "The body is too large",
    415: "The body is of another media type",
    422: "A field is not valid",
    429: "Too many requests: wait, then send the same again",
    500: "We failed, and recorded it",
    502: "Stripe refused the request",
    503: "Stripe cannot be reached",
}
_REFERENCE = {"$ref": "#/components/schemas/Problem"}
_NAMELESS = {"429": "TooManyRequests", "default": "Refused"}
_NAME_LENGTH_MAX = 70
CODE_PATTERN = "^[a-z]+(_[a-z]+)*$"


def response(status: int | str, kinds: list[type[DomainError]]) -> dict[str, Any]:
    """An answer that refuses, and which codes it may carry; without `kinds`: any."""
    title = _TITLES.get(status, "Refused") if isinstance(status, int) else "Refused otherwise"
    # `retryable` is a promise of the class, so the header can be one, too.
    retries = status == 429 or any(kind.retryable for kind in kinds)
    made: dict[str, Any] = {
        "description": ": ".join([title, ", ".join(f"`{kind.code}`" for kind in kinds)])
        if kinds
        else title,
        "headers": answer_headers.of(str(status), retries=retries),
        "content": {PROBLEM_TYPE: {"schema": _REFERENCE}},
    }
    if kinds:
        made["content"][PROBLEM_TYPE]["examples"] = {kind.code: _example(kind) for kind in kinds}
    return made


def share(document: dict[str, Any]) -> None:
    """Move refusals of several operations into components, named by their codes. In place.

    What stays with its operation has one example: the others' meanings stand at /docs/errors.
    """
    uses: dict[str, list[tuple[dict[str, Any], str]]] = defaultdict(list)
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                media = answer.get("content", {}).get(PROBLEM_TYPE)
                if media is not None:
                    codes = [_pascal(code) for code in media.get("examples", {})]
                    name = "Or".join(codes) or _NAMELESS[status]
                    uses[name].append((operation["responses"], status))
    shared = document["components"]["responses"] = {}
    for name, places in sorted(uses.items()):
        answers, status = places[0]
        if len(places) > 1 and len(name) <= _NAME_LENGTH_MAX:
            shared[name] = answers[status]
            for answers, status in places:
                answers[status] = {"$ref": f"#/components/responses/{name}"}
            continue
        for answers, status in places:
            media = answers[status]["content"][PROBLEM_TYPE]
            media["examples"] = dict(list(media["examples"].items())[:1])


def _pascal(code: str) -> str:
    return "".join(word.capitalize() for word in code.split("_"))


def schemas() -> dict[str, Any]:
    """The components `Problem` and `ProblemCode`."""
    return {"Problem": _problem(), "ProblemCode": _code()}


def _example(kind: type[DomainError]) -> dict[str, Any]:
    value = {
        "type": f"/docs/errors#{kind.code}",
        "title": str(kind.title),
        "status": kind.status,
        "detail": str(kind.title),
        "code": kind.code,
        "retryable": kind.retryable,
        "request_id": "req_01kb3v6xt4e7s8m2n9q0r5w1ya",
    }
    if issubclass(kind, InvalidInput):
        value["param"] = "uses[0]"
    return {"summary": str(kind.title), "description": kind.__doc__, "value": value}


def _code() -> dict[str, Any]:
    codes = sorted({kind.code for kind in refusals.all_kinds()})
    return {
        "type": "string",
        "maxLength": 60,
        "pattern": CODE_PATTERN,
        # No `enum`: a client that was generated before a code was added must still read it.
        "x-extensible-enum": codes,
        "description": "What was refused. Codes are never renamed; new ones are added, so treat "
        "one that you do not know by its `status`. Known: "
        + ", ".join(f"`{code}`" for code in codes)
        + ".",
    }


def _problem() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "A problem document (RFC 9457). Act on `code`: it is never renamed. Some "
        "refusals have further members.",
        "externalDocs": {
            "url": "https://www.rfc-editor.org/rfc/rfc9457",
            "description": "RFC 9457",
        },
        "required": ["type", "title", "status", "detail", "code", "retryable", "request_id"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer", "format": "int32", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "What was refused, and the way out."},
            "code": {"$ref": "#/components/schemas/ProblemCode"},
            "param": {
                "type": "string",
                "description": "The field that is wrong, as `a.b[0]`.",
            },
            "retryable": {
                "type": "boolean",
                "description": "The same request may succeed later without a change.",
            },
            "request_id": {
                "type": ["string", "null"],
                "pattern": f"^req_{SUFFIX_PATTERN}$",
                "description": "As in the header `Request-Id`.",
            },
        },
    }
