"""The workspace's pages of who an organization is: its identity, and its verification."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.db.models.functions import JSONObject
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from marketplace import form_pages, organizations, second_factors, traders
from marketplace.access import Caller, Scope, acting
from marketplace.form_pages import FormPage
from marketplace.models import Organization, Trader
from marketplace.seen_forms import UNCHANGED, SeenForm
from marketplace.tenant_forms import VerbForm
from marketplace.tenant_pages import Done, Rows
from marketplace.tenant_site import Link, Section, Step, studio

State = Trader.State
# The fields of an identity as people call them: also what a refusal says is missing.
LABELS = {
    "name": gettext_lazy("Name that the market shows"),
    "legal_name": gettext_lazy("Legal name"),
    "jurisdiction": gettext_lazy("Country"),
    "registration_number": gettext_lazy("Registration number"),
    "registered_address": gettext_lazy("Registered address"),
    "representative_name": gettext_lazy("Who may sign for you"),
    "contact_email": gettext_lazy("Contact email"),
}


# --- identity ---------------------------------------------------------------------------------


class IdentityForm(SeenForm):
    labels = LABELS
    name = forms.CharField(label=LABELS["name"], max_length=200)
    legal_name = forms.CharField(
        label=LABELS["legal_name"],
        max_length=200,
        help_text=gettext_lazy("As in the register, or your own name. It stands in contracts."),
    )
    jurisdiction = forms.CharField(
        label=LABELS["jurisdiction"],
        max_length=6,
        help_text=gettext_lazy("Two letters, such as IE; or with its part, such as US-DE."),
    )
    registration_number = forms.CharField(
        label=LABELS["registration_number"],
        max_length=100,
        required=False,
        help_text=gettext_lazy("Of the company. A person who is in no register has none."),
    )
    registered_address = forms.CharField(
        label=LABELS["registered_address"],
        max_length=500,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "street-address"}),
    )
    representative_name = forms.CharField(
        label=LABELS["representative_name"], max_length=200, required=False
    )
    contact_email = forms.EmailField(
        label=LABELS["contact_email"],
        required=False,
        help_text=gettext_lazy("Where buyers, Stripe and this market reach you."),
    )

    def clean_jurisdiction(self) -> str:
        return str(self.cleaned_data["jurisdiction"]).upper()


def _identify(caller: Caller, row: Organization, data: dict[str, Any]) -> Done:
    said = {name: data[name] for name in LABELS}
    if IdentityForm.is_same(row, said):
        return Done(str(UNCHANGED))
    organizations.identify(caller, **said)
    return Done(_("Saved. Contracts made before keep the names of their time."))


IDENTITY = FormPage(
    title=gettext_lazy("Who you are"),
    intro=gettext_lazy(
        "Your name in the market, and your legal identity: contracts, invoices and certificates"
        " carry it. Another identity is verified again before you sell live."
    ),
    button=gettext_lazy("Save"),
    read=Scope.ORGANIZATION_READ,
    write=Scope.ORGANIZATION_WRITE,
    form=IdentityForm,
    run=_identify,
    above="studio/identity.html",
)


@require_http_methods(["GET", "POST"])
def identity(request: HttpRequest, caller: Caller) -> HttpResponseBase:
    """Say who the organization is; see what is still missing."""
    _check(caller, IDENTITY)
    with acting(caller, writing=False):
        row = Organization.objects.get_visible(caller, caller.organization.pk)
    context = {
        "organization_row": row,
        "facts": [(label, getattr(row, name)) for name, label in LABELS.items()],
        "missing": [LABELS[name] for name in organizations.missing_identity(row)],
        "trader_url": studio.page("identity:trader"),
        "may_write": caller.may(IDENTITY.write),
    }
    return form_pages.answer(request, caller, IDENTITY, row, **context)


# --- verification -----------------------------------------------------------------------------


class TraderForm(VerbForm):
    phone = forms.CharField(
        label=gettext_lazy("Phone number"),
        max_length=40,
        help_text=gettext_lazy("With the country's code, such as +353 1 234567. Buyers see it."),
        widget=forms.TextInput(attrs={"type": "tel", "autocomplete": "tel"}),
    )
    trade_register = forms.CharField(
        label=gettext_lazy("Trade register"),
        max_length=200,
        required=False,
        help_text=gettext_lazy(
            "The register that your registration number is of. A person in no register has none."
        ),
    )
    certified = forms.BooleanField(
        label=gettext_lazy("I certify that we offer only what the law allows."), required=False
    )

    def prepare(self) -> None:
        if self.row is not None:
            self.fields["phone"].initial = self.row.phone
            self.fields["trade_register"].initial = self.row.trade_register


def _submit(caller: Caller, row: Trader | None, data: dict[str, Any]) -> Done:
    trader = traders.submit(caller, **data)
    if row is not None and (row.state, row.submitted_at) == (trader.state, trader.submitted_at):
        return Done(str(UNCHANGED))
    return Done(_("Sent. An operator looks at it, and you read the answer here."))


TRADER = FormPage(
    title=gettext_lazy("Verification"),
    intro=gettext_lazy(
        "Before you sell live, an operator of this market verifies who you are, and buyers see it:"
        " the law asks for that. Test mode needs none of it."
    ),
    button=gettext_lazy("Send for verification"),
    read=Scope.ORGANIZATION_READ,
    write=Scope.ORGANIZATION_WRITE,
    form=TraderForm,
    run=_submit,
    above="studio/trader.html",
)


@require_http_methods(["GET", "POST"])
def trader(request: HttpRequest, caller: Caller) -> HttpResponseBase:
    """Submit who the organization is as a trader; see what an operator said of it."""
    _check(caller, TRADER)
    with acting(caller, writing=False):
        row = Trader.objects.visible_to(caller).first()
        own = Organization.objects.get_visible(caller, caller.organization.pk)
    missing = [LABELS[name] for name in organizations.missing_identity(own)]
    context = {
        "trader": row,
        "missing": missing,
        "identity_url": studio.page("identity:identity"),
        # Without the rest there is nothing to send yet.
        "without_form": bool(missing),
        "button": _("Send again") if row is not None and row.state == State.REFUSED else "",
    }
    return form_pages.answer(request, caller, TRADER, row, **context)


def _check(caller: Caller, page: FormPage) -> None:
    if not caller.may(page.read):
        raise PermissionDenied


studio.hang(
    "identity",
    lambda bind: [
        path("", bind(identity), name="identity"),
        path("verification/", bind(trader), name="trader"),
    ],
)
studio.links += [
    Link(Section.ORGANIZATION, 0, IDENTITY.title, "badge", "identity:identity", IDENTITY.read),
    Link(Section.ORGANIZATION, 0, TRADER.title, "verified_user", "identity:trader", TRADER.read),
]


# --- the checklist ----------------------------------------------------------------------------


def _how_it_stands(said: dict[str, str] | None) -> str:
    if said is None:
        return _("An operator verifies it before you sell live. Test mode needs none of it.")
    if said["state"] == State.SUBMITTED:
        return _("Sent. An operator looks at it, and you read the answer here.")
    if said["state"] == State.REFUSED:
        return _("It was refused: “%(reason)s”. Correct it and send it again.") % {
            "reason": said["reason"]
        }
    return _("An operator verified it: you may sell live.")


def _said(caller: Caller) -> Rows:
    said = JSONObject(state="state", reason="reason")
    return Trader.objects.visible_to(caller).values_list(said)


studio.steps += [
    Step(
        10,
        gettext_lazy("Complete your profile"),
        gettext_lazy("Who you are to buyers and to the law: contracts carry it."),
        lambda caller: studio.page("identity:identity"),
        lambda caller: not organizations.missing_identity(caller.organization),
        Scope.ORGANIZATION_WRITE,
    ),
    Step(
        11,
        gettext_lazy("Protect your account"),
        gettext_lazy("A second factor, such as a passkey, keeps others out of your money."),
        lambda caller: reverse("mfa_index"),
        lambda caller: second_factors.of(caller.user) if caller.user else False,
    ),
    Step(
        20,
        gettext_lazy("Have your legal identity verified"),
        _how_it_stands,
        lambda caller: studio.page("identity:trader"),
        lambda caller: Trader.objects.visible_to(caller).filter(state=State.VERIFIED),
        Scope.ORGANIZATION_WRITE,
        _said,
    ),
]
