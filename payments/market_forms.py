"""Forms of a buyer at the market: what is wanted of an offer, and who accepts its contract."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Any, ClassVar

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from licensing import asked_models, terms, use_labels
from licensing.models import Offer
from marketplace import sent_forms
from marketplace.errors import DomainError
from marketplace.tenant_forms import VerbForm
from payments.models.invoices import PURCHASE_ORDER_LENGTH_MAX
from payments.orders import Accept


class DocumentWidget(forms.Textarea):
    """A contract to read in a form. It is shown and scrolled, not sent."""

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        context["widget"]["name"] = ""
        shown = context["widget"]["attrs"]
        # What is disabled takes no focus, so that nobody could scroll it by keyboard.
        shown.pop("disabled", None)
        shown |= {"readonly": True, "rows": 18, "lang": "en", "class": f"{shown['class']} code"}
        return context


class ScopeForm(VerbForm):
    """For what an offer is to be licensed. The row is the offer; its terms say what there is."""

    params: ClassVar[dict[str, str]] = {"model": "model_name"}

    uses = forms.MultipleChoiceField(
        label=gettext_lazy("What will you do with the works?"), widget=forms.CheckboxSelectMultiple
    )
    territories = forms.MultipleChoiceField(
        label=gettext_lazy("Where?"), required=False, widget=forms.CheckboxSelectMultiple
    )
    countries = forms.CharField(
        label=gettext_lazy("Only in some countries"),
        required=False,
        max_length=1_000,
        help_text=gettext_lazy(
            "Their two-letter codes, such as: DE, FR. Empty: everything that is ticked above."
        ),
    )
    model_name = forms.CharField(
        label=gettext_lazy("For which model?"),
        required=False,
        max_length=asked_models.NAME_LENGTH_MAX,
        help_text=gettext_lazy("Empty: for every model that the terms allow."),
    )
    model_version = forms.CharField(
        label=gettext_lazy("Its version"),
        required=False,
        max_length=asked_models.VERSION_LENGTH_MAX,
        help_text=gettext_lazy("Empty: every version of it."),
    )
    model_release = forms.ChoiceField(
        label=gettext_lazy("How is the model released?"), required=False
    )

    def prepare(self) -> None:
        typed = terms.load(self.row.terms)
        places = dict.fromkeys(code for clause in typed.permit for code in clause.territories)
        self._choose(
            "uses", [(use, label) for use, label in use_labels.USES.items() if typed.permits(use)]
        )
        self._choose("territories", [(code, use_labels.territory(code)) for code in places])
        if not self.is_bound:
            self.fields["territories"].initial = list(places)
        self._choose("model_release", [("", _("Choose …")), *use_labels.RELEASES.items()])

    def _choose(self, name: str, choices: list[tuple[Any, Any]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(str(value), label) for value, label in choices]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not data.get("territories") and not data.get("countries"):
            self.add_error("territories", _("Choose where, or name countries."))
        if data.get("model_name") and not data.get("model_release"):
            self.add_error("model_release", _("Say how the model is released."))
        if data.get("model_version") and not data.get("model_name"):
            self.add_error("model_name", _("Name the model whose version it is."))
        return data

    def refuse(self, error: DomainError) -> None:
        param = str(error.data.get("param", ""))
        is_named = bool(self.cleaned_data.get("countries"))
        if param.startswith("territories") and is_named:
            self.add_error("countries", str(error.detail))
        elif param.partition(".")[0] == "model" and param.partition(".")[2]:
            self.add_error(f"model_{param.partition('.')[2]}", str(error.detail))
        elif param.partition("[")[0] in {"uses", "territories"}:
            self.add_error(param.partition("[")[0], str(error.detail))
        else:
            super().refuse(error)

    def scope(self) -> dict[str, Any]:
        """What the verbs take of it."""
        data = self.cleaned_data
        named = [one.strip().upper() for one in data["countries"].split(",") if one.strip()]
        model = {
            field: data[f"model_{field}"]
            for field in ("name", "version", "release")
            if data[f"model_{field}"]
        }
        return {
            "uses": data["uses"],
            "territories": named or data["territories"],
            "model": model if data["model_name"] else None,
        }


class QuoteForm(ScopeForm):
    """What a quote takes."""

    params: ClassVar[dict[str, str]] = {**ScopeForm.params, "starts_at": "begins_on"}

    begins_on = forms.DateField(
        label=gettext_lazy("When does the license begin?"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=gettext_lazy("A day, from its midnight in UTC. Empty: now."),
    )

    def prepare(self) -> None:
        super().prepare()
        self.fields[sent_forms.TOKEN] = forms.CharField(
            required=False,
            max_length=64,
            widget=forms.HiddenInput,
            initial=sent_forms.token(),
        )
        if self.row.access == Offer.Access.ON_REQUEST:
            self.fields["model_name"].help_text = _(
                "The model that the seller approved. Empty: the one whose approval lasts longest."
            )

    def scope(self) -> dict[str, Any]:
        day = self.cleaned_data["begins_on"]
        starts_at = None
        if day is not None and day != timezone.now().astimezone(UTC).date():
            starts_at = datetime.combine(day, time(), UTC)
        return {**super().scope(), "starts_at": starts_at}


class AskForm(ScopeForm):
    """What a request for access takes."""

    message = forms.CharField(
        label=gettext_lazy("A message to the seller"),
        required=False,
        max_length=2_000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=gettext_lazy("What you build, and for whom. The seller reads it."),
    )

    def prepare(self) -> None:
        super().prepare()
        for name in ("model_name", "model_release"):
            self.fields[name].required = True
        self.fields["model_name"].help_text = _("The seller decides about this one model.")

    def scope(self) -> dict[str, Any]:
        return {**super().scope(), "message": self.cleaned_data["message"]}


class AcceptForm(VerbForm):
    """A person's acceptance of a contract: which one, who, as what, and that they may."""

    document = forms.CharField(
        label=gettext_lazy("The contract, word for word"),
        disabled=True,
        required=False,
        widget=DocumentWidget,
    )
    document_sha256 = forms.CharField(widget=forms.HiddenInput, max_length=64, required=False)
    name = forms.CharField(label=gettext_lazy("Who accepts it?"), max_length=200)
    title = forms.CharField(
        label=gettext_lazy("As what?"),
        max_length=200,
        help_text=gettext_lazy("Such as: General Counsel."),
    )
    authority = forms.BooleanField(
        label=gettext_lazy(
            "I have read this contract, and have the authority to bind my organization to it."
        ),
        required=False,
    )

    def prepare(self) -> None:
        digest = bytes(self.row.document_sha256).hex()
        self.fields["document"].initial = self.row.document
        self.fields["document"].help_text = _("Its SHA-256: %(digest)s") % {"digest": digest}
        self.fields["document_sha256"].initial = digest
        if self.caller.user is not None:
            self.fields["name"].initial = self.caller.user.name

    def refuse(self, error: DomainError) -> None:
        name = str(error.data.get("param", "")).removeprefix("accept.")
        shown = name in self.fields and not self.fields[name].widget.is_hidden
        self.add_error(name if shown else None, str(error.detail))


def accepted(data: Mapping[str, Any]) -> Accept:
    """What an order or a sample takes of an acceptance."""
    return {
        "document_sha256": data["document_sha256"],
        "name": data["name"],
        "title": data["title"],
        "authority": data["authority"],
    }


class InvoiceForm(AcceptForm):
    """An acceptance that is paid by invoice."""

    net_days = forms.TypedChoiceField(label=gettext_lazy("When will you pay?"), coerce=int)
    purchase_order = forms.CharField(
        label=gettext_lazy("Your purchase order number"),
        required=False,
        max_length=PURCHASE_ORDER_LENGTH_MAX,
        help_text=gettext_lazy("The invoice shows it. May stay empty."),
    )

    def prepare(self) -> None:
        super().prepare()
        days = self.row.offer.invoice_days
        field = self.fields["net_days"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(one, _("Within %(days)s days") % {"days": one}) for one in days]
        if days:
            field.initial = days[0]


class SampleForm(AcceptForm):
    """The acceptance of a sample's contract. The row is its quote, which nobody saved."""

    starts_at = forms.DateTimeField(widget=forms.HiddenInput)

    def prepare(self) -> None:
        super().prepare()
        self.fields["starts_at"].initial = self.row.scope["starts_at"]

    def show_anew(self) -> None:
        """Have a form that was refused name the contract that is shown with it now."""
        if self.is_bound:
            hidden = {name: self.fields[name].initial for name in ("document_sha256", "starts_at")}
            self.data = {**self.data.dict(), **hidden}  # type: ignore[attr-defined]
