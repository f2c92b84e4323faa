"""How the OpenAPI document is made from the views."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import OpenApiParameter

from licensing import terms_json_schema
from licensing.serializers import TypedTerms1Serializer
from marketplace.errors import DomainError
from marketplace.http import IDEMPOTENCY_HEADER, PROBLEM_TYPE

PROBLEM = {
    "type": "object",
    "description": "A problem document (RFC 9457). Act on `code`: it is never renamed.",
    "required": ["type", "title", "status", "detail", "code", "retryable", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was refused, and the way out."},
        "code": {"type": "string"},
        "param": {"type": "string", "description": "The field that is wrong, as `a.b[0]`."},
        "retryable": {
            "type": "boolean",
            "description": "The same request may succeed later without a change.",
        },
        "request_id": {"type": ["string", "null"]},
    },
}


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "marketplace.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key of one organization and one mode: `licet_test_…` or "
            "`licet_live_…`.",
        }


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "marketplace.authentication.MemberSessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "A member signed in on this site; test mode only.",
        }


class TypeIDScheme(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = "marketplace.http.TypeIDSerializerField"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        return {"type": "string", "pattern": self.target.pattern}


class ObjectScheme(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = "marketplace.http.ObjectField"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        return {"type": "string", "const": self.target.name}


class TypedTermsScheme(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Typed terms of either version. Version 2 is described by the table that reads it."""

    target_class = "licensing.serializers.TypedField"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        first = auto_schema.resolve_serializer(TypedTerms1Serializer, direction)
        second = ResolvedComponent(  # type: ignore[no-untyped-call]
            name="TypedTerms2",
            type=ResolvedComponent.SCHEMA,
            schema=terms_json_schema.root(),
            object="TypedTerms2",
        )
        auto_schema.registry.register_on_missing(second)
        return {"oneOf": [first.ref, second.ref]}


class LicetSchema(AutoSchema):
    """drf-spectacular's, with problem documents, idempotency keys and tags by noun."""

    def get_tags(self) -> list[str]:
        parts = [part for part in self.path.split("/") if part and "{" not in part]
        return [parts[1] if len(parts) > 1 and parts[0] == "v1" else parts[0]]

    def get_override_parameters(self) -> list[Any]:
        if self.method != "POST" or not self.path.startswith("/v1/"):
            return []
        if getattr(self.view, "only_asks", False):
            return []
        return [
            OpenApiParameter(
                IDEMPOTENCY_HEADER,
                str,
                OpenApiParameter.HEADER,
                description="Your key for this request, up to 255 characters. Send the request "
                "again with it after a lost answer: it takes effect once.",
            )
        ]

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        responses: dict[str, Any] = super()._get_response_bodies(direction)
        self._register_problem()
        scopes = getattr(self.view, "scopes", {})
        codes = {"default"}
        if scopes.get(getattr(self.view, "action", None)) is not None:
            codes |= {"401", "403"}
        if "{" in self.path:
            codes.add("404")
        if self.method in {"POST", "PUT", "PATCH"}:
            codes |= {"409", "422"}
        for code in sorted(codes):
            responses.setdefault(
                code,
                {
                    "description": "Refused" if code == "default" else TITLES.get(code, "Refused"),
                    "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                },
            )
        return responses

    def _register_problem(self) -> None:
        component = ResolvedComponent(  # type: ignore[no-untyped-call]
            name="Problem", type=ResolvedComponent.SCHEMA, schema=PROBLEM, object="Problem"
        )
        self.registry.register_on_missing(component)


TITLES = {
    "401": "No key, or not a good one",
    "403": "The key lacks a scope",
    "404": "Not there, or not yours",
    "409": "The state of things does not allow it",
    "422": "A field is not valid",
}


def error_codes() -> list[type[DomainError]]:
    """Every refusal that a client can meet, by status and code."""
    found: list[type[DomainError]] = []
    stack = [DomainError]
    while stack:
        kind = stack.pop()
        stack += kind.__subclasses__()
        if kind is not DomainError:
            found.append(kind)
    return sorted(found, key=lambda kind: (kind.status, kind.code))
