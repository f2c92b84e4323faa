"""The API's view of a listing's sample, for its buyers."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from licensing import grants
from licensing.models import Grant
from licensing.serializers import GrantSerializer
from marketplace import metadata
from marketplace.access import Scope
from marketplace.http import Body, ObjectField, TenantViewSet, TypeIDSerializerField
from marketplace.serializers import HexField
from payments import samples
from payments.serializers import AcceptBody


class TakeSample(Body):
    """The acceptance of a sample's document."""

    starts_at = serializers.DateTimeField(
        help_text=_("As the document was shown with, at most an hour ago.")
    )
    accept = AcceptBody()


class ListingSampleSerializer(serializers.Serializer[Any]):
    """A listing's sample, with the contract that taking it makes."""

    object = ObjectField(name="listing_sample")
    listing = TypeIDSerializerField(prefix="off", source="listing.pk", read_only=True)
    works = serializers.IntegerField(source="sample.works", help_text=_("How many, when chosen."))
    opted_out = serializers.IntegerField(
        help_text=_("How many of them were taken out since, and are not delivered.")
    )
    starts_at = serializers.DateTimeField(help_text=_("An acceptance repeats it."))
    document_sha256 = HexField(
        source="quote.document_sha256",
        help_text=_("SHA-256 of the document's UTF-8 bytes: an acceptance names it."),
    )
    document = serializers.CharField(
        source="quote.document", help_text=_("The whole contract, exactly as it is accepted.")
    )
    grant = TypeIDSerializerField(
        prefix="grt",
        source="grant.pk",
        allow_null=True,
        default=None,
        help_text=_("The grant, where your organization took a sample of this listing before."),
    )


class ListingSampleViewSet(TenantViewSet):
    """A few works of a listing, to evaluate for free before buying the rest."""

    model = Grant
    serializer_class = GrantSerializer
    scopes = {"retrieve": Scope.QUOTES_READ, "create": Scope.ORDERS_WRITE}

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return metadata.beside(grants.whole(rows), self.caller)

    @extend_schema(
        summary="Read a listing's sample, and its document",
        description=(
            "The contract that taking the sample makes: evaluation only, for free. Changes nothing."
            " Accept it by POST within an hour, with its `starts_at` and `document_sha256`."
        ),
        responses=ListingSampleSerializer,
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(ListingSampleSerializer(samples.show(self.caller, pk)).data)

    @extend_schema(
        summary="Take a listing's sample",
        description=(
            "Answers the grant, which is given at once. An organization takes one sample of a"
            " listing in each mode: a repeat answers the same grant, with 200."
        ),
        request=TakeSample,
        responses={200: GrantSerializer, 201: GrantSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        grant, is_new = samples.take(self.caller, pk, **self.read(TakeSample))
        return self.created(grant) if is_new else self.answered(grant)

    def collection_url(self) -> str:
        return "/v1/grants"
