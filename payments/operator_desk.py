"""The operator's verbs about money, and the doctor's page."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from licensing.models import Offer
from marketplace.access import system
from marketplace.errors import InvalidInput
from marketplace.models import Collection, Organization, User
from marketplace.operator_pages import (
    WAITING,
    Act,
    Beside,
    Cell,
    NoteForm,
    OperatorForm,
    Waiting,
)
from marketplace.preferences import amount
from payments import checkup, connect, fees, licenses, mismatches, refunds, transfers
from payments.models import (
    Command,
    ConnectedAccount,
    Dispute,
    FeeSchedule,
    Mismatch,
    Order,
    Refund,
    StripeEvent,
    Transfer,
)

_CLEARANCE = ConnectedAccount.Clearance
_LEVELS = {
    checkup.Level.OK: gettext_lazy("All right."),
    checkup.Level.WARN: gettext_lazy("Look at this."),
    checkup.Level.FAIL: gettext_lazy("This is wrong."),
}
_OWNERS: tuple[tuple[str, type[Any]], ...] = (
    ("organization", Organization),
    ("collection", Collection),
    ("offer", Offer),
)


class FeeForm(OperatorForm):
    basis_points = forms.IntegerField(
        label=gettext_lazy("Share in basis points"),
        help_text=gettext_lazy("Of the price without tax: 1,000 is 10 %."),
        min_value=0,
        max_value=10_000,
    )
    fixed_minor = forms.JSONField(
        label=gettext_lazy("Fixed sum by currency"),
        help_text=gettext_lazy('In minor units, such as {"EUR": 30}. Empty: none.'),
        required=False,
    )
    stripe_fees = forms.ChoiceField(
        label=gettext_lazy("Who bears Stripe’s fees"),
        choices=FeeSchedule._meta.get_field("stripe_fees").choices or [],
    )
    organization = forms.CharField(
        label=gettext_lazy("Of one seller alone"), help_text="org_…", required=False, max_length=60
    )
    collection = forms.CharField(
        label=gettext_lazy("Of one collection alone"),
        help_text="col_…",
        required=False,
        max_length=60,
    )
    offer = forms.CharField(
        label=gettext_lazy("Of one listing alone"), help_text="off_…", required=False, max_length=60
    )
    effective_from = forms.DateTimeField(
        label=gettext_lazy("From"),
        help_text=gettext_lazy("Leave it empty: from now on. Orders keep what they have."),
        required=False,
    )
    note = forms.CharField(
        label=gettext_lazy("Why"),
        required=False,
        max_length=FeeSchedule._meta.get_field("note").max_length,
    )

    def clean_fixed_minor(self) -> dict[str, int]:
        found = self.cleaned_data["fixed_minor"] or {}
        if not isinstance(found, dict):
            raise forms.ValidationError(_("Name each currency with its sum."))
        return found


class RefundForm(OperatorForm):
    amount_minor = forms.IntegerField(
        label=gettext_lazy("Amount"),
        required=False,
        min_value=1,
    )
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        help_text=gettext_lazy("Buyer and seller read it."),
        max_length=1_000,
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    effect = forms.ChoiceField(
        label=gettext_lazy("If all goes back, the license ends"),
        choices=licenses.Effect.choices,
        initial=licenses.Effect.PROSPECTIVE,
    )

    def prepare(self) -> None:
        left = amount(refunds.left_minor(self.row), self.row.currency)
        self.fields["amount_minor"].help_text = _(
            "In minor units of %(currency)s. %(left)s is left. Empty: all of it."
        ) % {"currency": self.row.currency, "left": left}


def _give_back(operator: User, row: Order, data: dict[str, Any]) -> str:
    refund = refunds.give(
        operator,
        str(row.pk),
        amount_minor=data["amount_minor"],
        reason=data["reason"],
        effect=data["effect"],
    )
    if refund.state == Refund.State.REQUESTED:
        return _("The refund is asked for: %(id)s. It waits for who must agree.") % {
            "id": refund.pk
        }
    return _("The refund is under way: %(id)s.") % {"id": refund.pk}


def _set_fee(operator: User, row: None, data: dict[str, Any]) -> str:
    owners = {}
    with system(f"operator {operator.pk} names what a fee is of"):
        for name, model in _OWNERS:
            owners[name] = _named(model, data[name].strip(), name)
    schedule = fees.set(
        operator,
        basis_points=data["basis_points"],
        fixed_minor=data["fixed_minor"],
        stripe_fees=data["stripe_fees"],
        effective_from=data["effective_from"],
        note=data["note"],
        **owners,
    )
    return _("The fee is set: version %(version)s.") % {"version": schedule.version}


def _named(model: type[Any], id: str, param: str) -> Any:
    if not id:
        return None
    try:
        return model.objects.get(pk=id)
    except (model.DoesNotExist, forms.ValidationError, ValueError):
        raise InvalidInput(_("There is no “%(id)s”.") % {"id": id}, param=param) from None


def _clear(operator: User, row: ConnectedAccount, data: dict[str, Any]) -> str:
    connect.clear(operator, str(row.pk), note=data["note"])
    return _("The account is cleared: it is paid in live mode.")


def _refuse(operator: User, row: ConnectedAccount, data: dict[str, Any]) -> str:
    connect.refuse(operator, str(row.pk), note=data["note"])
    return _("The account is refused: what is owed to it stays owed.")


def _approve(operator: User, row: Refund, data: dict[str, Any]) -> str:
    refund = refunds.approve_as_operator(operator, str(row.pk))
    if refund.state == Refund.State.REQUESTED:
        return _("You agreed. The refund waits for another person.")
    return _("You agreed. The refund is under way.")


def _pay_outside(operator: User, row: Refund, data: dict[str, Any]) -> str:
    refunds.pay_outside(operator, str(row.pk))
    return _("It is on record that the buyer got the money by bank.")


def _close(operator: User, row: Mismatch, data: dict[str, Any]) -> str:
    mismatches.close(operator, str(row.pk), note=data["note"])
    return _("The mismatch is closed. It comes back once it differs in another way.")


def _send_again(operator: User, row: Transfer, data: dict[str, Any]) -> str:
    transfers.send_again(operator, str(row.pk))
    return _("The transfer is tried again.")


ACCOUNT_ACTS = (
    Act(
        "clear",
        gettext_lazy("Clear"),
        gettext_lazy("You looked at who this is: it may be paid in live mode."),
        _clear,
        NoteForm,
        offered=lambda row: row.clearance != _CLEARANCE.CLEARED,
    ),
    Act(
        "refuse",
        gettext_lazy("Refuse"),
        gettext_lazy("It is paid in neither mode. What is owed to it stays owed."),
        _refuse,
        NoteForm,
        offered=lambda row: row.clearance != _CLEARANCE.REFUSED,
    ),
)
ORDER_ACTS = (
    Act(
        "refund",
        gettext_lazy("Give back"),
        gettext_lazy(
            "Give a part or all of the payment back. After a delivery the licensor must agree,"
            " above the market’s limit a second person."
        ),
        _give_back,
        RefundForm,
        offered=lambda row: row.status in refunds.REFUNDABLE_BY_OPERATORS,
    ),
)
REFUND_ACTS = (
    Act(
        "approve",
        gettext_lazy("Approve"),
        gettext_lazy(
            "A large refund needs two people, and you are one of them. Whoever asked for it does"
            " not count twice."
        ),
        _approve,
        offered=lambda row: row.state == Refund.State.REQUESTED and row.needs_two,
    ),
    Act(
        "pay-outside",
        gettext_lazy("Was paid by bank"),
        gettext_lazy("Say that the buyer got the money of this failed refund by bank."),
        _pay_outside,
        offered=lambda row: row.state == Refund.State.FAILED,
    ),
)
MISMATCH_ACTS = (
    Act(
        "close",
        gettext_lazy("Close"),
        gettext_lazy("Say why it may stay as it is. What is wrong is put right first."),
        _close,
        NoteForm,
        offered=lambda row: row.resolved_at is None,
    ),
)
TRANSFER_ACTS = (
    Act(
        "send-again",
        gettext_lazy("Send again"),
        gettext_lazy("Once what Stripe complained of is settled."),
        _send_again,
        offered=lambda row: row.state == Transfer.State.REFUSED,
    ),
)
FEE_ACTS = (
    Act(
        "set",
        gettext_lazy("Set a fee"),
        gettext_lazy("What the market keeps of sales from now on. Orders keep what they have."),
        _set_fee,
        FeeForm,
        is_making=True,
    ),
)


def _evidence(row: Dispute) -> Beside:
    rows = Command.objects.filter(
        order=row.order_id, kind=Command.Kind.SEND_EVIDENCE, reference__startswith=f"{row.pk}:"
    )
    return Beside(
        gettext_lazy("What the bank was told"),
        gettext_lazy(
            "The market answers by itself as soon as the bank asks, with the license, its proof"
            " and what was delivered; a bank takes one answer. See here whether it went out. To"
            " give in, accept the dispute in Stripe’s Dashboard, by its id there."
        ),
        (
            gettext_lazy("Call"),
            gettext_lazy("State"),
            gettext_lazy("Refused, because"),
            gettext_lazy("Begun"),
        ),
        [
            [
                Cell(each.pk, each),
                Cell(each.get_state_display()),
                Cell(each.refusal or "–"),
                Cell(each.created_at),
            ]
            for each in rows.order_by("pk")
        ],
        gettext_lazy("Nothing yet: it is answered when the worker hears that the bank asks."),
    )


DISPUTE_BESIDES = (_evidence,)


def _accounts() -> QuerySet[ConnectedAccount]:
    return ConnectedAccount.objects.filter(clearance=_CLEARANCE.NONE, livemode=True)


def _refunds() -> QuerySet[Refund]:
    return Refund.objects.filter(state=Refund.State.REQUESTED, needs_two=True)


WAITING += [
    Waiting("payout-accounts", gettext_lazy("Payout accounts to clear"), _accounts, "created_at"),
    Waiting("refunds", gettext_lazy("Refunds to approve"), _refunds, "created_at"),
    Waiting(
        "mismatches",
        gettext_lazy("Mismatches with Stripe"),
        lambda: Mismatch.objects.filter(resolved_at=None),
        "first_seen_at",
    ),
    Waiting(
        "disputes",
        gettext_lazy("Open disputes"),
        lambda: Dispute.objects.filter(closed_at=None),
        "opened_at",
    ),
    Waiting(
        "webhooks",
        gettext_lazy("Webhooks that failed"),
        lambda: StripeEvent.objects.filter(~Q(last_error=""), next_attempt_at__isnull=False),
        "received_at",
    ),
]


@require_safe
def doctor(request: HttpRequest) -> HttpResponseBase:
    """What `manage.py doctor` says of the process that serves this page. What is wrong, first."""
    found = sorted(checkup.examine(), key=lambda one: list(_LEVELS).index(one.level), reverse=True)
    wrong = sum(one.level != checkup.Level.OK for one in found)
    results = [
        {"title": one.title, "said": _LEVELS[one.level], "text": one.text, "way_out": one.way_out}
        for one in found
    ]
    verdict = _("%(wrong)s of %(all)s findings need a look.") % {"wrong": wrong, "all": len(found)}
    request.current_app = admin.site.name
    with system(f"operator {request.user.pk} has the server examined"):
        context = {
            **admin.site.each_context(request),
            "title": _("Doctor"),
            "verdict": verdict,
            "results": results,
        }
        page = TemplateResponse(request, "admin/operator_doctor.html", context)
        page.render()
    return page
