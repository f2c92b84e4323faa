"""The workspace's pages of royalties: who gets what of a collection's sales, and paying it out."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods

from licensing import sentences
from marketplace import form_pages, money, preferences
from marketplace.access import Caller, Scope, acting
from marketplace.errors import DomainError, InvalidInput
from marketplace.form_pages import FormPage
from marketplace.models import Contributor
from marketplace.tenant_forms import AddForm, VerbForm
from marketplace.tenant_pages import Done, Rows, TenantModelAdmin, TenantRelatedFilter, Verb
from marketplace.tenant_site import Link, Section, studio
from payments import payouts, royalties, royalty_payments
from payments.models import ConnectedAccount, RoyaltyPayment, RoyaltyRule

Method = RoyaltyRule.Method
State = RoyaltyPayment.State
_CURRENCIES = [(code, code) for code in money.CURRENCIES]
_UNITS = {
    "bytes": gettext_lazy("Bytes"),
    "pages": gettext_lazy("Pages"),
    "pixels": gettext_lazy("Pixels"),
    "seconds": gettext_lazy("Seconds"),
    "tokens": gettext_lazy("Tokens"),
    "words": gettext_lazy("Words"),
}


# --- rules ------------------------------------------------------------------------------------


class RuleForm(AddForm):
    intro = gettext_lazy(
        "What of a collection's sales goes to the people behind its works. It counts from now on:"
        " orders keep the rule that they were placed under."
    )
    params: ClassVar[dict[str, str]] = {"basis_points": "percent", "minimum_minor": "minimum"}
    percent = forms.DecimalField(
        label=gettext_lazy("Share in percent"),
        min_value=0,
        max_value=100,
        max_digits=5,
        decimal_places=2,
        help_text=gettext_lazy("Of what is yours: the price before tax, less the market's fee."),
    )
    method = forms.ChoiceField(
        label=gettext_lazy("Who gets how much of it?"),
        choices=Method.choices,
        initial=Method.EQUAL_PER_WORK,
    )
    unit = forms.ChoiceField(
        label=gettext_lazy("In proportion to what?"),
        required=False,
        choices=[("", "–"), *_UNITS.items()],
        help_text=gettext_lazy("Only for “In proportion to a unit”: works need to be counted so."),
    )
    parts = forms.CharField(
        label=gettext_lazy("Fixed parts"),
        required=False,
        max_length=200_000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=gettext_lazy(
            "Only for “Fixed parts”: a line for each contributor, your id of them, a colon and a"
            " whole number, such as: ann: 30"
        ),
    )
    minimum = forms.DecimalField(
        label=gettext_lazy("Pay out from"),
        required=False,
        min_value=0,
        max_digits=12,
        help_text=gettext_lazy("Less waits for more. Empty: any amount."),
    )
    currency = forms.ChoiceField(
        label=gettext_lazy("Currency of that"), choices=_CURRENCIES, initial="USD"
    )
    holds_while_disputed = forms.BooleanField(
        label=gettext_lazy("Hold what a disputed sale brought, until it is decided"),
        required=False,
        initial=True,
    )

    class Meta:
        model = RoyaltyRule
        fields = (
            "collection",
            "percent",
            "method",
            "unit",
            "parts",
            "minimum",
            "currency",
            "holds_while_disputed",
        )


def _parts(caller: Caller, text: str) -> list[dict[str, Any]]:
    """Fixed parts as people write them: `ann: 30`, a line each. Raises InvalidInput."""
    said: dict[str, int] = {}
    for line in filter(None, (one.strip() for one in text.splitlines())):
        name, _colon, number = line.rpartition(":")
        if not name.strip() or not number.strip().isdecimal():
            raise InvalidInput(
                _("Write your id, a colon and a whole number, not “%(line)s”.")
                % {"line": line[:100]},
                param="parts",
            )
        if name.strip() in said:
            raise InvalidInput(_("Name each contributor once."), param="parts")
        said[name.strip()] = int(number)
    with acting(caller, writing=False):
        rows = Contributor.objects.visible_to(caller).filter(external_id__in=said)
        known = dict(rows.values_list("external_id", "pk"))
    for name in said:
        if name not in known:
            raise InvalidInput(
                _("You have no contributor “%(name)s”.") % {"name": name[:100]}, param="parts"
            )
    return [{"contributor": str(known[name]), "parts": number} for name, number in said.items()]


class RulePages(TenantModelAdmin):
    """What contributors get of sales. The newest rule of a collection that counts already does."""

    read, write = Scope.ROYALTIES_READ, Scope.ROYALTIES_WRITE
    section = Section.STUDIO
    place = 4
    icon = "pie_chart"
    menu_title = gettext_lazy("Royalty rules")
    intro = gettext_lazy(
        "What of each collection's sales goes to those who made its works. The newest rule counts;"
        " what was sold keeps the one of its time."
    )
    empty = gettext_lazy(
        "You have no royalty rule: all of your sales is yours. Make one to share a collection's"
        " sales with its contributors."
    )
    add_form = RuleForm
    autocomplete_fields = ("collection",)
    list_display: Any = ("collection", "version", "share", "how", "effective_from")
    list_filter: ClassVar[Any] = ("method", ("collection", TenantRelatedFilter))
    show = (
        "collection",
        "version",
        "share",
        "how",
        "fixed",
        "least",
        "holds_while_disputed",
        "effective_from",
        "created_at",
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        return rows.select_related("collection")

    def label(self, row: RoyaltyRule) -> str:
        return f"{row.collection.name}, {self.share(row)}"

    @admin.display(description=gettext_lazy("Share"))
    def share(self, row: RoyaltyRule) -> str:
        return sentences.percent(row.basis_points)

    @admin.display(description=gettext_lazy("Shared out"))
    def how(self, row: RoyaltyRule) -> str:
        text = str(Method(row.method).label)
        return f"{text}: {_UNITS[row.unit]}" if row.unit else text

    @admin.display(description=gettext_lazy("Fixed parts"))
    def fixed(self, row: RoyaltyRule) -> str:
        said = {part["contributor"]: part["parts"] for part in row.parts}
        if not said:
            return "–"
        names = dict(
            Contributor.objects.filter(
                organization=row.organization_id, pk__in=list(said)
            ).values_list("pk", "external_id")
        )
        found = {str(pk): name for pk, name in names.items()}
        return ", ".join(f"{found.get(pk, pk)}: {number}" for pk, number in said.items())

    @admin.display(description=gettext_lazy("Paid out from"))
    def least(self, row: RoyaltyRule) -> str:
        amounts = sorted(row.minimum_minor.items())
        return ", ".join(preferences.amount(minor, code) for code, minor in amounts) or "–"

    def make(self, caller: Caller, data: dict[str, Any]) -> RoyaltyRule:
        code, least = data["currency"], data["minimum"]
        minimum = {code: money.minor(least, code, param="minimum")} if least else {}
        return royalties.set_rule(
            caller,
            str(data["collection"].pk),
            basis_points=int(data["percent"] * 100),
            method=data["method"],
            unit=data["unit"],
            parts=_parts(caller, data["parts"]),
            minimum_minor=minimum,
            holds_while_disputed=data["holds_while_disputed"],
        )


studio.register(RoyaltyRule, RulePages)


# --- payments ---------------------------------------------------------------------------------


class PaidForm(VerbForm):
    reference = forms.CharField(
        label=gettext_lazy("Your own word for the payment"),
        max_length=royalty_payments.REFERENCE_MAX,
        help_text=gettext_lazy("Such as its number at your bank."),
    )


def _paid_outside(caller: Caller, row: RoyaltyPayment, data: dict[str, Any]) -> Done:
    royalty_payments.paid_outside(caller, str(row.pk), reference=data["reference"])
    return Done(_("It is on record. The market owes the amount to you now."))


class PaymentPages(TenantModelAdmin):
    """What single contributors get of payouts."""

    read, write = Scope.ROYALTIES_READ, Scope.ROYALTIES_WRITE
    section = Section.STUDIO
    place = 4
    icon = "volunteer_activism"
    menu_title = gettext_lazy("Royalties paid")
    intro = gettext_lazy(
        "Who was paid what. Contributors with an account at Stripe are sent their money; pay the"
        " others yourself, and say so here."
    )
    empty = gettext_lazy(
        "Nobody was paid royalties yet. Once sales have brought some, choose “Pay contributors”."
    )
    list_display: Any = ("contributor", "amount", "state", "created_at", "settled_at")
    list_filter: ClassVar[Any] = ("state", "currency")
    search_fields = ("contributor__external_id__startswith",)
    show = (
        "contributor",
        "amount",
        "recouped",
        "state",
        "account",
        "reference",
        "refusal",
        "created_at",
        "settled_at",
    )
    verbs = (
        Verb(
            "paid_outside",
            gettext_lazy("I paid it myself"),
            gettext_lazy(
                "For a contributor without an account at Stripe. The market owes you the amount"
                " then, and sends it to your payout account."
            ),
            _paid_outside,
            PaidForm,
            offered=lambda row: row.state == State.DUE,
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        accounts = ConnectedAccount.objects.visible_to(caller)
        of_them = accounts.filter(contributor=OuterRef("contributor"))
        state = Subquery(of_them.values("state")[:1])
        annotated: Rows = rows.select_related("contributor").annotate(account_state=state)
        return annotated

    def label(self, row: RoyaltyPayment) -> str:
        return f"{row.contributor.external_id}, {self.amount(row)}"

    @admin.display(description=gettext_lazy("Amount"))
    def amount(self, row: RoyaltyPayment) -> str:
        return preferences.amount(row.amount_minor, row.currency)

    @admin.display(description=gettext_lazy("Paid an advance back"))
    def recouped(self, row: RoyaltyPayment) -> str:
        return preferences.amount(row.recouped_minor, row.currency)

    @admin.display(description=gettext_lazy("Payout account"))
    def account(self, row: Any) -> str:
        state = row.account_state
        return "–" if state is None else str(ConnectedAccount.State(state).label)


studio.register(RoyaltyPayment, PaymentPages)


# --- paying out -------------------------------------------------------------------------------


class PayForm(VerbForm):
    """First it says what would be paid; the same figures, sent with it, have it done."""

    currency = forms.ChoiceField(label=gettext_lazy("Currency"), choices=_CURRENCIES, initial="USD")
    contributors = forms.IntegerField(widget=forms.HiddenInput, required=False)
    paid_minor = forms.IntegerField(widget=forms.HiddenInput, required=False)
    recouped_minor = forms.IntegerField(widget=forms.HiddenInput, required=False)

    FIGURES = ("contributors", "paid_minor", "recouped_minor")

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if "currency" not in data:
            return data
        try:
            seen = payouts.preview(self.caller, currency=data["currency"])
        except DomainError as refusal:
            raise forms.ValidationError(str(refusal.detail)) from None
        figures = {name: getattr(seen, name) for name in self.FIGURES}
        if not seen.contributors:
            raise forms.ValidationError(_("Nobody would be paid now: nothing new is owed."))
        if {name: data.get(name) for name in self.FIGURES} != figures:
            self.data = {**self.data.dict(), **figures}  # type: ignore[attr-defined]
            raise forms.ValidationError(_would(seen))
        return data


def _would(seen: payouts.Preview) -> str:
    told = ngettext(
        "This pays %(n)s contributor %(amount)s.",
        "This pays %(n)s contributors %(amount)s.",
        seen.contributors,
    ) % {
        "n": f"{seen.contributors:,}",
        "amount": preferences.amount(seen.paid_minor, seen.currency),
    }
    if seen.recouped_minor:
        told += " " + _("%(amount)s pays advances back, and is owed to you then.") % {
            "amount": preferences.amount(seen.recouped_minor, seen.currency)
        }
    return told + " " + _("Press the button again to do it.")


def _pay(caller: Caller, row: None, data: dict[str, Any]) -> Done:
    payouts.confirm(caller, **{name: data[name] for name in ("currency", *PayForm.FIGURES)})
    return Done(
        _("It goes on without you. Each payment stands below once it is written."),
        studio.page("payments_royaltypayment_changelist"),
    )


PAGE = FormPage(
    title=gettext_lazy("Pay contributors"),
    intro=gettext_lazy(
        "Pays everybody what they earned since the last time, in one currency. First you are told"
        " how many that are and how much. Left out are less than a rule's minimum, and what"
        " disputed sales brought."
    ),
    button=gettext_lazy("Pay contributors"),
    read=Scope.ROYALTIES_READ,
    write=Scope.ROYALTIES_WRITE,
    form=PayForm,
    run=_pay,
    above="payments/pay_contributors.html",
)


@require_http_methods(["GET", "POST"])
def pay(request: HttpRequest, caller: Caller) -> HttpResponseBase:
    """See what would be paid; have it paid."""
    return form_pages.answer(request, caller, PAGE, None)


studio.hang("pay-contributors", lambda bind: [path("", bind(pay), name="pay")])
studio.links.append(
    Link(Section.STUDIO, 10, PAGE.title, "payments", "pay-contributors:pay", PAGE.read)
)
