"""The only door to Stripe: small typed verbs in, plain facts out. Nothing else imports `stripe`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar, cast

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

LISTED_MAX = 100
ACCOUNT_INCLUDES: tuple[
    Literal["configuration.recipient"], Literal["identity"], Literal["requirements"]
] = ("configuration.recipient", "identity", "requirements")

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
    """A payment intent as it stands at Stripe, with what was given back of it."""

    payment_intent: str
    received_minor: int
    paid_at: datetime | None
    # Why the last attempt failed, in Stripe's words to the buyer; "" where it did not.
    decline: str
    charge: str = ""
    settled: SettledFacts | None = None
    refunds: tuple[RefundFacts, ...] = ()
    disputes: tuple[DisputeFacts, ...] = ()

    @property
    def refunded_minor(self) -> int:
        return sum(refund.amount_minor for refund in self.refunds if refund.is_given_back)


@dataclass(frozen=True, slots=True)
class SettledFacts:
    """A balance transaction: what a movement came to in the currency of our account there."""

    transaction: str
    currency: str
    amount_minor: int
    fee_minor: int


@dataclass(frozen=True, slots=True)
class RefundFacts:
    """A refund as it stands at Stripe: https://docs.stripe.com/api/refunds/object"""

    refund: str
    # pending, requires_action, succeeded, failed or canceled.
    status: str
    amount_minor: int
    # The row of ours that it was made for; "" where somebody made it at Stripe.
    ours: str = ""
    failure: str = ""
    settled: SettledFacts | None = None

    @property
    def is_given_back(self) -> bool:
        return self.status not in {"failed", "canceled"}


@dataclass(frozen=True, slots=True)
class DisputeFacts:
    """A dispute as it stands at Stripe: https://docs.stripe.com/api/disputes/object"""

    dispute: str
    status: str
    reason: str
    amount_minor: int
    currency: str
    opened_at: datetime
    evidence_due_at: datetime | None
    evidence_sent: bool
    settled: tuple[SettledFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """A connected account as it stands at Stripe."""

    account: str
    country: str
    # Of the capability to receive transfers: active, pending, restricted, rejected, unsupported.
    status: str
    is_closed: bool
    requirements: tuple[RequirementFacts, ...]


@dataclass(frozen=True, slots=True)
class RequirementFacts:
    """What Stripe still wants to know of an account, in its machine's words."""

    what: str
    # "user" or "stripe".
    awaited_from: str
    # past_due, currently_due or eventually_due.
    deadline: str
    # Why what was given is not enough, in Stripe's words.
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TransferFacts:
    """A transfer, or a reversal of one, as it stands at Stripe."""

    id: str
    amount_minor: int
    currency: str
    settled: SettledFacts | None = None


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
    """Fetch a Checkout session and its payment, in one request: Stripe limits their number.

    Further ones fetch the refunds of a payment that has any, and the disputes of a disputed one.
    """

    def fetch(client: stripe.StripeClient) -> CheckoutFacts:
        found = client.v1.checkout.sessions.retrieve(
            session,
            {
                "expand": [
                    "payment_intent.latest_charge.balance_transaction",
                    "payment_intent.latest_charge.refunds",
                ]
            },
        )
        return _checkout(found, _payment_of(client, found.payment_intent))

    return _call(fetch)


def expire_checkout(session: str, *, key: str) -> CheckoutFacts:
    """Close a Checkout session, so that nobody can pay it. One that is closed stays as it is."""

    def close(client: stripe.StripeClient) -> CheckoutFacts:
        try:
            return _checkout(
                client.v1.checkout.sessions.expire(session, {}, {"idempotency_key": key})
            )
        except stripe.InvalidRequestError:
            # Paid or expired already: what it is now decides.
            return _checkout(client.v1.checkout.sessions.retrieve(session))

    return _call(close)


def refund(params: dict[str, Any], *, key: str) -> RefundFacts:
    """Give a payment back. Repeating it with the same key gives the first call's refund."""
    return _call(
        lambda client: _refund(
            client.v1.refunds.create(cast(Any, params), {"idempotency_key": key})
        )
    )


def find_refund(payment_intent: str, ours: str) -> RefundFacts | None:
    """The refund of a payment that was made for one of our rows, if there is one."""

    def find(client: stripe.StripeClient) -> RefundFacts | None:
        listed = client.v1.refunds.list({"payment_intent": payment_intent, "limit": LISTED_MAX})
        return next(
            (_refund(each) for each in listed.auto_paging_iter() if _ours(each) == ours), None
        )

    return _call(find)


def submit_evidence(dispute: str, evidence: dict[str, str], *, key: str) -> str:
    """Send our side of a dispute to the bank, once and for all. Returns the dispute's status."""
    return _call(
        lambda client: (
            client.v1.disputes.update(
                dispute,
                cast(Any, {"evidence": evidence, "submit": True}),
                {"idempotency_key": key},
            ).status
        )
    )


def create_account(params: dict[str, Any], *, key: str) -> AccountFacts:
    """Open a connected account that can receive transfers.

    https://docs.stripe.com/connect/accounts-v2
    """
    return _call(
        lambda client: _account(
            client.v2.core.accounts.create(cast(Any, params), {"idempotency_key": key})
        )
    )


def retrieve_account(account: str) -> AccountFacts:
    """Fetch a connected account, with what is missing of it."""
    return _call(
        lambda client: _account(
            client.v2.core.accounts.retrieve(account, {"include": [*ACCOUNT_INCLUDES]})
        )
    )


def account_link(account: str, *, refresh_url: str, return_url: str) -> str:
    """An address of Stripe's where somebody tells who they are. It works once, for minutes."""
    return _call(
        lambda client: (
            client.v2.core.account_links.create(
                {
                    "account": account,
                    "use_case": {
                        "type": "account_onboarding",
                        "account_onboarding": {
                            "collection_options": {"fields": "eventually_due"},
                            "refresh_url": refresh_url,
                            "return_url": return_url,
                        },
                    },
                }
            ).url
        )
    )


def transfer(params: dict[str, Any], *, key: str) -> TransferFacts:
    """Send a part of a charge on to a connected account."""
    return _call(
        lambda client: _transfer(
            client.v1.transfers.create(
                cast(Any, {**params, "expand": ["balance_transaction"]}), {"idempotency_key": key}
            )
        )
    )


def find_transfer(transfer_group: str, ours: str) -> TransferFacts | None:
    """The transfer of a group that was made for one of our rows, if there is one."""

    def find(client: stripe.StripeClient) -> TransferFacts | None:
        listed = client.v1.transfers.list(
            {
                "transfer_group": transfer_group,
                "limit": LISTED_MAX,
                "expand": ["data.balance_transaction"],
            }
        )
        return next(
            (_transfer(each) for each in listed.auto_paging_iter() if _ours(each) == ours), None
        )

    return _call(find)


def reverse_transfer(transfer: str, params: dict[str, Any], *, key: str) -> TransferFacts:
    """Take a part of a transfer back, as far as the connected account's balance covers it."""
    return _call(
        lambda client: _transfer(
            client.v1.transfers.reversals.create(
                transfer,
                cast(Any, {**params, "expand": ["balance_transaction"]}),
                {"idempotency_key": key},
            )
        )
    )


def find_reversal(transfer: str, ours: str) -> TransferFacts | None:
    """The reversal of a transfer that was made for one of our rows, if there is one."""

    def find(client: stripe.StripeClient) -> TransferFacts | None:
        listed = client.v1.transfers.reversals.list(
            transfer, {"limit": LISTED_MAX, "expand": ["data.balance_transaction"]}
        )
        return next(
            (_transfer(each) for each in listed.auto_paging_iter() if _ours(each) == ours), None
        )

    return _call(find)


def undelivered_events(since: datetime) -> list[dict[str, Any]]:
    """Events since then that Stripe could not deliver, or not yet, the newest first.

    https://docs.stripe.com/webhooks/process-undelivered-events
    """

    def fetch(client: stripe.StripeClient) -> list[dict[str, Any]]:
        listed = client.v1.events.list(
            {
                "delivery_success": False,
                "created": {"gte": int(since.timestamp())},
                "limit": LISTED_MAX,
            }
        )
        return [json.loads(str(each)) for each in listed.auto_paging_iter()]

    return _call(fetch)


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


def _checkout(
    session: stripe.checkout.Session, payment: PaymentFacts | None = None
) -> CheckoutFacts:
    return CheckoutFacts(
        session=session.id,
        url=session.url or "",
        has_expired=session.status == "expired",
        is_paid=session.payment_status == "paid",
        currency=(session.currency or "").upper(),
        payment=payment,
    )


def _payment_of(client: stripe.StripeClient, payment: Any) -> PaymentFacts | None:
    """A payment intent that was fetched with its charge, in plain facts."""
    if not isinstance(payment, stripe.PaymentIntent):
        return None
    charge = payment.latest_charge if isinstance(payment.latest_charge, stripe.Charge) else None
    failure = payment.last_payment_error
    paid = charge is not None and charge.paid
    return PaymentFacts(
        payment_intent=payment.id,
        received_minor=payment.amount_received,
        paid_at=datetime.fromtimestamp(charge.created, UTC) if charge and paid else None,
        decline="" if failure is None else failure.message or "",
        charge=charge.id if charge and paid else "",
        settled=_settled(charge.balance_transaction) if charge and paid else None,
        refunds=() if charge is None else _refunds_of(client, charge),
        disputes=_disputes_of(client, payment.id) if charge and charge.disputed else (),
    )


def _refunds_of(client: stripe.StripeClient, charge: stripe.Charge) -> tuple[RefundFacts, ...]:
    """The refunds of a charge that has any, with what each came to: that is too deep to expand."""
    if charge.refunds is None or not charge.refunds.data:
        return ()
    listed = client.v1.refunds.list(
        {"charge": charge.id, "limit": LISTED_MAX, "expand": ["data.balance_transaction"]}
    )
    # The oldest first: they are taken from the shares one after the other.
    return tuple(reversed([_refund(each) for each in listed.auto_paging_iter()]))


def _disputes_of(client: stripe.StripeClient, payment_intent: str) -> tuple[DisputeFacts, ...]:
    listed = client.v1.disputes.list({"payment_intent": payment_intent, "limit": LISTED_MAX})
    return tuple(_dispute(each) for each in listed.auto_paging_iter())


def _settled(found: Any) -> SettledFacts | None:
    if not isinstance(found, stripe.BalanceTransaction):
        return None
    return SettledFacts(found.id, found.currency.upper(), found.amount, found.fee)


def _refund(found: stripe.Refund) -> RefundFacts:
    return RefundFacts(
        refund=found.id,
        status=found.status or "pending",
        amount_minor=found.amount,
        ours=_ours(found),
        failure=getattr(found, "failure_reason", "") or "",
        settled=_settled(found.balance_transaction),
    )


def _dispute(found: stripe.Dispute) -> DisputeFacts:
    details = found.evidence_details
    return DisputeFacts(
        dispute=found.id,
        status=found.status,
        reason=found.reason,
        amount_minor=found.amount,
        currency=found.currency.upper(),
        opened_at=datetime.fromtimestamp(found.created, UTC),
        evidence_due_at=(
            None if details.due_by is None else datetime.fromtimestamp(details.due_by, UTC)
        ),
        evidence_sent=details.submission_count > 0,
        settled=tuple(
            SettledFacts(each.id, each.currency.upper(), each.amount, each.fee)
            for each in found.balance_transactions
        ),
    )


def _account(found: Any) -> AccountFacts:
    recipient = found.configuration.recipient if found.configuration is not None else None
    balance = recipient.capabilities.stripe_balance if recipient is not None else None
    transfers = balance.stripe_transfers if balance is not None else None
    entries = found.requirements.entries if found.requirements is not None else None
    country = found.identity.country if found.identity is not None else None
    return AccountFacts(
        account=found.id,
        country=(country or "").upper(),
        status="restricted" if transfers is None else transfers.status,
        is_closed=bool(found.closed),
        requirements=tuple(_requirement(each) for each in entries or ()),
    )


def _requirement(entry: Any) -> RequirementFacts:
    return RequirementFacts(
        what=entry.description,
        awaited_from=entry.awaiting_action_from,
        deadline=entry.minimum_deadline.status,
        errors=tuple(error.description for error in entry.errors or ()),
    )


def _transfer(found: Any) -> TransferFacts:
    return TransferFacts(
        found.id, found.amount, found.currency.upper(), _settled(found.balance_transaction)
    )


def _ours(found: Any) -> str:
    """The row of ours that an object of Stripe's was made for."""
    metadata = found.metadata
    return "" if metadata is None else str(metadata.to_dict().get("licet", ""))
