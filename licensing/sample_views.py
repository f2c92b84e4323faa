"""The API's view of a seller's choice of a sample."""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from licensing import samples
from licensing.models import Sample
from licensing.optout_serializers import DigestField
from marketplace.access import Scope, acting
from marketplace.http import Body, Resource, StrictCharField, TenantViewSet, TypeIDSerializerField


class ChooseSample(Body):
    """Works of the offer's snapshot, named in exactly one way."""

    works = serializers.ListField(
        child=TypeIDSerializerField(prefix="wrk"),
        required=False,
        min_length=1,
        max_length=samples.NAMED_MAX,
        help_text=_("A work comes with every representation that the snapshot has of it."),
    )
    external_ids = serializers.ListField(
        child=StrictCharField(max_length=1000),
        required=False,
        min_length=1,
        max_length=samples.NAMED_MAX,
    )
    digests = serializers.ListField(
        child=DigestField(),
        required=False,
        min_length=1,
        max_length=samples.NAMED_MAX,
        help_text=_("SHA-256 of the bytes: these representations, and no others."),
    )


class SampleSerializer(Resource[Sample]):
    """Works of an offer that each buyer may evaluate once, for free."""

    object_name = "sample"
    sample_offer = TypeIDSerializerField(
        prefix="off",
        source="sample_offer_id",
        read_only=True,
        help_text=_("Holds the terms. Withdraw it to offer no sample any more."),
    )
    snapshot = TypeIDSerializerField(
        prefix="snp", source="sample_offer.snapshot_id", read_only=True
    )
    terms = TypeIDSerializerField(prefix="trm", source="sample_offer.terms_id", read_only=True)
    works = serializers.IntegerField(read_only=True, help_text=_("How many, when chosen."))

    class Meta:
        model = Sample
        fields = ("id", "offer", "sample_offer", "snapshot", "terms", "works", "chosen_at")
        read_only_fields = fields


class OfferSampleViewSet(TenantViewSet):
    """What of an offer its buyers may evaluate for free."""

    model = Sample
    serializer_class = SampleSerializer
    scopes = {"retrieve": Scope.OFFERS_READ, "create": Scope.OFFERS_WRITE}

    def select(self, rows: Any) -> Any:
        return rows.select_related("sample_offer")

    @extend_schema(summary="Fetch the sample of your offer", responses=SampleSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        with acting(self.caller, writing=False):
            sample = samples.chosen(self.caller, pk)
        return self.answered(sample)

    @extend_schema(
        summary="Choose the sample of your offer",
        description=(
            "Freezes up to 1,000 works of the offer's snapshot, which each buyer may take once: at"
            " once, for free, to evaluate and nothing else. Replaces what was chosen before; who"
            " took that keeps it. Works that are opted out or held are refused."
        ),
        request=ChooseSample,
        responses={201: SampleSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        return self.created(samples.choose(self.caller, pk, **self.read(ChooseSample)))

    def created(self, row: Model) -> Response:
        """201, and the one address of what is chosen now."""
        response = super().created(row)
        response["Location"] = self.collection_url()
        return response
