"""The workspace's page of the account that a seller is paid with: open it, see how it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models.functions import JSONObject
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from marketplace import form_pages
from marketplace.access import Caller, Scope, acting
from marketplace.errors import DomainError
from marketplace.form_pages import FormPage
from marketplace.tenant_forms import VerbForm
from marketplace.tenant_pages import Done, Rows
from marketplace.tenant_site import Link, Section, Step, studio
from payments import connect, regions
from payments.models import ConnectedAccount

State = ConnectedAccount.State
Clearance = ConnectedAccount.Clearance


@dataclass(frozen=True, slots=True)
class Standing:
    """How an account stands, for people: a heading, what follows from it, what may be done."""

    heading: str
    text: str
    # Stripe's own pages help now.
    goes_on: bool = False


def standing(account: ConnectedAccount) -> Standing:
    """How an account stands, as Stripe and the market's operator said last."""
    if account.clearance == Clearance.REFUSED:
        return Standing(
            _("This market does not pay this account"),
            _(
                "An operator refused it. What is owed to you stays owed. Ask whoever runs this"
                " market why, and what would change it."
            ),
        )
    if connect.is_rejected(account):
        return Standing(
            _("Stripe rejected this account"),
            _(
                "Nothing that you tell it here changes that. What is owed to you waits, and nobody"
                " can buy from you meanwhile. Stripe wrote why to the email address that it has:"
                " answer there. If Stripe takes it back, look again here; if not, ask whoever runs"
                " this market how else you can be paid."
            ),
        )
    is_waiting = bool(connect.missing(account))
    texts = {
        State.OPENING: (
            _("The account is being opened"),
            _("Stripe has not answered yet. Press the button again in a minute: it opens one."),
        ),
        State.ONBOARDING: (
            _("Something is still missing"),
            _("Before you can be paid, Stripe wants to know what stands below."),
        ),
        State.PENDING: (
            _("Stripe is checking your details"),
            _("You need not do anything. What you are owed waits until it is done."),
        ),
        State.ACTIVE: (
            _("You can be paid"),
            _("What you are owed is sent to your account, what waited for it first."),
        ),
        State.RESTRICTED: (
            _("Stripe pays you nothing at present"),
            _("It wants to know what stands below first. What you are owed waits meanwhile.")
            if is_waiting
            else _(
                "It asks for nothing on its pages. Stripe wrote why to the email address that it"
                " has: answer there, then look again here. What you are owed waits meanwhile."
            ),
        ),
        State.CLOSED: (
            _("The account is closed"),
            _("Stripe pays it nothing any more. Ask whoever runs this market about another one."),
        ),
    }
    heading, text = texts[State(account.state)]
    is_open = account.stripe_id is not None and account.state != State.CLOSED
    return Standing(heading, text, goes_on=is_waiting and is_open)


def _region_refused(country: str) -> str:
    """Why an account in a country could not be paid; "" where it can."""
    if regions.are_one(settings.PLATFORM_COUNTRY, country):
        return ""
    return _("Stripe makes no transfers from %(market)s, where this market is, to %(seller)s.") % {
        "market": settings.PLATFORM_COUNTRY,
        "seller": country,
    }


class OpenForm(VerbForm):
    country = forms.CharField(
        label=gettext_lazy("Country"),
        max_length=2,
        help_text=gettext_lazy(
            "Where you, or your company, are established: two letters, such as IE."
        ),
    )

    def prepare(self) -> None:
        self.fields["country"].initial = self.caller.organization.jurisdiction[:2]

    def clean_country(self) -> str:
        return str(self.cleaned_data["country"]).upper()


def _open(caller: Caller, row: ConnectedAccount | None, data: dict[str, Any]) -> Done:
    # Found before: the same again opens nothing, and says so.
    is_new = row is None or row.stripe_id is None
    connect.open(caller, country=data["country"])
    if not is_new:
        return Done(_("The account was opened before: nothing was changed."))
    return Done(_("The account is opened. Go on at Stripe, which asks who you are."))


PAGE = FormPage(
    title=gettext_lazy("Payout account"),
    intro=gettext_lazy(
        "Your shares of sales are sent to an account at Stripe. Who you are and your bank you tell"
        " Stripe alone, on its own pages."
    ),
    button=gettext_lazy("Set up payouts"),
    read=Scope.PAYOUTS_READ,
    write=Scope.PAYOUTS_WRITE,
    form=OpenForm,
    run=_open,
    above="payments/payout_account.html",
)


@require_http_methods(["GET", "POST"])
def account(request: HttpRequest, caller: Caller) -> HttpResponseBase:
    """See how the account stands; open one."""
    row = _own(caller)
    wanted = [] if row is None else row.requirements
    context = {
        "account": row,
        "standing": None if row is None else standing(row),
        "wanted": [
            {
                "words": connect.in_words(each["what"]),
                "errors": each["errors"],
                "is_late": each["deadline"] == "past_due",
                "can_wait": each["deadline"] == "eventually_due",
            }
            for each in wanted
            if each["from"] == "them"
        ],
        "may_write": caller.may(PAGE.write),
        "region": _region_refused(caller.organization.jurisdiction[:2]) if row is None else "",
        "go_on_url": studio.page("payout-account:go-on"),
        "look_url": studio.page("payout-account:look"),
        "without_form": row is not None and row.stripe_id is not None,
    }
    return form_pages.answer(request, caller, PAGE, row, **context)


@require_safe
def go_on(request: HttpRequest, caller: Caller) -> HttpResponseBase:
    """Lead on to Stripe's pages. A link, no form: the policy lets forms lead nowhere else."""
    row = _own(caller)
    if not caller.may(PAGE.write):
        raise PermissionDenied
    if row is None or not standing(row).goes_on:
        messages.warning(request, _("There is nothing to tell Stripe now."))
        return redirect(studio.page("payout-account:account"))
    try:
        return redirect(connect.onboarding_url(row))
    except DomainError as refusal:
        messages.error(request, str(refusal.detail))
        return redirect(studio.page("payout-account:account"))


@require_POST
def look(request: HttpRequest, caller: Caller) -> HttpResponseBase:
    """Ask Stripe how the account stands now."""
    row = _own(caller)
    if not caller.may(PAGE.write):
        raise PermissionDenied
    if row is not None:
        try:
            connect.sync_account(row.pk)
        except DomainError as refusal:
            messages.error(request, str(refusal.detail))
        else:
            messages.success(request, _("This is how it stands now."))
    return redirect(studio.page("payout-account:account"))


def _own(caller: Caller) -> ConnectedAccount | None:
    if not caller.may(PAGE.read):
        raise PermissionDenied
    with acting(caller, writing=False):
        return ConnectedAccount.objects.visible_to(caller).filter(contributor=None).first()


studio.hang(
    "payout-account",
    lambda bind: [
        path("", bind(account), name="account"),
        path("stripe/", bind(go_on), name="go-on"),
        path("look/", bind(look), name="look"),
    ],
)
studio.links.append(
    Link(Section.STUDIO, 10, PAGE.title, "account_balance", "payout-account:account", PAGE.read)
)


# --- the checklist ----------------------------------------------------------------------------


def _how_it_stands(found: dict[str, Any] | None) -> str:
    if found is None:
        return _("Tell Stripe who you are and your bank: your shares are sent there.")
    return f"{standing(ConnectedAccount(**found)).heading}."


def _found(caller: Caller) -> Rows:
    names = ("state", "clearance", "requirements", "stripe_id")
    rows = ConnectedAccount.objects.visible_to(caller).filter(contributor=None)
    return rows.values_list(JSONObject(**{name: name for name in names}))


studio.steps.append(
    Step(
        30,
        gettext_lazy("Set up payouts"),
        _how_it_stands,
        lambda caller: studio.page("payout-account:account"),
        lambda caller: ConnectedAccount.objects.visible_to(caller).filter(
            contributor=None, state=State.ACTIVE
        ),
        Scope.PAYOUTS_WRITE,
        _found,
    )
)
