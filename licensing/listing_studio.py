"""“List it”: what is left between works that came in and an offer in the market, on one page."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from licensing import offers, snapshots, terms
from licensing.models import Offer, Terms
from marketplace import collections, import_pages, money, preferences
from marketplace.access import Caller, Scope, acting
from marketplace.errors import DomainError, MissingScope, OfferWrongState
from marketplace.models import Collection
from marketplace.studio import AttestForm, page
from marketplace.tenant_pages import Done, Verb, own

_RIGHTS = ("basis", "license_name", "statement", "person_name", "person_title", "authority")
# Terms to choose from, and those of which the words stand below, the newest first.
_TERMS_MAX, _WORDS_MAX = 100, 3


class ListForm(AttestForm):
    """Terms, a price, and the rights, unless they are attested. `words`: texts to read."""

    params: ClassVar[dict[str, str]] = {"price_minor": "price"}
    field_order = ("terms", "price", "currency", *_RIGHTS)
    terms = forms.ChoiceField(label=gettext_lazy("Terms"), widget=forms.Select)
    price = forms.DecimalField(
        label=gettext_lazy("Price"),
        min_value=0,
        max_digits=12,
        help_text=gettext_lazy("What a license costs, such as 1250.00. 0 gives it away."),
    )
    currency = forms.ChoiceField(
        label=gettext_lazy("Currency"),
        choices=[(code, code) for code in money.CURRENCIES],
        initial="USD",
    )
    # What was on sale when the page was shown: somebody else may list it meanwhile.
    seen = forms.CharField(widget=forms.HiddenInput, required=False)

    def prepare(self) -> None:
        super().prepare()
        if self.row.attestations.all():
            for name in _RIGHTS:
                del self.fields[name]
        found = list(own(Terms, self.caller).order_by("-pk")[:_TERMS_MAX])
        field: Any = self.fields["terms"]
        field.choices = [(str(one.pk), _called(one)) for one in found]
        field.help_text = format_html(
            '{} <a href="{}?collection={}">{}</a>',
            _("A draft is published with this, for good: read its words below."),
            page("licensing_terms_add"),
            self.row.pk,
            _("Answer the cards for new ones"),
        )
        self.words = [(str(one), one.text) for one in found[:_WORDS_MAX]]
        self.fields["seen"].initial = _mark(_newest(self.caller, self.row))

    def refuse(self, error: DomainError) -> None:
        if "seen" in error.data:
            # Whoever was told, and sends it again, means it.
            self.data = {**self.data.dict(), "seen": error.data["seen"]}  # type: ignore[attr-defined]
        super().refuse(error)


def _called(row: Terms) -> str:
    return str(row) if row.published_at else _("%(name)s (draft)") % {"name": row}


def _list(caller: Caller, collection: Collection, data: dict[str, Any]) -> Done:
    """All of it, or nothing. The same again makes no second offer."""
    for scope in (Scope.TERMS_WRITE, Scope.OFFERS_WRITE):
        if not caller.may(scope):
            raise MissingScope(_("Your role may not list offers."), scope=scope)
    price_minor = money.minor(data["price"], data["currency"])
    with acting(caller):
        # It locks the collection: who pressed twice comes second, and finds what is done.
        snapshot = snapshots.finalize(caller, str(collection.pk))
        if collections.attestation(collection) is None:
            rights = {name: data.get(name, "") for name in _RIGHTS}
            collections.attest(caller, str(collection.pk), **rights)
        chosen = Terms.objects.owned_by(caller).get_visible(caller, data["terms"])
        if chosen.published_at is None:
            terms.publish(caller, str(chosen.pk))
        same = {
            "snapshot": snapshot,
            "terms": chosen,
            "price_minor": price_minor,
            "currency": data["currency"],
            "audience": None,
            "access": Offer.Access.OPEN,
        }
        offer = own(Offer, caller).filter(**same).exclude(state=Offer.State.WITHDRAWN).first()
        if offer is not None and offer.state != Offer.State.DRAFT:
            return Done(_("This was done before. The offer is %(state)s.") % _state(offer))
        _check_unchanged(caller, collection, data["seen"])
        if offer is None:
            offer = offers.make(
                caller,
                snapshot=str(snapshot.pk),
                terms=str(chosen.pk),
                price_minor=price_minor,
                currency=data["currency"],
            )
        offer = offers.publish(caller, str(offer.pk))
    if offer.state == Offer.State.IN_REVIEW:
        return Done(_("The market's operator reviews the offer, and lists it then."))
    return Done(_("The offer is %(state)s.") % _state(offer))


def _newest(caller: Caller, collection: Collection) -> Offer | None:
    """The newest offer of a collection to everybody that is on sale, or about to be."""
    standing = [Offer.State.LISTED, Offer.State.IN_REVIEW]
    found = own(Offer, caller).filter(collection=collection, audience=None, state__in=standing)
    return found.select_related("terms").order_by("-pk").first()


def _mark(offer: Offer | None) -> str:
    return "-" if offer is None else str(offer.pk)


def _check_unchanged(caller: Caller, collection: Collection, seen: str) -> None:
    """Raise OfferWrongState where somebody else put the collection on sale meanwhile."""
    newest = _newest(caller, collection)
    if not seen or newest is None or seen == _mark(newest):
        return
    raise OfferWrongState(
        _(
            "Somebody else listed this while you wrote: for %(price)s, under “%(terms)s”. Nothing"
            " of yours was done. List it again only if both offers are to stand side by side."
        )
        % {
            "price": preferences.amount(newest.price_minor, newest.currency),
            "terms": newest.terms,
        },
        seen=_mark(newest),
    )


def _state(offer: Offer) -> dict[str, str]:
    return {"state": offer.get_state_display().lower()}


LIST_IT = Verb(
    "list",
    gettext_lazy("List it"),
    gettext_lazy(
        "Freezes what is in the collection now, and offers it under terms at a price. Buyers"
        " license what is frozen; works that you add later go into the next offer."
    ),
    _list,
    ListForm,
    offered=lambda row: bool(row.size) and not row.is_listed,
)


def _next(caller: Caller, collection: Collection) -> tuple[str, str] | None:
    """After works came in: terms, where there are none; else the offer."""
    if collection.organization_id != caller.organization.pk or not caller.may(Scope.OFFERS_WRITE):
        return None
    if own(Terms, caller).exists():
        return _("Next: list it"), page("marketplace_collection_list", collection.pk)
    address = f"{page('licensing_terms_add')}?collection={collection.pk}"
    return _("Next: choose terms"), address


import_pages.NEXT.append(_next)
