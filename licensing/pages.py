"""Pages for people without a client: what is on sale, and a contributor's way out."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from licensing import listings, optout_links, prices
from licensing.models import Offer
from marketplace.errors import DomainError


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


@never_cache
@require_http_methods(["GET", "POST"])
def opt_out(request: HttpRequest, token: str) -> HttpResponse:
    """A contributor's link: shows what it does; the button does it, and a mail scanner does not."""
    try:
        is_done = request.method == "POST"
        opened = optout_links.use(token) if is_done else optout_links.open(token)
    except DomainError as error:
        return render(request, "marketplace/problem.html", {"error": error}, status=error.status)
    context = {"opened": opened, "is_done": is_done}
    return render(request, "licensing/opt_out.html", context)


def health(request: HttpRequest) -> HttpResponse:
    """200 while this process reaches its database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse({"status": "ok"})


urlpatterns = [
    path("", index, name="listings"),
    path("listings/<str:id>", listing, name="listing"),
    path("opt-out/<str:token>", opt_out, name="opt-out"),
    path("health", health, name="health"),
]
