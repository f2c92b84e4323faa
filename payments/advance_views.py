"""The API's view of advances on collections, and its bodies."""

from __future__ import annotations

from typing import Any

from django.db.models import Model, QuerySet
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import money
from marketplace.access import Scope
from marketplace.http import Listing, Resource, TenantViewSet, TypeIDSerializerField
from payments import advances
from payments.models import RoyaltyAdvanceLine
from payments.royalty_serializers import RecordAdvance


class RoyaltyAdvanceLineSerializer(Resource[RoyaltyAdvanceLine]):
    """One movement of what is open of a collection's advances."""

    object_name = "royalty_advance_line"
    collection = TypeIDSerializerField(prefix="col", source="collection_id", read_only=True)
    number = serializers.IntegerField(
        read_only=True, help_text=_("From 1 without a gap, by mode and currency.")
    )
    moved_minor = serializers.IntegerField(
        read_only=True, help_text=_("Given, or open again; negative: paid back by a pool.")
    )
    open_minor = serializers.IntegerField(read_only=True, help_text=_("Not paid back after it."))
    allocation = TypeIDSerializerField(
        prefix="ral",
        source="allocation_id",
        read_only=True,
        allow_null=True,
        help_text=_("The pool that paid it back, or no longer does. Null: you gave it."),
    )
    reference = serializers.SerializerMethodField(
        help_text=_("Your own word for what you gave. Null: a pool moved it.")
    )

    class Meta:
        model = RoyaltyAdvanceLine
        fields = [
            "id",
            "livemode",
            "collection",
            "currency",
            "number",
            "moved_minor",
            "open_minor",
            "allocation",
            "reference",
            "created_at",
        ]
        read_only_fields = fields

    def get_reference(self, line: RoyaltyAdvanceLine) -> str | None:
        return line.reference or None


class CollectionAdvanceViewSet(Listing, TenantViewSet):
    """What you paid ahead of a collection's royalties, and what its sales paid back."""

    model = RoyaltyAdvanceLine
    serializer_class = RoyaltyAdvanceLineSerializer
    scopes = {"create": Scope.ROYALTIES_WRITE, "list": Scope.ROYALTIES_READ}

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        if self.action != "list":
            return rows
        rows = rows.filter(collection=advances.find(self.caller, self.kwargs["pk"]))
        currency = self.request.query_params.get("currency")
        if currency is None:
            return rows
        money.currency(currency)
        return rows.filter(currency=currency)

    @extend_schema(
        summary="List the movements of a collection's advances",
        description="Each says what is open after it: the first one of a currency, what is now.",
        parameters=[OpenApiParameter("currency", str, description="Of this currency only.")],
    )
    def list(self, request: Request, pk: str) -> Response:
        return super().list(request)

    @extend_schema(
        summary="Record an advance on a collection",
        description=(
            "The pools of its sales pay it back before contributors have a share of them, from now"
            " on. Its reference makes it one."
        ),
        request=RecordAdvance,
        responses={201: RoyaltyAdvanceLineSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        return self.created(advances.give(self.caller, pk, **self.read(RecordAdvance)))

    def created(self, row: Model) -> Response:
        """201, and the list's address: a movement has none of its own."""
        response = super().created(row)
        response["Location"] = self.collection_url()
        return response
