"""The creators' pages of this app's tables: collections and works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Prefetch
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_safe

from marketplace import bulk_edits_studio, collections, describe_studio, preferences, works
from marketplace.access import Caller, Scope, acting
from marketplace.errors import NotFound
from marketplace.imports import REASONS
from marketplace.models import (
    Attestation,
    Collection,
    ImportJob,
    ImportRejection,
    Representation,
    Work,
)
from marketplace.tenant_forms import AddForm, VerbForm
from marketplace.tenant_pages import (
    Done,
    File,
    Rows,
    TenantInline,
    TenantListFilter,
    TenantModelAdmin,
    Verb,
    own,
)
from marketplace.tenant_site import Step, studio, the_caller

# --- collections ------------------------------------------------------------------------------


class CollectionForm(AddForm):
    intro = gettext_lazy(
        "A collection is what you license as one: an archive, a series, a year of posts. It starts"
        " empty; next you say why you may license it, and bring works into it."
    )

    class Meta:
        model = Collection
        fields = ("name", "description", "notice")
        help_texts = {
            "name": gettext_lazy("Buyers see it in the market."),
            "description": gettext_lazy(
                "What the works are, since when, in which languages. Buyers search in it."
            ),
            "notice": gettext_lazy("One line shown wherever the collection is. May stay empty."),
        }


class AttestForm(VerbForm):
    basis = forms.ChoiceField(
        label=gettext_lazy("Why may you license these works?"),
        choices=Attestation.Basis.choices,
        widget=forms.Select,
    )
    license_name = forms.CharField(
        label=gettext_lazy("Which open license?"),
        required=False,
        max_length=100,
        help_text=gettext_lazy(
            "Only for “Open license”: its SPDX identifier, such as CC-BY-4.0, or its name."
        ),
    )
    statement = forms.CharField(
        label=gettext_lazy("In your own words"),
        max_length=5_000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=gettext_lazy("Buyers read this with your offers. It cannot be changed later."),
    )
    person_name = forms.CharField(label=gettext_lazy("Your name"), max_length=200)
    person_title = forms.CharField(
        label=gettext_lazy("Your role"),
        max_length=200,
        help_text=gettext_lazy("Such as: author, head of rights."),
    )
    authority = forms.BooleanField(
        label=gettext_lazy("I have the authority to bind my organization."), required=False
    )

    def prepare(self) -> None:
        if self.caller.user is not None:
            self.fields["person_name"].initial = self.caller.user.name


def _attest(caller: Caller, collection: Collection, data: dict[str, Any]) -> Done:
    collections.attest(caller, str(collection.pk), **data)
    return Done(_("The rights in “%(name)s” are attested.") % {"name": collection.name})


class AttestationInline(TenantInline):
    model = Attestation
    read = Scope.COLLECTIONS_READ
    fields = ("basis", "license_name", "statement", "person_name", "person_title", "attested_at")
    verbose_name_plural = gettext_lazy("Rights attested (the newest counts)")
    empty = gettext_lazy("Nobody has attested the rights yet. Nothing can be listed before.")


class ImportInline(TenantInline):
    model = ImportJob
    read = Scope.WORKS_READ
    fields = ("source", "status", "imported", "repeated", "rejected", "started_at", "failure")
    verbose_name_plural = gettext_lazy("Imports (newest first)")
    empty = gettext_lazy("Nothing was imported yet.")


class CollectionPages(TenantModelAdmin):
    """A seller's collections. What is frozen and listed of them, licensing adds."""

    read, write = Scope.COLLECTIONS_READ, Scope.COLLECTIONS_WRITE
    place = 1
    icon = "folder_open"
    intro = gettext_lazy("What you keep together and license as one.")
    empty = gettext_lazy(
        "You have no collection yet. Make one first: then bring your works into it."
    )
    add_form = CollectionForm
    list_display: Any = ("name", "works_held", "attested", "created_at")
    search_fields = ("name", "description")
    show: ClassVar[tuple[str, ...]] = (
        "name", "description", "notice", "spoken", "works_held", "created_at",
    )  # fmt: skip
    inlines: ClassVar[Any] = (AttestationInline, ImportInline)
    verbs: ClassVar[tuple[Verb, ...]] = (
        Verb(
            "attest",
            gettext_lazy("Attest the rights"),
            gettext_lazy(
                "Before anything is listed, somebody with authority states why your organization"
                " may license these works. The statement stays on record; the newest one counts."
            ),
            _attest,
            AttestForm,
        ),
        describe_studio.DESCRIBE,
        bulk_edits_studio.EDIT,
    )

    files: ClassVar[tuple[File, ...]] = (
        File(
            "bring_in",
            gettext_lazy("Bring in files"),
            lambda caller, row: redirect(studio.page("files:import-files", str(row.pk))),
            "",
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        attested = Attestation.objects.visible_to(caller).order_by("-id")
        return collections.with_sizes(rows).prefetch_related(Prefetch("attestations", attested))

    @admin.display(description=gettext_lazy("Works"))
    def works_held(self, row: Any) -> str:
        if row.size > collections.SIZE_SHOWN_MAX:
            return f"{preferences.number(collections.SIZE_SHOWN_MAX)}+"
        return preferences.number(row.size)

    @admin.display(description=gettext_lazy("Languages"))
    def spoken(self, row: Collection) -> str:
        return ", ".join(row.languages) or "–"

    @admin.display(description=gettext_lazy("Rights attested"), boolean=True)
    def attested(self, row: Collection) -> bool:
        return bool(row.attestations.all())

    def make(self, caller: Caller, data: dict[str, Any]) -> Collection:
        return collections.create(caller, **data)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> Any:
        """On to what comes next: an empty collection is not worth a look."""
        answer = super().response_add(request, obj, post_url_continue)
        if not the_caller(request).may(Scope.WORKS_WRITE):
            return answer
        return redirect(page("files:import-files", str(obj.pk)))


# --- imports ----------------------------------------------------------------------------------


class RejectionInline(TenantInline):
    model = ImportRejection
    read = Scope.WORKS_READ
    ordering = ("pk",)
    show_change_link = False
    fields = ("name", "code", "why")
    readonly_fields = ("why",)
    verbose_name_plural = gettext_lazy("What did not come in (the first 20)")
    empty = gettext_lazy("Everything came in.")

    @admin.display(description=gettext_lazy("Detail"))
    def why(self, row: ImportRejection) -> str:
        """What a worker recorded in English; a reason of ours, in the reader's language."""
        reason = REASONS.get(row.code)
        with translation.override("en"):
            is_ours = reason is not None and str(reason) == row.detail
        return str(reason) if is_ours else row.detail


class ImportPages(TenantModelAdmin):
    """What was brought in, and what was left out of it, to look at."""

    read = Scope.WORKS_READ
    place = 3
    icon = "upload"
    intro = gettext_lazy("Every file that you brought works in from, and what became of its lines.")
    empty = gettext_lazy("You have imported nothing yet. Open a collection to begin.")
    list_display: Any = (
        "source",
        "collection",
        "status",
        "imported",
        "rejected",
        "started_at",
    )
    list_filter: ClassVar[Any] = ("status",)
    show = (
        "source",
        "collection",
        "status",
        "imported",
        "repeated",
        "rejected",
        "started_at",
        "finished_at",
        "failure",
    )
    inlines: ClassVar[Any] = (RejectionInline,)
    files: ClassVar[tuple[File, ...]] = (
        File(
            "progress",
            gettext_lazy("Progress and rejected rows"),
            lambda caller, row: redirect(studio.page("files:import-progress", str(row.pk))),
            "",
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        return rows.select_related("collection")

    def label(self, row: ImportJob) -> str:
        return row.source


studio.register(ImportJob, ImportPages)

# --- works ------------------------------------------------------------------------------------


class CollectionFilter(TenantListFilter):
    title = gettext_lazy("collection")
    parameter_name = "collection"
    OPTIONS_MAX = 100

    def options(self, caller: Caller) -> list[tuple[str, str]]:
        # The newest: to find the first by name, all of a catalogue's names would be sorted.
        rows = own(Collection, caller).order_by("-pk").values_list("name", "pk")
        return [(str(pk), name) for name, pk in sorted(rows[: self.OPTIONS_MAX])]

    def chosen(self, caller: Caller, rows: Rows, value: str) -> Rows:
        try:
            return works.in_collection(caller, value, rows)
        except NotFound:
            return rows.none()


class RepresentationInline(TenantInline):
    model = Representation
    read = Scope.WORKS_READ
    fields = ("sha256", "length", "media_type", "canonicalization", "custody")
    verbose_name_plural = gettext_lazy("Exact forms of its bytes")

    @admin.display(description="SHA-256")
    def sha256(self, row: Representation) -> str:
        return bytes(row.digest).hex()


class WorkPages(TenantModelAdmin):
    """A seller's works, to look at: they come in by imports."""

    read = Scope.WORKS_READ
    place = 2
    icon = "description"
    intro = gettext_lazy(
        "Every work that you brought in. Search by the beginning of its id in your own system, or"
        " by words of its title."
    )
    empty = gettext_lazy(
        "You have no works yet. Open a collection and bring in files, or use the API."
    )
    list_display: Any = ("title_or_id", "external_id", "language", "created_at")
    search_fields = ("external_id__startswith", "title")
    list_filter: ClassVar[Any] = (CollectionFilter,)
    show = ("external_id", "title", "source_url", "language", "contributor", "created_at")
    inlines: ClassVar[Any] = (RepresentationInline,)

    @admin.display(description=gettext_lazy("Work"))
    def title_or_id(self, row: Work) -> str:
        return str(row)


studio.register(Work, WorkPages)

# --- the checklist ----------------------------------------------------------------------------


def page(name: str, *arguments: Any) -> str:
    """The address of a page of the studio."""
    return reverse(f"admin:{name}", args=arguments, current_app=studio.name)


def of_newest_collection(name: str) -> Callable[[Caller], str]:
    """The address that leads on to a page of the caller's newest collection."""
    # Found only by who goes there: the first page asks for it once for each step otherwise.
    return lambda caller: page("newest:verb", name)


def _newest(request: HttpRequest, caller: Caller, verb: str) -> HttpResponseBase:
    """Lead on to a page of the newest collection; to the list while there is none."""
    pages = studio._registry[Collection]
    if verb not in {one.name for one in (*pages.verbs, *pages.files)}:
        raise Http404
    with acting(caller, writing=False):
        newest = own(Collection, caller).order_by("-pk").first()
    if newest is None or not caller.may(pages.read):
        return redirect(page("marketplace_collection_changelist"))
    return redirect(page(f"marketplace_collection_{verb}", newest.pk))


studio.hang("newest", lambda bind: [path("<slug:verb>/", bind(require_safe(_newest)), name="verb")])

studio.steps += [
    Step(
        40,
        gettext_lazy("Make a collection"),
        gettext_lazy("What you license as one: give it a name that buyers understand."),
        lambda caller: page("marketplace_collection_add"),
        lambda caller: own(Collection, caller),
        Scope.COLLECTIONS_WRITE,
    ),
    Step(
        41,
        gettext_lazy("Bring works into it"),
        gettext_lazy("Send a table of them, or a folder of files; or use the API."),
        of_newest_collection("bring_in"),
        lambda caller: own(Work, caller),
        Scope.COLLECTIONS_WRITE,
    ),
    Step(
        42,
        gettext_lazy("Attest your rights"),
        gettext_lazy("Say why you may license these works, and sign it with your name."),
        of_newest_collection("attest"),
        lambda caller: own(Attestation, caller),
        Scope.COLLECTIONS_WRITE,
    ),
]


def counted(number: int) -> str:
    """How many works, for people."""
    return ngettext("%(n)s work", "%(n)s works", number) % {"n": preferences.number(number)}
