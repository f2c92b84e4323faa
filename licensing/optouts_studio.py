"""The workspace's pages of opt-outs: works taken out of licensing, and who acknowledged it."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, Q
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from licensing import optouts
from licensing.models import Notice, OptOut
from marketplace import preferences
from marketplace.access import Caller, Scope
from marketplace.errors import InvalidInput
from marketplace.tenant_forms import AddForm
from marketplace.tenant_pages import Rows, TenantInline, TenantModelAdmin
from marketplace.tenant_site import Section, studio

# What a person pastes; more at once goes through the API.
NAMED_MAX = 1_000


class OptOutForm(AddForm):
    intro = gettext_lazy(
        "The works go out at once and for good: nobody can license them, nothing of them is"
        " delivered, and every licensee that holds one has a notice to acknowledge. Models that"
        " were trained before are not changed by it."
    )
    external_ids = forms.CharField(
        label=gettext_lazy("Which works?"),
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text=gettext_lazy("Your own ids of them, one in each line; up to 1,000."),
    )

    class Meta:
        model = OptOut
        fields = ("external_ids", "reason")
        help_texts = {"reason": gettext_lazy("For you, and for whoever checks the ledger entry.")}


class NoticeInline(TenantInline):
    model = Notice
    read = Scope.OPT_OUTS_READ
    show_change_link = False
    fields = ("licensee", "works_out", "queued_at", "acknowledged", "statement")
    verbose_name_plural = gettext_lazy("Who was told, and who acknowledged")
    empty = gettext_lazy("Nobody held a license of these works: nobody had to be told.")

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        """Those about the caller's works; those that it has to act on are on its own page."""
        return rows.filter(licensor=caller.organization).select_related(
            "licensee", "acknowledgement"
        )

    @admin.display(description=gettext_lazy("Works"))
    def works_out(self, row: Notice) -> str:
        return preferences.number(row.size)

    @admin.display(description=gettext_lazy("Acknowledged"))
    def acknowledged(self, row: Notice) -> Any:
        if not hasattr(row, "acknowledgement"):
            return _("Not yet")
        return row.acknowledgement.acknowledged_at

    @admin.display(description=gettext_lazy("What they did"))
    def statement(self, row: Notice) -> str:
        return row.acknowledgement.statement if hasattr(row, "acknowledgement") else "–"


class OptOutPages(TenantModelAdmin):
    """Works that were taken out, by whom and why."""

    read, write = Scope.OPT_OUTS_READ, Scope.OPT_OUTS_WRITE
    section = Section.STUDIO
    place = 11
    icon = "block"
    menu_title = gettext_lazy("Opt-outs")
    intro = gettext_lazy(
        "Works that you, a contributor or an operator took out of licensing, and which licensees"
        " acknowledged it."
    )
    empty = gettext_lazy(
        "No work of yours was taken out. To take some out, make a new opt-out: it cannot be undone."
    )
    add_form = OptOutForm
    list_display: Any = ("recorded_at", "by", "works_out", "reason", "told", "waiting")
    list_filter: ClassVar[Any] = ("by",)
    show = ("by", "reason", "works_out", "told", "waiting", "recorded_at")
    inlines: ClassVar[Any] = (NoticeInline,)

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        mine = Q(notices__livemode=caller.livemode, notices__licensor=caller.organization)
        waits = mine & Q(notices__acknowledgement=None)
        counted: Rows = rows.annotate(
            notices_sent=Count("notices", filter=mine),
            notices_waiting=Count("notices", filter=waits),
        )
        return counted

    def label(self, row: OptOut) -> str:
        return _("Opt-out of %(day)s") % {"day": preferences.day(row.recorded_at)}

    @admin.display(description=gettext_lazy("Works"))
    def works_out(self, row: OptOut) -> str:
        return preferences.number(row.size)

    @admin.display(description=gettext_lazy("Licensees told"))
    def told(self, row: Any) -> str:
        return preferences.number(row.notices_sent)

    @admin.display(description=gettext_lazy("Not acknowledged yet"))
    def waiting(self, row: Any) -> str:
        return preferences.number(row.notices_waiting)

    def make(self, caller: Caller, data: dict[str, Any]) -> OptOut:
        ids = [line.strip() for line in data["external_ids"].splitlines() if line.strip()]
        if len(ids) > NAMED_MAX:
            raise InvalidInput(
                _("Name up to 1,000 works at once; more go through the API."), param="external_ids"
            )
        row, is_new = optouts.record_once(
            caller, by=OptOut.By.OWNER, reason=data["reason"], external_ids=ids
        )
        row.was_there = not is_new  # type: ignore[attr-defined]
        return row

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> Any:
        if obj.was_there:
            told = _("All of them were out before: this opt-out took them out.")
        else:
            told = _("They are out: %(works)s works.") % {"works": preferences.number(obj.size)}
        self.message_user(request, told, messages.SUCCESS)
        return redirect(self._url("change", obj))


studio.register(OptOut, OptOutPages)
