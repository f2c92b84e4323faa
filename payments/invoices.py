"""Invoices: sent by Stripe, reminded of, paid late or never, and taken back."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import scope_claims
from licensing.models import Offer
from marketplace import audit
from marketplace.access import system
from marketplace.errors import InvalidInput, LegalIdentityIncomplete
from payments import (
    commands,
    journal,
    licenses,
    mismatches,
    order_states,
    settlements,
    stripe_gateway,
    tax_records,
)
from payments.commands import Call
from payments.models import Command, Invoice, Order, Quote, Refund, StripeCustomer
from payments.order_states import Event
from payments.settlements import Shares
from payments.stripe_facts import InvoiceFacts

logger = logging.getLogger(__name__)
Status = Invoice.Status
Kind = Command.Kind

TRANSITIONS: dict[str, frozenset[str]] = {
    Status.DRAFT: frozenset(
        {Status.OPEN, Status.UNCOLLECTIBLE, Status.PAID, Status.VOID, Status.REFUSED}
    ),
    Status.OPEN: frozenset({Status.UNCOLLECTIBLE, Status.PAID, Status.VOID}),
    Status.UNCOLLECTIBLE: frozenset({Status.PAID, Status.VOID}),
    # Paid, void and refused are final.
}

# When Stripe sends an invoice again, counted from the day it is due. Each once; of several that
# were missed, the last.
REMINDERS: dict[str, timedelta] = {
    "before": timedelta(days=-3),
    "due": timedelta(),
    "after": timedelta(days=5),
}
# Events say what happens to an invoice; a look heals what they did not bring.
LOOK_WITHIN = timedelta(minutes=5)
CUSTOM_FIELD_NAME = "Purchase order"
# Orders whose invoice may still be paid, as far as we know.
_UNPAID = frozenset({Order.Status.AWAITING_PAYMENT, Order.Status.PAST_DUE})


def check(quote: Quote, *, net_days: int | None) -> None:
    """Refuse what cannot be bought on invoice, or not within so many days.

    Raises InvalidInput, LegalIdentityIncomplete where nobody says whereto an invoice goes.
    """
    allowed = quote.offer.invoice_days
    if not allowed:
        raise InvalidInput(_("This offer is not sold on invoice."), param="method")
    if net_days not in allowed:
        raise InvalidInput(
            _("Invoices for this offer are due in %(days)s days.")
            % {"days": ", ".join(str(days) for days in allowed)},
            param="net_days",
        )
    if not quote.organization.contact_email:
        raise LegalIdentityIncomplete(
            _("Say whereto invoices go: set your organization's contact_email."),
            missing=["contact_email"],
        )


def open(order: Order, *, net_days: int, purchase_order: str) -> Invoice:
    """Commit to sending an invoice for an order that was just saved. The caller carries it out.

    Stripe gets to know the buyer before, once.
    """
    _lock_customer(order)
    customer, _is_new = StripeCustomer.objects.get_or_create(
        organization_id=order.organization_id, livemode=order.livemode
    )
    invoice = Invoice(
        organization_id=order.organization_id,
        seller_id=order.seller_id,
        livemode=order.livemode,
        order=order,
        customer=customer,
        net_days=net_days,
        due_at=due_at(order.accepted_at, net_days),
        purchase_order=purchase_order,
        grants_on=order.quote.offer.grants_on,
    )
    invoice.save(force_insert=True)
    if customer.stripe_id is None:
        _give_customer(order, customer)
    else:
        _give_send(invoice)
    return invoice


def next_call(order: Order) -> Command | None:
    """The call that an order's invoice waits for, if there is one."""
    invoice = of(order)
    if invoice is None:
        return None
    about_customer = _about_customer(invoice)
    about_order = Command.objects.filter(
        order=order, kind__in=[Kind.SEND_INVOICE, Kind.VOID_INVOICE], reference=""
    )
    calls = about_order.order_by("pk") if about_order.exists() else about_customer
    return calls.filter(state=Command.State.PENDING).first()


def refusal(order: Order) -> str:
    """Why no invoice could be sent for an order, in Stripe's words to the buyer, or ours."""
    sent = Command.objects.filter(order=order, kind=Kind.SEND_INVOICE, reference="").first()
    if sent is None:
        sent = _about_customer(Invoice.objects.get(order=order)).order_by("-pk").first()
    return "" if sent is None else sent.refusal


def of(order: Order) -> Invoice | None:
    """The invoice of an order; None where it is paid otherwise."""
    return Invoice.objects.filter(order=order).first()


def due_at(accepted_at: datetime, net_days: int) -> datetime:
    """By when an invoice is to be paid. Whole seconds: that is all that Stripe keeps."""
    return accepted_at.replace(microsecond=0) + timedelta(days=net_days)


def held_until(accepted_at: datetime, net_days: int) -> datetime:
    """How long the rights of an order are kept for whoever got its invoice."""
    return due_at(accepted_at, net_days) + grace()


def grace() -> timedelta:
    return timedelta(days=settings.INVOICE_GRACE_DAYS)


def void(order: Order) -> bool:
    """Commit to taking an order's invoice back. Under the order's lock. False for a repeat.

    The order is cancelled once Stripe says that nobody can pay any more.
    """
    invoice = Invoice.objects.get(order=order)
    is_new = invoice.void_asked_at is None
    if is_new:
        invoice.void_asked_at = timezone.now()
        invoice.save(update_fields=["void_asked_at"])
    if invoice.stripe_id is not None:
        _give_void(invoice)
    return is_new


def merge(order: Order, facts: InvoiceFacts) -> None:
    """Take over what Stripe says of an order's invoice. Under the order's lock; repeatable.

    That it is paid, and what follows from that, is taken over by `sync`. The caller saves the
    order.
    """
    invoice = Invoice.objects.select_for_update().get(order=order)
    is_news = facts.status in TRANSITIONS.get(invoice.status, frozenset())
    if is_news:
        invoice.status = facts.status
    if invoice.stripe_id is None:
        invoice.stripe_id, invoice.sent_at = facts.invoice, timezone.now()
    invoice.number, invoice.hosted_url = facts.number[:60], facts.url or invoice.hosted_url
    invoice.stripe_lines = facts.lines or invoice.stripe_lines
    for note, amount_minor in facts.credits.items():
        mismatches.credited(order, note, amount_minor)
    if is_news and invoice.status == Status.VOID:
        invoice.voided_at = timezone.now()
        _cancel(order, invoice)
    elif order.status in _UNPAID and invoice.status in {Status.OPEN, Status.UNCOLLECTIBLE}:
        _follow_time(order, invoice)
    invoice.save(
        update_fields=[
            "status",
            "stripe_id",
            "sent_at",
            "number",
            "hosted_url",
            "stripe_lines",
            "voided_at",
            "suspended_at",
        ]
    )


def begins_unpaid(order: Order) -> bool:
    """Whether a license is due now, before anything was paid. Under the order's lock."""
    if order.method != Order.Method.INVOICE or order.status not in _UNPAID:
        return False
    return Invoice.objects.filter(
        order=order,
        grants_on=Offer.GrantsOn.ISSUE,
        status=Status.OPEN,
        void_asked_at=None,
    ).exists()


def next_look(order: Order) -> datetime:
    """When something of an unpaid invoice changes by itself, at the latest in an hour."""
    invoice = Invoice.objects.get(order=order)
    now = timezone.now()
    instants = [invoice.due_at + after for after in REMINDERS.values()]
    instants += [invoice.due_at, invoice.due_at + grace()]
    return min([now + LOOK_WITHIN, *(at for at in instants if at > now)])


def credit(order: Order, *, refund: str, stripe_refund: str, shares: Shares) -> None:
    """Commit to a credit note for what was given back of an invoice, so that books are right.

    It names the refund that Stripe made, and takes fee and tax back as the journal did.
    """
    invoice = Invoice.objects.get(order=order)
    commands.give(
        Kind.CREDIT_NOTE,
        {
            **_credited(order, invoice, refund, shares),
            "refunds": [
                {
                    "type": "refund",
                    "refund": stripe_refund,
                    "amount_refunded": shares.total_minor,
                }
            ],
        },
        order=order,
        reference=refund,
    )


def give_back_outside(order: Order, *, refund: str, shares: Shares) -> None:
    """Commit to a credit note for what people give back by bank: Stripe never had the money."""
    invoice = Invoice.objects.get(order=order)
    commands.give(
        Kind.CREDIT_NOTE,
        {
            **_credited(order, invoice, refund, shares),
            "out_of_band_amount": shares.total_minor,
        },
        order=order,
        reference=refund,
    )


# --- time -------------------------------------------------------------------------------------


def _follow_time(order: Order, invoice: Invoice) -> None:
    """Remind of an unpaid invoice, call it late, and stop its license after the grace."""
    now = timezone.now()
    reached = [name for name, after in REMINDERS.items() if invoice.due_at + after <= now]
    if reached and invoice.void_asked_at is None:
        commands.give(
            Kind.SEND_INVOICE,
            {"invoice": invoice.stripe_id},
            order=order,
            reference=reached[-1],
        )
    if invoice.due_at > now:
        return
    order_states.move(order, Event.OVERDUE)
    if invoice.due_at + grace() <= now and invoice.suspended_at is None:
        invoice.suspended_at = now
        licenses.suspend(
            order,
            cause=licenses.Cause.PAYMENT_OVERDUE,
            reason="The invoice is overdue.",
        )


def _cancel(order: Order, invoice: Invoice) -> None:
    """Nobody can pay the invoice any more: what was given for it ends."""
    if not order_states.move(order, Event.CANCELLED):
        return
    # Not at all if somebody was quicker and paid.
    audit.record_done("order.cancel_asked", "order.cancelled", subject=order)
    scope_claims.release(str(order.pk))
    if journal.is_posted(order, journal.SALE):
        lines = journal.reversed_lines(journal.sale(order, settlements.of(order)))
        journal.post(order, journal.VOIDED, lines)
        tax_records.reverse(order, cause=str(invoice.pk), shares=settlements.of(order))
    is_given_up = invoice.void_asked_at is not None
    licenses.revoke(
        order,
        cause=(
            licenses.Cause.CONVENIENCE_LICENSEE if is_given_up else licenses.Cause.PAYMENT_OVERDUE
        ),
        reason="The invoice was taken back unpaid.",
    )


# --- calls ------------------------------------------------------------------------------------


def _give_customer(order: Order, customer: StripeCustomer) -> None:
    buyer = order.organization
    about = Command.objects.filter(
        kind=Kind.CREATE_CUSTOMER, reference__startswith=f"{customer.pk}:"
    )
    if about.filter(state=Command.State.PENDING).exists():
        return
    commands.give(
        Kind.CREATE_CUSTOMER,
        {
            "name": buyer.legal_name[:256],
            "email": buyer.contact_email,
            "metadata": {"organization": str(buyer.pk), "licet": str(customer.pk)},
        },
        customer=customer,
        # Once Stripe has refused one, such as for its address, another may follow.
        reference=f"{customer.pk}:{about.count()}",
        caller_waits=True,
    )


def _give_send(invoice: Invoice) -> None:
    order, quote = invoice.order, invoice.order.quote
    name = quote.offer.collection.name
    # In English, whoever causes it: a repeat sends the same bytes.
    items = [("license", f"License to “{name}”", quote.subtotal_minor)]
    if quote.tax_minor:
        items.append(("tax", "Tax", quote.tax_minor))
    params: dict[str, Any] = {
        "customer": invoice.customer.stripe_id,
        "collection_method": "send_invoice",
        "currency": order.currency.lower(),
        "due_date": int(invoice.due_at.timestamp()),
        # Nothing of it happens by itself at Stripe: it is sent, and sent again, by us.
        "auto_advance": False,
        "pending_invoice_items_behavior": "exclude",
        # Its tax is agreed, and a line: where an account has Stripe calculate it by default, it
        # would come twice. https://docs.stripe.com/tax/invoicing/automatic-tax-default
        "automatic_tax": {"enabled": False},
        "metadata": {"order": str(order.pk), "licet": str(invoice.pk)},
    }
    if invoice.purchase_order:
        field = {"name": CUSTOM_FIELD_NAME, "value": invoice.purchase_order}
        params["custom_fields"] = [field]
    commands.give(
        Kind.SEND_INVOICE,
        {
            "invoice": params,
            "items": [
                {
                    "amount": amount_minor,
                    "currency": order.currency.lower(),
                    "description": title[:500],
                    "metadata": {"order": str(order.pk), "line": line},
                }
                for line, title, amount_minor in items
            ],
        },
        order=order,
        caller_waits=True,
    )


def _give_void(invoice: Invoice) -> None:
    commands.give(
        Kind.VOID_INVOICE, {"invoice": invoice.stripe_id}, order=invoice.order, caller_waits=True
    )


def _credited(order: Order, invoice: Invoice, refund: str, shares: Shares) -> dict[str, Any]:
    amounts = {
        "license": shares.total_minor - shares.tax_minor,
        "tax": shares.tax_minor,
    }
    return {
        "invoice": invoice.stripe_id,
        "lines": [
            {
                "type": "invoice_line_item",
                "invoice_line_item": invoice.stripe_lines[line],
                "amount": amount_minor,
            }
            for line, amount_minor in amounts.items()
            if amount_minor
        ],
        "metadata": {"order": str(order.pk), "licet": refund},
    }


def _about_customer(invoice: Invoice) -> QuerySet[Command]:
    return Command.objects.filter(
        kind=Kind.CREATE_CUSTOMER, reference__startswith=f"{invoice.customer_id}:"
    )


def _lock_customer(about: Order | StripeCustomer) -> None:
    """Make what needs a buyer's customer wait for what makes it: neither misses the other."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('payments.customer' || %s, 0))",
            [f"{about.organization_id}{about.livemode}"],
        )


def _create_customer(command: Command) -> str:
    return stripe_gateway.create_customer(command.params, key=str(command.pk))


def _find_customer(command: Command) -> str | None:
    params = command.params
    return stripe_gateway.find_customer(params["email"], params["metadata"]["licet"])


def _keep_customer(command: Command, result: str) -> str:
    """What waited for the customer is sent now."""
    customer = _customer(command)
    customer.stripe_id = result
    customer.save(update_fields=["stripe_id"])
    for invoice in _waiting(customer):
        _give_send(invoice)
    return result


def _refuse_customer(command: Command, why: str, code: str) -> None:
    for invoice in _waiting(_customer(command)):
        _end(invoice)


def _customer(command: Command) -> StripeCustomer:
    customer = StripeCustomer.objects.get(pk=command.reference.partition(":")[0])
    _lock_customer(customer)
    return customer


def _waiting(customer: StripeCustomer) -> list[Invoice]:
    waiting = Invoice.objects.filter(customer=customer, status=Status.DRAFT)
    return list(waiting.select_related("customer", "order__quote__offer__collection"))


def _end(invoice: Invoice) -> None:
    """No invoice can be sent: the order ends, and its rights are free again."""
    order = Order.objects.select_for_update().get(pk=invoice.order_id)
    if order_states.move(order, Event.ENDED):
        order.next_sync_at = None
        order.save(update_fields=["status", "next_sync_at"])
        scope_claims.release(str(order.pk))
    invoice.status = Status.REFUSED
    invoice.save(update_fields=["status"])


def _send(command: Command) -> InvoiceFacts:
    params, key = command.params, str(command.pk)
    if command.reference:
        return stripe_gateway.remind_of_invoice(params["invoice"], key=key)
    return stripe_gateway.send_invoice(params["invoice"], params["items"], key=key)


def _find(command: Command) -> InvoiceFacts | None:
    params = command.params
    if command.reference:
        # A reminder a day late is one too many.
        return stripe_gateway.retrieve_invoice(params["invoice"])
    created = params["invoice"]
    return stripe_gateway.find_invoice(
        created["customer"], created["metadata"]["licet"], params["items"], key=str(command.pk)
    )


def _keep_sent(command: Command, result: InvoiceFacts) -> str:
    order = _order(command)
    if command.reference:
        Invoice.objects.filter(order=order).update(reminded_at=timezone.now())
    else:
        merge(order, result)
        invoice = Invoice.objects.get(order=order)
        if invoice.void_asked_at is not None:
            # Given up while it was being sent.
            _give_void(invoice)
    _look_again(order)
    return result.invoice


def _refuse_sent(command: Command, why: str, code: str) -> None:
    if not command.reference:
        _end(Invoice.objects.get(order=_order(command)))


def _void(command: Command) -> InvoiceFacts:
    return stripe_gateway.void_invoice(command.params["invoice"], key=str(command.pk))


def _keep_voided(command: Command, result: InvoiceFacts) -> str:
    """Where somebody was quicker and paid, the order is looked at again, and goes on."""
    order = _order(command)
    merge(order, result)
    if result.status != Status.VOID:
        Invoice.objects.filter(order=order).update(void_asked_at=None)
    _look_again(order)
    return result.invoice


def _refuse_voided(command: Command, why: str, code: str) -> None:
    """It stays open: people see why in the command."""


def _credit(command: Command) -> str:
    """Have Stripe issue it. Where the refund failed meanwhile, the note says “outside of Stripe”.

    No note of the first kind is made then: the buyer is owed the amount, and paid otherwise.
    """
    params, key = command.params, str(command.pk)
    if _came_back(command) and "refunds" in params:
        made = stripe_gateway.find_credit_note(params["invoice"], params["metadata"]["licet"])
        if made is not None:
            return made
        params = dict(params)
        [of_refund] = params.pop("refunds")
        params["out_of_band_amount"], key = of_refund["amount_refunded"], f"{key}:outside"
    return stripe_gateway.create_credit_note(params, key=key)


def _came_back(command: Command) -> bool:
    with system("see whether a refund failed"):
        return Refund.objects.filter(pk=command.reference, state=Refund.State.FAILED).exists()


def _find_credited(command: Command) -> str | None:
    params = command.params
    return stripe_gateway.find_credit_note(params["invoice"], params["metadata"]["licet"])


def _keep_credited(command: Command, result: str) -> str:
    _look_again(_order(command))
    return result


def _refuse_credited(command: Command, why: str, code: str) -> None:
    """The money is where it belongs, and the buyer's books are not: people must look."""


def _look_again(order: Order) -> None:
    order.next_sync_at = timezone.now()
    order.save(update_fields=["status", "next_sync_at"])


def _order(command: Command) -> Order:
    assert command.order is not None
    return command.order


CREATE_CUSTOMER = Call(
    send=_create_customer, keep=_keep_customer, refuse=_refuse_customer, find=_find_customer
)
SEND = Call(send=_send, keep=_keep_sent, refuse=_refuse_sent, find=_find)
VOID = Call(send=_void, keep=_keep_voided, refuse=_refuse_voided)
CREDIT = Call(
    send=_credit, keep=_keep_credited, refuse=_refuse_credited, find=_find_credited, is_money=True
)
