"""Listings: what the market shows of the offers that are on sale."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from licensing import terms
from licensing.models import Offer, Terms
from licensing.vocabulary import Use, is_territory
from marketplace import money
from marketplace.access import Caller
from marketplace.errors import InvalidInput, NotFound
from marketplace.typeid import TypeID

PAGE_LENGTH = 50
QUERY_LENGTH_MAX = 200


def public() -> QuerySet[Offer]:
    """What anybody may see, newest first."""
    return _whole(Offer.objects.public()).order_by("-id")


def visible_to(caller: Caller | None) -> QuerySet[Offer]:
    """What somebody may see: public offers, private ones made to them, and their own."""
    if caller is None:
        return public()
    return _whole(Offer.objects.buyable_by(caller)).order_by("-id")


def find(caller: Caller | None, id: str) -> Offer:
    """One listing. Raises NotFound."""
    try:
        return visible_to(caller).get(pk=id)
    except (Offer.DoesNotExist, ValidationError):
        raise NotFound(_("There is no listing “%(id)s”.") % {"id": id}) from None


def matching(
    rows: QuerySet[Offer],
    *,
    q: str = "",
    use: str = "",
    territory: str = "",
    currency: str = "",
    max_price_minor: int | None = None,
) -> QuerySet[Offer]:
    """Narrow listings down. Raises InvalidInput for a word that means nothing here."""
    if len(q) > QUERY_LENGTH_MAX:
        raise InvalidInput(_("Search for fewer words."), param="q")
    if q and not q.isprintable():
        raise InvalidInput(_("Search for words without control characters."), param="q")
    for word in q.split():
        rows = rows.filter(
            Q(collection__name__icontains=word)
            | Q(collection__description__icontains=word)
            | Q(organization__name__icontains=word)
        )
    if currency:
        rows = rows.filter(currency=money.currency(currency).code)
    if max_price_minor is not None:
        if not currency:
            raise InvalidInput(_("Say in which currency the price is."), param="currency")
        rows = rows.filter(price_minor__lte=max_price_minor)
    if use or territory:
        rows = rows.filter(terms__in=_permitting(rows, use, territory))
    return rows


def _permitting(rows: QuerySet[Offer], use: str, territory: str) -> list[TypeID]:
    """Which of the listings' terms permit a use, in a territory.

    Read in Python, by the same rule as a quote: few terms serve many listings.
    """
    if use and use not in {known.value for known in Use}:
        known = ", ".join(member.value for member in Use)
        raise InvalidInput(_("Use one of: %(known)s.") % {"known": known}, param="use")
    if territory and not is_territory(territory):
        raise InvalidInput(_("Use an ISO 3166-1 alpha-2 code, “EU”, or “*”."), param="territory")
    versions = Terms.objects.filter(pk__in=rows.order_by().values("terms"))
    return [row.pk for row in versions if terms.load(row).permits(use, territory)]


def _whole(rows: QuerySet[Offer]) -> QuerySet[Offer]:
    return rows.select_related("organization", "collection", "snapshot", "terms")
