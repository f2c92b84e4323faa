"""Orders: a quote accepted by a named person, paid through Stripe or free."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypedDict

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import delivery_summaries, grants, offers, optouts, scope_claims, terms
from licensing.grants import Acceptance
from licensing.models import Grant
from marketplace import audit, idempotency, metadata
from marketplace.access import Caller, acting, system
from marketplace.errors import (
    AcceptedDocumentMismatch,
    InvalidInput,
    OptedOut,
    OrderNotPayable,
    OrderWrongState,
    QuoteAlreadyAccepted,
    QuoteExpired,
)
from payments import (
    checkouts,
    commands,
    connect,
    invoices,
    order_states,
    quotes,
    royalties,
    settlements,
    stripe_gateway,
)
from payments.models import Command, Order, Quote
from payments.order_states import Event

# How long the pay page stays open. Stripe asks for 30 minutes at least, counted from when it
# receives the request: what is left above that is for calls that must be made again.
CHECKOUT_LIFETIME = timedelta(hours=1)
# The rights stay held a little longer than anybody can pay for them.
HOLD_SLACK = timedelta(minutes=10)
# The reconciler's first look at an order that no event settled.
FIRST_LOOK = timedelta(seconds=60)


class Accept(TypedDict):
    """A person's acceptance: which document, who, as what, and that they may."""

    document_sha256: str
    name: str
    title: str
    authority: bool


def place(
    caller: Caller,
    *,
    quote: str,
    accept: Accept,
    method: str = Order.Method.CHECKOUT,
    net_days: int | None = None,
    purchase_order: str = "",
    notes: metadata.Notes | None = None,
) -> Order:
    """Accept a quote: hold its rights, and open a pay page for it; or grant at once if it is free.

    With the method “invoice”, one is sent that is due in `net_days`. Without `notes`, the quote's
    are carried over. The order, the hold and the
    command to open the page commit together; the call to Stripe follows. If that call fails, the
    order stands, and `resume` or the worker makes it again. Raises NotFound, QuoteAlreadyAccepted,
    QuoteExpired, AcceptedDocumentMismatch, InvalidInput, OfferNotBuyable, AccessNotApproved,
    OptedOut, RightsTaken, LegalIdentityIncomplete, PaymentProviderUnavailable, OrderNotPayable.
    """
    invoiced = _invoiced(method, net_days, purchase_order)
    split = _split(caller, quote)
    with acting(caller):
        _lock(quote)
        accepted = _accepted(caller, quote)
        _check(accepted, accept)
        offers.hold_on_sale(caller, accepted.offer)
        quotes.check_approved(caller, accepted)
        optouts.hold_still(accepted.seller_id)
        _check_opt_outs(accepted)
        if invoiced is not None and accepted.total_minor:
            invoices.check(accepted, net_days=invoiced["net_days"])
        order = _order(caller, accepted, accept, split, invoiced)
        quotes.claim(
            accepted,
            terms.load(accepted.terms),
            held_by=str(order.pk),
            held_until=_held_until(order, invoiced),
        )
        _note(caller, accepted, order, notes)
        if order.total_minor == 0:
            _grant_for_free(order)
        order.save(force_insert=True)
        audit.record(caller, "order.placed", subject=order, quote=str(accepted.pk))
        idempotency.names(caller, order)
        if order.grant is not None:
            return order
        if invoiced is None:
            command = checkouts.open(order)
        else:
            invoices.open(order, **invoiced)
    return _opened(caller, order, command) if invoiced is None else _invoice_sent(caller, order)


def resume(caller: Caller, id: str) -> Order:
    """Go on with an order whose first request ended before its pay page was open."""
    with acting(caller):
        order = Order.objects.get_visible(caller, id)
        command = Command.objects.filter(order=order, kind=Command.Kind.CREATE_CHECKOUT).first()
    if order.method == Order.Method.INVOICE:
        return _invoice_sent(caller, order)
    return order if command is None else _opened(caller, order, command)


def cancel(caller: Caller, id: str) -> Order:
    """Give an order up before it is paid: its rights are free at once, and its page closes.

    A payment that comes all the same is granted if the rights are still free, else given back. An
    invoice is taken back at Stripe before: until then it can be paid. Repeating it changes nothing.
    Raises NotFound, OrderWrongState, PaymentProviderUnavailable.
    """
    with acting(caller):
        order = Order.objects.get_visible(caller, id, lock=True)
        if order.status == Order.Status.CANCELLED:
            return order
        if order.status not in {Order.Status.AWAITING_PAYMENT, Order.Status.PAST_DUE}:
            raise OrderWrongState(
                _("Only an order that awaits its payment can be cancelled."),
                order=str(order.pk),
                order_status=order.status,
            )
        if order.method == Order.Method.INVOICE:
            _check_nothing_left(order)
            if invoices.void(order):
                # Whether it can be cancelled, Stripe says: see `invoices`.
                audit.record(caller, "order.cancel_asked", subject=order)
        else:
            order_states.move(order, Event.CANCELLED)
            order.save(update_fields=["status"])
            scope_claims.release(str(order.pk))
            checkouts.close(order)
            audit.record(caller, "order.cancelled", subject=order)
    return _taken_back(caller, order) if order.method == Order.Method.INVOICE else order


def issue_grant(order: Order) -> Grant:
    """Issue what an order bought, in the caller's transaction. Repeating it finds the first grant.

    The buyer's notes on the order are carried over. Where the hold ran out before the payment was
    heard of, the rights are taken again if they are still free. Raises RightsTaken where they are
    not, and whatever else `grants.issue` refuses.
    """
    quote = order.quote
    grant = grants.issue(
        licensor=quote.seller,
        licensee=quote.organization,
        livemode=order.livemode,
        snapshot=quote.snapshot,
        terms=quote.terms,
        uses=quote.scope["uses"],
        territories=quote.scope["territories"],
        model=quote.scope.get("model"),
        starts_at=quotes.starts_at(quote),
        price_basis=quotes.price_basis(quote),
        document=quote.document,
        acceptance=Acceptance(
            document_sha256=bytes(order.accepted_document_sha256),
            name=order.accepted_by_name,
            title=order.accepted_by_title,
            actor=order.accepted_by_actor,
            accepted_at=order.accepted_at,
        ),
        made_by=str(order.pk),
        is_private=quote.offer.audience_id is not None,
    )
    metadata.carry(order.organization, livemode=order.livemode, source=order, target=grant)
    return grant


def _note(caller: Caller, quote: Quote, order: Order, notes: metadata.Notes | None) -> None:
    if notes is not None:
        metadata.begin(caller, order, notes)
    else:
        buyer = caller.organization
        metadata.carry(buyer, livemode=caller.livemode, source=quote, target=order)


def _accepted(caller: Caller, id: str) -> Quote:
    """A quote, with all that becomes of it, and its order if it was accepted before."""
    quote = Quote.objects.select_related(
        *("organization", "seller", "offer__collection", "offer__sample", "snapshot", "terms"),
        "order",
    ).get_visible(caller, id)
    # The same rows, which would be asked for again.
    quote.offer.organization = quote.seller
    quote.snapshot.collection = quote.offer.collection
    return quote


def _lock(quote: str) -> None:
    """Make acceptances of one quote wait for each other: a quote makes one order.

    An advisory lock, because a row lock needs the right to update, and nobody may update quotes.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [quote])


def _check(quote: Quote, accept: Accept) -> None:
    if hasattr(quote, "order"):
        raise QuoteAlreadyAccepted(
            _("This quote was accepted before. Ask for a new one."),
            param="quote",
            quote=str(quote.pk),
        )
    if quote.expires_at <= timezone.now():
        raise QuoteExpired(
            _("The quote has expired. Ask for a new one."), param="quote", quote=str(quote.pk)
        )
    if accept["document_sha256"] != bytes(quote.document_sha256).hex():
        raise AcceptedDocumentMismatch(
            _(
                "The acceptance names another document than the quoted one. Read it, and send its"
                " document_sha256."
            ),
            param="accept.document_sha256",
            quoted=bytes(quote.document_sha256).hex(),
        )
    if accept["authority"] is not True:
        raise InvalidInput(
            _("Only somebody with authority to bind the organization can accept."),
            param="accept.authority",
        )
    for name in ("name", "title"):
        if not accept[name].strip():
            raise InvalidInput(_("Say who accepts, and as what."), param=f"accept.{name}")


def _check_opt_outs(quote: Quote) -> None:
    """Refuse where more is out than the accepted document says."""
    out = optouts.check(quote.snapshot)
    if out > quotes.opted_out(quote):
        raise OptedOut(
            _("Works were opted out since this quote was made. Ask for a new one."),
            quote=str(quote.pk),
            works=out,
        )


def _split(caller: Caller, id: str) -> dict[str, Any]:
    """Who will get what of a sale: fees and royalties, which are no business of the buyer's."""
    if not quotes.is_priced(caller, id):
        return {}
    with acting(caller, writing=False):
        quote = Quote.objects.select_related("offer").get_visible(caller, id)
    with system("who gets what of a sale is its seller's business, and the market's"):
        rule = royalties.in_force(quote.offer.collection_id, at=timezone.now())
        return settlements.fix(quote, royalties=rule)


class Invoiced(TypedDict):
    """How an order is paid on invoice."""

    net_days: int
    purchase_order: str


def _invoiced(method: str, net_days: int | None, purchase_order: str) -> Invoiced | None:
    if method == Order.Method.INVOICE:
        # None is in no offer's list.
        return {"net_days": net_days or 0, "purchase_order": purchase_order.strip()}
    if method != Order.Method.CHECKOUT:
        raise InvalidInput(_("Pay by “checkout” or by “invoice”."), param="method")
    for name, given in (("net_days", net_days), ("purchase_order", purchase_order)):
        if given:
            raise InvalidInput(_("Only an invoice has this."), param=name)
    return None


def _held_until(order: Order, invoiced: Invoiced | None) -> datetime:
    if invoiced is not None and order.total_minor:
        return invoices.held_until(order.accepted_at, invoiced["net_days"]) + HOLD_SLACK
    return (order.checkout_expires_at or order.accepted_at) + HOLD_SLACK


def _check_nothing_left(order: Order) -> None:
    """Refuse to give up what began with its invoice, once works of it were fetched."""
    if order.grant_id is not None and delivery_summaries.has_left(order.grant_id):
        raise OrderWrongState(
            _("Works were fetched under this license: pay its invoice, or ask the seller."),
            order=str(order.pk),
            order_status=order.status,
        )


def _order(
    caller: Caller,
    quote: Quote,
    accept: Accept,
    split: dict[str, Any],
    invoiced: Invoiced | None,
) -> Order:
    now = timezone.now()
    is_free = quote.total_minor == 0
    if not is_free:
        stripe_gateway.check_mode(quote.livemode)
        connect.check_payable(quote.seller, livemode=quote.livemode)
    method = Order.Method.CHECKOUT if invoiced is None else Order.Method.INVOICE
    has_page = not is_free and invoiced is None
    return Order(
        organization=quote.organization,
        seller=quote.seller,
        livemode=quote.livemode,
        quote=quote,
        method=Order.Method.FREE if is_free else method,
        total_minor=quote.total_minor,
        currency=quote.currency,
        settlement=split,
        accepted_document_sha256=bytes.fromhex(accept["document_sha256"]),
        accepted_by_name=accept["name"].strip(),
        accepted_by_title=accept["title"].strip(),
        accepted_by_actor=caller.actor,
        accepted_at=now,
        checkout_expires_at=now + CHECKOUT_LIFETIME if has_page else None,
        next_sync_at=None if is_free else now + FIRST_LOOK,
    )


def _grant_for_free(order: Order) -> None:
    """Nothing to pay: the grant commits with its order, without Stripe and without a journal."""
    order.grant = issue_grant(order)
    order.status = Order.Status.GRANTED
    order.paid_at = order.granted_at = timezone.now()


def _opened(caller: Caller, order: Order, command: Command) -> Order:
    """Have the pay page opened, and return the order as it stands then."""
    command = commands.carry_out(command.pk, caller=caller)
    with acting(caller, writing=False):
        order = Order.objects.get_visible(caller, str(order.pk))
    if command.state == Command.State.REFUSED:
        raise OrderNotPayable(
            _("Stripe refused to open a pay page: %(why)s Ask for a new quote.")
            % {"why": command.refusal},
            order=str(order.pk),
        )
    return order


def _invoice_sent(caller: Caller, order: Order) -> Order:
    """Have the invoice sent, and return the order as it stands then."""
    order = _carried_on(caller, order)
    if order.status == Order.Status.EXPIRED:
        raise OrderNotPayable(
            _("Stripe refused to send an invoice: %(why)s Ask for a new quote.")
            % {"why": _why_not_sent(caller, order)},
            order=str(order.pk),
        )
    return order


def _why_not_sent(caller: Caller, order: Order) -> str:
    with acting(caller, writing=False):
        return invoices.refusal(order)


def _taken_back(caller: Caller, order: Order) -> Order:
    """Have the invoice voided, and return the order. OrderWrongState where it was paid before."""
    order = _carried_on(caller, order)
    if order.status != Order.Status.CANCELLED:
        raise OrderWrongState(
            _("The invoice can no longer be taken back."),
            order=str(order.pk),
            order_status=order.status,
        )
    return order


def _carried_on(caller: Caller, order: Order) -> Order:
    """Make the calls that an order's invoice waits for, one after the other.

    Across tenants: what a call brings may end the seller's license.
    """
    while True:
        with acting(caller, writing=False):
            order = Order.objects.get_visible(caller, str(order.pk))
            command = invoices.next_call(order)
        if command is None:
            return order
        commands.carry_out(command.pk)
