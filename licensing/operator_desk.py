"""The operator's verbs about listings, reports, decisions and appeals."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from licensing import moderation, offers, reports
from licensing.models import Appeal, ModerationDecision, Offer, Report
from marketplace.models import User
from marketplace.operator_pages import (
    WAITING,
    Act,
    Beside,
    Cell,
    OperatorForm,
    ReasonForm,
    Waiting,
)

_STATE = Offer.State
# Shown beside a report of each kind.
RIGHTS_MAX = 50


class DecisionForm(OperatorForm):
    """A statement of reasons, as article 17(3) of Regulation (EU) 2022/2065 asks for it."""

    measure = forms.ChoiceField(
        label=gettext_lazy("Measure"), choices=ModerationDecision.Measure.choices
    )
    facts = forms.CharField(
        label=gettext_lazy("Facts"),
        help_text=gettext_lazy("What you found, and what it rests on. The seller reads it."),
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    ground = forms.ChoiceField(
        label=gettext_lazy("Ground"), choices=ModerationDecision.Ground.choices
    )
    reference = forms.CharField(
        label=gettext_lazy("Law or clause"),
        help_text=gettext_lazy("Which one, and why it is broken or is not."),
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    automation = forms.ChoiceField(
        label=gettext_lazy("Automated means"), choices=ModerationDecision.Automation.choices
    )
    until = forms.DateTimeField(
        label=gettext_lazy("Until"),
        help_text=gettext_lazy("Leave it empty where the measure has no end."),
        required=False,
    )
    organization = forms.CharField(
        label=gettext_lazy("Seller"),
        help_text=gettext_lazy("org_…; leave it empty where the report or the listing says it."),
        required=False,
        max_length=60,
    )
    offer = forms.CharField(
        label=gettext_lazy("Listing"),
        help_text=gettext_lazy("off_…; leave it empty where the report says it."),
        required=False,
        max_length=60,
    )
    digests = forms.CharField(
        label=gettext_lazy("Works"),
        help_text=gettext_lazy("SHA-256 of each, one a line, where single works are meant."),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class AnswerForm(OperatorForm):
    is_reversed = forms.TypedChoiceField(
        label=gettext_lazy("Answer"),
        choices=[
            ("no", gettext_lazy("The decision stands")),
            ("yes", gettext_lazy("The appeal is right: the decision is reversed")),
        ],
        coerce=lambda value: value == "yes",
    )
    text = forms.CharField(
        label=gettext_lazy("Reasons"),
        help_text=gettext_lazy("Whoever appealed reads them."),
        widget=forms.Textarea(attrs={"rows": 4}),
    )


def _decide(operator: User, row: Report | None, data: dict[str, Any]) -> str:
    decision = moderation.decide(
        operator,
        measure=data["measure"],
        reasons=moderation.Reasons(
            facts=data["facts"],
            ground=data["ground"],
            reference=data["reference"],
            automation=data["automation"],
        ),
        report=None if row is None else str(row.pk),
        organization=data["organization"].strip() or None,
        offer=data["offer"].strip() or None,
        digests=data["digests"].split(),
        until=data["until"],
    )
    return _("Decided: %(id)s. Seller and reporters are told, with the reasons.") % {
        "id": decision.pk
    }


def _lift(operator: User, row: ModerationDecision, data: dict[str, Any]) -> str:
    moderation.lift(operator, str(row.pk), reason=data["reason"])
    return _("The decision is lifted, and what it did is undone.")


def _answer(operator: User, row: Appeal, data: dict[str, Any]) -> str:
    moderation.answer(operator, str(row.pk), is_reversed=data["is_reversed"], text=data["text"])
    return _("The appeal is answered. Whoever appealed is told.")


def _approve(operator: User, row: Offer, data: dict[str, Any]) -> str:
    offers.approve(operator, str(row.pk))
    return _("The listing is on the market.")


def _refuse(operator: User, row: Offer, data: dict[str, Any]) -> str:
    offers.refuse(operator, str(row.pk), reason=data["reason"])
    return _("The listing is a draft again. The seller reads why.")


def _suspend(operator: User, row: Offer, data: dict[str, Any]) -> str:
    offers.suspend(operator, str(row.pk), reason=data["reason"])
    return _("The listing is off the market. Grants stand.")


def _reinstate(operator: User, row: Offer, data: dict[str, Any]) -> str:
    offers.reinstate(operator, str(row.pk))
    return _("The listing is back on the market.")


_STATEMENT = gettext_lazy(
    "The measure holds at once. Seller and reporters get this statement of reasons and may appeal."
)
REPORT_ACTS = (
    Act(
        "decide",
        gettext_lazy("Decide"),
        _STATEMENT,
        _decide,
        DecisionForm,
        offered=lambda row: row.state == Report.State.RECEIVED and row.joined_to_id is None,
    ),
)
DECISION_ACTS = (
    Act(
        "decide",
        gettext_lazy("Decide without a report"),
        _STATEMENT,
        _decide,
        DecisionForm,
        is_making=True,
    ),
    Act(
        "lift",
        gettext_lazy("Lift"),
        gettext_lazy("What the decision did is undone, and only that. Those concerned are told."),
        _lift,
        ReasonForm,
        offered=lambda row: row.state == ModerationDecision.State.IN_FORCE,
    ),
)
APPEAL_ACTS = (
    Act(
        "answer",
        gettext_lazy("Answer"),
        gettext_lazy("Never by who decided. An answer is final."),
        _answer,
        AnswerForm,
        offered=lambda row: row.state == Appeal.State.OPEN,
    ),
)
OFFER_ACTS = (
    Act(
        "approve",
        gettext_lazy("Approve"),
        gettext_lazy("The listing comes on the market."),
        _approve,
        offered=lambda row: row.state == _STATE.IN_REVIEW,
    ),
    Act(
        "refuse",
        gettext_lazy("Refuse"),
        gettext_lazy("The listing becomes a draft again. The seller reads the reason."),
        _refuse,
        ReasonForm,
        offered=lambda row: row.state == _STATE.IN_REVIEW,
    ),
    Act(
        "suspend",
        gettext_lazy("Suspend"),
        gettext_lazy(
            "Nobody buys it meanwhile. Grants stand, paid orders are carried out. Where it is"
            " against the law or the terms, decide instead: the seller is owed a statement of"
            " reasons and an appeal."
        ),
        _suspend,
        ReasonForm,
        offered=lambda row: row.state == _STATE.LISTED,
    ),
    Act(
        "reinstate",
        gettext_lazy("Reinstate"),
        gettext_lazy("The listing comes back on the market, as the newest."),
        _reinstate,
        offered=lambda row: row.state == _STATE.SUSPENDED,
    ),
)


def _holders(row: Report) -> Beside:
    found = reports.holders(row)
    return Beside(
        gettext_lazy("Who has it here"),
        gettext_lazy(
            "Organizations that brought these bytes, or a work from that address. Nobody else is"
            " told. Name seller and works when you decide."
        ),
        (gettext_lazy("Organization"), gettext_lazy("Works")),
        [[Cell(owner, owner), Cell(" ".join(digests))] for owner, digests in found],
        gettext_lazy("Nobody here has it, as far as its bytes or its address say."),
    )


def _seller(row: Report) -> Beside:
    """Of a listing or a collection there is one seller, and the rest is on its page."""
    if row.organization is None:
        return _holders(row)
    of = row.offer or row.collection
    return Beside(
        gettext_lazy("Who sells it"),
        gettext_lazy("Whom a decision is about."),
        (gettext_lazy("Organization"), gettext_lazy("Listing or collection")),
        [[Cell(row.organization, row.organization), Cell(of, of)]],
        "",
    )


def _licensees(row: Report) -> Beside:
    found = reports.licensed(row, RIGHTS_MAX)
    shown = [
        [
            Cell(each.grant.licensee, each.grant.licensee),
            Cell(each.grant.pk, each.grant),
            Cell(each.grant.get_status_display()),
            Cell(_("Live") if each.livemode else _("Test")),
            Cell(each.snapshot.collection, each.snapshot.collection),
            Cell(each.grant.issued_at),
        ]
        for each in found[:RIGHTS_MAX]
    ]
    return Beside(
        gettext_lazy("Who holds licenses of it"),
        gettext_lazy(
            "Their licenses stand unless you hold the works: then no more of them is delivered."
        ),
        (
            gettext_lazy("Licensee"),
            gettext_lazy("Grant"),
            gettext_lazy("Status"),
            gettext_lazy("Mode"),
            gettext_lazy("Collection"),
            gettext_lazy("Issued"),
        ),
        shown,
        gettext_lazy("Nobody holds a license of it."),
        is_cut=len(found) > RIGHTS_MAX,
    )


def _joined(row: Report) -> Beside:
    found = list(row.joined.order_by("pk")[: RIGHTS_MAX + 1])
    return Beside(
        gettext_lazy("Reported again"),
        gettext_lazy("These joined it, and are decided with it."),
        (gettext_lazy("Report"), gettext_lazy("Ground"), gettext_lazy("Received")),
        [
            [Cell(each.pk, each), Cell(each.get_ground_display()), Cell(each.received_at)]
            for each in found[:RIGHTS_MAX]
        ],
        gettext_lazy("Nobody else reported it."),
        is_cut=len(found) > RIGHTS_MAX,
    )


REPORT_BESIDES = (_seller, _licensees, _joined)


def _reports() -> QuerySet[Report]:
    return Report.objects.filter(state=Report.State.RECEIVED, joined_to__isnull=True)


def _appeals() -> QuerySet[Appeal]:
    return Appeal.objects.filter(state=Appeal.State.OPEN)


WAITING += [
    Waiting("reports", gettext_lazy("Reports to decide"), _reports, "received_at"),
    Waiting("appeals", gettext_lazy("Appeals to answer"), _appeals, "filed_at"),
    Waiting(
        "listings",
        gettext_lazy("Listings to review"),
        lambda: Offer.objects.filter(state=_STATE.IN_REVIEW),
        "submitted_at",
    ),
]
