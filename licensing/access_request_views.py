"""The API's views of access requests, for both of their parties."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from licensing import access_requests
from licensing.listing_serializers import PartySerializer
from licensing.models import AccessRequest
from licensing.serializers import AskedModelBody
from marketplace.access import Scope
from marketplace.http import (
    Body,
    Listing,
    Resource,
    Retrieving,
    StrictCharField,
    TenantViewSet,
    TypeIDSerializerField,
)
from marketplace.serializers import Nothing


class AskForAccess(Body):
    """What a buyer asks for, within the offer's terms."""

    uses = serializers.ListField(child=StrictCharField(max_length=60), min_length=1, max_length=50)
    territories = serializers.ListField(
        child=StrictCharField(max_length=6), min_length=1, max_length=300
    )
    model = AskedModelBody()
    message = StrictCharField(
        max_length=5_000,
        required=False,
        allow_blank=True,
        help_text=gettext_lazy("What the seller should know. The seller reads it."),
    )


class DeclineAccess(Body):
    """The seller's no."""

    reason = StrictCharField(max_length=1_000, help_text=gettext_lazy("The buyer reads it."))


class AskedModelSerializer(serializers.Serializer[Any]):
    """Which model the works are wanted for."""

    name = serializers.CharField(source="model_name")
    version = serializers.CharField(source="model_version")
    release = serializers.ChoiceField(choices=AccessRequest.Release.values, source="model_release")


class AccessRequestSerializer(Resource[AccessRequest]):
    """A buyer's question whether it may license an offer, and the seller's answer."""

    object_name = "access_request"
    listing = TypeIDSerializerField(prefix="off", source="offer_id", read_only=True)
    seller = TypeIDSerializerField(prefix="org", source="licensor_id", read_only=True)
    buyer = PartySerializer(source="licensee", read_only=True)
    model = AskedModelSerializer(source="*", read_only=True)
    status = serializers.ChoiceField(
        choices=AccessRequest.State.values, source="state_now", read_only=True
    )

    class Meta:
        model = AccessRequest
        fields = (
            "id",
            "livemode",
            "listing",
            "seller",
            "buyer",
            "uses",
            "territories",
            "model",
            "message",
            "status",
            "reason",
            "created_at",
            "expires_at",
            "decided_at",
            "canceled_at",
        )
        read_only_fields = fields


class AccessRequestViewSet(Listing, Retrieving, TenantViewSet):
    """What buyers asked about offers on request: those you made, and those made to you."""

    model = AccessRequest
    serializer_class = AccessRequestSerializer
    scopes = {
        "list": Scope.ACCESS_REQUESTS_READ,
        "retrieve": Scope.ACCESS_REQUESTS_READ,
        "approve": Scope.ACCESS_REQUESTS_WRITE,
        "decline": Scope.ACCESS_REQUESTS_WRITE,
        "cancel": Scope.ACCESS_REQUESTS_WRITE,
    }

    def select(self, rows: Any) -> Any:
        rows = rows.select_related("licensee")
        if self.action != "list":
            return rows
        asked = self.request.query_params
        return access_requests.matching(
            self.caller, rows, role=asked.get("role", ""), status=asked.get("status", "")
        )

    @extend_schema(
        summary="List access requests",
        parameters=[
            OpenApiParameter(
                "role", str, enum=["buyer", "seller"], description="Your part in them."
            ),
            OpenApiParameter("status", str, enum=AccessRequest.State.values),
        ],
    )
    def list(self, request: Request) -> Response:
        return super().list(request)

    @extend_schema(summary="Fetch an access request")
    def retrieve(self, request: Request, pk: str) -> Response:
        return super().retrieve(request, pk=pk)

    @extend_schema(
        summary="Approve an access request",
        description=(
            "The seller's. The buyer may quote the offer for what it asked for, until `expires_at`."
            " Repeating it changes nothing."
        ),
        request=Nothing,
        responses={200: AccessRequestSerializer},
    )
    def approve(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(access_requests.approve(self.caller, pk))

    @extend_schema(
        summary="Decline an access request",
        description="The seller's. Repeating it changes nothing.",
        request=DeclineAccess,
        responses={200: AccessRequestSerializer},
    )
    def decline(self, request: Request, pk: str) -> Response:
        return self.answered(access_requests.decline(self.caller, pk, **self.read(DeclineAccess)))

    @extend_schema(
        summary="Cancel an access request",
        description=(
            "The buyer's: takes the question back, or gives the approval up. Repeating it changes"
            " nothing."
        ),
        request=Nothing,
        responses={200: AccessRequestSerializer},
    )
    def cancel(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(access_requests.cancel(self.caller, pk))


class ListingAccessRequestViewSet(TenantViewSet):
    """The way to an offer that is sold on request."""

    model = AccessRequest
    serializer_class = AccessRequestSerializer
    scopes = {"create": Scope.ACCESS_REQUESTS_WRITE}

    @extend_schema(
        summary="Ask to license an offer",
        description=(
            "For an offer whose `access` is “on_request”. The seller approves or declines; without"
            " an answer the request expires. One open request about one offer at a time."
        ),
        request=AskForAccess,
        responses={201: AccessRequestSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        return self.created(access_requests.ask(self.caller, pk, **self.read(AskForAccess)))

    def collection_url(self) -> str:
        return "/v1/access-requests"
