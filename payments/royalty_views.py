"""The API's views of royalties: rules, allocations, statements, advances and payouts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.models import Model, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace.access import Scope
from marketplace.errors import InvalidInput
from marketplace.http import Listing, Retrieving, TenantViewSet
from payments import payouts, royalties, royalty_payments, royalty_statements
from payments.models import (
    RoyaltyAdvance,
    RoyaltyAllocation,
    RoyaltyPayment,
    RoyaltyPayout,
    RoyaltyRule,
)
from payments.royalty_serializers import (
    ConfirmPayout,
    PaidOutside,
    PreviewPayout,
    PreviewRule,
    RecordAdvance,
    RoyaltyAdvanceSerializer,
    RoyaltyAllocationSerializer,
    RoyaltyPaymentSerializer,
    RoyaltyPayoutPreviewSerializer,
    RoyaltyPayoutSerializer,
    RoyaltyPreviewSerializer,
    RoyaltyRuleSerializer,
    RoyaltyStatementSerializer,
    SetRule,
)


@extend_schema_view(
    list=extend_schema(summary="List your royalty rules, all versions"),
    retrieve=extend_schema(summary="Fetch a royalty rule"),
)
class RoyaltyRuleViewSet(Listing, Retrieving, TenantViewSet):
    """What the contributors of a collection get of its sales."""

    model = RoyaltyRule
    serializer_class = RoyaltyRuleSerializer
    scopes = {
        "create": Scope.ROYALTIES_WRITE,
        "list": Scope.ROYALTIES_READ,
        "retrieve": Scope.ROYALTIES_READ,
    }

    @extend_schema(
        summary="Set a collection's royalty rule",
        description=(
            "A new version, from now on or from a later instant. Orders keep the rule that they"
            " were placed under. Of both modes, as the collection is."
        ),
        request=SetRule,
        responses={201: RoyaltyRuleSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.created(royalties.set_rule(self.caller, **self.read(SetRule)))


class RoyaltyPreviewViewSet(TenantViewSet):
    """What a rule would bring to whom."""

    model = RoyaltyRule
    serializer_class = RoyaltyPreviewSerializer
    scopes = {"create": Scope.ROYALTIES_READ}
    only_asks = True

    @extend_schema(
        summary="Preview a royalty rule",
        description="Who would get how much of a sale of the collection as it is now.",
        request=PreviewRule,
        responses={200: RoyaltyPreviewSerializer},
    )
    def create(self, request: Request) -> Response:
        preview = royalties.preview(self.caller, **self.read(PreviewRule))
        return Response(RoyaltyPreviewSerializer(preview).data)


@extend_schema_view(
    list=extend_schema(summary="List what was shared out"),
    retrieve=extend_schema(summary="Fetch an allocation of royalties"),
)
class RoyaltyAllocationViewSet(Listing, Retrieving, TenantViewSet):
    """Pools of sales, shared out among contributors, and what was taken back of them."""

    model = RoyaltyAllocation
    serializer_class = RoyaltyAllocationSerializer
    scopes = {"list": Scope.ROYALTIES_READ, "retrieve": Scope.ROYALTIES_READ}

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.select_related("base")


class RoyaltyStatementViewSet(TenantViewSet):
    """What a contributor earned and was paid."""

    model = RoyaltyPayment
    serializer_class = RoyaltyStatementSerializer
    scopes = {"retrieve": Scope.ROYALTIES_READ}

    @extend_schema(
        summary="Fetch a contributor's royalty statement",
        description=(
            "Line by line; each line can be computed again from what it says (see the guide)."
        ),
        parameters=[
            OpenApiParameter("currency", str, required=True),
            OpenApiParameter("from", datetime, description="Without it: from the beginning."),
            OpenApiParameter("to", datetime, description="Without it: until now."),
        ],
        responses=RoyaltyStatementSerializer,
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        asked = request.query_params
        found = royalty_statements.of(
            self.caller,
            pk,
            currency=asked.get("currency", ""),
            begins_at=_instant(asked.get("from"), "from", datetime(2000, 1, 1, tzinfo=UTC)),
            ends_at=_instant(asked.get("to"), "to", timezone.now()),
        )
        return Response(RoyaltyStatementSerializer(found).data)


class RoyaltyAdvanceViewSet(Listing, TenantViewSet):
    """What was paid to a contributor ahead of royalties."""

    model = RoyaltyAdvance
    serializer_class = RoyaltyAdvanceSerializer
    scopes = {"create": Scope.ROYALTIES_WRITE, "list": Scope.ROYALTIES_READ}

    def get_queryset(self) -> QuerySet[Any]:
        if self.action != "list" or getattr(self, "swagger_fake_view", False):
            return super().get_queryset()
        # The 404 of a contributor who is not the caller's, not an empty list.
        return payouts.advances(self.caller, self.kwargs["pk"])

    @extend_schema(summary="List the advances to a contributor")
    def list(self, request: Request, pk: str) -> Response:
        return super().list(request)

    @extend_schema(
        summary="Record an advance to a contributor",
        description="What the contributor earns pays it back first. Its reference makes it one.",
        request=RecordAdvance,
        responses={201: RoyaltyAdvanceSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        return self.created(payouts.advance(self.caller, pk, **self.read(RecordAdvance)))

    def created(self, row: Model) -> Response:
        """201, and the list's address: an advance has none of its own."""
        response = super().created(row)
        response["Location"] = self.collection_url()
        return response


@extend_schema_view(
    list=extend_schema(summary="List payouts of royalties"),
    retrieve=extend_schema(summary="Fetch a payout of royalties"),
)
class RoyaltyPayoutViewSet(Listing, Retrieving, TenantViewSet):
    """Batches of payments to contributors."""

    model = RoyaltyPayout
    serializer_class = RoyaltyPayoutSerializer
    scopes = {
        "create": Scope.ROYALTIES_WRITE,
        "list": Scope.ROYALTIES_READ,
        "retrieve": Scope.ROYALTIES_READ,
    }

    @extend_schema(
        summary="Confirm a payout of royalties",
        description=(
            "Names the figures of a preview: 409 `royalty_payout_changed` where they are no longer"
            " true. Contributors with an account that can be paid are sent their money; pay the"
            " others yourself, and say so."
        ),
        request=ConfirmPayout,
        responses={201: RoyaltyPayoutSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.created(payouts.confirm(self.caller, **self.read(ConfirmPayout)))


class RoyaltyPayoutPreviewViewSet(TenantViewSet):
    """What a payout would move now."""

    model = RoyaltyPayout
    serializer_class = RoyaltyPayoutPreviewSerializer
    scopes = {"create": Scope.ROYALTIES_READ}
    only_asks = True

    @extend_schema(
        summary="Preview a payout of royalties",
        request=PreviewPayout,
        responses={200: RoyaltyPayoutPreviewSerializer},
    )
    def create(self, request: Request) -> Response:
        preview = payouts.preview(self.caller, **self.read(PreviewPayout))
        return Response(RoyaltyPayoutPreviewSerializer(preview).data)


class RoyaltyPaymentViewSet(Listing, Retrieving, TenantViewSet):
    """What single contributors get of payouts."""

    model = RoyaltyPayment
    serializer_class = RoyaltyPaymentSerializer
    scopes = {
        "list": Scope.ROYALTIES_READ,
        "retrieve": Scope.ROYALTIES_READ,
        "paid_outside": Scope.ROYALTIES_WRITE,
    }

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        payout = self.request.query_params.get("payout")
        if payout is None or self.action != "list":
            return rows
        return rows.filter(payout=payouts.find(self.caller, payout))

    @extend_schema(
        summary="List payments to contributors",
        parameters=[OpenApiParameter("payout", str, description="Of this payout only.")],
    )
    def list(self, request: Request) -> Response:
        return super().list(request)

    @extend_schema(summary="Fetch a payment to a contributor")
    def retrieve(self, request: Request, pk: str) -> Response:
        return super().retrieve(request, pk=pk)

    @extend_schema(
        summary="Record that you paid a contributor yourself",
        description="The amount is owed to you then. Repeating it changes nothing.",
        request=PaidOutside,
        responses={200: RoyaltyPaymentSerializer},
    )
    def paid_outside(self, request: Request, pk: str) -> Response:
        return self.answered(
            royalty_payments.paid_outside(self.caller, pk, **self.read(PaidOutside))
        )


def _instant(text: str | None, param: str, otherwise: datetime) -> datetime:
    if text is None:
        return otherwise
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidInput(_("Give an instant, such as 2026-01-31T00:00:00Z."), param=param)
    return found
