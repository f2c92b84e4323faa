"""The API's views of snapshots, terms, offers and grants."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from licensing import grants, offers, snapshots, terms
from licensing.ledger_views import PlainTextRenderer
from licensing.models import Grant, Offer, Snapshot, Terms
from licensing.serializers import (
    DraftTerms,
    GrantSerializer,
    MakeOffer,
    OfferSerializer,
    SnapshotSerializer,
    TermsSerializer,
)
from marketplace.access import Scope, acting
from marketplace.expand import Expanding, Expansion
from marketplace.http import Listing, Retrieving, TenantViewSet
from marketplace.metadata_views import Noted, sets_metadata
from marketplace.serializers import Nothing
from marketplace.views import CollectionViewSet

_DRAFT_EXAMPLE = OpenApiExample(
    "Train in the EU and the US",
    value={"name": "Training", "typed": terms.EXAMPLE},
    request_only=True,
)


class SnapshotViewSet(Retrieving, TenantViewSet):
    """Collections, frozen."""

    model = Snapshot
    serializer_class = SnapshotSerializer
    scopes = {"retrieve": Scope.COLLECTIONS_READ}

    @extend_schema(
        summary="Fetch a snapshot",
        description="One of your own, of an offer that you may buy, or of a grant of yours.",
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        return super().retrieve(request, pk=pk)


class CollectionSnapshotViewSet(Listing, TenantViewSet):
    """The frozen versions of one collection."""

    model = Snapshot
    serializer_class = SnapshotSerializer
    scopes = {"list": Scope.COLLECTIONS_READ, "create": Scope.COLLECTIONS_WRITE}

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False) or self.action != "list":
            return super().get_queryset()
        return snapshots.of_collection(self.caller, self.kwargs["pk"])

    @extend_schema(summary="List a collection's snapshots")
    def list(self, request: Request, pk: str) -> Response:
        return super().list(request)

    @extend_schema(
        summary="Freeze a collection",
        description=(
            "Makes a snapshot of everything that is in the collection now. Where nothing changed"
            " since the last one, that one is answered, with 200."
        ),
        request=Nothing,
        responses={200: SnapshotSerializer, 201: SnapshotSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        snapshot, is_new = snapshots.finalize_once(self.caller, pk)
        return self.created(snapshot) if is_new else self.answered(snapshot)

    def collection_url(self) -> str:
        return "/v1/snapshots"


class TermsViewSet(Listing, Retrieving, TenantViewSet):
    """Typed license conditions, with the exact text that they render to."""

    model = Terms
    serializer_class = TermsSerializer
    scopes = {
        "list": Scope.TERMS_READ,
        "retrieve": Scope.TERMS_READ,
        "text": Scope.TERMS_READ,
        "create": Scope.TERMS_WRITE,
        "publish": Scope.TERMS_WRITE,
    }

    def select(self, rows: Any) -> Any:
        # Others' terms are fetched by their id; a list of one's own is what a seller works with.
        return rows.owned_by(self.caller) if self.action == "list" else rows

    @extend_schema(summary="List your terms")
    def list(self, request: Request) -> Response:
        return super().list(request)

    @extend_schema(
        summary="Fetch terms",
        description="Your own, those of an offer that you may buy, or those of a grant of yours.",
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        return super().retrieve(request, pk=pk)

    @extend_schema(
        summary="Draft terms",
        description=(
            "Checks the typed conditions and renders their text. Drafting again under the same name"
            " makes the next version. A refusal's `param` names the place, such as"
            " `typed.permit[0].uses[1]`. Give `typed`, or a `template` with `changes`. What is"
            " odd in them, and no contradiction, stands in `warnings`."
        ),
        request=DraftTerms,
        responses={201: TermsSerializer},
        examples=[_DRAFT_EXAMPLE],
    )
    def create(self, request: Request) -> Response:
        return self.created(terms.draft(self.caller, **self.read(DraftTerms)))

    @extend_schema(
        summary="Publish terms",
        description="Fixes them for good, so that offers may use them. Change is a new version.",
        request=Nothing,
        responses={200: TermsSerializer},
    )
    def publish(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(terms.publish(self.caller, pk))

    @extend_schema(
        summary="Fetch the exact text of terms",
        description="Its SHA-256 is the terms' `text_sha256`.",
        responses={(200, "text/plain"): OpenApiTypes.STR},
    )
    def text(self, request: Request, pk: str) -> HttpResponse:
        with acting(self.caller, writing=False):
            row = self.get_object()
        return HttpResponse(row.text.encode(), content_type="text/plain; charset=utf-8")

    def get_renderers(self) -> Any:
        if self.action == "text":
            return [JSONRenderer(), PlainTextRenderer()]
        return super().get_renderers()


class OfferViewSet(Noted, Expanding, TenantViewSet):
    """Your own offers, whatever their state. Listings show those of the market."""

    model = Offer
    serializer_class = OfferSerializer
    scopes = {
        "list": Scope.OFFERS_READ,
        "retrieve": Scope.OFFERS_READ,
        "create": Scope.OFFERS_WRITE,
        "publish": Scope.OFFERS_WRITE,
        "withdraw": Scope.OFFERS_WRITE,
        "set_metadata": Scope.OFFERS_WRITE,
    }
    expandable = {
        "collection": Expansion(CollectionViewSet),
        "snapshot": Expansion(SnapshotViewSet),
        "terms": Expansion(TermsViewSet),
    }

    @extend_schema(summary="List your offers")
    def list(self, request: Request) -> Response:
        return super().list(request)

    @extend_schema(summary="Fetch an offer of yours")
    def retrieve(self, request: Request, pk: str) -> Response:
        return super().retrieve(request, pk=pk)

    @extend_schema(
        summary="Draft an offer",
        description=(
            "A snapshot under terms at a price, to everybody or to one organization. Its conditions"
            " never change: to change them, withdraw it and make another."
        ),
        request=MakeOffer,
        responses={201: OfferSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.created(offers.make(self.caller, **self.read(MakeOffer)))

    @extend_schema(
        summary="Put an offer on sale",
        description=(
            "Needs published terms and an attested collection. What you attested last is shown to"
            " buyers. Where this market reviews its listings, the offer waits `in_review` until an"
            " operator has approved it; a refusal makes it a draft again and says why in"
            " `state_reason`. Repeating it changes nothing."
        ),
        request=Nothing,
        responses={200: OfferSerializer},
    )
    def publish(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(offers.publish(self.caller, pk))

    @extend_schema(
        summary="Take an offer off sale",
        description="Grants that were made under it stand. Repeating it changes nothing.",
        request=Nothing,
        responses={200: OfferSerializer},
    )
    def withdraw(self, request: Request, pk: str) -> Response:
        self.read(Nothing)
        return self.answered(offers.withdraw(self.caller, pk))

    @sets_metadata("an offer", OfferSerializer)
    def set_metadata(self, request: Request, pk: str) -> Response:
        return super().set_metadata(request, pk)


class GrantViewSet(Noted, Expanding, TenantViewSet):
    """Licenses that you gave or hold."""

    model = Grant
    serializer_class = GrantSerializer
    scopes = {
        "list": Scope.GRANTS_READ,
        "retrieve": Scope.GRANTS_READ,
        # As of the order that a grant comes of: a grant itself has nothing else to write.
        "set_metadata": Scope.ORDERS_WRITE,
    }
    expandable = {
        "snapshot": Expansion(
            SnapshotViewSet,
            lambda row: row["coverage"][-1]["snapshot"],
            "The last one of its `coverage`.",
        ),
        "terms": Expansion(
            TermsViewSet, lambda row: row["periods"][-1]["terms"], "Those of its last period."
        ),
    }

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return super().select(grants.whole(rows))

    @extend_schema(summary="List the grants that you gave or hold")
    def list(self, request: Request) -> Response:
        return super().list(request)

    @extend_schema(
        summary="Fetch a grant",
        description="For both parties: its periods, what it covers, the contract, its record.",
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        return super().retrieve(request, pk=pk)

    @sets_metadata("a grant", GrantSerializer)
    def set_metadata(self, request: Request, pk: str) -> Response:
        return super().set_metadata(request, pk)
