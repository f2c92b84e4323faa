"""The operator's verbs about who is here: traders, legal holds, lost second factors."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from marketplace import legal_holds, sign_in, traders
from marketplace.models import LegalHold, Trader, User
from marketplace.operator_pages import WAITING, Act, OperatorForm, ReasonForm, Waiting


class HoldForm(OperatorForm):
    subject = forms.CharField(
        label=gettext_lazy("What is held"),
        help_text=gettext_lazy(
            "The id of an organization, an account, a contributor or an order: org_…, usr_…,"
            " ctr_…, ord_…"
        ),
        max_length=60,
    )
    matter = forms.CharField(
        label=gettext_lazy("Matter"),
        help_text=gettext_lazy("The case number, or what the matter is called."),
        max_length=legal_holds.MATTER_LENGTH_MAX,
    )
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        help_text=gettext_lazy("Who asks for it, and why. It stands in the audit."),
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    until = forms.DateTimeField(
        label=gettext_lazy("Until"),
        help_text=gettext_lazy("Leave it empty where the end is not known."),
        required=False,
    )


def _verify(operator: User, row: Trader, data: dict[str, Any]) -> str:
    traders.verify(operator, str(row.pk))
    return _("The trader is verified: it may sell in live mode.")


def _refuse(operator: User, row: Trader, data: dict[str, Any]) -> str:
    traders.refuse(operator, str(row.pk), reason=data["reason"])
    return _("The trader is refused. The seller reads why.")


def _hold(operator: User, row: None, data: dict[str, Any]) -> str:
    legal_holds.place(
        operator,
        data["subject"],
        reason=data["reason"],
        matter=data["matter"],
        until=data["until"],
    )
    return _("The records are held: nothing of them is erased.")


def _lift(operator: User, row: LegalHold, data: dict[str, Any]) -> str:
    legal_holds.lift(operator, str(row.pk), reason=data["reason"])
    return _("The hold is lifted: the records may be erased again.")


def _take_factors_away(operator: User, row: User, data: dict[str, Any]) -> str:
    count = sign_in.take_factors_away(row.email, operator=operator)
    return ngettext(
        "%(n)s factor was removed, and all sessions ended.",
        "%(n)s factors were removed, and all sessions ended.",
        count,
    ) % {"n": count}


TRADER_ACTS = (
    Act(
        "verify",
        gettext_lazy("Verify"),
        gettext_lazy("You looked at who this seller is, and it is as stated. It may sell live."),
        _verify,
        offered=lambda row: row.state != Trader.State.VERIFIED,
    ),
    Act(
        "refuse",
        gettext_lazy("Refuse"),
        gettext_lazy("The seller reads the reason and may submit again. Until then: no live sale."),
        _refuse,
        ReasonForm,
        offered=lambda row: row.state != Trader.State.REFUSED,
    ),
)
HOLD_ACTS = (
    Act(
        "place",
        gettext_lazy("Hold records"),
        gettext_lazy("Nothing of these records is erased until another operator lifts the hold."),
        _hold,
        HoldForm,
        is_making=True,
    ),
    Act(
        "lift",
        gettext_lazy("Lift the hold"),
        gettext_lazy("Never by who placed it. The records may be erased again."),
        _lift,
        ReasonForm,
        offered=lambda row: row.lifted_at is None,
    ),
)
USER_ACTS = (
    Act(
        "take-factors-away",
        gettext_lazy("Remove second factors"),
        gettext_lazy(
            "For who lost them. Make sure that it is this person who asks. All sessions end, and"
            " a mail tells the person."
        ),
        _take_factors_away,
    ),
)


def _traders() -> QuerySet[Trader]:
    return Trader.objects.filter(state=Trader.State.SUBMITTED)


WAITING.append(Waiting("traders", gettext_lazy("Traders to verify"), _traders, "submitted_at"))
