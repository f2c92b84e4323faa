"""The market as pages: what is on sale, for people without a client."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import render
from django.urls import path
from django.utils.translation import gettext as _

from licensing import listings
from licensing.candidates import FACETS, Search
from licensing.listings import Page
from marketplace import money
from marketplace.errors import DomainError
from marketplace.models import Attestation

NEVER_ON_SALE = Page([], None, 0, False, {name: [] for name in FACETS})


def index(request: HttpRequest) -> HttpResponse:
    """What is on sale to everybody: searched, narrowed down, a page at a time."""
    asked, error = request.GET, None
    wanted, page = Search(), NEVER_ON_SALE
    try:
        wanted = listings.wanted(asked.dict())
        page = listings.search(None, wanted, cursor=asked.get("cursor", ""))
    except DomainError as refused:
        error = refused
    narrowed = {name: asked[name] for name in listings.PARAMETERS if asked.get(name)}
    return render(
        request,
        "licensing/listings.html",
        {
            "rows": [
                (offer, money.show(offer.price_minor, offer.currency)) for offer in page.offers
            ],
            "page": page,
            "wanted": wanted,
            "q": asked.get("q", "")[:200],
            "error": error,
            "is_narrowed": bool(narrowed),
            "filters": _filters(wanted, page),
            "suggestions": [(one, _link({**narrowed, "q": one})) for one in page.suggestions],
            "next": page.next_cursor and _link({**narrowed, "cursor": page.next_cursor}),
            "is_later_page": "cursor" in asked,
            "first": _link(narrowed),
        },
        status=error.status if error else 200,
    )


def listing(request: HttpRequest, id: str) -> HttpResponse:
    """One listing, with the exact text of its terms."""
    try:
        offer = listings.public().filter(pk=id).first()
    except ValidationError:
        offer = None
    if offer is None:
        raise Http404
    price = money.show(offer.price_minor, offer.currency)
    return render(request, "licensing/listing.html", {"offer": offer, "price": price})


def health(request: HttpRequest) -> HttpResponse:
    """200 while this process reaches its database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse({"status": "ok"})


def _filters(wanted: Search, page: Page) -> list[dict[str, Any]]:
    """Each facet that there is something to choose of, with its values as people call them."""
    labels = {
        "modality": _("Content"),
        "language": _("Language"),
        "use": _("Use"),
        "territory": _("Where"),
        "rights_basis": _("Rights"),
        "currency": _("Currency"),
        "max_price_minor": _("Price"),
    }
    filters = []
    for name in FACETS:
        chosen = getattr(wanted, name)
        chosen = "" if chosen is None else str(chosen)
        values = [(value, _shown(name, value, wanted), count) for value, count in page.facets[name]]
        # What was chosen stays to be seen and taken back, also where it leaves nothing.
        if chosen and chosen not in {value for value, _label, _count in values}:
            values.insert(0, (chosen, _shown(name, chosen, wanted), 0))
        if values:
            filters.append(
                {"name": name, "label": labels[name], "chosen": chosen, "values": values}
            )
    return filters


def _shown(name: str, value: str, wanted: Search) -> str:
    if name == "max_price_minor":
        return _("up to %(price)s") % {"price": money.show(int(value), wanted.currency)}
    if name == "rights_basis":
        return str(Attestation.Basis(value).label)
    if name == "territory" and value == "*":
        return _("worldwide")
    return value if name in {"language", "territory", "currency"} else value.replace("_", " ")


def _link(parameters: dict[str, str]) -> str:
    query = QueryDict(mutable=True)
    query.update(parameters)
    return f"/listings?{query.urlencode()}" if parameters else "/listings"


urlpatterns = [
    path("", index, name="home"),
    path("listings", index, name="listings"),
    path("listings/<str:id>", listing, name="listing"),
    path("health", health, name="health"),
]
