"""The workspace's pages of bulk edits: one change of many works, counted first, then watched."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from marketplace import bulk_edits, preferences
from marketplace.access import Caller, Scope
from marketplace.errors import DomainError
from marketplace.models import BulkEdit, Collection
from marketplace.tenant_forms import VerbForm
from marketplace.tenant_pages import Done, Rows, TenantModelAdmin, Verb
from marketplace.tenant_site import Section, studio

_CHANGES = {
    "language": gettext_lazy("Set the language"),
    "title_prefix": gettext_lazy("Put words before the title"),
}


class EditForm(VerbForm):
    """Sent twice: the first time it says how many works would change, the second does it."""

    change = forms.ChoiceField(label=gettext_lazy("What to change"), choices=[*_CHANGES.items()])
    value = forms.CharField(
        label=gettext_lazy("New language, or words"),
        max_length=200,
        required=False,
        # A prefix may end with a space.
        strip=False,
        help_text=gettext_lazy("A language as BCP 47 says it, such as de; empty for none."),
    )
    language = forms.CharField(
        label=gettext_lazy("Only works in the language"), max_length=35, required=False
    )
    external_id_prefix = forms.CharField(
        label=gettext_lazy("Only works whose id begins with"), max_length=200, required=False
    )
    # How many works the page said that it would change.
    counted = forms.IntegerField(widget=forms.HiddenInput, required=False)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.errors:
            return data
        try:
            count = bulk_edits.preview(self.caller, str(self.row.pk), **asked(data))
        except DomainError as refusal:
            self.add_error("value", str(refusal.detail))
            return data
        if data.get("counted") != count or not count:
            self.data = {**self.data, "counted": str(count)}
            raise forms.ValidationError(
                ngettext(
                    "This would change %(n)s work. Press the button again to do it.",
                    "This would change %(n)s works. Press the button again to do it.",
                    count,
                )
                % {"n": preferences.number(count)}
                if count
                else _("No work would change: each has it already, or none is meant.")
            )
        return data


def asked(data: dict[str, Any]) -> dict[str, Any]:
    """What the form says, as the verbs take it."""
    named = ("language", "external_id_prefix")
    return {
        "change": {data["change"]: data["value"]},
        "selection": {name: data[name] for name in named if data[name]},
    }


def _edit(caller: Caller, row: Collection, data: dict[str, Any]) -> Done:
    edit = bulk_edits.ask(caller, str(row.pk), **asked(data))
    told = _("It goes on without you. This page says how far it is.")
    return Done(told, studio.page("marketplace_bulkedit_change", edit.pk))


EDIT = Verb(
    "edit_works",
    gettext_lazy("Edit many works"),
    gettext_lazy(
        "Change one thing in all works of the collection, or in those that you describe. First you"
        " are told how many would change. It cannot be undone; snapshots that exist stay as they"
        " are."
    ),
    _edit,
    EditForm,
)


def _cancel(caller: Caller, row: BulkEdit, data: dict[str, Any]) -> Done:
    edit = bulk_edits.cancel(caller, str(row.pk))
    changed = preferences.number(edit.changed)
    return Done(_("It is ended. %(n)s works were changed.") % {"n": changed})


class EditPages(TenantModelAdmin):
    """Edits of many works, and how far they are."""

    read, write = Scope.WORKS_READ, Scope.WORKS_WRITE
    section = Section.STUDIO
    place = 3
    icon = "edit_note"
    menu_title = gettext_lazy("Bulk edits")
    intro = gettext_lazy("Changes of many works at once, and how far they are.")
    empty = gettext_lazy("None yet. Open a collection, and choose “Edit many works”.")
    list_display: Any = ("what", "collection", "status", "changed", "looked_at", "asked_at")
    list_filter: ClassVar[Any] = ("status",)
    show = (
        "what",
        "collection",
        "meant",
        "status",
        "changed",
        "looked_at",
        "asked_at",
        "finished_at",
    )
    verbs: ClassVar[tuple[Verb, ...]] = (
        Verb(
            "cancel",
            gettext_lazy("End it"),
            gettext_lazy("What it changed stays; the rest is left as it is."),
            _cancel,
            offered=lambda row: row.status == BulkEdit.Status.RUNNING,
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        return rows.select_related("collection")

    def label(self, row: BulkEdit) -> str:
        return self.what(row)

    @admin.display(description=gettext_lazy("Change"))
    def what(self, row: BulkEdit) -> str:
        [(name, value)] = row.change.items()
        return f"{_CHANGES[name]}: {value or '–'}"

    @admin.display(description=gettext_lazy("Which works"))
    def meant(self, row: BulkEdit) -> str:
        said = row.selection
        texts = [
            _("language: %(text)s") % {"text": said["language"]} if "language" in said else "",
            _("id begins with: %(text)s") % {"text": said["external_id_prefix"]}
            if "external_id_prefix" in said
            else "",
            _("%(n)s named works") % {"n": len(said["works"])} if "works" in said else "",
        ]
        return "; ".join(text for text in texts if text) or _("All of the collection")


studio.register(BulkEdit, EditPages)
