"""The API's views of snapshots, terms, offers, listings and grants."""

from __future__ import annotations

import re
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from licensing import listings, offers, snapshots, terms
from licensing.ledger_views import PlainTextRenderer
from licensing.models import Grant, Offer, Snapshot, Terms
from licensing.serializers import (
    DraftTerms,
    GrantSerializer,
    ListingSerializer,
    MakeOffer,
    OfferSerializer,
    SnapshotSerializer,
    TermsSerializer,
)
from licensing.vocabulary import Use
from marketplace.access import Caller, Scope, acting
from marketplace.errors import InvalidInput
from marketplace.http import Listing, Retrieving, TenantViewSet
from marketplace.serializers import Nothing

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


class OfferViewSet(Listing, Retrieving, TenantViewSet):
    """Your own offers, whatever their state. Listings show those of the market."""

    model = Offer
    serializer_class = OfferSerializer
    scopes = {
        "list": Scope.OFFERS_READ,
        "retrieve": Scope.OFFERS_READ,
        "create": Scope.OFFERS_WRITE,
        "publish": Scope.OFFERS_WRITE,
        "withdraw": Scope.OFFERS_WRITE,
    }

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
            " buyers. Repeating it changes nothing."
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


class ListingViewSet(TenantViewSet):
    """What is on sale. Needs no key; with one, it shows what is offered to you alone, too."""

    model = Offer
    serializer_class = ListingSerializer
    scopes = {"list": None, "retrieve": None}

    def get_queryset(self) -> QuerySet[Any]:
        return listings.visible_to(self.visitor)

    @property
    def visitor(self) -> Caller | None:
        caller = self.request.auth
        return caller if isinstance(caller, Caller) else None

    @extend_schema(
        summary="List what is on sale",
        parameters=[
            OpenApiParameter("q", str, description="Words in name, description or seller."),
            OpenApiParameter(
                "use",
                str,
                enum=[use.value for use in Use],
                description="Permitted by the terms; with `territory`, in all of it.",
            ),
            OpenApiParameter(
                "territory", str, description="An ISO 3166-1 alpha-2 code, “EU”, or “*”."
            ),
            OpenApiParameter("currency", str, description="ISO 4217, such as “USD”."),
            OpenApiParameter(
                "max_price_minor", int, description="In minor units. Needs `currency`."
            ),
        ],
    )
    def list(self, request: Request) -> Response:
        asked = request.query_params
        rows = listings.matching(
            self.get_queryset(),
            q=asked.get("q", ""),
            use=asked.get("use", ""),
            territory=asked.get("territory", ""),
            currency=asked.get("currency", ""),
            max_price_minor=_whole_number(asked.get("max_price_minor"), "max_price_minor"),
        )
        page = self.paginate_queryset(rows)
        return self.get_paginated_response([self.shown(row) for row in page or []])

    @extend_schema(summary="Fetch a listing")
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(self.shown(listings.find(self.visitor, pk)))


class GrantViewSet(Listing, Retrieving, TenantViewSet):
    """Licenses that you gave or hold."""

    model = Grant
    serializer_class = GrantSerializer
    scopes = {"list": Scope.GRANTS_READ, "retrieve": Scope.GRANTS_READ}

    def select(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.select_related("agreement", "issued_entry__leaf").prefetch_related(
            "periods", "coverage__snapshot"
        )

    @extend_schema(summary="List the grants that you gave or hold")
    def list(self, request: Request) -> Response:
        return super().list(request)

    @extend_schema(
        summary="Fetch a grant",
        description="For both parties: its periods, what it covers, the contract, its record.",
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        return super().retrieve(request, pk=pk)


def _whole_number(text: str | None, param: str) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise InvalidInput(_("Give a whole number."), param=param)
    return int(text)
