"""The workspace's pages of contributors, with their money: earned, paid, owed, and sent where."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import PermissionDenied
from django.db.models import F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import JSONObject
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace import contributors_studio, csv_cells, money, preferences
from marketplace.access import Caller, Scope
from marketplace.models import Contributor
from marketplace.tenant_forms import VerbForm
from marketplace.tenant_pages import Done, File, Rows, TenantInline, Verb
from marketplace.tenant_site import studio
from marketplace.typeid import TypeID
from payments import connect, payouts, royalty_payments, royalty_statements
from payments.models import (
    ConnectedAccount,
    RoyaltyAccrual,
    RoyaltyAdvance,
    RoyaltyAllocation,
    RoyaltyPayment,
)
from payments.royalty_shares import MICRO_IN_MINOR

State = RoyaltyPayment.State
NOTHING = "–"


# --- verbs ------------------------------------------------------------------------------------


class AccountForm(VerbForm):
    country = forms.CharField(
        label=gettext_lazy("Country"),
        max_length=2,
        help_text=gettext_lazy("Where they live, or their company is: two letters, such as IE."),
    )

    def clean_country(self) -> str:
        return str(self.cleaned_data["country"]).upper()


def _open(caller: Caller, row: Contributor, data: dict[str, Any]) -> Done:
    account = connect.open_for(caller, str(row.pk), country=data["country"])
    return Done(
        _("The account is there. Send this address to them, and to nobody else: %(url)s")
        % {"url": connect.lasting_url(account)}
    )


class AdvanceForm(VerbForm):
    params: ClassVar[dict[str, str]] = {"amount_minor": "amount"}
    amount = forms.DecimalField(label=gettext_lazy("Amount"), min_value=0, max_digits=12)
    currency = forms.ChoiceField(
        label=gettext_lazy("Currency"),
        choices=[(code, code) for code in money.CURRENCIES],
        initial="USD",
    )
    reference = forms.CharField(
        label=gettext_lazy("Your own word for the payment"),
        max_length=royalty_payments.REFERENCE_MAX,
        help_text=gettext_lazy("Such as its number at your bank. It makes the advance one."),
    )


def _advance(caller: Caller, row: Contributor, data: dict[str, Any]) -> Done:
    minor = money.minor(data["amount"], data["currency"], param="amount")
    payouts.advance(
        caller,
        str(row.pk),
        amount_minor=minor,
        currency=data["currency"],
        reference=data["reference"],
    )
    told = _("%(amount)s is recorded. What they earn pays it back first.")
    return Done(told % {"amount": preferences.amount(minor, data["currency"])})


# --- the statement ----------------------------------------------------------------------------


def _statement(caller: Caller, row: Contributor) -> HttpResponseBase | None:
    """All that a contributor earned and was paid, line by line, as CSV; None while it is nothing.

    Amounts are in whole currency units, earnings to the millionth of a minor unit.
    """
    if not caller.may(Scope.ROYALTIES_READ):
        raise PermissionDenied
    earned = (
        RoyaltyAccrual.objects.visible_to(caller)
        .filter(contributor=row, allocation__state=RoyaltyAllocation.State.DONE)
        .select_related("allocation__rule")
        .order_by("-id")[: royalty_statements.LINES_MAX]
    )
    paid = (
        RoyaltyPayment.objects.visible_to(caller)
        .filter(contributor=row)
        .order_by("-id")[: royalty_statements.LINES_MAX]
    )
    lines: list[tuple[Any, ...]] = [_earned(one) for one in earned]
    for one in paid:
        lines += _paid(one)
    if not lines:
        return None
    target = io.StringIO()
    writer = csv_cells.Writer(target)
    writer.row(_COLUMNS)
    lines.sort(key=lambda line: str(line[0]))
    writer.rows(lines)
    answer = HttpResponse("\ufeff" + target.getvalue(), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{row.pk}-statement.csv"'
    return answer


# MICRO_IN_MINOR has so many zeros.
_MICRO_DIGITS = len(str(MICRO_IN_MINOR)) - 1
_COLUMNS = ("at", "what", "amount", "currency", "order", "rule", "weight", "state", "reference")


def _earned(row: RoyaltyAccrual) -> tuple[Any, ...]:
    of = row.allocation
    what = "taken_back" if row.amount_micro < 0 else "earned"
    order = str(TypeID("ord", of.order_id))
    version = of.rule.version
    amount = _exact(row.amount_micro, row.currency)
    return (_instant(of.done_at), what, amount, row.currency, order, version, row.weight, "", "")


def _paid(row: RoyaltyPayment) -> list[tuple[Any, ...]]:
    """A payment; and what came back of it, which is owed again."""

    def line(at: datetime | None, what: str, minor: int) -> tuple[Any, ...]:
        amount = _exact(minor * MICRO_IN_MINOR, row.currency)
        said = (row.currency, "", "", "", row.state, row.reference)
        return (_instant(at), what, amount, *said)

    lines = []
    if row.amount_minor:
        lines.append(line(row.created_at, "paid", -row.amount_minor))
    if row.recouped_minor:
        lines.append(line(row.created_at, "paid_advance_back", -row.recouped_minor))
    if row.state == State.RETURNED:
        lines.append(line(row.settled_at, "returned", row.amount_minor))
    return lines


def _exact(micro: int, code: str) -> csv_cells.Number:
    """Millionths of a minor unit as a decimal number, with what is below a minor unit if any is."""
    exponent = money.CURRENCIES[code].exponent
    whole, rest = divmod(abs(micro), MICRO_IN_MINOR * 10**exponent)
    digits = f"{rest:0{exponent + _MICRO_DIGITS}d}"
    digits = digits[:exponent] + digits[exponent:].rstrip("0")
    return csv_cells.Number(f"{'-' * (micro < 0)}{whole}{'.' * bool(digits)}{digits}")


def _instant(at: datetime | None) -> str:
    assert at is not None, "What is shared out has its time."
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


# --- pages ------------------------------------------------------------------------------------


class PaymentInline(TenantInline):
    model = RoyaltyPayment
    read = Scope.ROYALTIES_READ
    fields = ("amount", "recouped", "state", "created_at", "settled_at", "reference")
    verbose_name_plural = gettext_lazy("What they were paid (newest first)")
    empty = gettext_lazy("Nothing was paid out to them yet.")

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        return rows.filter(livemode=caller.livemode)

    @admin.display(description=gettext_lazy("Amount"))
    def amount(self, row: RoyaltyPayment) -> str:
        return preferences.amount(row.amount_minor, row.currency)

    @admin.display(description=gettext_lazy("Paid an advance back"))
    def recouped(self, row: RoyaltyPayment) -> str:
        return preferences.amount(row.recouped_minor, row.currency)


class AdvanceInline(TenantInline):
    model = RoyaltyAdvance
    read = Scope.ROYALTIES_READ
    fields = ("amount", "reference", "created_at")
    verbose_name_plural = gettext_lazy("Advances that you paid them")
    empty = gettext_lazy("None.")

    @admin.display(description=gettext_lazy("Amount"))
    def amount(self, row: RoyaltyAdvance) -> str:
        return preferences.amount(row.amount_minor, row.currency)


class ContributorPages(contributors_studio.ContributorPages):
    """Who made works that the caller licenses, and what they get of it."""

    intro = gettext_lazy(
        "Whose works are in your collections, whether they consent, and what they earn by your"
        " royalty rules."
    )
    list_display: Any = ("external_id", "person", "consent", "earned", "owed", "account")
    show: ClassVar[tuple[str, ...]] = (
        "external_id",
        "person",
        "email",
        "consent",
        "consent_changed_at",
        "earned",
        "paid",
        "owed",
        "account",
        "created_at",
    )
    inlines: ClassVar[Any] = (PaymentInline, AdvanceInline)
    verbs: ClassVar[tuple[Verb, ...]] = (
        *contributors_studio.ContributorPages.verbs,
        Verb(
            "open_account",
            gettext_lazy("Have them paid by Stripe"),
            gettext_lazy(
                "Opens an account at Stripe for them. You get an address to send to them: there"
                " they tell Stripe, and nobody else, who they are and their bank. Without an"
                " account you pay them yourself, and say so."
            ),
            _open,
            AccountForm,
            scope=Scope.PAYOUTS_WRITE,
            # It finds the account that it opened before, and shows the address again.
            once=False,
            offered=lambda row: row.erased_at is None,
        ),
        Verb(
            "advance",
            gettext_lazy("Record an advance"),
            gettext_lazy("What you paid them ahead. Whatever they earn pays it back first."),
            _advance,
            AdvanceForm,
            scope=Scope.ROYALTIES_WRITE,
        ),
    )

    files: ClassVar[tuple[File, ...]] = (
        File(
            "statement",
            gettext_lazy("Statement as CSV"),
            _statement,
            gettext_lazy("They earned nothing yet, and were paid nothing."),
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        rows = super().narrow(rows, caller)
        if caller.may(Scope.ROYALTIES_READ):
            rows = rows.annotate(accrued=_accrued(caller), payments=_payments(caller))
        if caller.may(Scope.PAYOUTS_READ):
            accounts = ConnectedAccount.objects.visible_to(caller)
            of_them = accounts.filter(contributor=OuterRef("pk"))
            rows = rows.annotate(account_state=Subquery(of_them.values("state")[:1]))
        return rows

    @admin.display(description=gettext_lazy("Earned so far"))
    def earned(self, row: Any) -> str:
        return _sums({one["currency"]: one["micro"] for one in getattr(row, "accrued", [])})

    @admin.display(description=gettext_lazy("Paid so far"))
    def paid(self, row: Any) -> str:
        found = getattr(row, "payments", [])
        return _sums({one["currency"]: (one["paid"] or 0) * MICRO_IN_MINOR for one in found})

    @admin.display(description=gettext_lazy("Not paid yet"))
    def owed(self, row: Any) -> str:
        """With what is on its way; below 0 where a sale went back that was paid out."""
        left = {one["currency"]: one["micro"] for one in getattr(row, "accrued", [])}
        for one in getattr(row, "payments", []):
            moved = (one["paid"] or 0) + (one["recouped"] or 0)
            left[one["currency"]] = left.get(one["currency"], 0) - moved * MICRO_IN_MINOR
        return _sums(left)

    @admin.display(description=gettext_lazy("Payout account"))
    def account(self, row: Any) -> str:
        state = getattr(row, "account_state", None)
        return NOTHING if state is None else str(ConnectedAccount.State(state).label)


def _accrued(caller: Caller) -> ArraySubquery:
    """What a contributor earned, in each currency: of pools that are shared out whole."""
    rows = RoyaltyAccrual.objects.visible_to(caller).filter(
        contributor=OuterRef("pk"), allocation__state=RoyaltyAllocation.State.DONE
    )
    summed = rows.order_by("currency").values("currency").annotate(sum=Sum("amount_micro"))
    return ArraySubquery(summed.values(found=JSONObject(currency=F("currency"), micro=F("sum"))))


def _payments(caller: Caller) -> ArraySubquery:
    """What a contributor was paid, and what of it paid advances back, in each currency."""
    rows = RoyaltyPayment.objects.visible_to(caller).filter(contributor=OuterRef("pk"))
    summed = (
        rows.order_by("currency")
        .values("currency")
        .annotate(
            paid_sum=Sum("amount_minor", filter=Q(state=State.PAID)),
            recouped_sum=Sum("recouped_minor"),
        )
    )
    found = JSONObject(currency=F("currency"), paid=F("paid_sum"), recouped=F("recouped_sum"))
    return ArraySubquery(summed.values(found=found))


def _sums(micro: dict[str, int]) -> str:
    """Amounts as the reader has them, in whole minor units: what is less waits for more."""
    sums = {code: _whole(amount) for code, amount in sorted(micro.items())}
    texts = [preferences.amount(minor, code) for code, minor in sums.items() if minor]
    return ", ".join(texts) or NOTHING


def _whole(micro: int) -> int:
    """Toward 0, and exactly: sums may have more digits than a float."""
    return micro // MICRO_IN_MINOR if micro >= 0 else -(-micro // MICRO_IN_MINOR)


studio.register(Contributor, ContributorPages)
