"""The only door to Stripe: small typed verbs in, plain facts out. Nothing else imports `stripe`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import stripe
from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from marketplace.errors import (
    PaymentModeUnavailable,
    PaymentProviderRefused,
    PaymentProviderUnavailable,
    WebhookSignatureInvalid,
)

# The SDK's own default is 80 s and no retry; a buyer waits for some of these calls.
TIMEOUT_SECONDS = 15
RETRIES_MAX = 2
# How old a signed delivery may be (the SDK's default, said aloud).
SIGNATURE_TOLERANCE_SECONDS = 300

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CheckoutFacts:
    """A Checkout session as it stands at Stripe, with its payment."""

    session: str
    url: str
    has_expired: bool
    is_paid: bool
    currency: str
    payment: PaymentFacts | None


@dataclass(frozen=True, slots=True)
class PaymentFacts:
    """A payment intent as it stands at Stripe."""

    payment_intent: str
    received_minor: int
    refunded_minor: int
    paid_at: datetime | None
    # Why the last attempt failed, in Stripe's words to the buyer; "" where it did not.
    decline: str


@dataclass(frozen=True, slots=True)
class RefundFacts:
    """A refund as it stands at Stripe."""

    refund: str
    status: str
    amount_minor: int


def check_mode(livemode: bool) -> None:
    """Refuse to take a payment of the other mode than that of our Stripe key."""
    if livemode != settings.STRIPE_LIVEMODE:
        raise PaymentModeUnavailable(
            _("This market takes payments in live mode only. Use a licet_live_ key.")
            if settings.STRIPE_LIVEMODE
            else _("This market takes payments in test mode only. Use a licet_test_ key."),
            livemode=livemode,
        )


def create_checkout(params: dict[str, Any], *, key: str) -> CheckoutFacts:
    """Open a Checkout session. Repeating it with the same key gives the first call's session."""
    return _call(
        lambda client: _checkout(
            client.v1.checkout.sessions.create(cast(Any, params), {"idempotency_key": key})
        )
    )


def retrieve_checkout(session: str) -> CheckoutFacts:
    """Fetch a Checkout session and its payment, in one request: Stripe limits their number."""
    return _call(
        lambda client: _checkout(
            client.v1.checkout.sessions.retrieve(
                session, {"expand": ["payment_intent.latest_charge"]}
            )
        )
    )


def refund(params: dict[str, Any], *, key: str) -> RefundFacts:
    """Give a payment back. Repeating it gives the first refund, even when Stripe forgot the key."""

    def carry_out(client: stripe.StripeClient) -> RefundFacts:
        try:
            made = client.v1.refunds.create(cast(Any, params), {"idempotency_key": key})
        except stripe.InvalidRequestError as error:
            # Stripe keeps a key for a day at least; a later repeat finds the charge refunded.
            if error.code != "charge_already_refunded":
                raise
            found = client.v1.refunds.list({"payment_intent": params["payment_intent"], "limit": 1})
            if not found.data:
                raise
            made = found.data[0]
        return RefundFacts(made.id, made.status or "", made.amount)

    return _call(carry_out)


def verify_webhook(raw: bytes, signature: str) -> None:
    """Check a delivery's signature over its raw body. Raises WebhookSignatureInvalid.

    Several secrets may hold at once, so that one can replace another without a lost delivery.
    """
    for secret in settings.STRIPE_WEBHOOK_SECRETS:
        try:
            stripe.WebhookSignature.verify_header(
                raw, signature, secret, SIGNATURE_TOLERANCE_SECONDS
            )
        except (stripe.SignatureVerificationError, UnicodeDecodeError):
            continue
        return
    raise WebhookSignatureInvalid(
        _(
            "The Stripe-Signature header does not match the body under any of our secrets,"
            " or is older than %(seconds)s seconds."
        )
        % {"seconds": SIGNATURE_TOLERANCE_SECONDS}
    )


@functools.cache
def _client(api_key: str, api_base: str) -> stripe.StripeClient:
    stripe.set_app_info("Licet", version="0.1.0")
    return stripe.StripeClient(
        api_key,
        stripe_version=stripe.api_version,
        max_network_retries=RETRIES_MAX,
        http_client=stripe.RequestsClient(timeout=TIMEOUT_SECONDS),
        base_addresses={"api": api_base} if api_base else None,
    )


def _call(use: Callable[[stripe.StripeClient], T]) -> T:
    """Make one call and translate its failure: later (Unavailable), or never (Refused)."""
    # A durable block refuses to be nested (Django knows a test's own wrapping): a slow Stripe
    # must never hold a database lock.
    with transaction.atomic(durable=True):
        pass
    try:
        return use(_client(settings.STRIPE_API_KEY, settings.STRIPE_API_BASE))
    except (stripe.APIConnectionError, stripe.RateLimitError) as error:
        raise _unavailable() from error
    except (
        stripe.InvalidRequestError,
        stripe.CardError,
        stripe.IdempotencyError,
        stripe.AuthenticationError,
        stripe.PermissionError,
    ) as error:
        if error.http_status == 409 or isinstance(
            error, stripe.AuthenticationError | stripe.PermissionError
        ):
            # A lock at Stripe passes by itself, a wrong key of ours by its repair.
            raise _unavailable() from error
        raise PaymentProviderRefused(
            error.user_message or _("Stripe refused the request."), provider_code=error.code or ""
        ) from error
    except stripe.StripeError as error:
        raise _unavailable() from error


def _unavailable() -> PaymentProviderUnavailable:
    return PaymentProviderUnavailable(
        _("The payment provider did not answer. Send the same request again to go on.")
    )


def _checkout(session: stripe.checkout.Session) -> CheckoutFacts:
    payment = session.payment_intent
    return CheckoutFacts(
        session=session.id,
        url=session.url or "",
        has_expired=session.status == "expired",
        is_paid=session.payment_status == "paid",
        currency=(session.currency or "").upper(),
        payment=_payment(payment) if isinstance(payment, stripe.PaymentIntent) else None,
    )


def _payment(payment: stripe.PaymentIntent) -> PaymentFacts:
    charge = payment.latest_charge if isinstance(payment.latest_charge, stripe.Charge) else None
    failure = payment.last_payment_error
    return PaymentFacts(
        payment_intent=payment.id,
        received_minor=payment.amount_received,
        refunded_minor=0 if charge is None else charge.amount_refunded,
        paid_at=datetime.fromtimestamp(charge.created, UTC) if charge and charge.paid else None,
        decline="" if failure is None else failure.message or "",
    )
