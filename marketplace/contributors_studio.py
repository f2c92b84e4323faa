"""The workspace's pages of contributors: whose works are in the collections, and their consent."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace import contributors
from marketplace.access import Caller, Scope
from marketplace.models import Contributor
from marketplace.tenant_forms import AddForm, VerbForm
from marketplace.tenant_pages import Done, Rows, TenantModelAdmin, Verb
from marketplace.tenant_site import Section

Consent = Contributor.Consent


class ContributorForm(AddForm):
    intro = gettext_lazy(
        "Somebody whose works you license. Imports record them as well, by the same id."
    )
    name = forms.CharField(label=gettext_lazy("Name"), max_length=200, required=False)
    email = forms.EmailField(
        label=gettext_lazy("Email"),
        required=False,
        help_text=gettext_lazy("Name and email can be erased later; works and money stay."),
    )

    class Meta:
        model = Contributor
        fields = ("external_id", "name", "email", "consent")
        help_texts = {"external_id": gettext_lazy("Your own id of them. It names no person.")}


class ConsentForm(VerbForm):
    consent = forms.ChoiceField(
        label=gettext_lazy("What they say"),
        choices=[one for one in Consent.choices if one[0] != Consent.UNKNOWN],
    )

    def prepare(self) -> None:
        self.fields["consent"].initial = self.row.consent


def _set_consent(caller: Caller, row: Contributor, data: dict[str, Any]) -> Done:
    if row.consent == data["consent"]:
        return Done(_("It stands so already: nothing was changed."))
    found = contributors.set_consent(caller, str(row.pk), consent=data["consent"])
    return Done(_("The consent is “%(consent)s” now.") % {"consent": found.get_consent_display()})


class ContributorPages(TenantModelAdmin):
    """Who made works that the caller licenses. What they earn, payments adds."""

    read, write = Scope.WORKS_READ, Scope.WORKS_WRITE
    section = Section.STUDIO
    place = 4
    icon = "groups"
    menu_title = gettext_lazy("Contributors")
    intro = gettext_lazy("Whose works are in your collections, and whether they consent.")
    empty = gettext_lazy(
        "You have no contributors yet. Add one, or name them in a column of an import."
    )
    add_form = ContributorForm
    list_display: Any = ("external_id", "person", "consent", "created_at")
    list_filter: ClassVar[Any] = ("consent",)
    search_fields = ("external_id__startswith",)
    show: ClassVar[tuple[str, ...]] = (
        "external_id", "person", "email", "consent", "consent_changed_at", "created_at",
    )  # fmt: skip
    verbs: ClassVar[tuple[Verb, ...]] = (
        Verb(
            "set_consent",
            gettext_lazy("Record their consent"),
            gettext_lazy(
                "Works of somebody who refuses come in by no import any more. What is licensed"
                " already stays so: an opt-out takes it out."
            ),
            _set_consent,
            ConsentForm,
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        return rows.select_related("identity")

    def label(self, row: Contributor) -> str:
        return row.external_id

    @admin.display(description=gettext_lazy("Name"))
    def person(self, row: Contributor) -> str:
        if row.erased_at is not None:
            return _("Erased")
        return row.identity.name if hasattr(row, "identity") else "–"

    @admin.display(description=gettext_lazy("Email"))
    def email(self, row: Contributor) -> str:
        return (row.identity.email or "–") if hasattr(row, "identity") else "–"

    def make(self, caller: Caller, data: dict[str, Any]) -> Contributor:
        return contributors.add(caller, **data)
