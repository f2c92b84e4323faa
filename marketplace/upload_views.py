"""Uploads over HTTP: announced, sent in pieces at an offset, finished, and made into works."""

from __future__ import annotations

import re
from typing import IO, Any

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import bulk, uploads, works
from marketplace.access import Caller, Scope
from marketplace.errors import InvalidInput, UnsupportedMediaType
from marketplace.http import (
    Body,
    Listing,
    Resource,
    Retrieving,
    StrictCharField,
    StrictIntegerField,
    StrictRegexField,
    TenantViewSet,
    TypeIDSerializerField,
)
from marketplace.models import Upload, Work
from marketplace.serializers import HexField, Nothing, Units, WorkSerializer

OFFSET_HEADER, LENGTH_HEADER = "Upload-Offset", "Upload-Length"
PIECE = "application/offset+octet-stream"

_OFFSET = re.compile(r"[0-9]{1,15}")


class PieceParser(BaseParser):
    """A piece of an upload: left where it is, to be read as it comes."""

    media_type = PIECE

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        return stream


class UploadSerializer(Resource[Upload]):
    """Bytes on their way in."""

    object_name = "upload"
    url = serializers.SerializerMethodField(
        help_text=gettext_lazy("Where to PATCH its pieces, with your key.")
    )
    offset = serializers.IntegerField(
        source="received", read_only=True, help_text=gettext_lazy("Where the next piece begins.")
    )
    sha256 = HexField(
        source="expected",
        read_only=True,
        allow_null=True,
        help_text=gettext_lazy("What you announced that the bytes would hash to."),
    )
    digest = HexField(
        read_only=True, allow_null=True, help_text=gettext_lazy("What they hash to, once finished.")
    )

    class Meta:
        model = Upload
        fields = (
            "id",
            "url",
            "name",
            "length",
            "offset",
            "sha256",
            "digest",
            "status",
            "created_at",
            "used_at",
            "finished_at",
        )
        read_only_fields = fields

    def get_url(self, row: Upload) -> str:
        return f"{settings.DELIVERY_URL}/v1/uploads/{row.pk}"


class BeginUpload(Body):
    """What will come."""

    length = StrictIntegerField(min_value=1, help_text=gettext_lazy("In bytes, exactly."))
    sha256 = StrictRegexField(
        r"\A[0-9a-f]{64}\Z",
        trim_whitespace=False,
        required=False,
        help_text=gettext_lazy("What the bytes hash to: `finish` checks it."),
    )
    name = StrictCharField(
        max_length=500, required=False, allow_blank=True, help_text=gettext_lazy("For yourself.")
    )

    def validate_sha256(self, text: str) -> bytes:
        return bytes.fromhex(text)


class HostWork(Body):
    """A finished upload, and what it is."""

    upload = TypeIDSerializerField(prefix="upl")
    external_id = StrictCharField(
        max_length=works.EXTERNAL_ID_LENGTH_MAX, help_text=gettext_lazy("Your own id of the work.")
    )
    media_type = StrictRegexField(
        r"\A[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*\Z",
        max_length=255,
        trim_whitespace=False,
    )
    title = StrictCharField(max_length=1000, required=False, allow_blank=True)
    source_url = serializers.URLField(max_length=2000, required=False, allow_blank=True)
    language = StrictCharField(
        max_length=35, required=False, allow_blank=True, help_text=gettext_lazy("BCP 47.")
    )
    contributor = StrictCharField(
        max_length=200, required=False, allow_blank=True, help_text=gettext_lazy("Their reference.")
    )
    units = Units(required=False, help_text=gettext_lazy("What is counted in the bytes."))


class HostWorks(Body):
    """Finished uploads, and what each is."""

    items = bulk.Each(HostWork())


class WorkResultSerializer(bulk.Result):
    """What came of one upload."""

    item = WorkSerializer(allow_null=True)


class WorkResultsSerializer(bulk.Results):
    """What came of all uploads, in their order."""

    results = bulk.all_of(WorkResultSerializer())


@extend_schema_view(
    list=extend_schema(summary="List uploads"),
    retrieve=extend_schema(
        summary="Show an upload",
        description="HEAD answers the same headers: `Upload-Offset` says where to go on.",
    ),
)
class UploadViewSet(Listing, Retrieving, TenantViewSet):
    """Send large bytes in pieces, and go on where a connection broke."""

    model = Upload
    serializer_class = UploadSerializer
    scopes = {
        "list": Scope.WORKS_READ,
        "retrieve": Scope.WORKS_READ,
        "create": Scope.WORKS_WRITE,
        "append": Scope.WORKS_WRITE,
        "finish": Scope.WORKS_WRITE,
        "discard": Scope.WORKS_WRITE,
    }

    def get_parsers(self) -> list[BaseParser]:
        # There is no request while the OpenAPI document is made.
        is_piece = getattr(self.request, "method", "") == "PATCH"
        return [PieceParser()] if is_piece else super().get_parsers()

    @extend_schema(
        summary="Begin an upload",
        description="Announces exactly `length` bytes. PATCH them to `url` in pieces of any size,"
        " then finish. What nobody uses for seven days is discarded.",
        request=BeginUpload,
        responses={201: UploadSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.created(uploads.begin(self.caller, **self.read(BeginUpload)))

    @extend_schema(
        summary="Send a piece of an upload",
        description="The piece begins at `Upload-Offset`, which must be where the upload ends now:"
        " 409 `upload_offset_mismatch` says where that is. Where a connection breaks, what came"
        " before is kept. One request at a time: another one gets 409 `upload_under_way`.",
        request={PIECE: OpenApiTypes.BINARY},
        parameters=[
            OpenApiParameter(OFFSET_HEADER, int, OpenApiParameter.HEADER, required=True),
        ],
        responses={200: UploadSerializer},
    )
    def append(self, request: Request, pk: str) -> Response:
        offset = request.headers.get(OFFSET_HEADER, "")
        length = request.headers.get("Content-Length", "")
        if request.content_type.partition(";")[0].strip() != PIECE:
            raise UnsupportedMediaType(_("Send %(type)s.") % {"type": PIECE})
        if not _OFFSET.fullmatch(offset):
            raise InvalidInput(_("Say at which byte the piece begins."), param=OFFSET_HEADER)
        if not _OFFSET.fullmatch(length):
            raise InvalidInput(_("Say how long the piece is."), param="Content-Length")
        stream: IO[bytes] = request._request  # type: ignore[assignment]
        row = uploads.append(self.caller, pk, int(offset), stream, length=int(length))
        response = self.answered(row)
        response[OFFSET_HEADER] = str(row.received)
        return response

    @extend_schema(
        summary="Finish an upload",
        description="Checks that all bytes came (409 `upload_incomplete`) and that they hash to"
        " what was announced (422 `digest_mismatch`). Reads all of them: a large upload takes a"
        " second for each gigabyte. Repeating it changes nothing.",
        request=Nothing,
        responses={200: UploadSerializer},
    )
    def finish(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(uploads.finish(self.caller, pk))

    @extend_schema(
        summary="Discard an upload",
        description="Its bytes are deleted; works made from it stay. Repeating it changes nothing.",
        request=Nothing,
        responses={200: UploadSerializer},
    )
    def discard(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(uploads.discard(self.caller, pk))

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response = super().retrieve(request, *args, **kwargs)
        response[OFFSET_HEADER] = str(response.data["offset"])
        response[LENGTH_HEADER] = str(response.data["length"])
        response["Cache-Control"] = "no-store"
        return response


class CollectionWorkViewSet(TenantViewSet):
    """Works that were uploaded. A whole catalogue is an import."""

    model = Work
    serializer_class = WorkSerializer
    scopes = {"create": Scope.WORKS_WRITE, "create_many": Scope.WORKS_WRITE}

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return works.with_forms(rows, seen_by=self.caller)

    @extend_schema(
        summary="Add an uploaded work to a collection",
        description="A finished upload becomes a hosted work, in the collection's next snapshot.",
        request=HostWork,
        responses={201: WorkSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        return self.created(uploads.host(self.caller, pk, **self.read(HostWork)))

    @extend_schema(
        summary="Add uploaded works to a collection",
        description=f"Up to {bulk.ITEMS_MAX}, one after the other, each with a result of its own."
        " One transaction: a refused one leaves no trace and the others stay.",
        request=HostWorks,
        responses={200: WorkResultsSerializer},
    )
    def create_many(self, request: Request, pk: str) -> Response:
        def host(caller: Caller, item: bulk.Item) -> bulk.Done:
            return uploads.host(caller, pk, **item), 201

        def hold(items: list[bulk.Item]) -> None:
            uploads.hold(self.caller, pk, [item["upload"] for item in items])

        return bulk.answered(self, HostWorks, host, hold=hold)

    def collection_url(self) -> str:
        """Of all works: a work's address does not depend on the collection."""
        return reverse("works")
