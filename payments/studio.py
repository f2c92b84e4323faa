"""The workspace's pages of money: what was bought, and what was sold."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace import preferences
from marketplace.access import Caller, Scope
from marketplace.tenant_pages import Done, Rows, TenantModelAdmin, Verb
from marketplace.tenant_site import Section, studio
from payments import orders
from payments.models import Order, Sale

Status = Order.Status


def _cancel(caller: Caller, row: Order, data: dict[str, Any]) -> Done:
    order = orders.cancel(caller, str(row.pk))
    return Done(_("The order is %(status)s.") % {"status": order.get_status_display().lower()})


def _go_on(caller: Caller, row: Order, data: dict[str, Any]) -> Done:
    orders.resume(caller, str(row.pk))
    return Done(_("Stripe was reached: go on below."))


def _is_stuck(row: Order) -> bool:
    """Whether the first request ended before there was anything to pay by."""
    if row.status != Status.AWAITING_PAYMENT:
        return False
    if row.method == Order.Method.INVOICE:
        return not row.invoice.hosted_url
    return not row.checkout_url


# What became of an order, and what comes next.
_SAID = {
    Status.AWAITING_PAYMENT: gettext_lazy("Nothing was paid yet. The rights are held for you."),
    Status.PAST_DUE: gettext_lazy("The invoice was not paid in time. Pay it, and all goes on."),
    Status.PAID: gettext_lazy("Your payment arrived; the license is being issued."),
    Status.PAID_LATE: gettext_lazy("Your payment arrived late; we see whether it can be granted."),
    Status.GRANTED: gettext_lazy("The license is yours, and recorded in the public ledger."),
    Status.PAID_UNGRANTABLE: gettext_lazy(
        "The license could not be issued. Your whole payment is being refunded."
    ),
    Status.PARTIALLY_REFUNDED: gettext_lazy("The license is yours; a part went back to you."),
    Status.REFUNDED: gettext_lazy("Your whole payment went back."),
    Status.DISPUTED: gettext_lazy("Your bank disputes the payment: the license is suspended."),
    Status.DISPUTE_WON: gettext_lazy("The dispute is over, and the license is in force."),
    Status.DISPUTE_LOST: gettext_lazy("Your bank took the payment back: the license has ended."),
    Status.EXPIRED: gettext_lazy("The time for paying is over. Nothing was charged."),
    Status.CANCELLED: gettext_lazy("The order was given up. Nothing was charged."),
}


class _OrderPages(TenantModelAdmin):
    """What pages of orders share, whichever side looks."""

    list_filter: ClassVar[Any] = ("status",)

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        return rows.select_related("organization", "seller")

    @admin.display(description=gettext_lazy("Total"))
    def total(self, row: Order) -> str:
        return preferences.amount(row.total_minor, row.currency)

    @admin.display(description=gettext_lazy("Given back"))
    def given_back(self, row: Order) -> str:
        return preferences.amount(row.refunded_minor, row.currency)


class PurchasePages(_OrderPages):
    """What the caller's organization bought."""

    read, write = Scope.ORDERS_READ, Scope.ORDERS_WRITE
    section = Section.LICENSES
    place = 3
    icon = "receipt_long"
    menu_title = gettext_lazy("Purchases")
    intro = gettext_lazy("What you ordered, what it cost, and what became of it.")
    empty = gettext_lazy("You have bought nothing yet. Find collections in the market.")
    list_display: Any = ("seller", "collection", "total", "status", "accepted_at")
    search_fields = ("seller__name",)
    show = (
        "seller",
        "collection",
        "total",
        "method",
        "status",
        "pay_page",
        "its_invoice",
        "license_held",
        "given_back",
        "accepted_by_name",
        "accepted_by_title",
        "accepted_at",
        "paid_at",
        "granted_at",
    )
    verbs = (
        Verb(
            "go_on",
            gettext_lazy("Go on with the order"),
            gettext_lazy("Stripe could not be reached before. This asks it again, for the same."),
            _go_on,
            once=False,
            offered=_is_stuck,
        ),
        Verb(
            "cancel",
            gettext_lazy("Cancel the order"),
            gettext_lazy("Give it up before it is paid. Its pay page closes."),
            _cancel,
            offered=lambda row: row.status in {Status.AWAITING_PAYMENT, Status.PAST_DUE},
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        """With the quote. That is the buyer's alone: a join of it would leave a seller no sale."""
        rows = super().narrow(rows, caller)
        return rows.select_related("quote__offer__collection", "invoice")

    def beside(self, caller: Caller, row: Any) -> dict[str, Any]:
        """How it stands, in words, and the one button that comes next."""
        said, link = str(_SAID[Status(row.status)]), ""
        if row.grant_id is not None:
            url = studio.page("licensing_heldgrant_change", row.grant_id)
            link = _button(url, _("Open the license"))
        elif row.status in {Status.EXPIRED, Status.CANCELLED}:
            url = studio.page("market:offer", str(row.quote.offer_id))
            link = _button(url, _("Get a new quote"))
        if url := _pay_url(row):
            link = format_html("{} {}", _button(url, _("Pay now")), link)
        return {"next_step": format_html("{} {}", said, link)}

    def label(self, row: Order) -> str:
        return _("Order at %(name)s") % {"name": row.seller.name}

    @admin.display(description=gettext_lazy("Collection"))
    def collection(self, row: Order) -> str:
        return row.quote.offer.collection.name

    @admin.display(description=gettext_lazy("Pay page"))
    def pay_page(self, row: Order) -> str:
        url = _pay_url(row)
        return format_html('<a href="{}">{}</a>', url, _("Pay now")) if url else "–"

    @admin.display(description=gettext_lazy("Invoice"))
    def its_invoice(self, row: Order) -> str:
        if not hasattr(row, "invoice"):
            return "–"
        url = studio.page("payments_invoice_change", row.invoice.pk)
        called = row.invoice.number or _("Not numbered yet")
        return format_html('<a href="{}">{}</a>', url, called)

    @admin.display(description=gettext_lazy("License"))
    def license_held(self, row: Order) -> str:
        if row.grant_id is None:
            return "–"
        return format_html(
            '<a href="{}">{}</a> · <a href="{}">{}</a>',
            studio.page("licensing_heldgrant_change", row.grant_id),
            _("The license, with its receipt"),
            reverse("certificate", args=[str(row.grant_id)]),
            _("Certificate"),
        )


def _pay_url(row: Order) -> str:
    """Where an order is paid now: Stripe's pay page or invoice. Empty where nothing is to pay."""
    if row.status not in {Status.AWAITING_PAYMENT, Status.PAST_DUE}:
        return ""
    if row.method == Order.Method.INVOICE:
        return row.invoice.hosted_url
    return row.checkout_url if row.status == Status.AWAITING_PAYMENT else ""


def _button(url: str, label: str) -> str:
    return format_html('<a class="button primary" href="{}">{}</a>', url, label)


class SalePages(_OrderPages):
    """What the caller's organization sold."""

    read = Scope.SALES_READ
    section = Section.STUDIO
    place = 9
    icon = "payments"
    menu_title = gettext_lazy("Sales")
    intro = gettext_lazy("Who bought what from you. Licenses given stand on a page of their own.")
    empty = gettext_lazy("Nobody has bought anything yet.")
    list_display: Any = ("buyer", "total", "status", "accepted_at")
    search_fields = ("organization__name",)
    show = ("buyer", "total", "method", "status", "given_back", "accepted_at")

    def label(self, row: Sale) -> str:
        return _("Sale to %(name)s") % {"name": row.organization.name}

    @admin.display(description=gettext_lazy("Buyer"))
    def buyer(self, row: Sale) -> str:
        return row.organization.name


studio.register(Order, PurchasePages)
studio.register(Sale, SalePages)
