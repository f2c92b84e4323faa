"""Delivery over HTTP: the manifest's link in the API, manifests and works in their own process."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict
from functools import wraps
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

from licensing import delivery, shards
from licensing.delivery_counts import Meter, What
from licensing.links import MANIFEST, SHARDS, Link
from licensing.models import Grant
from marketplace import storage
from marketplace.access import Scope
from marketplace.errors import (
    DomainError,
    InternalError,
    LinkInvalid,
    MethodNotAllowed,
    NotFound,
    RangeNotSatisfiable,
)
from marketplace.http import Body, StrictRegexField, TenantViewSet, problem
from marketplace.models import Representation

logger = logging.getLogger(__name__)

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


class ShardLinksSerializer(serializers.Serializer[Any]):
    """Where a manifest's hosted works are, as tar archives."""

    url = serializers.CharField(help_text="Replace `{shard}` by a number.")
    index = serializers.CharField(help_text="NDJSON: which work stands where.")


class FreshLinkSerializer(serializers.Serializer[Any]):
    """One work's new link, or why there is none."""

    digest = serializers.CharField()
    custody = serializers.ChoiceField(choices=Representation.Custody.choices, allow_null=True)
    url = serializers.CharField(allow_null=True)
    excluded = serializers.CharField(
        allow_null=True,
        help_text="`opted_out`, `held`, `claimed`, or `not_covered`: this grant has no such work.",
    )


class DeliveryLinksSerializer(serializers.Serializer[Any]):
    """New links, in the order in which they were asked for."""

    object = serializers.ChoiceField(choices=["delivery_links"])
    expires_at = serializers.DateTimeField()
    manifest = serializers.CharField(
        help_text="What the grant's manifest is called now. Another name: fetch it again."
    )
    shards = ShardLinksSerializer()
    works = FreshLinkSerializer(many=True)


class AskLinks(Body):
    """Which works."""

    digests = serializers.ListField(
        child=StrictRegexField(r"\A[0-9a-f]{64}\Z", trim_whitespace=False),
        max_length=1000,
        help_text="SHA-256 in hex, as the manifest names them. Empty for the shards' links alone.",
    )

    def validate_digests(self, digests: list[str]) -> list[bytes]:
        return [bytes.fromhex(digest) for digest in digests]


class LinksViewSet(TenantViewSet):
    """Go on with what takes longer than its links live."""

    model = Grant
    scopes = {"create": Scope.DELIVERY_READ}
    serializer_class = DeliveryLinksSerializer

    @extend_schema(
        summary="Get new links to a grant's works",
        description=(
            "For the licensee, while the grant is in force. A long pull goes on with these, without"
            " fetching the whole manifest again. A work that was taken out meanwhile has no link,"
            " and says why."
        ),
        request=AskLinks,
        responses={200: OpenApiResponse(DeliveryLinksSerializer, description="The links.")},
    )
    def create(self, request: Request, pk: str) -> Response:
        made = delivery.links(self.caller, pk, **self.read(AskLinks))
        body = {"object": "delivery_links", **asdict(made)}
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
    link, signature = _link(request, grant, MANIFEST)
    headers = {**UNTOUCHED, "Content-Disposition": f'attachment; filename="{grant}.ndjson"'}
    meter = delivery.check_manifest(link, signature)
    if request.method == "HEAD":
        return HttpResponse(content_type=NDJSON, headers=headers)
    content = meter.counted(delivery.manifest(link))
    return StreamingHttpResponse(content, content_type=NDJSON, headers=headers)


@_delivers
def work(request: HttpRequest, grant: str, digest: str) -> HttpResponseBase:
    """One work's bytes, or a part of them."""
    link, signature = _link(request, grant, digest)
    found = delivery.open_work(link, signature)
    if found.remote_url is not None:
        if request.method != "HEAD":
            found.meter.redirected(found.length)
        # 307: the same method again, and its Range with it. Nobody may keep where it leads.
        return HttpResponse(status=307, headers={**UNTOUCHED, "Location": found.remote_url})
    answer = _Answer(request, name=digest, etag=digest, length=found.length)
    if answer.has_bytes:
        _check_whole(found)
    return answer.stream(lambda start, end: storage.chunks(found.digest, start, end), found.meter)


@_delivers
def shard(request: HttpRequest, grant: str, manifest: str, number: str) -> HttpResponseBase:
    """One tar archive of a manifest's works, or a part of it."""
    link, signature = _link(request, grant, SHARDS + manifest)
    layout, meter = delivery.open_shards(link, signature, What.SHARDS)
    if int(number) >= len(layout.shards):
        raise NotFound(_("This manifest has no such shard."))
    found = layout.shards[int(number)]
    name = f"{manifest}-{found.number}"
    answer = _Answer(request, name=f"{name}.tar", etag=name, length=found.length)
    groups: Iterator[list[shards.Member]] = iter(())
    first: list[shards.Member] = []
    if answer.has_bytes:
        groups = layout.groups(found, answer.start, answer.end)
        # Refused while that can still be said.
        first = next(groups, [])
        delivery.check_members(link, first)

    def content(start: int, end: int) -> Generator[bytes]:
        yield from shards.chunks(first, start, end)
        for group in groups:
            # What is opted out while this streams is not sent: the archive breaks off before it.
            delivery.check_members(link, group)
            _let_go_of_connection()
            yield from shards.chunks(group, start, end)
        yield shards.tail(found, start, end)

    return answer.stream(content, meter)


@_delivers
def shard_index(request: HttpRequest, grant: str, manifest: str) -> HttpResponseBase:
    """Which work stands where in the shards of a manifest."""
    link, signature = _link(request, grant, SHARDS + manifest)
    layout, meter = delivery.open_shards(link, signature, What.MANIFESTS)
    headers = {**UNTOUCHED, "Content-Disposition": f'attachment; filename="{manifest}.ndjson"'}
    if request.method == "HEAD":
        return HttpResponse(content_type=NDJSON, headers=headers)
    _let_go_of_connection()
    content = meter.counted(delivery.index(manifest, layout))
    return StreamingHttpResponse(content, content_type=NDJSON, headers=headers)


class _Answer:
    """Bytes of a known length under a strong ETag, whole or one range of them (RFC 9110)."""

    def __init__(self, request: HttpRequest, *, name: str, etag: str, length: int) -> None:
        self._request = request
        self._headers = {
            **UNTOUCHED,
            "ETag": f'"{etag}"',
            "Accept-Ranges": "bytes",
            "Content-Disposition": f'attachment; filename="{name}"',
        }
        self._is_known = request.headers.get("If-None-Match") in {f'"{etag}"', "*"}
        span = None if self._is_known else _range(request, f'"{etag}"', length)
        self._status = 200 if span is None else 206
        self.start, self.end = span or (0, length)
        self._headers["Content-Length"] = str(self.end - self.start)
        if span is not None:
            self._headers["Content-Range"] = f"bytes {self.start}-{self.end - 1}/{length}"

    @property
    def has_bytes(self) -> bool:
        return not self._is_known and self._request.method != "HEAD"

    def stream(
        self, content: Callable[[int, int], Generator[bytes]], meter: Meter
    ) -> HttpResponseBase:
        if self._is_known:
            del self._headers["Content-Length"]
            return HttpResponse(status=304, headers=self._headers)
        answered: Any = {
            "status": self._status,
            "content_type": "application/octet-stream",
            "headers": self._headers,
        }
        if not self.has_bytes:
            return HttpResponse(**answered)
        _let_go_of_connection()
        return StreamingHttpResponse(meter.counted(content(self.start, self.end)), **answered)


def _let_go_of_connection() -> None:
    """A slow client must not keep a connection from the pool while its bytes drip."""
    if not connection.in_atomic_block:
        connection.close()


def health(request: HttpRequest) -> HttpResponse:
    """200 while this process reaches its database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse({"status": "ok"})


_DIGITS = re.compile(r"[1-9][0-9]{0,11}")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def _link(request: HttpRequest, grant: str, subject: str) -> tuple[Link, str]:
    """The link as it was asked for. Nothing in it is believed before its signature is checked."""
    mode, expires = request.GET.get("mode", ""), request.GET.get("expires", "")
    if mode not in {"test", "live"} or not _DIGITS.fullmatch(expires):
        raise LinkInvalid(_("This link is not whole. Take it from the manifest as it stands."))
    link = Link(grant, mode == "live", subject, int(expires))
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
            _("There are %(length)s bytes.") % {"length": length}, length=length
        )
    return start, end


def _check_whole(found: delivery.Deliverable) -> None:
    """Refuse while that can still be said: once the headers are out, the length is promised."""
    if storage.length(found.digest) != found.length:
        logger.error("the stored work %s is not whole", found.digest.hex())
        raise InternalError(_("The stored work is not whole. This was recorded."))
