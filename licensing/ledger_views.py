"""The ledger over HTTP: the public log as C2SP tlog-tiles, and receipts."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from functools import wraps
from math import ceil
from typing import Any, ClassVar

from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.gzip import gzip_page
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    inline_serializer,
)
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from licensing.ledger import (
    proofs,
    receipts,
    rotation,
    sequencer,
    succession,
    tiles,
    witnessing,
)
from licensing.ledger.tree import TILE_WIDTH
from licensing.models import Grant, LedgerEntry
from marketplace.access import Scope, acting
from marketplace.errors import InvalidInput, MethodNotAllowed, NotFound
from marketplace.http import TenantViewSet, problem
from marketplace.typeid import TypeID

TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"

# What is published under such an address never changes: a checkpoint vouches for it.
FOREVER = "public, max-age=31536000, immutable"
# The checkpoint is the one thing that does.
AT_ONCE = "no-cache"

# --- the public log ---------------------------------------------------------------------------

PublicView = Callable[..., HttpResponse]


def _public(view: PublicView) -> PublicView:
    """Let anybody GET; refuse with problem documents, in development too."""

    @csrf_exempt
    @wraps(view)
    def answer(request: HttpRequest, **address: Any) -> HttpResponse:
        if request.method not in {"GET", "HEAD"}:
            refused = problem(request, MethodNotAllowed(_("The ledger is read with GET.")))
            refused["Allow"] = "GET, HEAD"
            return refused
        try:
            return view(request, **address)
        except NotFound as refusal:
            return problem(request, refusal)

    return answer


@_public
def checkpoint(request: HttpRequest, log: str) -> HttpResponse:
    """The newest signed state of a log (C2SP tlog-checkpoint), with its cosignatures."""
    newest = tiles.newest_checkpoint(log)
    frozen = succession.next_of(log)
    if frozen is not None and (newest is None or newest.size < frozen.size):
        # The log never goes back, though not all of that tree is here.
        return _answer(frozen.checkpoint.encode(), TEXT, AT_ONCE)
    if newest is None:
        raise NotFound(_("Nothing is recorded in this log yet."))
    return _answer(witnessing.cosigned_note(newest).encode(), TEXT, AT_ONCE)


@_public
def tile(
    request: HttpRequest, log: str, level: str, path: str, width: str | None = None
) -> HttpResponse:
    """Hashes of one level of the tree: 256, or fewer at its right edge."""
    index, count = _place(path, width)
    return _answer(_found(tiles.tile(log, int(level), index, count)), BYTES, FOREVER)


@_public
@gzip_page
def entries(request: HttpRequest, log: str, path: str, width: str | None = None) -> HttpResponse:
    """The entries of a tile of level 0, each behind its length in two bytes."""
    index, count = _place(path, width)
    return _answer(_found(tiles.entry_bundle(log, index, count)), BYTES, FOREVER)


@_public
def vkey(request: HttpRequest, log: str) -> HttpResponse:
    """The log's verifier keys (C2SP signed-note), the newest first, former ones after it.

    Compare them with a copy from elsewhere.
    """
    found = rotation.published(log)
    if not found:
        raise NotFound(_("This log has no key yet."))
    return _answer("".join(f"{each.vkey()}\n" for each in found).encode(), TEXT, AT_ONCE)


@_public
def key_change(request: HttpRequest, log: str, key_id: str) -> HttpResponse:
    """The proof, signed by a former key, that another has followed it (C2SP tlog-proof)."""
    found = rotation.proof(log, key_id)
    if found is None:
        raise NotFound(_("No such key of this log gave way to another."))
    return _answer(found, receipts.MEDIA_TYPE, FOREVER)


def _place(path: str, width: str | None) -> tuple[int, int]:
    """A tile's index and how many hashes are asked for."""
    index = tiles.parse_index(path)
    count = TILE_WIDTH if width is None else int(width)
    if index is None or not 0 < count <= TILE_WIDTH:
        raise NotFound(_("There is no such tile."))
    if width is not None and count == TILE_WIDTH:
        raise NotFound(_("A whole tile is asked for without its width."))
    return index, count


def _found(data: bytes | None) -> bytes:
    if data is None:
        raise NotFound(_("No checkpoint contains this tile. Fetch the checkpoint first."))
    return data


def _answer(data: bytes, content_type: str, caching: str) -> HttpResponse:
    return HttpResponse(data, content_type=content_type, headers={"Cache-Control": caching})


# --- receipts ---------------------------------------------------------------------------------

WAIT_SECONDS_MAX = 5
_POLL_SECONDS = 0.05
# Whoever waits holds a thread of this process: one at a time, or nobody else would be answered.
_WAITING = threading.Lock()
_WAIT = re.compile(r"[0-9]{1,2}")


class PlainTextRenderer(BaseRenderer):
    """Lets clients ask for text/plain; the receipt itself leaves as its exact bytes."""

    media_type = "text/plain"
    format = "text"
    charset = "utf-8"

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        # A client that takes only text gets what else there is to say in JSON all the same.
        return JSONRenderer().render(data)


class ReceiptViewSet(TenantViewSet):
    """Prove a license without us."""

    model: ClassVar[type[Model]] = Grant
    scopes = {"retrieve": Scope.GRANTS_READ}
    renderer_classes = [JSONRenderer, PlainTextRenderer]

    @extend_schema(
        summary="Fetch a grant's ledger receipt",
        description=(
            "One text file that proves the grant without this server: the recorded entry, what it"
            " commits to, and its place in the signed log. Verify it with"
            " `licet-offline.pyz verify` or any reader of C2SP tlog-proofs. Both parties get it;"
            " it says “issued”, not “still in force”."
        ),
        parameters=[
            OpenApiParameter(
                "wait",
                {"type": "integer", "minimum": 0, "maximum": WAIT_SECONDS_MAX, "default": 0},
                description="Seconds to wait for a receipt that is not there yet. A process waits"
                " for one caller at a time; the others get 202 at once.",
            )
        ],
        responses={
            (200, "text/plain"): OpenApiResponse(OpenApiTypes.STR, description="The receipt file."),
            202: OpenApiResponse(
                inline_serializer(
                    "PendingReceipt",
                    {
                        "object": serializers.ChoiceField(choices=["receipt"]),
                        "status": serializers.ChoiceField(choices=["pending"]),
                    },
                ),
                description="Recorded, and not signed yet: ask again after Retry-After, a second"
                " unless the entry of a private deal is kept back on purpose.",
            ),
        },
    )
    def retrieve(self, request: Request, pk: str) -> HttpResponseBase:
        seconds = _wait_seconds(request)
        found = self.look()
        if found is None:
            # Whoever does not wait here asks again in a second.
            self.hasten()
            if seconds and _WAITING.acquire(blocking=False):
                try:
                    found = self.wait(seconds)
                finally:
                    _WAITING.release()
        if found is None:
            pending = {"object": "receipt", "status": "pending"}
            return Response(pending, status=202, headers={"Retry-After": str(self.seconds())})
        return found

    def look(self) -> HttpResponse | None:
        """The receipt file, if there is one now."""
        with acting(self.caller, writing=False):
            subject, entry = self.recorded()
            receipt = proofs.receipt_for(self.caller, entry)
        return None if receipt is None else _receipt_file(subject, receipt)

    def hasten(self) -> None:
        """Have the log signed as soon as the entry has its place, not when a second is over."""
        with acting(self.caller):
            _subject, entry = self.recorded()
            sequencer.await_receipt(entry)

    def wait(self, seconds: int) -> HttpResponse | None:
        """Look again until there is one, outside any transaction: it would keep old rows alive."""
        deadline = time.monotonic() + seconds
        while (found := self.look()) is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return found

    def seconds(self) -> int:
        """After how many there may be one: more than one where the entry is kept back."""
        with acting(self.caller, writing=False):
            until = sequencer.held_until(self.recorded()[1])
        return 1 if until is None else max(1, ceil((until - timezone.now()).total_seconds()))

    def select(self, rows: Any) -> Any:
        return rows.select_related("issued_entry")

    def recorded(self) -> tuple[TypeID, LedgerEntry]:
        """What the receipt is of, and its entry. Raises NotFound."""
        grant = self.get_object()
        return grant.pk, grant.issued_entry


def _wait_seconds(request: Request) -> int:
    text = request.query_params.get("wait", "0")
    if not _WAIT.fullmatch(text) or int(text) > WAIT_SECONDS_MAX:
        raise InvalidInput(_("Use 0 to %(max)s.") % {"max": WAIT_SECONDS_MAX}, param="wait")
    return int(text)


def _receipt_file(subject: TypeID, receipt: bytes) -> HttpResponse:
    name = f"{subject}{receipts.FILE_SUFFIX}"
    return HttpResponse(
        receipt,
        content_type=receipts.MEDIA_TYPE,
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "private, no-store",
        },
    )
