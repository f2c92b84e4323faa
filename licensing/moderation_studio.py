"""The workspace's pages of what operators decided about one's listings and works, to appeal."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Prefetch
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from licensing import moderation
from licensing.models import Appeal, ModerationDecision
from marketplace.access import Caller, Scope
from marketplace.tenant_forms import VerbForm
from marketplace.tenant_pages import Done, Rows, TenantModelAdmin, Verb
from marketplace.tenant_site import Section, studio


class AppealForm(VerbForm):
    reasons = forms.CharField(
        label=gettext_lazy("Why is the decision wrong?"),
        max_length=5_000,
        widget=forms.Textarea(attrs={"rows": 6}),
        help_text=gettext_lazy("Another operator than who decided reads it, and answers."),
    )


def _appeal(caller: Caller, row: ModerationDecision, data: dict[str, Any]) -> Done:
    if row.appeals.all():
        return Done(_("You appealed before: what you wrote then stands."))
    moderation.appeal(caller, str(row.pk), reasons=data["reasons"])
    return Done(_("Your appeal is filed. Another operator answers it, and you read it here."))


class DecisionPages(TenantModelAdmin):
    """What was decided against the caller, with its reasons."""

    read, write = Scope.OFFERS_READ, Scope.OFFERS_WRITE
    section = Section.STUDIO
    place = 12
    icon = "gavel"
    menu_title = gettext_lazy("Decisions")
    intro = gettext_lazy(
        "What operators of this market decided about your listings and works, and why. You can"
        " appeal within six months, free of charge; also to a certified out-of-court dispute"
        " settlement body, or to a court."
    )
    empty = gettext_lazy(
        "Nothing was decided against you. If somebody reports a work of yours, you read it here."
    )
    list_display: Any = ("measure", "decided_at", "state", "appeal_until", "appeal_state")
    list_filter: ClassVar[Any] = ("state",)
    show = (
        "measure",
        "offer",
        "works",
        "facts",
        "ground",
        "reference",
        "automation",
        "origin",
        "decided_at",
        "until",
        "state",
        "end_reason",
        "appeal_until",
        "appeal_state",
        "appeal_reasons",
        "answer",
    )
    verbs = (
        Verb(
            "appeal",
            gettext_lazy("Appeal"),
            gettext_lazy(
                "Say once why the decision is wrong. Where you are right, what it did is undone."
            ),
            _appeal,
            AppealForm,
            offered=lambda row: moderation.can_be_appealed(row) and not row.appeals.all(),
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        """With the seller's own appeal: what reporters object to is theirs."""
        own = Appeal.objects.filter(by=Appeal.By.SELLER, organization=caller.organization)
        return rows.select_related("offer__collection").prefetch_related(Prefetch("appeals", own))

    def label(self, row: ModerationDecision) -> str:
        return row.get_measure_display()

    @admin.display(description=gettext_lazy("What led to it"))
    def origin(self, row: ModerationDecision) -> str:
        return row.origin

    @admin.display(description=gettext_lazy("Works, by SHA-256"))
    def works(self, row: ModerationDecision) -> str:
        return ", ".join(row.digests) or "–"

    @admin.display(description=gettext_lazy("Appeal possible until"))
    def appeal_until(self, row: ModerationDecision) -> Any:
        return moderation.appeal_ends(row)

    @admin.display(description=gettext_lazy("Appeal"))
    def appeal_state(self, row: ModerationDecision) -> str:
        found = next(iter(row.appeals.all()), None)
        return "–" if found is None else found.get_state_display()

    @admin.display(description=gettext_lazy("What you wrote"))
    def appeal_reasons(self, row: ModerationDecision) -> str:
        found = next(iter(row.appeals.all()), None)
        return "–" if found is None else found.reasons

    @admin.display(description=gettext_lazy("Answer"))
    def answer(self, row: ModerationDecision) -> str:
        found = next(iter(row.appeals.all()), None)
        return "–" if found is None or not found.answer else found.answer


studio.register(ModerationDecision, DecisionPages)
