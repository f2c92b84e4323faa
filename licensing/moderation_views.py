"""The API's views of what operators decided about your works, and of your appeals."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from licensing import moderation
from licensing.models import Appeal, ModerationDecision
from marketplace.access import Scope
from marketplace.http import (
    Body,
    InstantField,
    Listing,
    Resource,
    Retrieving,
    StrictCharField,
    TenantViewSet,
    TypeIDSerializerField,
)


class AppealDecision(Body):
    """Why the decision is wrong."""

    reasons = StrictCharField(max_length=5_000, help_text=_("Another operator reads it."))


class AppealSerializer(serializers.Serializer[Any]):
    """Your appeal, and its answer."""

    id = TypeIDSerializerField(prefix="apl", source="pk")
    state = serializers.ChoiceField(choices=Appeal.State.values)
    reasons = serializers.CharField()
    filed_at = InstantField()
    answer = serializers.CharField()
    answered_at = InstantField(allow_null=True)


class ModerationDecisionSerializer(Resource[ModerationDecision]):
    """What an operator decided about what you sell, with the statement of reasons."""

    object_name = "moderation_decision"
    digests = serializers.ListField(child=serializers.CharField(), read_only=True)
    appeal = serializers.SerializerMethodField()
    appeal_possible_until = serializers.SerializerMethodField()

    class Meta:
        model = ModerationDecision
        fields = (
            "id",
            "measure",
            "offer",
            "digests",
            "facts",
            "ground",
            "reference",
            "automation",
            "follows_report",
            "until",
            "state",
            "decided_at",
            "ended_at",
            "end_reason",
            "appeal_possible_until",
            "appeal",
        )
        read_only_fields = fields

    @extend_schema_field(AppealSerializer(allow_null=True))
    def get_appeal(self, row: ModerationDecision) -> Any:
        found = [each for each in row.appeals.all() if each.by == Appeal.By.SELLER]
        return AppealSerializer(found[0]).data if found else None

    @extend_schema_field(serializers.DateTimeField())
    def get_appeal_possible_until(self, row: ModerationDecision) -> Any:
        return InstantField().to_representation(moderation.appeal_ends(row))


@extend_schema_view(
    list=extend_schema(summary="List the decisions about what you sell"),
    retrieve=extend_schema(summary="Fetch a decision about what you sell"),
)
class ModerationDecisionViewSet(Listing, Retrieving, TenantViewSet):
    """What operators of this market decided about your listings and works, and why."""

    model = ModerationDecision
    serializer_class = ModerationDecisionSerializer
    scopes = {
        "list": Scope.OFFERS_READ,
        "retrieve": Scope.OFFERS_READ,
        "appeal": Scope.OFFERS_WRITE,
    }

    def select(self, rows: Any) -> Any:
        return rows.prefetch_related("appeals")

    @extend_schema(
        summary="Appeal a decision about what you sell",
        description=(
            "Within six months, once. Another operator than who decided answers. Where you are"
            " right, what the decision did is undone. Repeating it changes nothing."
        ),
        request=AppealDecision,
        responses={200: ModerationDecisionSerializer},
    )
    def appeal(self, request: Request, pk: str) -> Response:
        return self.answered(moderation.appeal(self.caller, pk, **self.read(AppealDecision)))
