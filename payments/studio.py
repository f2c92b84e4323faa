"""The workspace's pages of money: what was bought, and what was sold."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
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
        "given_back",
        "accepted_by_name",
        "accepted_by_title",
        "accepted_at",
        "paid_at",
        "granted_at",
    )
    verbs = (
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
        return super().narrow(rows, caller).select_related("quote__offer__collection")

    def label(self, row: Order) -> str:
        return _("Order at %(name)s") % {"name": row.seller.name}

    @admin.display(description=gettext_lazy("Collection"))
    def collection(self, row: Order) -> str:
        return row.quote.offer.collection.name

    @admin.display(description=gettext_lazy("Pay page"))
    def pay_page(self, row: Order) -> str:
        if row.status != Status.AWAITING_PAYMENT or not row.checkout_url:
            return "–"
        return format_html('<a href="{}">{}</a>', row.checkout_url, _("Pay now"))


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
