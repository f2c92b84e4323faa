"""The workspace's pages of deals: requests for access to answer; licenses held, and notices."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Prefetch
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from licensing import access_requests, asked_models, notices, use_labels
from licensing.models import AccessRequest, Coverage, Grant, HeldGrant, Notice, Period
from licensing.studio import GrantPages
from marketplace import preferences
from marketplace.access import Caller, Scope
from marketplace.tenant_forms import VerbForm
from marketplace.tenant_pages import Done, File, Rows, TenantModelAdmin, Verb
from marketplace.tenant_site import Section, studio

# --- requests for access ----------------------------------------------------------------------


class DeclineForm(VerbForm):
    reason = forms.CharField(
        label=gettext_lazy("Why not?"),
        max_length=1_000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=gettext_lazy("The buyer reads it."),
    )


def _approve(caller: Caller, row: AccessRequest, data: dict[str, Any]) -> Done:
    access_requests.approve(caller, str(row.pk))
    return Done(_("%(name)s may license it now.") % {"name": row.licensee.name})


def _decline(caller: Caller, row: AccessRequest, data: dict[str, Any]) -> Done:
    access_requests.decline(caller, str(row.pk), reason=data["reason"])
    return Done(_("The request is declined. %(name)s reads why.") % {"name": row.licensee.name})


def _awaits(row: AccessRequest) -> bool:
    return row.state_now == AccessRequest.State.PENDING


class RequestPages(TenantModelAdmin):
    """Who asks to license what, to answer."""

    read, write = Scope.ACCESS_REQUESTS_READ, Scope.ACCESS_REQUESTS_WRITE
    section = Section.STUDIO
    place = 8
    icon = "contact_support"
    menu_title = gettext_lazy("Requests")
    intro = gettext_lazy("Buyers who ask before they license an offer that is sold on request.")
    empty = gettext_lazy(
        "Nobody has asked yet. Offers “on request” are bought only after you agree."
    )
    list_display: Any = ("buyer", "collection", "asked_uses", "now", "created_at", "expires_at")
    list_filter: ClassVar[Any] = ("state",)
    search_fields = ("licensee__name",)
    show = (
        "buyer",
        "collection",
        "asked_uses",
        "asked_places",
        "for_model",
        "message",
        "now",
        "reason",
        "created_at",
        "expires_at",
        "decided_at",
    )
    verbs = (
        Verb(
            "approve",
            gettext_lazy("Approve"),
            gettext_lazy(
                "The buyer may then license the offer for what it asked, and for nothing else,"
                " while the approval lasts."
            ),
            _approve,
            offered=_awaits,
        ),
        Verb(
            "decline",
            gettext_lazy("Decline"),
            gettext_lazy("Say no, and why. The buyer may ask again."),
            _decline,
            DeclineForm,
            offered=_awaits,
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        """Those that the caller answers; its own questions are answered by others."""
        return rows.filter(licensor=caller.organization).select_related(
            "licensee", "offer__collection"
        )

    def label(self, row: AccessRequest) -> str:
        return _("Request of %(name)s") % {"name": row.licensee.name}

    @admin.display(description=gettext_lazy("Buyer"))
    def buyer(self, row: AccessRequest) -> str:
        return row.licensee.name

    @admin.display(description=gettext_lazy("Collection"))
    def collection(self, row: AccessRequest) -> str:
        return row.offer.collection.name

    @admin.display(description=gettext_lazy("Uses"))
    def asked_uses(self, row: AccessRequest) -> str:
        return use_labels.uses(row.uses)

    @admin.display(description=gettext_lazy("Territories"))
    def asked_places(self, row: AccessRequest) -> str:
        return use_labels.territories(row.territories)

    @admin.display(description=gettext_lazy("Model"))
    def for_model(self, row: AccessRequest) -> str:
        return asked_models.in_words(access_requests.asked_model(row))

    @admin.display(description=gettext_lazy("State"))
    def now(self, row: AccessRequest) -> str:
        return str(AccessRequest.State(row.state_now).label)


studio.register(AccessRequest, RequestPages)

# --- licenses held ----------------------------------------------------------------------------


class HeldPages(GrantPages):
    """What the caller's organization may use."""

    section = Section.LICENSES
    place = 1
    icon = "license"
    menu_title = gettext_lazy("Licenses held")
    intro = gettext_lazy("What you may use, for what, until when; each with its signed receipt.")
    empty = gettext_lazy("You hold no license yet. Find collections in the market.")
    list_display: Any = ("licensor", "collection", "uses", "train_until", "status", "issued_at")
    search_fields = ("licensor__name",)
    show: ClassVar[tuple[str, ...]] = (
        "licensor",
        "collection",
        "uses",
        "places",
        "train_until",
        "status",
        "issued_at",
        "ended_at",
        "contract",
    )
    contract_page = "licensing_heldagreement_change"
    files = (
        File(
            "may_we",
            gettext_lazy("May we …?"),
            lambda caller, row: redirect(studio.page("questions:license", str(row.pk))),
            "",
        ),
        *GrantPages.files,
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        """Licenses held; those given are on a page of their own."""
        periods = Period.objects.visible_to(caller).order_by("-number")
        covered = Coverage.objects.visible_to(caller).select_related("snapshot__collection")
        held = rows.filter(licensee=caller.organization).select_related("licensor", "issued_entry")
        return held.prefetch_related(Prefetch("periods", periods)).prefetch_related(
            Prefetch("coverage", covered)
        )

    def label(self, row: Grant) -> str:
        return _("License from %(name)s") % {"name": row.licensor.name}

    @admin.display(description=gettext_lazy("Collection"))
    def collection(self, row: HeldGrant) -> str:
        names = {one.snapshot.collection.name for one in row.coverage.all()}
        return ", ".join(sorted(names))


studio.register(HeldGrant, HeldPages)

# --- notices ----------------------------------------------------------------------------------


class AcknowledgeForm(VerbForm):
    statement = forms.CharField(
        label=gettext_lazy("What did you do?"),
        max_length=2_000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=gettext_lazy("The seller reads it, and the ledger records its hash."),
    )
    name = forms.CharField(label=gettext_lazy("Your name"), max_length=200)
    title = forms.CharField(label=gettext_lazy("Your role"), max_length=200)

    def prepare(self) -> None:
        if self.caller.user is not None:
            self.fields["name"].initial = self.caller.user.name


def _acknowledge(caller: Caller, row: Notice, data: dict[str, Any]) -> Done:
    notices.acknowledge(caller, str(row.pk), **data)
    return Done(_("It is on record that you acted on this notice."))


class NoticePages(TenantModelAdmin):
    """Works that were taken out of licenses held, to act on."""

    read, write = Scope.OPT_OUTS_READ, Scope.OPT_OUTS_WRITE
    section = Section.LICENSES
    place = 2
    icon = "notifications"
    intro = gettext_lazy(
        "Works of your licenses that were taken out: stop using them, and say what you did."
    )
    empty = gettext_lazy("No work of your licenses was taken out.")
    list_display: Any = ("licensor", "by", "works_out", "state", "queued_at")
    list_filter: ClassVar[Any] = ("by",)
    show = ("licensor", "by", "works_out", "state", "statement", "queued_at")
    verbs = (
        Verb(
            "acknowledge",
            gettext_lazy("Acknowledge"),
            gettext_lazy(
                "State what your organization did about the works that were taken out. The first"
                " statement stands."
            ),
            _acknowledge,
            AcknowledgeForm,
            offered=lambda row: not hasattr(row, "acknowledgement"),
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        """Those that the caller has to act on; those about its own works are others'."""
        return rows.filter(licensee=caller.organization).select_related(
            "licensor", "acknowledgement"
        )

    def label(self, row: Notice) -> str:
        return _("Notice of %(name)s") % {"name": row.licensor.name}

    @admin.display(description=gettext_lazy("Works"))
    def works_out(self, row: Notice) -> str:
        return preferences.number(row.size)

    @admin.display(description=gettext_lazy("State"))
    def state(self, row: Notice) -> str:
        is_done = hasattr(row, "acknowledgement")
        return str((Notice.State.ACKNOWLEDGED if is_done else Notice.State.QUEUED).label)

    @admin.display(description=gettext_lazy("What you did"))
    def statement(self, row: Notice) -> str:
        return row.acknowledgement.statement if hasattr(row, "acknowledgement") else "–"


studio.register(Notice, NoticePages)
