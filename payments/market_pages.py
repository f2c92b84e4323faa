"""The market inside the workspace: find an offer, read what one may do with it, have it quoted.

What is bought goes on at `quotes_studio`. Every act is a verb of the API's; nothing here decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from licensing import (
    access_requests,
    asked_models,
    listings,
    pages,
    terms,
    terms_cards,
    terms_questions,
    terms_sentence,
    use_labels,
)
from licensing.candidates import Search
from licensing.models import AccessRequest, Offer
from licensing.terms_cards import Answers
from marketplace import sent_forms, traders
from marketplace.access import Caller, Scope, acting
from marketplace.errors import DomainError, NotFound
from marketplace.tenant_site import Link, Section, studio
from payments import quotes
from payments import samples as taking
from payments.market_forms import AskForm, QuoteForm, SampleForm, ScopeForm, accepted

# How many of one's requests an offer's page lists.
REQUESTS_SHOWN_MAX = 10
View = Callable[..., HttpResponseBase]


def patterns(bind: Callable[[Any], Any]) -> list[URLPattern]:
    """The addresses of these pages, for the workspace to include."""
    views: list[tuple[str, View, str]] = [
        ("", index, "index"),
        ("requests/<str:id>/cancel/", cancel_request, "cancel-request"),
        ("<str:id>/", offer, "offer"),
        ("<str:id>/quote/", quote, "quote"),
        ("<str:id>/request/", ask, "request"),
        ("<str:id>/sample/", sample, "sample"),
    ]
    return [path(route, bind(never_cache(view)), name=name) for route, view, name in views]


# --- finding ----------------------------------------------------------------------------------


@require_safe
def index(request: HttpRequest, caller: Caller) -> HttpResponseBase:
    """What the caller may license: searched, narrowed down, a page at a time."""
    _check(caller, Scope.LISTINGS_READ)
    asked, error = request.GET, None
    wanted, page = Search(), pages.NEVER_ON_SALE
    with acting(caller, writing=False):
        try:
            wanted = listings.wanted(asked.dict())
            page = listings.search(caller, wanted, cursor=asked.get("cursor", ""))
        except DomainError as refused:
            error = refused
        narrowed = {name: asked[name] for name in listings.PARAMETERS if asked.get(name)}
        context = {
            "title": _("Market"),
            "rows": [
                {
                    "offer": one,
                    "price": pages.price_of(one),
                    "uses": _uses(one),
                    "mark": _mark(caller, one),
                    "url": _page("offer", one.pk),
                }
                for one in page.offers
            ],
            "page": page,
            "wanted": wanted,
            "q": asked.get("q", "")[:200],
            "error": error,
            "is_narrowed": bool(narrowed),
            "filters": pages.filters(wanted, page),
            "suggestions": [(one, _link({**narrowed, "q": one})) for one in page.suggestions],
            "next": page.next_cursor and _link({**narrowed, "cursor": page.next_cursor}),
            "is_later_page": "cursor" in asked,
            "first": _link(narrowed),
            "index_url": _page("index"),
        }
        return _shown(request, "index", context, status=error.status if error else 200)


@require_safe
def offer(request: HttpRequest, caller: Caller, id: str) -> HttpResponseBase:
    """One offer: what a buyer may do with it, what it costs, who sells it, and what to do next."""
    _check(caller, Scope.LISTINGS_READ)
    with acting(caller, writing=False):
        found = _found(caller, id)
        typed = terms.load(found.terms)
        context = {
            "title": found.collection.name,
            "offer": found,
            "price": pages.price_of(found),
            "mark": _mark(caller, found),
            "is_own": found.organization_id == caller.organization.pk,
            "is_on_request": found.access == Offer.Access.ON_REQUEST,
            "uses": _uses(found),
            "places": use_labels.territories(
                dict.fromkeys(code for clause in typed.permit for code in clause.territories)
            ),
            "sentences": _sentences(found, typed),
            "questions": terms_questions.rows(typed),
            "trader": traders.shown(found.organization),
            "requests": _requests(caller, found),
            "sample_works": found.sample_works,  # type: ignore[attr-defined]
            "may_quote": caller.may(Scope.QUOTES_WRITE),
            "may_ask": caller.may(Scope.ACCESS_REQUESTS_WRITE),
            **{f"{name}_url": _page(name, id) for name in ("quote", "request", "sample")},
            "index_url": _page("index"),
        }
        return _shown(request, "offer", context)


# --- asking -----------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
def quote(request: HttpRequest, caller: Caller, id: str) -> HttpResponseBase:
    """Say what is wanted of an offer, and have it priced. The same form again finds its quote."""
    found, form = _form(request, caller, id, QuoteForm, Scope.QUOTES_WRITE)
    if form.is_bound and form.is_valid():
        try:
            sent = sent_forms.once(
                request,
                caller,
                lambda keyed: quotes.make(keyed, offer=id, **form.scope()),
                lambda made: studio.page("payments_quote_change", made),
            )
            if sent.is_repeat:
                messages.info(request, _("You sent this form before. This is its quote."))
            return redirect(sent.url)
        except DomainError as refusal:
            _refuse(form, refusal)
    words = (
        _("Get a quote"),
        _(
            "Say for what you want to license it. The quote holds the price, with tax, and the"
            " whole contract; it stands for an hour, and costs nothing."
        ),
        _("Get the quote"),
    )
    return _asked(request, caller, found, form, words)


@require_http_methods(["GET", "POST"])
def ask(request: HttpRequest, caller: Caller, id: str) -> HttpResponseBase:
    """Ask the seller of an offer on request."""
    found, form = _form(request, caller, id, AskForm, Scope.ACCESS_REQUESTS_WRITE)
    if form.is_bound and form.is_valid():
        try:
            scope = {name: value or {} for name, value in form.scope().items()}
            access_requests.ask(caller, id, **{**scope, "message": form.cleaned_data["message"]})
            told = _("%(name)s reads your request, and answers it here.")
            messages.success(request, told % {"name": found.organization.name})
            return redirect(_page("offer", id))
        except DomainError as refusal:
            _refuse(form, refusal)
    words = (
        _("Ask for access"),
        _("This offer is sold on request: the seller decides for whom, and for which model."),
        _("Send the request"),
    )
    return _asked(request, caller, found, form, words)


@require_POST
def cancel_request(request: HttpRequest, caller: Caller, id: str) -> HttpResponseBase:
    """Take a request back, or give an approval up."""
    _check(caller, Scope.ACCESS_REQUESTS_WRITE)
    try:
        given_up = access_requests.cancel(caller, id)
    except NotFound:
        raise Http404 from None
    except DomainError as refusal:
        messages.error(request, str(refusal.detail))
        return redirect(_page("index"))
    messages.success(request, _("The request is taken back."))
    return redirect(_page("offer", given_up.offer_id))


@require_http_methods(["GET", "POST"])
def sample(request: HttpRequest, caller: Caller, id: str) -> HttpResponseBase:
    """Read the contract of an offer's sample, and take it: once, for free."""
    _check(caller, Scope.ORDERS_WRITE)
    with acting(caller, writing=False):
        found = _found(caller, id)
    try:
        shown = taking.show(caller, id)
    except NotFound:
        raise Http404 from None
    except DomainError as refusal:
        messages.error(request, str(refusal.detail))
        return redirect(_page("offer", id))
    if shown.grant is not None:
        messages.info(request, _("Your organization took this sample. This is its license."))
        return redirect(studio.page("licensing_heldgrant_change", shown.grant.pk))
    form = SampleForm(request.POST or None, caller=caller, row=shown.quote)
    if form.is_bound and form.is_valid():
        data = form.cleaned_data
        try:
            accept = accepted(data)
            grant, _is_new = taking.take(caller, id, accept=accept, starts_at=data["starts_at"])
            messages.success(request, _("The sample is yours. Its works can be fetched now."))
            return redirect(studio.page("licensing_heldgrant_change", grant.pk))
        except DomainError as refusal:
            form.refuse(refusal)
    # The contract is dated anew each time that it is shown.
    form.show_anew()
    words = (
        _("Take the sample"),
        _("A few of the works, to evaluate them for free before you buy. This is its contract."),
        _("Accept, and take the sample"),
    )
    return _asked(request, caller, found, form, words)


# --- parts ------------------------------------------------------------------------------------


def _check(caller: Caller, scope: Scope) -> None:
    if not caller.may(scope):
        raise PermissionDenied


def _found(caller: Caller, id: str) -> Offer:
    """An offer that the caller may see in the market. What is hidden or missing is one 404."""
    try:
        return listings.find(caller, id)
    except NotFound:
        raise Http404 from None


def _form(
    request: HttpRequest, caller: Caller, id: str, kind: type[ScopeForm], scope: Scope
) -> tuple[Offer, Any]:
    _check(caller, scope)
    with acting(caller, writing=False):
        found = _found(caller, id)
        data = request.POST if request.method == "POST" else None
        return found, kind(data, caller=caller, row=found)


def _refuse(form: Any, refusal: DomainError) -> None:
    if isinstance(refusal, NotFound):
        raise Http404
    form.refuse(refusal)


def _asked(
    request: HttpRequest, caller: Caller, found: Offer, form: Any, words: tuple[str, str, str]
) -> HttpResponse:
    title, intro, button = words
    context = {
        "title": title,
        "intro": intro,
        "button": button,
        "form": form,
        "offer": found,
        "price": pages.price_of(found),
        "offer_url": _page("offer", found.pk),
    }
    with acting(caller, writing=False):
        return _shown(request, "form", context, status=422 if form.errors else 200)


def _requests(caller: Caller, found: Offer) -> list[dict[str, Any]]:
    """What the caller's organization asked about an offer, the newest first."""
    if found.access != Offer.Access.ON_REQUEST:
        return []
    mine = AccessRequest.objects.visible_to(caller).filter(
        licensee=caller.organization, offer=found
    )
    live = {AccessRequest.State.PENDING, AccessRequest.State.APPROVED}
    return [
        {
            "row": row,
            "state": AccessRequest.State(row.state_now).label,
            "uses": use_labels.uses(row.uses),
            "places": use_labels.territories(row.territories),
            "model": asked_models.named(access_requests.asked_model(row)),
            "is_approved": row.state_now == AccessRequest.State.APPROVED,
            "cancel_url": _page("cancel-request", row.pk) if row.state_now in live else "",
        }
        for row in mine.order_by("-pk")[:REQUESTS_SHOWN_MAX]
    ]


def _sentences(found: Offer, typed: Any) -> list[str]:
    """The terms in two sentences, where the cards can say them; the table says them anyway."""
    given = terms_cards.answers(typed.raw, price=found.price, currency=found.currency)
    return terms_sentence.sentences(given) if isinstance(given, Answers) else []


def _uses(found: Offer) -> str:
    typed = terms.load(found.terms)
    return use_labels.uses(use for use in use_labels.USES if typed.permits(use))


def _mark(caller: Caller, found: Offer) -> str:
    """What tells an offer from those that everybody may buy."""
    if found.organization_id == caller.organization.pk:
        return _("Your own")
    if found.audience_id is not None:
        return _("Private: for you alone")
    return _("On request") if found.access == Offer.Access.ON_REQUEST else ""


def _page(name: str, *arguments: Any) -> str:
    return studio.page(f"market:{name}", *map(str, arguments))


def _link(parameters: dict[str, str]) -> str:
    query = QueryDict(mutable=True)
    query.update(parameters)
    return f"{_page('index')}?{query.urlencode()}" if parameters else _page("index")


def _shown(
    request: HttpRequest, name: str, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    frame = request.frame()  # type: ignore[attr-defined]
    page = TemplateResponse(
        request, f"payments/market/{name}.html", {**frame, **context}, status=status
    )
    # While the rows can still be read.
    page.render()
    return page


studio.hang("market", patterns)
studio.links.append(
    Link(
        Section.LICENSES,
        0,
        gettext_lazy("Market"),
        "storefront",
        "market:index",
        Scope.LISTINGS_READ,
    )
)
