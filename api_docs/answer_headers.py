"""The headers of answers, as components of the OpenAPI document."""

from __future__ import annotations

from typing import Any

from marketplace import api_versions
from marketplace.typeid import SUFFIX_PATTERN

SUCCESSES = {
    "200": "Done.",
    "201": "Made.",
    "202": "Accepted: it is not done yet.",
}
_INTEGER = {"type": "integer", "format": "int32", "minimum": 0, "maximum": 2_147_483_647}
COMPONENTS: dict[str, dict[str, Any]] = {
    "RequestId": {
        "description": "Finds the request in the market's logs: name it when you ask for help.",
        "schema": {"type": "string", "maxLength": 30, "pattern": f"^req_{SUFFIX_PATTERN}$"},
        "required": True,
    },
    "LicetVersion": {
        "description": "The version of the API in which the answer is written.",
        "schema": {"type": "string", "maxLength": 10, "pattern": api_versions.PATTERN},
        "required": True,
    },
    "Deprecation": {
        "description": "Since when the answer's version has a successor: `@` and the seconds since "
        "1970 (RFC 9745). Stands where the version will end.",
        "schema": {"type": "string", "maxLength": 20, "pattern": "^@[0-9]+$"},
    },
    "Sunset": {
        "description": "Until when the answer's version is there, as a date of HTTP (RFC 8594). "
        'Stands where the version will end, with a `Link` of `rel="sunset"` to what to do.',
        "schema": {"type": "string", "maxLength": 29, "pattern": "^[A-Z][ -~]+ GMT$"},
    },
    "Location": {
        "description": "The address of what was made.",
        "schema": {"type": "string", "format": "uri-reference", "maxLength": 2_000},
    },
    "ETag": {
        "description": "Names this state of the answer: send it as `If-None-Match`, and an answer"
        " that is still the same comes as a 304 without a body (RFC 9110).",
        "schema": {"type": "string", "maxLength": 100, "pattern": '^(W/)?"[!-~]*"$'},
    },
    "IdempotentReplayed": {
        "description": "`true` where the answer is that of an earlier request with the same key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "WWWAuthenticate": {
        "description": "How to sign in (RFC 6750).",
        "schema": {"type": "string", "maxLength": 200, "pattern": "^Bearer "},
    },
    "RetryAfter": {
        "description": "In how many seconds the same request may succeed (RFC 9110). Stands where "
        "`retryable` is true.",
        "schema": _INTEGER,
    },
    "RateLimit": {
        "description": "What is left of the quota: `r` requests, and in `t` seconds all of it is "
        "back. The structured field of draft-ietf-httpapi-ratelimit-headers-11. Stands where the "
        "market limits requests.",
        "schema": {"type": "string", "maxLength": 200, "pattern": "^[ -~]+$"},
    },
    "RateLimitPolicy": {
        "description": "The quota that applies: `q` requests at once, which come back within `w` "
        "seconds. The structured field of the same draft.",
        "schema": {"type": "string", "maxLength": 200, "pattern": "^[ -~]+$"},
    },
}
_NAMES = {
    "RequestId": "Request-Id",
    "LicetVersion": api_versions.HEADER,
    "IdempotentReplayed": "Idempotent-Replayed",
    "WWWAuthenticate": "WWW-Authenticate",
    "RetryAfter": "Retry-After",
    "RateLimitPolicy": "RateLimit-Policy",
}


def of(
    status: str, *, is_read: bool = False, is_repeatable: bool = False, retries: bool = False
) -> dict[str, Any]:
    """The headers of an answer by its name: `retries` adds Retry-After, `is_repeatable` the mark
    of an answer that was given before, `is_read` the one by which to ask whether it changed."""
    found = ["RequestId", "LicetVersion", "Deprecation", "Sunset", "RateLimit", "RateLimitPolicy"]
    if status == "201":
        found.append("Location")
    if is_read and status == "200":
        found.append("ETag")
    if is_repeatable:
        found.append("IdempotentReplayed")
    if status == "401":
        found.append("WWWAuthenticate")
    if retries:
        found.append("RetryAfter")
    return {_NAMES.get(name, name): {"$ref": f"#/components/headers/{name}"} for name in found}
