"""Delivery over HTTP: the manifest's link in the API, manifests and works in their own process."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

from django.db import connection
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from licensing import delivery
from licensing.models import Grant
from marketplace.access import Scope
from marketplace.errors import (
    DomainError,
    InternalError,
    LinkInvalid,
    MethodNotAllowed,
    RangeNotSatisfiable,
)
from marketplace.http import TenantViewSet, problem

logger = logging.getLogger(__name__)

CHUNK_BYTES = 256 * 1024
NDJSON = "application/x-ndjson"

# Other people's bytes, from our origin: no browser may run, show or keep them.
UNTOUCHED = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}

# --- the API ----------------------------------------------------------------------------------


class DeliveryManifestSerializer(serializers.Serializer[Any]):
    """Where to fetch a manifest, and until when."""

    object = serializers.ChoiceField(choices=["delivery_manifest"])
    url = serializers.URLField(help_text="GET it without credentials; it is signed.")
    expires_at = serializers.DateTimeField()


class ManifestViewSet(TenantViewSet):
    """Fetch what you licensed."""

    model = Grant
    scopes = {"retrieve": Scope.DELIVERY_READ}
    serializer_class = DeliveryManifestSerializer

    @extend_schema(
        summary="Get a link to a grant's manifest",
        description=(
            "For the licensee, while the grant is in force. The link leads to the delivery server"
            " and expires; behind it is NDJSON: a head, one line a work with its own signed link,"
            " and a last line with their count. `licet-offline.pyz pull` does all of it."
        ),
        responses=OpenApiResponse(DeliveryManifestSerializer, description="The link."),
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        url, expires_at = delivery.offer_manifest(self.caller, pk)
        body = {"object": "delivery_manifest", "url": url, "expires_at": expires_at}
        return Response(
            self.serializer_class(body).data, headers={"Cache-Control": "private, no-store"}
        )


# --- the delivery process ---------------------------------------------------------------------

DeliveryView = Callable[..., HttpResponseBase]


def _delivers(view: DeliveryView) -> DeliveryView:
    """Let whoever holds a link GET; refuse with problem documents, in development too."""

    @wraps(view)
    def answer(request: HttpRequest, **address: str) -> HttpResponseBase:
        try:
            if request.method not in {"GET", "HEAD"}:
                raise MethodNotAllowed(_("Links are read with GET."))
            return view(request, **address)
        except DomainError as refusal:
            refused = problem(request, refusal)
            if isinstance(refusal, MethodNotAllowed):
                refused["Allow"] = "GET, HEAD"
            if isinstance(refusal, RangeNotSatisfiable):
                refused["Content-Range"] = f"bytes */{refusal.data['length']}"
            return refused
        except Exception:  # the edge: a client of ours reads problem documents only
            logger.exception("a delivery failed")
            return problem(request, InternalError(_("This is our fault, and it was recorded.")))

    return answer


@_delivers
def manifest(request: HttpRequest, grant: str) -> HttpResponseBase:
    """A grant's manifest."""
    link, signature = _link(request, grant, delivery.MANIFEST)
    headers = {**UNTOUCHED, "Content-Disposition": f'attachment; filename="{grant}.ndjson"'}
    delivery.check_manifest(link, signature)
    if request.method == "HEAD":
        return HttpResponse(content_type=NDJSON, headers=headers)
    return StreamingHttpResponse(delivery.manifest(link), content_type=NDJSON, headers=headers)


@_delivers
def work(request: HttpRequest, grant: str, digest: str) -> HttpResponseBase:
    """One work's bytes, or a part of them."""
    link, signature = _link(request, grant, digest)
    found = delivery.open_work(link, signature)
    etag = f'"{digest}"'
    headers = {
        **UNTOUCHED,
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{digest}"',
    }
    if request.headers.get("If-None-Match") in {etag, "*"}:
        return HttpResponse(status=304, headers=headers)
    span = _range(request, etag, found.length)
    start, end = span or (0, found.length)
    headers["Content-Length"] = str(end - start)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.length}"
    status = 200 if span is None else 206
    content_type = "application/octet-stream"
    if request.method == "HEAD":
        return HttpResponse(status=status, content_type=content_type, headers=headers)
    _check_whole(found)
    # A slow client must not keep a connection from the pool while its bytes drip.
    if not connection.in_atomic_block:
        connection.close()
    return StreamingHttpResponse(
        _chunks(found.path, start, end), status=status, content_type=content_type, headers=headers
    )


def health(request: HttpRequest) -> HttpResponse:
    """200 while this process reaches its database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse({"status": "ok"})


_DIGITS = re.compile(r"[1-9][0-9]{0,11}")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def _link(request: HttpRequest, grant: str, subject: str) -> tuple[delivery.Link, str]:
    """The link as it was asked for. Nothing in it is believed before its signature is checked."""
    mode, expires = request.GET.get("mode", ""), request.GET.get("expires", "")
    if mode not in {"test", "live"} or not _DIGITS.fullmatch(expires):
        raise LinkInvalid(_("This link is not whole. Take it from the manifest as it stands."))
    link = delivery.Link(grant, mode == "live", subject, int(expires))
    return link, request.GET.get("signature", "")


def _range(request: HttpRequest, etag: str, length: int) -> tuple[int, int] | None:
    """The single range asked for, as start and end; None for all of it (RFC 9110, 14.2).

    Several ranges, or what does not read as one, are answered with the whole, which is allowed.
    """
    if request.headers.get("If-Range", etag) != etag:
        return None
    asked = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if asked is None or asked.groups() == ("", ""):
        return None
    first, last = asked.groups()
    if not first:
        start, end = max(0, length - int(last)), length
    else:
        start, end = int(first), min(length, int(last) + 1) if last else length
        if last and int(last) < int(first):
            return None
    if start >= end:
        raise RangeNotSatisfiable(
            _("The work has %(length)s bytes.") % {"length": length}, length=length
        )
    return start, end


def _check_whole(found: delivery.Deliverable) -> None:
    """Refuse while that can still be said: once the headers are out, the length is promised."""
    try:
        length = found.path.stat().st_size
    except FileNotFoundError:
        length = 0
    if length != found.length:
        logger.error("the stored work %s is not whole", found.digest.hex())
        raise InternalError(_("The stored work is not whole. This was recorded."))


def _chunks(path: Path, start: int, end: int) -> Iterator[bytes]:
    # Opened by its first reader: a response that nobody reads leaves nothing to close.
    with path.open("rb") as file:
        file.seek(start)
        while start < end:
            chunk = file.read(min(CHUNK_BYTES, end - start))
            if not chunk:
                # The length was promised: breaking off is the only way left to say it failed.
                raise OSError(f"{path.name} ended early")
            start += len(chunk)
            yield chunk
