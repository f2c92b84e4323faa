"""The market as pages: what is on sale, for people without a client."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import path

from licensing import listings, prices
from licensing.models import Offer


def index(request: HttpRequest) -> HttpResponse:
    """Everything that is on sale to everybody, newest first."""
    offers = listings.public()[: listings.PAGE_LENGTH]
    rows = [(offer, _price(offer)) for offer in offers]
    return render(request, "licensing/listings.html", {"rows": rows})


def listing(request: HttpRequest, id: str) -> HttpResponse:
    """One listing, with the exact text of its terms."""
    try:
        offer = listings.public().filter(pk=id).first()
    except ValidationError:
        offer = None
    if offer is None:
        raise Http404
    return render(request, "licensing/listing.html", {"offer": offer, "price": _price(offer)})


def _price(offer: Offer) -> str:
    price = prices.load(offer.price, offer.price_minor)
    return prices.shown(price, offer.price_minor, offer.currency)


def health(request: HttpRequest) -> HttpResponse:
    """200 while this process reaches its database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse({"status": "ok"})


urlpatterns = [
    path("", index, name="listings"),
    path("listings/<str:id>", listing, name="listing"),
    path("health", health, name="health"),
]
