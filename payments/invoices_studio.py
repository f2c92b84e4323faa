"""The workspace's pages of invoices: what a buyer is asked to pay, by when, and what came back."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from django.contrib import admin
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from marketplace import preferences
from marketplace.access import Caller, Scope
from marketplace.tenant_pages import Rows, TenantModelAdmin, own
from marketplace.tenant_site import Section, studio, the_caller
from payments.models import Command, Invoice

Status = Invoice.Status
# Of what may still be paid, as far as we know.
_OWED = (Status.OPEN, Status.UNCOLLECTIBLE)


def _is_owed(row: Invoice) -> bool:
    return row.status in _OWED and row.void_asked_at is None


def _is_late(row: Invoice) -> bool:
    return _is_owed(row) and row.due_at <= timezone.now()


def _late() -> Q:
    """What `_is_late` says, to the database."""
    return Q(status__in=_OWED, void_asked_at__isnull=True, due_at__lte=timezone.now())


class InvoicePages(TenantModelAdmin):
    """What the caller's organization is asked to pay. Sellers see their sales."""

    read = Scope.ORDERS_READ
    section = Section.LICENSES
    place = 4
    icon = "request_page"
    menu_title = gettext_lazy("Invoices")
    intro = gettext_lazy("What you bought on invoice: what is to pay, by when, and where.")
    empty = gettext_lazy(
        "You have no invoice. Offers that are sold on invoice say so in the market: get a quote,"
        " and accept it with “pay by invoice”."
    )
    list_display: Any = ("called", "seller_name", "amount", "due", "state", "ordered_as")
    list_display_links = ("called",)
    list_filter: ClassVar[Any] = ("status",)
    search_fields = ("number__startswith", "purchase_order", "seller__name")
    show = (
        "called",
        "seller_name",
        "what_for",
        "amount",
        "due",
        "state",
        "ordered_as",
        "pay_page",
        "its_order",
        "its_license",
        "credited",
        "sent",
        "reminded",
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        """With the quote, which is the buyer's alone, as the invoice is."""
        read = rows.select_related("seller", "order__quote__offer__collection", "order__grant")
        late = ExpressionWrapper(_late(), output_field=BooleanField())
        return cast(Rows, read.annotate(is_late=late))

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """What is overdue stands first."""
        return ("-is_late", "-pk")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        late = own(Invoice, the_caller(request)).filter(_late()).count()
        said = ngettext(
            "%(n)s invoice is overdue, and stands first: pay it now.",
            "%(n)s invoices are overdue, and stand first: pay them now.",
            late,
        ) % {"n": f"{late:,}"}
        intro = format_html("<strong>{}</strong> {}", said, self.intro) if late else self.intro
        return super().changelist_view(request, {"intro": intro, **(extra_context or {})})

    def label(self, row: Invoice) -> str:
        if not row.number:
            return _("Invoice of %(name)s") % {"name": row.seller.name}
        return _("Invoice %(number)s") % {"number": row.number}

    def beside(self, caller: Caller, row: Any) -> dict[str, Any]:
        """How it stands, overdue first, and the button that pays it."""
        said = _stands(row)
        if not (_is_owed(row) and row.hosted_url):
            return {"next_step": said}
        pay = format_html(
            '<a class="button primary" href="{}">{}</a>', row.hosted_url, _("Pay now")
        )
        return {"next_step": format_html("{} {}", said, pay)}

    @admin.display(description=gettext_lazy("Number"), ordering="number")
    def called(self, row: Invoice) -> str:
        return row.number or _("Not numbered yet")

    @admin.display(description=gettext_lazy("Seller"), ordering="seller__name")
    def seller_name(self, row: Invoice) -> str:
        return row.seller.name

    @admin.display(description=gettext_lazy("Collection"))
    def what_for(self, row: Invoice) -> str:
        return row.order.quote.offer.collection.name

    @admin.display(description=gettext_lazy("Amount"))
    def amount(self, row: Invoice) -> str:
        return preferences.amount(row.order.total_minor, row.order.currency)

    @admin.display(description=gettext_lazy("Due"), ordering="due_at")
    def due(self, row: Invoice) -> str:
        return preferences.moment(row.due_at)

    @admin.display(description=gettext_lazy("State"))
    def state(self, row: Invoice) -> str:
        if _is_late(row):
            return _("Overdue")
        if _is_owed(row):
            return _("To pay")
        if row.status in _OWED:
            return _("Being taken back")
        return str(Status(row.status).label)

    @admin.display(
        description=gettext_lazy("Your purchase order number"), ordering="purchase_order"
    )
    def ordered_as(self, row: Invoice) -> str:
        return row.purchase_order or "–"

    @admin.display(description=gettext_lazy("Pay page"))
    def pay_page(self, row: Invoice) -> str:
        if not row.hosted_url:
            return "–"
        return format_html(
            '<a href="{}">{}</a>', row.hosted_url, _("The invoice, with its PDF, at Stripe")
        )

    @admin.display(description=gettext_lazy("Order"))
    def its_order(self, row: Invoice) -> str:
        url = studio.page("payments_order_change", row.order_id)
        return format_html('<a href="{}">{}</a>', url, row.order.get_status_display())

    @admin.display(description=gettext_lazy("License"))
    def its_license(self, row: Invoice) -> str:
        grant = row.order.grant
        if grant is None:
            return _("None yet: it is given once the invoice is paid") if _is_owed(row) else "–"
        url = studio.page("licensing_heldgrant_change", grant.pk)
        return format_html('<a href="{}">{}</a>', url, grant.get_status_display())

    @admin.display(description=gettext_lazy("Credit notes"))
    def credited(self, row: Invoice) -> Any:
        """What was given back of it, as Stripe was told to note it."""
        notes = Command.objects.filter(
            organization=row.organization_id,
            livemode=row.livemode,
            order=row.order_id,
            kind=Command.Kind.CREDIT_NOTE,
        ).order_by("pk")
        lines = [(_amount_of(row, note), _said(note)) for note in notes]
        return format_html_join("", "<div>{}: {}</div>", lines) if lines else _("None")

    @admin.display(description=gettext_lazy("Sent"), ordering="sent_at")
    def sent(self, row: Invoice) -> str:
        return _moment(row.sent_at)

    @admin.display(description=gettext_lazy("Reminded"), ordering="reminded_at")
    def reminded(self, row: Invoice) -> str:
        return _moment(row.reminded_at)


def _stands(row: Invoice) -> str:
    """How an invoice stands, and what that means, in a sentence or two."""
    day = preferences.day(row.due_at)
    if _is_late(row):
        if row.suspended_at is not None and row.order.grant_id is not None:
            return _("Overdue since %(day)s: its license is suspended until it is paid.") % {
                "day": day
            }
        return _("Overdue since %(day)s. Pay it now, and all goes on.") % {"day": day}
    if row.status in _OWED and row.void_asked_at is not None:
        return _("You gave the order up: the invoice is being taken back. Do not pay it.")
    said = {
        Status.DRAFT: _("Stripe is asked to send it to your contact address."),
        Status.OPEN: _("To pay by %(day)s.") % {"day": day},
        Status.UNCOLLECTIBLE: _("To pay by %(day)s.") % {"day": day},
        Status.PAID: _("Paid. Nothing is left to do."),
        Status.VOID: _("Taken back: nothing is to pay."),
        Status.REFUSED: _("Stripe refused to send it, and the order has ended. Get a new quote."),
    }
    return said[Status(row.status)]


def _amount_of(row: Invoice, note: Command) -> str:
    noted = sum(line["amount"] for line in note.params["lines"])
    return preferences.amount(noted, row.order.currency)


def _said(note: Command) -> str:
    if note.state == Command.State.DONE:
        outside = "out_of_band_amount" in note.params
        told = (
            _("issued, paid back outside of Stripe (%(id)s)") if outside else _("issued (%(id)s)")
        )
        return told % {"id": note.stripe_id}
    if note.state == Command.State.PENDING:
        return _("under way")
    return _("refused by Stripe: the market’s operator sees it")


def _moment(at: Any) -> str:
    return "–" if at is None else preferences.moment(at)


studio.register(Invoice, InvoicePages)
