"""The API's view of what image files say of their rights, and of who answered for it."""

from __future__ import annotations

from typing import Any

from django.db.models import Model, QuerySet
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import embedded_rights
from marketplace.access import Scope
from marketplace.http import (
    Body,
    Listing,
    Resource,
    StrictBooleanField,
    StrictCharField,
    TenantViewSet,
)
from marketplace.models import EmbeddedRights, RightsOverride
from marketplace.serializers import HexField


class ProhibitionSerializer(Resource[EmbeddedRights]):
    """A file that prohibits data mining, in its own words."""

    object_name = "prohibition"
    digest = HexField(read_only=True, help_text=_("SHA-256 of the work's exact bytes."))

    class Meta:
        model = EmbeddedRights
        fields = ("digest", "creator", "copyright_notice", "data_mining", "read_at")
        read_only_fields = fields


class RightsOverrideSerializer(Resource[RightsOverride]):
    """A person's answer for works whose files prohibit data mining."""

    object_name = "rights_override"

    class Meta:
        model = RightsOverride
        fields = (
            "id",
            "collection",
            "statement",
            "person_name",
            "person_title",
            "works",
            "made_at",
        )
        read_only_fields = fields


class OverrideRights(Body):
    """Why the works may be licensed all the same, and who says so."""

    statement = StrictCharField(max_length=5_000, help_text=_("In the person's own words."))
    person_name = StrictCharField(max_length=200, help_text=_("Who states it."))
    person_title = StrictCharField(max_length=200, help_text=_("As what, such as “Archivist”."))
    authority = StrictBooleanField(help_text=_("I have authority to bind the organization."))


class ProhibitionViewSet(Listing, TenantViewSet):
    """What keeps a collection of images from being listed."""

    model = EmbeddedRights
    serializer_class = ProhibitionSerializer
    scopes = {"list": Scope.COLLECTIONS_READ}

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return super().get_queryset()
        return embedded_rights.prohibiting(self.caller, self.kwargs["pk"])

    @extend_schema(
        summary="List files that prohibit data mining",
        description="Images in the collection whose own metadata (PLUS in XMP) prohibits data "
        "mining, for which nobody has answered. While there is one, no offer is published.",
    )
    def list(self, request: Request, pk: str) -> Response:
        return super().list(request)


class RightsOverrideViewSet(Listing, TenantViewSet):
    """Who answered for prohibitions, and why. Never changed, never deleted."""

    model = RightsOverride
    serializer_class = RightsOverrideSerializer
    scopes = {"list": Scope.COLLECTIONS_READ, "create": Scope.COLLECTIONS_WRITE}

    def get_queryset(self) -> QuerySet[Any]:
        if self.action != "list" or getattr(self, "swagger_fake_view", False):
            return super().get_queryset()
        return embedded_rights.overrides(self.caller, self.kwargs["pk"])

    @extend_schema(summary="List who answered for prohibitions")
    def list(self, request: Request, pk: str) -> Response:
        return super().list(request)

    @extend_schema(
        summary="Answer for files that prohibit data mining",
        description="For those that are in the collection now. Needs an attestation of the "
        "collection's rights basis first; stands on record with the person's name.",
        request=OverrideRights,
        responses={201: RightsOverrideSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        return self.created(embedded_rights.override(self.caller, pk, **self.read(OverrideRights)))

    def created(self, row: Model) -> Response:
        """201, and the list's address: an override has none of its own."""
        response = super().created(row)
        response["Location"] = self.collection_url()
        return response
