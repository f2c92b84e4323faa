"""The API's views of imports: asked for, watched, canceled; and what they left out."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import imports, sharing
from marketplace.access import Scope
from marketplace.http import (
    Body,
    Listing,
    Resource,
    Retrieving,
    StrictBooleanField,
    StrictCharField,
    TenantViewSet,
)
from marketplace.imports import queue
from marketplace.models import ImportJob, ImportRejection
from marketplace.serializers import Nothing


class ImportJobSerializer(Resource[ImportJob]):
    """One import into a collection, and how far it is."""

    object_name = "import"

    class Meta:
        model = ImportJob
        fields = (
            "id",
            "collection",
            "source",
            "format",
            "feed",
            "dry_run",
            "columns",
            "constants",
            "ignored",
            "status",
            "imported",
            "updated",
            "removed",
            "repeated",
            "rejected",
            "bytes_read",
            "source_read",
            "source_length",
            "failure",
            "started_at",
            "finished_at",
        )
        read_only_fields = fields


class ImportRejectionSerializer(Resource[ImportRejection]):
    """One entry of a source that was not imported, and why. Act on `code`."""

    object_name = "import_rejection"

    class Meta:
        model = ImportRejection
        fields = ("job", "line", "field", "name", "code", "detail")
        read_only_fields = fields


class AskForImport(Body):
    """Which file to import, and how to read it."""

    upload = StrictCharField(max_length=60, help_text=_("A finished upload (upl_…)."))
    format = serializers.ChoiceField(
        choices=["auto", *imports.FORMATS],
        default="auto",
        help_text=_("“auto”: what the file's beginning shows."),
    )
    columns = serializers.DictField(
        child=StrictCharField(max_length=200),
        required=False,
        help_text=_("Which column stands for which field: {“sha256”: “hash”}."),
    )
    constants = serializers.DictField(
        child=StrictCharField(max_length=2000),
        required=False,
        help_text=_("What each row has that no column says: {“language”: “de”}."),
    )
    ignored = serializers.ListField(
        child=StrictCharField(max_length=200),
        required=False,
        max_length=500,
        help_text=_("Columns that stand for nothing, though their names would."),
    )
    feed = StrictBooleanField(
        default=False,
        help_text=_("NDJSON of changes: each line has “op”, “upsert” or “delete”."),
    )
    dry_run = StrictBooleanField(
        default=False, help_text=_("Check and report everything, and import nothing.")
    )


class CsvRenderer(BaseRenderer):
    """Comma-separated values, which the view has made already."""

    media_type = "text/csv"
    format = "csv"

    def render(self, data: Any, media_type: Any = None, context: Any = None) -> Any:
        return data


@extend_schema_view(
    list=extend_schema(summary="List imports"),
    retrieve=extend_schema(summary="Watch an import"),
)
class ImportViewSet(Listing, Retrieving, TenantViewSet):
    """Imports and their progress."""

    model = ImportJob
    serializer_class = ImportJobSerializer
    scopes = {
        "list": Scope.WORKS_READ,
        "retrieve": Scope.WORKS_READ,
        "report": Scope.WORKS_READ,
        "cancel": Scope.WORKS_WRITE,
    }

    @extend_schema(
        summary="Cancel an import",
        description="What it imported stays. Repeating it changes nothing.",
        request=Nothing,
        responses={200: ImportJobSerializer},
    )
    def cancel(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(queue.cancel(self.caller, pk))

    @extend_schema(
        summary="Download what an import left out",
        description="CSV: line, field, code, detail, external_id. What a spreadsheet would run as"
        " a formula has an apostrophe before it.",
        responses={(200, "text/csv"): OpenApiTypes.STR},
    )
    def report(self, request: Request, pk: str) -> StreamingHttpResponse:
        answer = StreamingHttpResponse(
            imports.rejections_csv(self.caller, pk), content_type="text/csv; charset=utf-8"
        )
        answer["Content-Disposition"] = f'attachment; filename="{pk}-rejections.csv"'
        return answer

    def get_renderers(self) -> Any:
        if self.action == "report":
            return [JSONRenderer(), CsvRenderer()]
        return super().get_renderers()


class CollectionImportViewSet(TenantViewSet):
    """Imports into one collection."""

    model = ImportJob
    serializer_class = ImportJobSerializer
    scopes = {"create": Scope.WORKS_WRITE}
    # Also for whom the collection was shared with for editing.
    shared = frozenset({"create"})

    @extend_schema(
        summary="Import an uploaded table",
        description="CSV, NDJSON or Parquet with `external_id`, `sha256` and `length` at least; or"
        " an update feed. A worker runs it: watch it with GET /v1/imports/{id}. A bad row costs no"
        " good one. What is no table, or lacks a column, is refused at once.",
        request=AskForImport,
        responses={202: ImportJobSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        body = self.read(AskForImport)
        editor = sharing.editor(self.caller, pk)
        return self._accepted(queue.ask(editor, pk, reader=self.caller, **body))

    def resume(self, effect: str) -> Response:
        return self._accepted(self._effect(effect))

    def _accepted(self, job: ImportJob) -> Response:
        return Response(self.shown(job), status=202, headers={"Location": f"/v1/imports/{job.pk}"})


@extend_schema_view(
    list=extend_schema(summary="List what an import left out"),
)
class ImportRejectionViewSet(Listing, TenantViewSet):
    """What an import left out, each entry with its reason."""

    model = ImportRejection
    serializer_class = ImportRejectionSerializer
    scopes = {"list": Scope.WORKS_READ}

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return super().get_queryset()
        # The 404 of an import that is not the caller's, not an empty list.
        return imports.rejections(self.caller, self.kwargs["pk"])
