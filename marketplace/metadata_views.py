"""Metadata over HTTP: a member of rows, of the bodies that make them, and a POST of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from django.db.models import F, QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import json_sql, metadata
from marketplace.http import Body, StrictCharField, TenantViewSet

V = TypeVar("V", bound=Callable[..., Response])

if TYPE_CHECKING:
    _View = TenantViewSet
else:
    _View = object


class MetadataField(serializers.DictField):
    """What the caller's organization notes on a row, as `metadata.beside` put it there."""

    child = serializers.CharField()

    def __init__(self, **options: Any) -> None:
        options.setdefault("help_text", "What your organization noted on it, for itself alone.")
        super().__init__(read_only=True, **options)

    def as_sql_of(self, path: str) -> Any:
        return json_sql.Json(F(f"{path}{self.source}"))


@extend_schema_field(
    {
        "type": "object",
        "maxProperties": metadata.MEMBERS_MAX,
        "propertyNames": {"pattern": rf"^[^\[\]\x00]{{1,{metadata.NAME_LENGTH_MAX}}}$"},
        "additionalProperties": {
            "type": ["string", "null"],
            "pattern": r"^[^\x00]*$",
            "maxLength": metadata.TEXT_LENGTH_MAX,
        },
    }
)
class NotesField(serializers.DictField):
    """Names and texts to note; the verbs call them `notes`."""

    child = StrictCharField(
        max_length=metadata.TEXT_LENGTH_MAX,
        allow_blank=True,
        allow_null=True,
        trim_whitespace=False,
    )

    def __init__(self, **options: Any) -> None:
        options.setdefault(
            "help_text",
            "Your own references, as names and texts. Nobody but your organization sees them.",
        )
        super().__init__(source="notes", **options)


class SetMetadata(Body):
    """What to note. Names left out stay; null, or an empty text, takes a name away."""

    metadata = NotesField()


class Noted(_View):
    """Of a view of rows that are noted on: `metadata` in each, and `set_metadata`."""

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return metadata.beside(super().select(rows), self.caller)

    def set_metadata(self, request: Request, pk: str) -> Response:
        return self.answered(metadata.set(self.caller, self.model, pk, **self.read(SetMetadata)))


def sets_metadata(what: str, serializer: Any) -> Callable[[V], V]:
    """How the document describes `set_metadata` of a view whose rows are called `what`."""
    return extend_schema(
        summary=f"Set the metadata of {what}",
        description=(
            "Your own references, such as the number of a purchase or of a job: up to"
            f" {metadata.MEMBERS_MAX} names of up to {metadata.NAME_LENGTH_MAX} characters, with"
            f" texts of up to {metadata.TEXT_LENGTH_MAX}. Only your organization sees them, in the"
            " mode of the key. Names left out stay as they are; null, or an empty text, takes a"
            " name away. Repeating it changes nothing."
        ),
        request=SetMetadata,
        responses={200: serializer},
    )
