"""The API's views of listings: the market's search."""

from __future__ import annotations

import json
import re
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from licensing import listings
from licensing.listing_serializers import ListingPageSerializer, ListingSerializer
from licensing.models import Offer
from licensing.search_documents import MODALITIES
from licensing.vocabulary import Use
from marketplace import readplan
from marketplace.access import Caller
from marketplace.errors import InvalidInput
from marketplace.http import PAGE_LENGTH_MAX, TenantViewSet
from marketplace.models import Attestation

PARAMETERS = [
    OpenApiParameter(
        "q",
        str,
        description="Words in name, description, notice or seller, as each language inflects them."
        " `“a phrase”`, `or` and `-without` mean what they do elsewhere.",
    ),
    OpenApiParameter(
        "use",
        str,
        enum=[use.value for use in Use],
        description="Permitted by the terms; with `territory`, in all of it.",
    ),
    OpenApiParameter("territory", str, description="An ISO 3166-1 alpha-2 code, “EU”, or “*”."),
    OpenApiParameter("modality", str, enum=MODALITIES, description="A kind of content in it."),
    OpenApiParameter(
        "language", str, description="BCP 47, such as “de”; “pt-BR” finds all Portuguese."
    ),
    OpenApiParameter(
        "rights_basis",
        str,
        enum=Attestation.Basis.values,
        description="Why the seller may license it, as attested.",
    ),
    OpenApiParameter("currency", str, description="ISO 4217, such as “USD”."),
    OpenApiParameter("max_price_minor", int, description="In minor units. Needs `currency`."),
    OpenApiParameter(
        "sort",
        str,
        enum=listings.SORTS,
        description="“relevance” ranks the newest 1,000 that match `q`, and ends with them;"
        " “newest” goes on to the oldest. Without `q`, always “newest”.",
    ),
    OpenApiParameter(
        "limit",
        {
            "type": "integer",
            "minimum": 1,
            "maximum": PAGE_LENGTH_MAX,
            "default": listings.PAGE_LENGTH,
        },
        description="Rows a page.",
    ),
    OpenApiParameter(
        "cursor",
        {"type": "string", "maxLength": 128},
        description="`next_cursor` of the page before, of the same search.",
    ),
]
# A form of a page sends empty fields; a program that does forgot what it meant.
PARAMETERS_WITH_VALUE = {each.name for each in PARAMETERS} - {"q", "cursor"}


class ListingViewSet(TenantViewSet):
    """What is on sale. Needs no key; with one, it shows what is offered to you alone, too."""

    model = Offer
    serializer_class = ListingSerializer
    pagination_class = None  # type: ignore[assignment]
    scopes = {"list": None, "retrieve": None}

    def get_queryset(self) -> QuerySet[Any]:
        return listings.visible_to(self.visitor)

    @property
    def visitor(self) -> Caller | None:
        caller = self.request.auth
        return caller if isinstance(caller, Caller) else None

    @extend_schema(
        summary="Search what is on sale",
        description="Pages hold still while listings come and go. A listing that was taken off"
        " sale meanwhile is left out, so that a page may be shorter than asked for.",
        parameters=PARAMETERS,
        responses=ListingPageSerializer,
    )
    def list(self, request: Request) -> HttpResponse:
        asked = request.query_params
        for name in PARAMETERS_WITH_VALUE:
            if asked.get(name) == "":
                raise InvalidInput(_("Give a value, or leave it out."), param=name)
        page = listings.search(
            self.visitor,
            listings.wanted(asked),
            cursor=asked.get("cursor", ""),
            limit=_limit(asked.get("limit", str(listings.PAGE_LENGTH))),
        )
        rest = {
            "has_more": page.next_cursor is not None,
            "next_cursor": page.next_cursor,
            "total": page.shown_total,
            "facets": {
                name: [{"value": value, "count": count} for value, count in values]
                for name, values in page.facets.items()
            },
            "suggestions": page.suggestions,
        }
        texts = readplan.texts(self.get_serializer_class(), listings.listed, page.ids)
        if texts is None:
            return Response({"data": self.shown_all(page.offers), **rest})
        return readplan.answer(f'{{"data":[{",".join(texts)}],{json.dumps(rest)[1:]}')

    @extend_schema(summary="Fetch a listing")
    def retrieve(self, request: Request, pk: str) -> HttpResponse:
        id = listings.find_id(self.visitor, pk)
        # None, too, of one's own that is not listed now.
        if texts := readplan.texts(self.get_serializer_class(), listings.listed, [id]):
            return readplan.answer(texts[0])
        return Response(self.shown(listings.find(self.visitor, pk)))


def _limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= PAGE_LENGTH_MAX:
        raise InvalidInput(_("Use 1 to %(max)s.") % {"max": PAGE_LENGTH_MAX}, param="limit")
    return int(text)
