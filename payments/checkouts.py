"""Pay pages at Stripe: opened for an order, and closed when nobody shall pay there any more."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core import signing
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import scope_claims
from marketplace.errors import NotFound, PaymentProviderRefused
from payments import commands, order_states, stripe_gateway
from payments.commands import Call
from payments.models import Command, Order
from payments.order_states import Event
from payments.stripe_facts import CheckoutFacts

RETURN_SALT = "payments.orders.return"


def open(order: Order) -> Command:
    """Commit to opening a pay page for an order. The caller waits, and carries it out."""
    return commands.give(
        Command.Kind.CREATE_CHECKOUT, _params(order), order=order, caller_waits=True
    )


def close(order: Order) -> None:
    """Commit to closing an order's pay page, if it has one."""
    if order.checkout_session is not None:
        commands.give(
            Command.Kind.EXPIRE_CHECKOUT, {"session": order.checkout_session}, order=order
        )


def return_url(order: Order) -> str:
    """Where Checkout sends the buyer back to. The signature stands for a login."""
    token = signing.Signer(salt=RETURN_SALT).sign(str(order.pk))
    return f"{settings.BASE_URL}/checkout/return/{token}"


def returned(token: str) -> str:
    """The id of the order that a return address names. Raises NotFound for a forged one."""
    try:
        return signing.Signer(salt=RETURN_SALT).unsign(token)
    except signing.BadSignature:
        raise NotFound(_("There is nothing at this address.")) from None


def _params(order: Order) -> dict[str, Any]:
    """The exact request for a pay page. Stored, so that a repeat sends the same bytes."""
    assert order.checkout_expires_at is not None
    back = return_url(order)
    metadata = {"order": str(order.pk)}
    # In English, whoever causes it, as all that is recorded or sent to Stripe.
    items = [(f"License to “{order.quote.offer.collection.name}”", order.quote.subtotal_minor)]
    if order.quote.tax_minor:
        items.append(("Tax", order.quote.tax_minor))
    return {
        "mode": "payment",
        "client_reference_id": str(order.pk),
        "success_url": back,
        "cancel_url": back,
        "expires_at": int(order.checkout_expires_at.timestamp()),
        # The price stands in the contract: it is not converted on the pay page.
        "adaptive_pricing": {"enabled": False},
        "metadata": metadata,
        "payment_intent_data": {
            "metadata": metadata,
            "transfer_group": str(order.pk),
            "description": str(order.pk),
        },
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": order.currency.lower(),
                    "unit_amount": amount_minor,
                    "product_data": {"name": title},
                },
            }
            for title, amount_minor in items
        ],
    }


def _create(command: Command) -> CheckoutFacts:
    expires_at = datetime.fromtimestamp(command.params["expires_at"], UTC)
    if expires_at <= timezone.now():
        # Nobody ever saw this session's address, so nobody can have paid it.
        raise PaymentProviderRefused(
            _("The time for paying passed before Stripe could be reached.")
        )
    return stripe_gateway.create_checkout(command.params, key=str(command.pk))


def _keep_created(command: Command, result: CheckoutFacts) -> str:
    order = _order(command)
    order.checkout_session, order.checkout_url = result.session, result.url
    order.save(update_fields=["checkout_session", "checkout_url"])
    if order.status == Order.Status.CANCELLED:
        # Given up while its page was being opened.
        close(order)
    return result.session


def _refuse_created(command: Command, why: str, code: str) -> None:
    """Nobody can pay: the order ends, and its rights are free again."""
    order = _order(command)
    if order_states.move(order, Event.ENDED):
        order.next_sync_at = None
        order.save(update_fields=["status", "next_sync_at"])
        scope_claims.release(str(order.pk))


def _expire(command: Command) -> CheckoutFacts:
    return stripe_gateway.expire_checkout(command.params["session"], key=str(command.pk))


def _keep_expired(command: Command, result: CheckoutFacts) -> str:
    """Where somebody was quicker and paid, the order is looked at again."""
    order = _order(command)
    order.next_sync_at = timezone.now()
    order.save(update_fields=["next_sync_at"])
    return result.session


def _refuse_expired(command: Command, why: str, code: str) -> None:
    """The page closes by itself within the hour; a payment until then is a late one."""


def _order(command: Command) -> Order:
    assert command.order is not None
    return command.order


CREATE = Call(send=_create, keep=_keep_created, refuse=_refuse_created)
EXPIRE = Call(send=_expire, keep=_keep_expired, refuse=_refuse_expired)
