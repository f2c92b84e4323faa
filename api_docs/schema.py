"""How the OpenAPI document is made from the views; `document` finishes it."""

from __future__ import annotations

import itertools
from typing import Any, cast

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry, ResolvedComponent
from drf_spectacular.utils import OpenApiParameter
from rest_framework.serializers import CharField, ListSerializer, RegexField

from api_docs import answer_headers, bounds, expansions, problems, refusals
from api_docs.operation_names import operation_id
from licensing import terms_json_schema
from licensing.serializers import TypedTerms1Serializer
from marketplace.access import Scope
from marketplace.authentication import HasScope
from marketplace.errors import DomainError, InvalidInput
from marketplace.http import IDEMPOTENCY_HEADER, Body, KeysetPagination
from marketplace.idempotency import KEY_LENGTH_MAX


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
        # No discriminator: the values of one are text, and `v` is a number.
        return {"oneOf": [first.ref, second.ref]}


class LicetSchema(AutoSchema):
    """drf-spectacular's, with names by rule, scopes, idempotency keys and every refusal."""

    def get_operation_id(self) -> str:
        if not self._is_api:
            return super().get_operation_id()
        is_list = self._is_list_view() or self._action == "list"
        return operation_id(self.method, self.path, self._action, is_list=is_list)

    def get_tags(self) -> list[str]:
        return [self.path.split("/")[2]] if self._is_api else super().get_tags()

    def get_operation(self, *where: Any) -> dict[str, Any] | None:
        operation: dict[str, Any] | None = super().get_operation(*where)
        if operation is not None and self._is_api:
            # Here, and not in `get_description`, which `extend_schema` replaces.
            operation["description"] += f"\n\n{self._needs()}"
        return operation

    def _needs(self) -> str:
        if self._scope is None:
            return "Needs no key."
        shared: frozenset[str] = getattr(self.view, "shared", frozenset())
        who = " An editor of the collection may, too." if self._action in shared else ""
        return f"Needs the scope `{self._scope.value}`.{who}"

    def get_extensions(self) -> dict[str, Any]:
        if not self._is_api or self._scope is None:
            return super().get_extensions()
        return {**super().get_extensions(), "x-required-scope": self._scope.value}

    def get_auth(self) -> list[dict[str, Any]]:
        ways: list[dict[str, Any]] = super().get_auth()
        return [{}, *ways] if self._is_api and self._scope is None else ways

    def get_override_parameters(self) -> list[Any]:
        if known := expansions.of(self.view):
            return [expansions.parameter(known)]
        if not self._is_repeatable:
            return []
        return [
            OpenApiParameter(
                IDEMPOTENCY_HEADER,
                # Any character that str.isprintable() takes; a header carries those of ASCII.
                {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX, "pattern": _ASCII},
                OpenApiParameter.HEADER,
                description="Your key for this request, up to 255 characters. Send the request "
                "again with it after a lost answer: it takes effect once.",
            )
        ]

    @classmethod
    def query_names(cls, view: type, action: str, method: str) -> frozenset[str]:
        """The parameters of the address that this document names for an action of a view."""
        made = cast(Any, view)()
        made.action, made.request, made.args, made.kwargs = action, None, (), {}
        made.format_kwarg, made.swagger_fake_view = None, True
        schema = cls()
        schema.view, schema.method, schema.path = made, method, "/v1/"
        schema.registry = ComponentRegistry()
        found = schema._get_parameters()
        return frozenset(each["name"] for each in found if each["in"] == "query")

    @property
    def _is_api(self) -> bool:
        # Webhooks are described by the same class, at no path of the API.
        return self.path.startswith("/v1/")

    @property
    def _action(self) -> str:
        return cast(str, getattr(self.view, "action", ""))

    @property
    def _scope(self) -> Scope | None:
        return cast("Scope | None", cast(Any, self.view).scopes[self._action])

    @property
    def _is_repeatable(self) -> bool:
        asks = getattr(self.view, "only_asks", False)
        return self._is_api and self.method == "POST" and not asks

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> dict[str, Any]:
        schema: dict[str, Any] = super()._map_basic_serializer(  # type: ignore[no-untyped-call]
            serializer, direction
        )
        if isinstance(serializer, Body) and direction == "request" and schema.get("properties"):
            schema["additionalProperties"] = False
        if getattr(serializer, "has_more_members", False):
            # True by default; said, so that linters and clients take it as meant.
            schema["additionalProperties"] = True
        return schema

    def _map_serializer_field(
        self, field: Any, direction: Any, bypass_extensions: bool = False
    ) -> dict[str, Any]:
        schema: dict[str, Any] = super()._map_serializer_field(  # type: ignore[no-untyped-call]
            field, direction, bypass_extensions
        )
        longest = getattr(field, "max_length", None)
        if isinstance(field, ListSerializer) and longest is not None:
            schema["maxItems"] = longest
        is_sent = direction == "request"
        # The pattern of a RegexField follows later, and only where there is none.
        is_text = isinstance(field, CharField) and not isinstance(field, RegexField)
        if is_sent and is_text and not {"pattern", "format"} & set(schema):
            schema["pattern"] = bounds.NO_NULL
        if not is_sent and schema.get("format") == "uri":
            # Where there is none, the text is empty: a reference (RFC 3986, 4.2), and no URI.
            schema["format"] = "uri-reference"
        return schema

    def _insert_field_validators(self, field: Any, schema: dict[str, Any]) -> None:
        super()._insert_field_validators(field, schema)  # type: ignore[no-untyped-call]
        if field.read_only and schema.get("format") == "email" and _may_be_empty(field):
            del schema["format"]

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        answers: dict[str, Any] = super()._get_response_bodies(direction)
        if not self._is_api:
            return answers
        if known := expansions.of(self.view):
            expansions.describe(self, known)
        for status, answer in answers.items():
            answer["description"] = answer["description"] or answer_headers.SUCCESSES[status]
            answer["headers"] = answer_headers.of(
                status, is_read=self.method == "GET", is_repeatable=self._is_repeatable
            )
        for status, kinds in itertools.groupby(self._refusals(), key=lambda kind: kind.status):
            answers[str(status)] = problems.response(status, list(kinds))
        answers.setdefault("429", problems.response(429, []))
        answers.setdefault("default", problems.response("default", []))
        return answers

    def _refusals(self) -> list[type[DomainError]]:
        view = type(self.view)
        kinds = {*refusals.EVERYWHERE, *refusals.raised_by(view, self._action)}
        is_writing = self.method in {"POST", "PATCH"}
        for way in view.authentication_classes:
            # Where none is needed, a wrong key is refused all the same.
            kinds |= refusals.raised_by(way, "authenticate")
            if is_writing and hasattr(way, "enforce_csrf"):
                kinds |= refusals.raised_by(way, "enforce_csrf")
        if self._scope is not None:
            kinds |= refusals.raised_by(HasScope, "has_permission")
        if self._is_list_view():
            kinds |= refusals.raised_by(KeysetPagination, "paginate_queryset")
        if is_writing:
            kinds |= set(refusals.WITH_BODY)
        if len(self.view.get_renderers()) > 1:
            kinds.add(InvalidInput)  # of `format`
        if self._is_repeatable:
            kinds |= refusals.raised_by(view, "initial")
        return sorted(kinds, key=lambda kind: (kind.status, kind.code))


def _may_be_empty(field: Any) -> bool:
    """Whether the column that a field of an answer shows may hold an empty text."""
    model = getattr(getattr(field.parent, "Meta", None), "model", None)
    columns = () if model is None else model._meta.fields
    return any(each.name == field.source and each.blank for each in columns)


_ASCII = "^[ -~]+$"
