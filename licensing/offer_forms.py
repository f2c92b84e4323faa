"""Forms of a seller's offers in the workspace, and what of the verbs they gather."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from licensing import offers, samples
from licensing.models import Offer
from licensing.prices import PER_MAX, Model, Unit
from marketplace import money, organizations, preferences
from marketplace.access import Caller
from marketplace.errors import DomainError
from marketplace.tenant_forms import AddForm, VerbForm
from marketplace.tenant_pages import Done

# What a snapshot can be priced by, as people say it. Requests are of use, and not charged yet.
UNITS = {
    Unit.WORK: gettext_lazy("works"),
    Unit.WORD: gettext_lazy("words"),
    Unit.TOKEN: gettext_lazy("tokens"),
    Unit.PAGE: gettext_lazy("pages"),
    Unit.MINUTE: gettext_lazy("minutes"),
    Unit.MEGAPIXEL: gettext_lazy("megapixels"),
    Unit.BYTE: gettext_lazy("bytes"),
}
# Of `offers.INVOICE_DAYS`, in words.
INVOICE_DAYS = {
    14: gettext_lazy("14 days"),
    30: gettext_lazy("30 days"),
    60: gettext_lazy("60 days"),
}


class OfferForm(AddForm):
    intro = gettext_lazy(
        "An offer puts a snapshot under terms at a price. It starts as a draft that nobody else"
        " sees; its conditions never change afterwards."
    )
    params = {"price_minor": "price"}
    # Where a typed price is refused: the field of each of its parts.
    _PARTS: ClassVar[dict[str, str]] = {
        "price.unit": "charged_by",
        "price.rate.per": "per",
        "price.minimum_minor": "minimum",
        "price.cap_minor": "cap",
    }
    price = forms.DecimalField(
        label=gettext_lazy("Price"),
        min_value=0,
        max_digits=12,
        help_text=gettext_lazy("What a license costs, such as 1250.00. 0 gives it away."),
    )
    currency = forms.ChoiceField(
        label=gettext_lazy("Currency"), choices=[(code, code) for code in money.CURRENCIES]
    )
    charged_by = forms.ChoiceField(
        label=gettext_lazy("The price is for"),
        required=False,
        choices=[
            ("", gettext_lazy("everything in the snapshot")),
            *((unit.value, label) for unit, label in UNITS.items()),
        ],
        help_text=gettext_lazy(
            "By works, words and so on, the snapshot’s own count makes the sum; works that are"
            " taken out later are not paid for."
        ),
    )
    per = forms.IntegerField(
        label=gettext_lazy("For how many of them"),
        required=False,
        min_value=1,
        max_value=PER_MAX,
        help_text=gettext_lazy("Such as 1, or 1000000 for a price per million. Empty: 1."),
    )
    minimum = forms.DecimalField(
        label=gettext_lazy("But at least"),
        required=False,
        min_value=0,
        max_digits=12,
        help_text=gettext_lazy("Only for prices by count. Empty: no least sum."),
    )
    cap = forms.DecimalField(
        label=gettext_lazy("And at most"),
        required=False,
        min_value=0,
        max_digits=12,
        help_text=gettext_lazy("Only for prices by count. Empty: no largest sum."),
    )
    audience = forms.CharField(
        label=gettext_lazy("Only for"),
        required=False,
        max_length=200,
        help_text=gettext_lazy(
            "One organization, for a private offer: its name exactly as the market or its register"
            " has it, or its id (org_…). Empty: for everybody."
        ),
    )
    access = forms.ChoiceField(
        label=gettext_lazy("Who may license it"),
        required=False,
        choices=Offer.Access.choices,
        initial=Offer.Access.OPEN,
        help_text=gettext_lazy(
            "On request, you approve each buyer, for what it asked, before it can buy. Terms with"
            " conditions in free words are sold in no other way."
        ),
    )
    invoice_days = forms.TypedMultipleChoiceField(
        label=gettext_lazy("Paid on invoice within"),
        required=False,
        coerce=int,
        choices=list(INVOICE_DAYS.items()),
        # Not Unfold's look: it would make the box around all of them as small as each.
        widget=forms.CheckboxSelectMultiple(attrs={"class": "several border-0"}),
        help_text=gettext_lazy("Which terms of payment a buyer may choose. None: paid at once."),
    )
    grants_on = forms.ChoiceField(
        label=gettext_lazy("A license bought on invoice begins"),
        required=False,
        choices=Offer.GrantsOn.choices,
        initial=Offer.GrantsOn.PAYMENT,
        help_text=gettext_lazy("With the invoice means: before anybody paid it."),
    )

    class Meta:
        model = Offer
        fields = (
            "snapshot",
            "terms",
            "price",
            "currency",
            "charged_by",
            "per",
            "minimum",
            "cap",
            "audience",
            "access",
            "invoice_days",
            "grants_on",
        )
        help_texts = {
            "snapshot": gettext_lazy("What is licensed. Freeze a collection to get one."),
            "terms": gettext_lazy("On which conditions. Publish them before the offer."),
        }

    def prepare(self) -> None:
        self.fields["currency"].initial = "USD"

    def refuse(self, error: DomainError) -> None:
        param = str(error.data.get("param", ""))
        if param in self._PARTS:
            self.add_error(self._PARTS[param], str(error.detail))
        elif param.startswith("price.") and param not in self.params:
            self.add_error("price", str(error.detail))
        else:
            super().refuse(error)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not data.get("charged_by"):
            for name in ("per", "minimum", "cap"):
                if data.get(name) is not None:
                    self.add_error(name, _("Say above by what the price counts, or leave this."))
        return data


def make(caller: Caller, data: dict[str, Any]) -> Offer:
    """Draft an offer of what its form gathered."""
    code = data["currency"]
    amount = money.minor(data["price"], code)
    typed: dict[str, Any] = {"price_minor": amount}
    if data.get("charged_by"):
        typed = {"price": _rated(data, amount, code)}
    audience = organizations.named(data["audience"]).pk if data["audience"] else None
    return offers.make(
        caller,
        snapshot=str(data["snapshot"].pk),
        terms=str(data["terms"].pk),
        currency=code,
        audience=None if audience is None else str(audience),
        access=data.get("access") or Offer.Access.OPEN,
        invoice_days=data.get("invoice_days") or (),
        grants_on=data.get("grants_on") or Offer.GrantsOn.PAYMENT,
        **typed,
    )


def _rated(data: dict[str, Any], amount: int, code: str) -> dict[str, Any]:
    bounds = {
        f"{name}_minor": money.minor(data[name], code, param=f"price.{name}_minor")
        for name in ("minimum", "cap")
        if data.get(name) is not None
    }
    rate = {"amount_minor": amount, "per": data.get("per") or 1}
    return {"model": Model.PER_UNIT.value, "unit": data["charged_by"], "rate": rate, **bounds}


def priced(offer: Offer) -> str:
    """What an offer costs, as its page says it: by which rate, and what that comes to now."""
    total = preferences.amount(offer.price_minor, offer.currency)
    typed = offer.price or {}
    if typed.get("model") != Model.PER_UNIT:
        return total
    rate = typed["rate"]
    said = _("%(amount)s for %(per)s of these: %(unit)s. Now: %(total)s") % {
        "amount": preferences.amount(rate["amount_minor"], offer.currency),
        "per": f"{rate['per']:,}",
        "unit": UNITS[Unit(typed["unit"])],
        "total": total,
    }
    return _("%(said)s, by steps") % {"said": said} if typed.get("tiers") else said


def invoiced(offer: Offer) -> str:
    """How an offer may be paid, and when its license begins then."""
    if not offer.invoice_days:
        return _("At once only")
    days = ", ".join(str(each) for each in offer.invoice_days)
    return _("At once, or on invoice within %(days)s days; the license begins: %(begins)s") % {
        "days": days,
        "begins": Offer.GrantsOn(offer.grants_on).label,
    }


# --- samples ----------------------------------------------------------------------------------


class SampleForm(VerbForm):
    external_ids = forms.CharField(
        label=gettext_lazy("Which works?"),
        max_length=200_000,
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false"}),
        help_text=gettext_lazy(
            "Their ids in your own system, one in each line, at most 1,000. They must be in the"
            " offer’s snapshot."
        ),
    )

    def clean_external_ids(self) -> list[str]:
        lines = (line.strip() for line in self.cleaned_data["external_ids"].splitlines())
        return list(dict.fromkeys(line for line in lines if line))

    def refuse(self, error: DomainError) -> None:
        """Name the work that was refused, and not its place."""
        found = re.fullmatch(r"external_ids\[(\d+)\]", str(error.data.get("param", "")))
        if found is None:
            super().refuse(error)
            return
        named = self.cleaned_data["external_ids"][int(found.group(1))]
        self.add_error("external_ids", _("“%(id)s” cannot be in it.") % {"id": named})
        self.add_error("external_ids", str(error.detail).replace(found.group(0), f"“{named}”"))


def choose_sample(caller: Caller, row: Offer, data: dict[str, Any]) -> Done:
    """Choose the sample of an offer."""
    samples.choose(caller, str(row.pk), external_ids=data["external_ids"])
    return Done(_("The sample is chosen. Buyers of the offer may take it once, for free."))


def sampled(offer: Offer) -> str:
    """How many works the sample of an offer has."""
    works = samples.works_of([offer.pk]).get(offer.pk)
    if works is None:
        return "–"
    return ngettext("%(n)s work", "%(n)s works", works) % {"n": f"{works:,}"}
