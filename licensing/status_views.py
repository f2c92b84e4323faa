"""Status proofs over HTTP: how a grant stands, provable without this server."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from django.http import HttpResponse, HttpResponseBase
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    inline_serializer,
)
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from licensing import status, status_proofs
from licensing.ledger import commitments, log, sequencer
from licensing.models import Grant, StatusRoot
from marketplace.access import Scope, acting
from marketplace.errors import InvalidInput, StatusNotRecorded
from marketplace.http import TenantViewSet

_ROOT_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")


class StatusProofViewSet(TenantViewSet):
    """Prove whether a license is in force."""

    model = Grant
    scopes = {"retrieve": Scope.GRANTS_READ}
    renderer_classes = [JSONRenderer]

    @extend_schema(
        summary="Fetch the proof of a grant's status",
        description=(
            "One JSON file that proves how the grant stood (active, suspended, revoked or expired)"
            " as of a moment: once a day, and within a minute of a changed status, the ledger"
            " commits to the states of all grants. Check it beside the grant's receipt:"
            " `licet-offline.pyz verify RECEIPT --key … --status FILE`. Both parties get it. A"
            " grant that is in no such commitment yet has none (`status_not_recorded`), and"
            " `next_due_at` says when there will be one at the latest."
        ),
        parameters=[
            OpenApiParameter(
                "as_of",
                OpenApiTypes.STR,
                description="An instant (RFC 3339), or the number of a status root: the newest"
                " root at or before it. Default: the newest.",
            )
        ],
        responses={
            200: OpenApiResponse(
                OpenApiTypes.OBJECT, description="The status proof, in canonical JSON."
            ),
            202: OpenApiResponse(
                inline_serializer(
                    "PendingStatusProof",
                    {
                        "object": serializers.ChoiceField(choices=["status_proof"]),
                        "status": serializers.ChoiceField(choices=["pending"]),
                    },
                ),
                description="Recorded, and not signed yet: ask again in a second.",
            ),
        },
    )
    def retrieve(self, request: Request, pk: str) -> HttpResponseBase:
        with acting(self.caller, writing=False):
            grant = self.get_object()
            root = _root(grant, _as_of(request))
            data = status.proof(root, grant)
        if data is not None:
            return _file(grant, data)
        with acting(self.caller):
            sequencer.await_receipt(root.entry)
        pending = {"object": "status_proof", "status": "pending"}
        return Response(pending, status=202, headers={"Retry-After": "1"})


def _as_of(request: Request) -> datetime | int | None:
    text = request.query_params.get("as_of")
    if text is None:
        return None
    if _ROOT_NUMBER.fullmatch(text):
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidInput(
            _("Give an instant such as 2027-03-01T00:00:00Z, or the number of a status root."),
            param="as_of",
        )
    return at


def _root(grant: Grant, as_of: datetime | int | None) -> StatusRoot:
    name = log.name(livemode=grant.livemode)
    root = status.newest(name, as_of)
    if root is None or not status.contains(root, grant):
        raise StatusNotRecorded(
            _("No status root that you ask for contains this grant. Ask again after the next one."),
            next_due_at=commitments.timestamp(status.next_due(name)),
        )
    return root


def _file(grant: Any, data: bytes) -> HttpResponse:
    name = f"{grant.pk}{status_proofs.FILE_SUFFIX}"
    return HttpResponse(
        data,
        content_type=status_proofs.MEDIA_TYPE,
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "private, no-store",
        },
    )
