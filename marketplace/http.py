"""Views over tenants' rows: callers, pages, idempotent POSTs, problem documents."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar, cast

import psycopg
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import models
from django.db.models import F, Model, QuerySet, Value
from django.db.models.functions import Cast, NullIf
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from psycopg_pool import PoolTimeout
from rest_framework import exceptions, serializers, status
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import set_rollback
from rest_framework.viewsets import GenericViewSet

from marketplace import (
    api_versions,
    cursors,
    errors,
    idempotency,
    rate_limits,
    readplan,
    strict_requests,
)
from marketplace.access import Caller, Scope, TenantQuerySet, acting
from marketplace.typeid import SUFFIX_PATTERN, TypeID, TypeIDField

logger = logging.getLogger(__name__)
M = TypeVar("M", bound=Model)

PROBLEM_TYPE = "application/problem+json"
IDEMPOTENCY_HEADER = "Idempotency-Key"

# --- problem documents ------------------------------------------------------------------------


# What a form may bring: ten MiB of files (`import_pages.PLAIN_LENGTH_MAX`), and its fields.
FORM_LENGTH_MAX = 11 << 20


class FormLimitMiddleware:
    """Refuses a form that is too large before a byte of it is read.

    To look for its token, Django would take all of it in, onto the disk, whoever sends it. A view
    without such a token reads its own body, and has its own limit.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if getattr(view, "csrf_exempt", False) or not length.isdecimal():
            return None
        if request.content_type != "multipart/form-data" or int(length) <= FORM_LENGTH_MAX:
            return None
        return _refused(
            request,
            errors.RequestTooLarge(
                _(
                    "A form takes files of %(max)s MiB together. With scripts on, the page that"
                    " brings files in sends larger ones in pieces; programs send them through the"
                    " API’s uploads."
                )
                % {"max": (FORM_LENGTH_MAX >> 20) - 1},
            ),
        )


def problem(request: Any, error: errors.DomainError) -> JsonResponse:
    """Render a refusal as a problem document (RFC 9457) with Stripe-like members beside it."""
    body = {
        "type": f"/docs/errors#{error.code}",
        "title": str(error.title),
        "status": error.status,
        "detail": errors.printable(str(error.detail)),
        "code": error.code,
        "retryable": error.retryable,
        "request_id": getattr(request, "request_id", None),
        **{
            name: errors.printable(value) if isinstance(value, str) else value
            for name, value in error.data.items()
        },
    }
    response = JsonResponse(body, status=error.status, content_type=PROBLEM_TYPE)
    if error.status == status.HTTP_401_UNAUTHORIZED:
        response["WWW-Authenticate"] = 'Bearer realm="Licet"'
    if error.retryable:
        response["Retry-After"] = str(error.data.get("retry_after", 1))
    return response


def problem_response(error: Exception, context: dict[str, Any]) -> HttpResponseBase | None:
    """REST framework's exception handler: every refusal leaves as a problem document."""
    request = context.get("request")
    http_request = getattr(request, "_request", request)
    set_rollback()
    view = context.get("view")
    response = problem(http_request, as_domain_error(error, view))
    if isinstance(error, exceptions.MethodNotAllowed) and view is not None:
        response["Allow"] = ", ".join(view.allowed_methods)
    return response


def as_domain_error(error: Exception, view: Any = None) -> errors.DomainError:
    """Translate what Django and REST framework raise; anything else is our failure, and logged."""
    if isinstance(error, errors.DomainError):
        return error
    if isinstance(error, exceptions.ValidationError):
        param, detail = _first_error(error.detail)
        return errors.InvalidInput(detail, param=param)
    if isinstance(error, exceptions.ParseError):
        return errors.MalformedRequest(str(error.detail))
    if isinstance(error, RequestDataTooBig):
        return errors.RequestTooLarge(_("Send less at once."))
    if isinstance(error, SuspiciousOperation):
        return errors.MalformedRequest(_("The request was refused as malformed."))
    if isinstance(error, exceptions.UnsupportedMediaType):
        known = ", ".join(each.media_type for each in view.get_parsers())
        return errors.UnsupportedMediaType(_("Send %(known)s.") % {"known": known})
    if isinstance(error, exceptions.NotAcceptable):
        known = ", ".join(each.media_type for each in view.get_renderers())
        return errors.NotAcceptable(_("This endpoint answers in %(known)s.") % {"known": known})
    if isinstance(error, exceptions.MethodNotAllowed):
        return errors.MethodNotAllowed(str(error.detail))
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        return errors.Unauthenticated(str(error.detail))
    if isinstance(error, PermissionDenied | exceptions.PermissionDenied):
        return errors.MissingScope(str(error) or _("This is not allowed."))
    if isinstance(error, Http404):
        return errors.NotFound()
    logger.exception("unexpected failure", exc_info=error)
    if is_out_of_time(error):
        return errors.Unavailable(
            _("The database took too long. Ask for less, or again in a moment: with the same key.")
        )
    return errors.InternalError(_("This is our fault, and it was recorded."))


def is_out_of_time(error: Exception) -> bool:
    """Whether the database did not answer in time: PostgreSQL ended a statement, or the pool has
    no connection left."""
    causes = (error, error.__cause__)
    return any(isinstance(each, psycopg.errors.QueryCanceled | PoolTimeout) for each in causes)


def _first_error(detail: Any, path: str = "") -> tuple[str, str]:
    """The first wrong field of a body, as `a.b[0]`, and what is wrong with it."""
    if isinstance(detail, dict):
        name, inner = next(iter(detail.items()))
        if name == "non_field_errors":
            return _first_error(inner, path)
        if isinstance(name, int):
            return _first_error(inner, f"{path}[{name}]")
        return _first_error(inner, f"{path}.{name}" if path else str(name))
    if isinstance(detail, list):
        for index, inner in enumerate(detail):
            if isinstance(inner, dict | list):
                if inner:
                    return _first_error(inner, f"{path}[{index}]")
                continue
            return path or "body", str(inner)
    return path or "body", str(detail)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """A page that this person's role does not open."""
    return _refused(request, errors.MissingScope(_("Your role does not allow this.")))


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """The resolver's 404."""
    return _refused(request, errors.NotFound(_("There is nothing at this address.")))


def server_error(request: HttpRequest) -> HttpResponse:
    """The last resort's 500."""
    return _refused(request, errors.InternalError(_("This is our fault, and it was recorded.")))


_MACHINE_PATHS = ("/v1/", "/ledger/", "/stripe/")


def _refused(request: HttpRequest, error: errors.DomainError) -> HttpResponse:
    """A page for whoever reads pages, a problem document for everybody else."""
    is_page = "text/html" in request.headers.get("Accept", "")
    if not is_page or request.path.startswith(_MACHINE_PATHS) or settings.PROCESS == "delivery":
        return problem(request, error)
    if error.status < 500:
        return render(request, "marketplace/problem.html", {"error": error}, status=error.status)
    # Without the request: to say who reads, a page asks the database, which may be what failed.
    page = render_to_string("marketplace/problem.html", {"error": error})
    return HttpResponse(page, status=error.status)


def csrf_refused(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form without its token: an old page, or another site's."""
    return _refused(
        request, errors.CsrfTokenInvalid(_("Go back, load the page anew, and send it again."))
    )


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's own 400: a host that is not ours, a malformed query."""
    return problem(request, errors.MalformedRequest(_("The request was refused as malformed.")))


# --- bodies -----------------------------------------------------------------------------------


class TypeIDSerializerField(serializers.CharField):
    """A TypeID in JSON. In: text of the right prefix; out: the same text."""

    def __init__(self, *, prefix: str, **kwargs: Any) -> None:
        self.prefix = prefix
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        try:
            return str(TypeID.parse(self.prefix, text))
        except ValueError:
            raise serializers.ValidationError(
                _("Give an id that begins with “%(prefix)s_”.") % {"prefix": self.prefix}
            ) from None

    @property
    def pattern(self) -> str:
        return f"^{self.prefix}_{SUFFIX_PATTERN}$"


class StrictCharField(serializers.CharField):
    """Text that came as text: a number is not taken for its digits."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if "\x00" in data:
            raise serializers.ValidationError(_("The null character is not allowed."))
        return super().to_internal_value(data)


# Beyond it, not every reader of JSON keeps a whole number as it is (RFC 7493, 2.2).
WHOLE_MAX = 2**53 - 1


class StrictRegexField(serializers.RegexField):
    """Text of a pattern that came as text: a number is not taken for its digits."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictIntegerField(serializers.IntegerField):
    """A JSON integer: neither text, nor a boolean, nor a number with a point; ±`WHOLE_MAX`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"min_value": -WHOLE_MAX, "max_value": WHOLE_MAX} | kwargs)

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    """JSON's true or false, and nothing that reads like them."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class ZonedDateTimeField(serializers.DateTimeField):
    """An instant. One without its offset from UTC could be any of 26 hours."""

    def to_internal_value(self, value: Any) -> Any:
        if not isinstance(value, str):
            self.fail("invalid", format="2027-03-01T00:00:00Z")
        return super().to_internal_value(value)

    def enforce_timezone(self, value: Any) -> Any:
        if value.tzinfo is None:
            raise serializers.ValidationError(
                _("Give the offset from UTC, as in 2027-03-01T00:00:00Z.")
            )
        return value


class Body(serializers.Serializer[Any]):
    """A request's body. Unknown fields are refused: a typo must not pass for a default."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(str(name) for name in data if name not in self.fields)
            if unknown:
                known = strict_requests.known_words(unknown[0], self.fields)
                raise serializers.ValidationError({unknown[0]: f"This field is unknown. {known}"})
        return super().to_internal_value(data)


class ObjectField(serializers.Field[Any, Any, str, Any]):
    """What kind of thing this is: always the same word."""

    def __init__(self, *, name: str, **kwargs: Any) -> None:
        self.name = name
        super().__init__(read_only=True, source="*", **kwargs)

    def to_representation(self, value: Any) -> str:
        return self.name

    def as_sql_of(self, path: str) -> Any:
        return Cast(Value(self.name), models.TextField())


class WordField(serializers.ChoiceField):
    """One of several words, or null where the row has none: it keeps "" there."""

    def to_representation(self, value: Any) -> Any:
        return value or None

    def as_sql_of(self, path: str) -> Any:
        return NullIf(F(f"{path}{self.source}"), Value(""))


class OnceEach:
    """Of a nested serializer: what many rows of a page have in common is made once."""

    # Its way of showing is the usual one.
    shows_as_ever = True

    def to_representation(self, instance: Any) -> Any:
        # With the instance, so that no other takes its place in memory meanwhile.
        kept = self.__dict__.setdefault("_kept", {})
        if id(instance) not in kept:
            kept[id(instance)] = instance, super().to_representation(instance)  # type: ignore[misc]
        return kept[id(instance)][1]


class InstantField(serializers.DateTimeField):
    """An instant in UTC, as the database gives it: without looking for another time zone."""

    def to_representation(self, value: Any) -> Any:
        if isinstance(value, datetime) and value.tzinfo is UTC:
            return value.replace(tzinfo=None).isoformat() + "Z"
        return super().to_representation(value)


class Resource(serializers.ModelSerializer[M]):
    """What goes out for one row: its fields, and `object` naming its kind."""

    object_name: ClassVar[str]
    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.DateTimeField: InstantField,
    }

    def get_fields(self) -> dict[str, Any]:
        return {"object": ObjectField(name=self.object_name), **super().get_fields()}

    def build_standard_field(self, field_name: str, model_field: Any) -> Any:
        if model_field.choices and model_field.blank and not model_field.null:
            words = [each for each in model_field.choices if each[0]]
            return WordField, {"choices": words, "allow_null": True, "read_only": True}
        if isinstance(model_field, TypeIDField):
            return TypeIDSerializerField, {"prefix": model_field.prefix, "read_only": True}
        return super().build_standard_field(field_name, model_field)

    def build_relational_field(self, field_name: str, relation_info: Any) -> Any:
        target = relation_info.related_model._meta.pk
        if isinstance(target, TypeIDField) and not relation_info.to_many:
            return TypeIDSerializerField, {
                "prefix": target.prefix,
                "read_only": True,
                "source": f"{field_name}_id",
                "allow_null": relation_info.model_field.null,
            }
        return super().build_relational_field(field_name, relation_info)


# --- pages ------------------------------------------------------------------------------------

PAGE_LENGTH = 50
PAGE_LENGTH_MAX = 200


def this_list(request: Request) -> str:
    """What the cursors of a list's pages hold on to."""
    return cursors.list_of(request.auth, request.path, request.query_params)


class KeysetPagination(BasePagination):
    """Newest first, by id: `{"data": […], "has_more": bool, "next_cursor": …}`. Never counts."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        return self._page(queryset, request, lambda row: row.pk)

    def keys(self, queryset: Any, request: Request) -> list[Any]:
        """The keys of a page's rows."""
        rows = queryset.select_related(None).prefetch_related(None).values_list("pk", flat=True)
        return self._page(rows, request, lambda pk: pk)

    def _page(self, queryset: Any, request: Request, key: Callable[[Any], Any]) -> list[Any]:
        limit, after = self.asked(request, queryset.model)
        rows = queryset.order_by("-pk")
        if after is not None:
            rows = rows.filter(pk__lt=after)
        page = list(rows[: limit + 1])
        self.has_more = len(page) > limit
        page = page[:limit]
        self.next_cursor = self.following(request, key(page[-1])) if self.has_more else None
        return page

    def asked(self, request: Request, model: type[Model]) -> tuple[int, Any]:
        """How many rows are asked for, and the key after which. Raises InvalidInput."""
        cursor = request.query_params.get("cursor")
        return self._limit(request), self._decode(request, model, cursor) if cursor else None

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"data": data, "has_more": self.has_more, "next_cursor": self.next_cursor})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["data", "has_more", "next_cursor"],
            "properties": {
                "data": schema,
                "has_more": {"type": "boolean"},
                "next_cursor": {
                    "type": ["string", "null"],
                    "description": "Give it as `cursor` for the next page.",
                },
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": "limit",
                "in": "query",
                "schema": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": PAGE_LENGTH_MAX,
                    "default": PAGE_LENGTH,
                },
                "description": "Rows a page.",
            },
            {
                "name": "cursor",
                "in": "query",
                "schema": {"type": "string", "maxLength": 64},
                "description": "`next_cursor` of the page before.",
            },
        ]

    def _limit(self, request: Request) -> int:
        text = request.query_params.get("limit", str(PAGE_LENGTH))
        if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= PAGE_LENGTH_MAX:
            raise errors.InvalidInput(
                _("Use 1 to %(max)s.") % {"max": PAGE_LENGTH_MAX}, param="limit"
            )
        return int(text)

    @staticmethod
    def following(request: Request, pk: Any) -> str:
        """The cursor of the page after the row with this key."""
        raw = pk.bytes if isinstance(pk, uuid.UUID) else int(pk).to_bytes(8)
        return cursors.write(raw, of=this_list(request))

    @staticmethod
    def _decode(request: Request, model: type[Model], cursor: str) -> Any:
        raw = cursors.read(cursor, of=this_list(request))
        is_uuid = isinstance(model._meta.pk, TypeIDField)
        return uuid.UUID(bytes=raw) if is_uuid else int.from_bytes(raw)


# --- views ------------------------------------------------------------------------------------


class TenantViewSet(GenericViewSet[Any]):
    """Views over rows of one model, as far as the caller may see them.

    `scopes` names what each action needs (None: anybody). Every POST takes an Idempotency-Key.
    """

    # Without OPTIONS: what there is, and what each takes, the document says.
    http_method_names = ["get", "post", "put", "patch", "delete", "head"]
    model: ClassVar[type[Model]]
    scopes: ClassVar[dict[str, Scope | None]]
    # A POST that only asks changes nothing: an answer stored for its key would grow stale.
    only_asks: ClassVar[bool] = False
    # In bytes. Django's own limit stands above it (DATA_UPLOAD_MAX_MEMORY_SIZE).
    body_length_max: ClassVar[int] = strict_requests.BODY_LENGTH_MAX
    lookup_value_regex = "[^/]+"
    # Not a setting: REST framework would import this module while it is being imported.
    pagination_class = KeysetPagination
    # What stands for serializers and bodies in older versions of the API (`api_versions.shape`).
    older: ClassVar[api_versions.Older] = {}
    # Of the request; None before anybody asked who sends it.
    _version: api_versions.Version | None = None
    # The first request with an idempotency key, until its answer is stored.
    _unanswered: tuple[Caller, bytes] | None = None
    # How the caller's quota stands after this request.
    _standing: rate_limits.Standing | None = None

    @property
    def caller(self) -> Caller:
        caller = self.request.auth
        if not isinstance(caller, Caller):
            raise errors.Unauthenticated(_("Send an API key as “Authorization: Bearer licet_…”."))
        return caller

    def perform_authentication(self, request: Request) -> None:
        try:
            super().perform_authentication(request)
        except (errors.DomainError, exceptions.APIException):
            # Whoever tries keys has no more tries than an address has requests.
            self._spend(None)
            raise
        pinned = request.auth.version if isinstance(request.auth, Caller) else None
        try:
            self._version = api_versions.settle(request._request, pinned)
        finally:
            self._spend(request.auth)

    def _spend(self, caller: Any) -> None:
        self._standing = rate_limits.spend(
            self.request._request,
            caller if isinstance(caller, Caller) else None,
            is_writing=self.request.method == "POST" and not self.only_asks,
        )
        if self._standing is not None and self._standing.wait:
            raise errors.TooManyRequests(
                _("Send fewer at once, and go on in %(seconds)s s.")
                % {"seconds": self._standing.wait},
                retry_after=self._standing.wait,
            )

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        first = self.get_renderers()[0]
        asked = request.META.get("HTTP_ACCEPT", "*/*")
        if asked in ("*/*", first.media_type) and not request.query_params.get("format"):
            # As almost everybody asks: REST framework reads each header anew.
            return first, first.media_type
        try:
            return super().perform_content_negotiation(request, force)
        except Http404:  # of a `format` that there is not
            strict_requests.check_query(self)
            known = ", ".join(each.format for each in self.get_renderers())
            raise errors.InvalidInput(
                _("Use one of: %(known)s.") % {"known": known}, param="format"
            ) from None

    def get_queryset(self) -> QuerySet[Any]:
        manager = cast(Any, self.model)._default_manager
        if getattr(self, "swagger_fake_view", False):
            return cast("QuerySet[Any]", manager.none())
        return self.select(manager.visible_to(self.caller))

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Add what the serializer reads beside the row: `select_related`, annotations."""
        return rows

    def get_object(self) -> Any:
        rows = cast(
            "TenantQuerySet[Any]", self.select(cast(Any, self.model)._default_manager.all())
        )
        return rows.get_visible(self.caller, self.kwargs["pk"])

    def created(self, row: Model) -> Response:
        """201 with the row as `retrieve` shows it, and its address."""
        response = self.answered(row, status_code=status.HTTP_201_CREATED)
        response["Location"] = f"{self.collection_url()}/{row.pk}"
        return response

    def answered(self, row: Model, *, status_code: int = status.HTTP_200_OK) -> Response:
        """The row as `retrieve` shows it, read again as the caller."""
        if self.is_plain() and (planned := readplan.shown(self, row.pk)) is not None:
            return Response(planned, status=status_code)
        with acting(self.caller, writing=False):
            fresh = self.get_queryset().get(pk=row.pk)
            return Response(self.shown(fresh), status=status_code)

    def in_version(self, kind: type[Any]) -> type[Any]:
        """What stands for a serializer, or a body, in the request's version of the API."""
        return api_versions.shape(kind, self._version, self.older)

    def get_serializer_class(self) -> type[Any]:
        return self.in_version(cast("type[Any]", self.serializer_class))

    def shown(self, row: Model) -> Any:
        return self.get_serializer_class()(row, context=self.get_serializer_context()).data

    def shown_all(self, rows: Iterable[Model]) -> Any:
        """As `shown` each; one serializer for all of them, whose making costs as much as a row."""
        context = self.get_serializer_context()
        return self.get_serializer_class()(list(rows), many=True, context=context).data

    @classmethod
    def is_plain(cls) -> bool:
        """Whether its rows are chosen and shown in the ways of this class."""
        own = ("get_queryset", "get_object", "shown", "shown_all", "pagination_class")
        return all(getattr(cls, name) is getattr(TenantViewSet, name) for name in own)

    def collection_url(self) -> str:
        return self.request.path.rstrip("/")

    def read(self, body_class: type[Body]) -> dict[str, Any]:
        """The request's body in the shape of `body_class`. Raises 422 naming the wrong field."""
        body = self.in_version(body_class)(data=self.request.data)
        body.is_valid(raise_exception=True)
        return cast("dict[str, Any]", body.validated_data)

    # --- idempotent POSTs ---

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if self.action is not None:
            strict_requests.check_body(self)
        if request.method == "POST":
            # Before REST framework parses the stream: the raw bytes make the fingerprint.
            request._request.body  # noqa: B018
        super().initial(request, *args, **kwargs)
        if self.action is not None:
            strict_requests.check_query(self)
        key = request.headers.get(IDEMPOTENCY_HEADER)
        if request.method != "POST" or key is None or not isinstance(request.auth, Caller):
            return
        if self.only_asks:
            return
        request.auth = caller = dataclasses.replace(request.auth, request_key=key)
        print_ = idempotency.fingerprint(
            request.method, request.get_full_path(), request._request.body
        )
        replay = idempotency.begin(caller, key, print_)
        if replay is None or not replay.is_answered:
            self._unanswered = (caller, print_)
        if replay is not None and (replay.is_answered or replay.row.effect):
            raise _Replayed(replay)

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, _Replayed):
            return self._replayed(exc.replay)
        return super().handle_exception(exc)

    def _replayed(self, replay: idempotency.Replay) -> HttpResponseBase:
        row = replay.row
        if replay.is_answered:
            problem_body = (row.response_status or 0) >= 400
            response: HttpResponseBase = (
                JsonResponse(
                    row.response_body, status=row.response_status, content_type=PROBLEM_TYPE
                )
                if problem_body
                else Response(row.response_body, status=row.response_status)
            )
            if row.response_location:
                response["Location"] = row.response_location
            response["Idempotent-Replayed"] = "true"
            api_versions.given(self.request._request, replay.version)
            return response
        try:
            response = self.resume(str(row.effect))
        except Exception as error:  # the edge: a failing resume is a problem document too
            return cast(HttpResponseBase, super().handle_exception(error))
        response["Idempotent-Replayed"] = "true"
        return response

    def resume(self, effect: str) -> Response:
        """Answer a retry whose first request died after its effect was committed.

        A view whose verb goes on after its first transaction (a call to Stripe) overrides this.
        """
        row = self._effect(effect)
        # Other verbs change a row that was there before.
        return self.created(row) if self.action == "create" else self.answered(row)

    def _effect(self, effect: str) -> Any:
        with acting(self.caller, writing=False):
            return cast(Any, self.model)._default_manager.get_visible(self.caller, effect)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if self._unanswered is not None:
            self._store(*self._unanswered, response)
        if self._standing is not None:
            for name, value in self._standing.headers().items():
                response[name] = value
        return super().finalize_response(request, response, *args, **kwargs)

    def keep(self, response: Response) -> None:
        """Store the answer in the transaction of what it tells of, which is no single row."""
        if self._unanswered is not None:
            self._store(*self._unanswered, response)
            self._unanswered = None

    def _store(self, caller: Caller, print_: bytes, response: Any) -> None:
        """Keep successes and a verb's refusals; never a lost race, a limit, or our own failure."""
        code = response.status_code
        body = getattr(response, "data", None)
        if body is None and response.get("Content-Type", "").startswith(PROBLEM_TYPE):
            body = json.loads(response.content)
        if code < 500 and isinstance(body, dict) and body.get("retryable"):
            return  # a lost race: the row is another request's
        if code >= 500:
            # The answer asks for a retry: what the request made, if anything, waits for it.
            idempotency.let_go(caller, caller.request_key, print_)
            return
        if code in {401, 403, 429} or body is None:
            return
        # The first answer, too: a replay is the same bytes.
        body = idempotency.in_kept_order(body)
        if isinstance(response, Response):
            response.data = body
        else:
            response.content = JsonResponse(body).content
        idempotency.store(
            caller,
            caller.request_key,
            print_,
            code,
            self.without_secret(body),
            response.get("Location", ""),
            version=api_versions.of(self.request._request).date,
        )

    def with_secret(self, response: Response, secret: str | None) -> Response:
        """Show a new secret, once: a client that lost the answer which held it gets none."""
        shown = {"secret": secret, "secret_already_shown": secret is None}
        response.data = {**cast("dict[str, Any]", response.data), **shown}
        return response

    def without_secret(self, body: Any) -> Any:
        """A secret is never stored: its replay says that it was shown."""
        if isinstance(body, dict) and "secret" in body:
            return {**body, "secret": None, "secret_already_shown": True}
        return body


class _Replayed(Exception):
    """Ends a request whose answer stands already."""

    def __init__(self, replay: idempotency.Replay) -> None:
        super().__init__()
        self.replay = replay


class Listing:
    """`list`: one page, newest first."""

    def list(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        if self.is_plain() and (planned := readplan.page(self)) is not None:
            return cast(Response, planned)
        with acting(self.caller, writing=False):
            page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
            return cast(Response, self.get_paginated_response(self.shown_all(page)))


class Retrieving:
    """`retrieve`: one row, or the 404 that hidden and missing rows share."""

    def retrieve(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        if self.is_plain() and (planned := readplan.row(self)) is not None:
            return cast(Response, planned)
        with acting(self.caller, writing=False):
            return Response(self.shown(self.get_object()))
