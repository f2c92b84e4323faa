"""The workspace's pages of quotes: what an offer would cost, its contract, and its acceptance."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from licensing import asked_models, sentences, use_labels
from marketplace import preferences
from marketplace.access import Caller, Scope, acting
from marketplace.errors import PaymentProviderUnavailable, QuoteAlreadyAccepted
from marketplace.tenant_pages import Done, Rows, TenantModelAdmin, Verb
from marketplace.tenant_site import Section, studio
from payments import orders, quotes, tax
from payments.market_forms import AcceptForm, InvoiceForm, accepted
from payments.models import Order, Quote


def _is_open(row: Quote) -> bool:
    return row.expires_at > timezone.now() and not hasattr(row, "order")


def _by_card(caller: Caller, row: Quote, data: dict[str, Any]) -> Done:
    return _placed(caller, row, data)


def _by_invoice(caller: Caller, row: Quote, data: dict[str, Any]) -> Done:
    return _placed(
        caller,
        row,
        data,
        method=Order.Method.INVOICE,
        net_days=data["net_days"],
        purchase_order=data["purchase_order"],
    )


def _placed(caller: Caller, row: Quote, data: dict[str, Any], **paid: Any) -> Done:
    """Accept the quote. Where that was done before, or Stripe is away, lead to the order."""
    try:
        order = orders.place(caller, quote=str(row.pk), accept=accepted(data), **paid)
        told = _("The contract is accepted.")
    except (QuoteAlreadyAccepted, PaymentProviderUnavailable) as refusal:
        with acting(caller, writing=False):
            found = Order.objects.visible_to(caller).filter(quote=row).first()
        if found is None:
            raise
        order = found
        told = _("This quote was accepted before. This is its order.")
        if isinstance(refusal, PaymentProviderUnavailable):
            told = _("The contract is accepted, and the order stands. %(why)s") % {
                "why": refusal.detail
            }
    return Done(told, studio.page("payments_order_change", order.pk))


class QuotePages(TenantModelAdmin):
    """What the caller's organization asked the price of."""

    read, write = Scope.QUOTES_READ, Scope.ORDERS_WRITE
    section = Section.LICENSES
    place = 2
    icon = "request_quote"
    menu_title = gettext_lazy("Quotes")
    intro = gettext_lazy(
        "What you asked the price of. A quote stands for an hour; to buy, accept its contract."
    )
    empty = gettext_lazy("You have no quote yet. Find an offer in the market, and get one.")
    list_display: Any = ("seller", "collection", "total", "state", "created_at", "expires_at")
    search_fields = ("seller__name",)
    show = (
        "state",
        "seller",
        "collection",
        "total",
        "breakdown",
        "uses",
        "places",
        "for_model",
        "begins_at",
        "created_at",
        "expires_at",
        "sha256",
        "contract",
    )
    verbs = (
        Verb(
            "pay_by_card",
            gettext_lazy("Accept, and pay by card"),
            gettext_lazy(
                "Accepting makes this contract. Its rights are held for you for an hour: until then"
                " you pay on Stripe’s page, which is the next step."
            ),
            _by_card,
            AcceptForm,
            once=False,
            offered=lambda row: _is_open(row) and row.total_minor > 0,
        ),
        Verb(
            "pay_by_invoice",
            gettext_lazy("Accept, and pay by invoice"),
            gettext_lazy(
                "Accepting makes this contract. An invoice goes to your organization’s contact"
                " address, and the rights are held for you until it is overdue."
            ),
            _by_invoice,
            InvoiceForm,
            once=False,
            offered=lambda row: (
                _is_open(row) and row.total_minor > 0 and bool(row.offer.invoice_days)
            ),
        ),
        Verb(
            "accept_free",
            gettext_lazy("Accept: nothing to pay"),
            gettext_lazy("Accepting makes this contract, and the license is yours at once."),
            _by_card,
            AcceptForm,
            once=False,
            offered=lambda row: _is_open(row) and row.total_minor == 0,
        ),
    )

    def narrow(self, rows: Rows, caller: Caller) -> Rows:
        return rows.select_related("seller", "offer__collection", "order")

    def label(self, row: Quote) -> str:
        return _("Quote of %(name)s") % {"name": row.seller.name}

    def beside(self, caller: Caller, row: Any) -> dict[str, Any]:
        if hasattr(row, "order"):
            url = studio.page("payments_order_change", row.order.pk)
            link = format_html('<a href="{}">{}</a>', url, _("Its order"))
            return {"next_step": format_html("{} {}", _("This quote was accepted."), link)}
        if _is_open(row):
            return {"next_step": _("Read the contract below, then accept it: that is the order.")}
        again = studio.page("market:offer", str(row.offer_id))
        link = format_html('<a href="{}">{}</a>', again, _("Get a new one"))
        return {"next_step": format_html("{} {}", _("This quote has expired."), link)}

    @admin.display(description=gettext_lazy("State"))
    def state(self, row: Quote) -> str:
        if hasattr(row, "order"):
            return _("Accepted")
        return _("Open") if _is_open(row) else _("Expired")

    @admin.display(description=gettext_lazy("Collection"))
    def collection(self, row: Quote) -> str:
        return row.offer.collection.name

    @admin.display(description=gettext_lazy("Total"))
    def total(self, row: Quote) -> str:
        return preferences.amount(row.total_minor, row.currency)

    @admin.display(description=gettext_lazy("What it is made of"))
    def breakdown(self, row: Quote) -> Any:
        return format_html_join(
            "", "<div>{}: {}</div>", ((_said(line), _amount(line, row)) for line in row.lines)
        )

    @admin.display(description=gettext_lazy("Uses"))
    def uses(self, row: Quote) -> str:
        return use_labels.uses(row.scope["uses"])

    @admin.display(description=gettext_lazy("Territories"))
    def places(self, row: Quote) -> str:
        return use_labels.territories(row.scope["territories"])

    @admin.display(description=gettext_lazy("Model"))
    def for_model(self, row: Quote) -> str:
        model = row.scope.get("model")
        return asked_models.named(model) if model else _("Every model that the terms allow")

    @admin.display(description=gettext_lazy("Begins"))
    def begins_at(self, row: Quote) -> str:
        return preferences.moment(quotes.starts_at(row))

    @admin.display(description=gettext_lazy("SHA-256 of the contract"))
    def sha256(self, row: Quote) -> str:
        return bytes(row.document_sha256).hex()

    @admin.display(description=gettext_lazy("The contract"))
    def contract(self, row: Quote) -> Any:
        return format_html('<pre lang="en" tabindex="0">{}</pre>', row.document)


def _said(line: dict[str, Any]) -> str:
    """What a line of a price is, in words."""
    if line["kind"] == "tax":
        return _tax_said(line)
    if "quantity" in line:
        return _("%(count)s, by %(unit)s") % {
            "count": f"{line['quantity']:,}",
            "unit": line.get("unit", ""),
        }
    return {
        "license": _("License"),
        "minimum": _("Up to the least price"),
        "cap": _("Down to the most"),
        "tax_included": _("Tax that the price holds"),
        "opted_out": _("Works that were opted out, and are not delivered"),
    }.get(str(line["kind"]), str(line["kind"]))


def _tax_said(line: dict[str, Any]) -> str:
    reason = line["reason"]
    if reason == tax.Reason.REVERSE_CHARGE:
        return _("Tax: you owe it yourselves in %(country)s (reverse charge)") % line
    if reason == tax.Reason.EXEMPT:
        return _("Tax: you are exempt")
    if reason == tax.Reason.NOT_REGISTERED:
        return _("Tax: none is due here")
    percent = sentences.percent(line["rate_basis_points"])
    return _("Tax, %(percent)s in %(country)s") % {**line, "percent": percent}


def _amount(line: dict[str, Any], row: Quote) -> str:
    if line["kind"] == "opted_out":
        return f"{line['works']:,}"
    return preferences.amount(line["amount_minor"], row.currency)


studio.register(Quote, QuotePages)
