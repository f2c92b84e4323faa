"""Pages for people without a client: what is on sale, and a contributor's way out."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import render
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from licensing import (
    certificate_pages,
    listings,
    moderation_pages,
    optout_links,
    prices,
    use_labels,
)
from licensing.candidates import FACETS, Search
from licensing.listings import Page
from licensing.models import Offer
from licensing.vocabulary import Use
from marketplace import preferences, traders
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
            "rows": [(offer, price_of(offer)) for offer in page.offers],
            "page": page,
            "wanted": wanted,
            "q": asked.get("q", "")[:200],
            "error": error,
            "is_narrowed": bool(narrowed),
            "filters": filters(wanted, page),
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
    context = {
        "offer": offer,
        "price": price_of(offer),
        "trader": traders.shown(offer.organization),
    }
    return render(request, "licensing/listing.html", context)


def price_of(offer: Offer) -> str:
    """What an offer costs now, and by which rate."""
    price = prices.load(offer.price, offer.price_minor)
    return prices.shown(price, offer.price_minor, offer.currency, preferences.amount)


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


def filters(wanted: Search, page: Page) -> list[dict[str, Any]]:
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
    found = []
    for name in FACETS:
        chosen = getattr(wanted, name)
        chosen = "" if chosen is None else str(chosen)
        values = [(value, _shown(name, value, wanted), count) for value, count in page.facets[name]]
        # What was chosen stays to be seen and taken back, also where it leaves nothing.
        if chosen and chosen not in {value for value, _label, _count in values}:
            values.insert(0, (chosen, _shown(name, chosen, wanted), 0))
        if values:
            found.append({"name": name, "label": labels[name], "chosen": chosen, "values": values})
    return found


def _shown(name: str, value: str, wanted: Search) -> str:
    if name == "max_price_minor":
        return _("up to %(price)s") % {"price": preferences.amount(int(value), wanted.currency)}
    if name == "rights_basis":
        return str(Attestation.Basis(value).label)
    if name == "territory":
        return use_labels.territory(value)
    if name == "use":
        return str(use_labels.USES[Use(value)])
    if name == "modality":
        return str(_MODALITIES.get(value, value))
    return value


_MODALITIES = {
    "text": gettext_lazy("Text"),
    "image": gettext_lazy("Images"),
    "audio_recording": gettext_lazy("Audio"),
    "video": gettext_lazy("Video"),
    "3d": gettext_lazy("3D models"),
    "code": gettext_lazy("Source code"),
    "tabular": gettext_lazy("Tables"),
}


def _link(parameters: dict[str, str]) -> str:
    query = QueryDict(mutable=True)
    query.update(parameters)
    return f"/listings?{query.urlencode()}" if parameters else "/listings"


urlpatterns = [
    path("", index, name="home"),
    path("listings", index, name="listings"),
    path("listings/<str:id>", listing, name="listing"),
    path("opt-out/<str:token>", opt_out, name="opt-out"),
    *moderation_pages.urlpatterns,
    path("health", health, name="health"),
    *certificate_pages.urlpatterns,
]
