"""The only door to Stripe: small typed verbs in, plain facts out. Nothing else imports `stripe`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
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
from payments import stripe_pace
from payments.stripe_facts import (
    AccountFacts,
    CheckoutFacts,
    DisputeFacts,
    InvoiceFacts,
    LineFacts,
    Page,
    PaymentFacts,
    RefundFacts,
    RequirementFacts,
    SettledFacts,
    TaxFacts,
    TransferFacts,
)

# The SDK's own default is 80 s and no retry; a buyer waits for some of these calls.
TIMEOUT_SECONDS = 15
RETRIES_MAX = 2
# How old a signed delivery may be (the SDK's default, said aloud).
SIGNATURE_TOLERANCE_SECONDS = 300

# The `provider_code` of a refusal that says nothing of the call itself: its key was sent before
# with other parameters, such as by an older release.
KEY_WAS_USED = "idempotency_error"

LISTED_MAX = 100
ACCOUNT_INCLUDES: tuple[
    Literal["configuration.recipient"], Literal["identity"], Literal["requirements"]
] = ("configuration.recipient", "identity", "requirements")

EXPANDED_PAYMENT: Any = {"expand": ["latest_charge.balance_transaction", "latest_charge.refunds"]}

T = TypeVar("T")


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


def create_customer(params: dict[str, Any], *, key: str) -> str:
    """Tell Stripe of a buyer. Repeating it with the same key gives the first call's customer."""
    return _call(
        lambda client: client.v1.customers.create(cast(Any, params), {"idempotency_key": key}).id
    )


def find_customer(email: str, ours: str) -> str | None:
    """The customer that was made for one of our rows, if there is one."""
    return _call(
        lambda client: _id_of(client.v1.customers.list({"email": email, "limit": LISTED_MAX}), ours)
    )


def send_invoice(
    params: dict[str, Any], items: Sequence[dict[str, Any]], *, key: str
) -> InvoiceFacts:
    """Make an invoice of items, finalize it, and have Stripe send it.

    Each of the calls has a key of its own: after a failure between two, a repeat goes on.
    """
    return _call(
        lambda client: _finish_invoice(
            client,
            client.v1.invoices.create(cast(Any, params), {"idempotency_key": f"{key}:invoice"}),
            items,
            key,
        )
    )


def find_invoice(
    customer: str, ours: str, items: Sequence[dict[str, Any]], *, key: str
) -> InvoiceFacts | None:
    """The invoice that was made for one of our rows, if there is one: sent, if it was not yet."""

    def find(client: stripe.StripeClient) -> InvoiceFacts | None:
        listed = client.v1.invoices.list({"customer": customer, "limit": LISTED_MAX})
        found = next((each for each in listed.auto_paging_iter() if _ours(each) == ours), None)
        if found is None:
            return None
        if found.status != "draft":
            return _invoice(found)
        there = {_line(line.metadata) for line in found.lines.data}
        missing = [item for item in items if item["metadata"]["line"] not in there]
        return _finish_invoice(client, found, missing, key)

    return _call(find)


def retrieve_invoice(invoice: str) -> InvoiceFacts:
    """Fetch an invoice and, once it is paid, its payment.

    The charge, and what it came to, are too deep to expand from the invoice: a second request.
    """

    def fetch(client: stripe.StripeClient) -> InvoiceFacts:
        found = client.v1.invoices.retrieve(invoice, {"expand": ["payments"]})
        return _invoice(found, _invoice_payment(client, found) if found.status == "paid" else None)

    return _call(fetch)


def remind_of_invoice(invoice: str, *, key: str) -> InvoiceFacts:
    """Have Stripe send an invoice again."""
    return _call(
        lambda client: _invoice(
            client.v1.invoices.send_invoice(invoice, {}, {"idempotency_key": key})
        )
    )


def void_invoice(invoice: str, *, key: str) -> InvoiceFacts:
    """Take an invoice back, so that nobody can pay it. One that is paid or void stays as it is."""

    def void(client: stripe.StripeClient) -> InvoiceFacts:
        try:
            return _invoice(client.v1.invoices.void_invoice(invoice, {}, {"idempotency_key": key}))
        except stripe.InvalidRequestError:
            # Paid or void already: what it is now decides.
            return _invoice(client.v1.invoices.retrieve(invoice))

    return _call(void)


def create_credit_note(params: dict[str, Any], *, key: str) -> str:
    """Credit a part of an invoice. Repeating it with the same key gives the first call's note."""
    return _call(
        lambda client: client.v1.credit_notes.create(cast(Any, params), {"idempotency_key": key}).id
    )


def find_credit_note(invoice: str, ours: str) -> str | None:
    """The credit note of an invoice that was made for one of our rows, if there is one."""
    return _call(
        lambda client: _id_of(
            client.v1.credit_notes.list({"invoice": invoice, "limit": LISTED_MAX}), ours
        )
    )


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
        return _first(listed, ours, _refund)

    return _call(find)


def payment_of(kind: str, id: str) -> str:
    """The payment intent of a dispute, a refund or a charge; the invoice of an invoice payment or a
    credit note; "" where there is none.
    """

    def fetch(client: stripe.StripeClient) -> str:
        retrieve: dict[str, Callable[[], Any]] = {
            "dispute": lambda: client.v1.disputes.retrieve(id).payment_intent,
            "refund": lambda: client.v1.refunds.retrieve(id).payment_intent,
            "charge": lambda: client.v1.charges.retrieve(id).payment_intent,
            "invoice_payment": lambda: client.v1.invoice_payments.retrieve(id).invoice,
            "credit_note": lambda: client.v1.credit_notes.retrieve(id).invoice,
        }
        try:
            found = retrieve[kind]()
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                return ""
            raise
        return found if isinstance(found, str) else ""

    return _call(fetch)


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
        return _first(listed, ours, _transfer)

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
        return _first(listed, ours, _transfer)

    return _call(find)


def reversals_by_others(transfer: str) -> tuple[TransferFacts, ...]:
    """What was taken back of a transfer for none of our rows: by somebody at Stripe's dashboard."""

    def fetch(client: stripe.StripeClient) -> tuple[TransferFacts, ...]:
        listed = client.v1.transfers.reversals.list(
            transfer, {"limit": LISTED_MAX, "expand": ["data.balance_transaction"]}
        )
        return tuple(_transfer(each) for each in listed.auto_paging_iter() if not _ours(each))

    return _call(fetch)


def calculate_tax(params: dict[str, Any]) -> TaxFacts:
    """Ask Stripe Tax what is due. Nothing is collected, and nothing reported, by asking."""
    return _call(lambda client: _tax(client.v1.tax.calculations.create(cast(Any, params))))


def balance_lines(since: datetime, until: datetime, *, after: str = "") -> Page[LineFacts]:
    """A page of the balance transactions that were made from `since` to before `until`."""

    def fetch(client: stripe.StripeClient) -> Page[LineFacts]:
        params = _range(since, until, after)
        listed = client.v1.balance_transactions.list(cast(Any, params))
        lines = tuple(_balance_line(each) for each in listed.data)
        return Page(lines, lines[-1].transaction if listed.has_more else "")

    return _call(fetch)


def balance_line(transaction: str) -> LineFacts | None:
    """One balance transaction; None where Stripe has none of this id."""

    def fetch(client: stripe.StripeClient) -> LineFacts | None:
        try:
            return _balance_line(client.v1.balance_transactions.retrieve(transaction))
        except stripe.InvalidRequestError as error:
            if error.http_status == 404 or error.code == "resource_missing":
                return None
            raise

    return _call(fetch)


def payout_lines(payout: str) -> tuple[LineFacts, ...]:
    """What a payout took along, itself included; of a manual one Stripe does not say.

    https://docs.stripe.com/payouts/reconciliation
    """

    def fetch(client: stripe.StripeClient) -> tuple[LineFacts, ...]:
        listed = client.v1.balance_transactions.list({"payout": payout, "limit": LISTED_MAX})
        return tuple(_balance_line(each) for each in listed.auto_paging_iter())

    return _call(fetch)


def undelivered_events(
    since: datetime, until: datetime, *, after: str = ""
) -> Page[dict[str, Any]]:
    """A page of the snapshot events that nobody took yet, as they would have been delivered.

    https://docs.stripe.com/webhooks/process-undelivered-events
    """

    def fetch(client: stripe.StripeClient) -> Page[dict[str, Any]]:
        params = _range(since, until, after) | {"delivery_success": False}
        listed = client.v1.events.list(cast(Any, params))
        bodies = _bodies(listed)
        return Page(bodies, str(bodies[-1]["id"]) if listed.has_more else "")

    return _call(fetch)


def thin_events(since: datetime, until: datetime) -> Page[dict[str, Any]]:
    """The newest thin events of a time. Stripe does not say which of them somebody took."""
    wanted = {"gte": since.isoformat(), "lt": until.isoformat()}

    def fetch(client: stripe.StripeClient) -> Page[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        listed = client.v2.core.events.list({"created": cast(Any, wanted), "limit": LISTED_MAX})
        for event in listed.auto_paging_iter():
            found.append(json.loads(json.dumps(event.to_dict(), default=str)))
        return Page(tuple(found), "")

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


class _PacedClient(stripe.RequestsClient):
    """The SDK's own client, at our pace: also where it tries again, or turns pages."""

    def request(  # type: ignore[override]  # As the SDK's own, which its base promises more of.
        self, method: str, url: str, headers: Any, post_data: Any = None
    ) -> tuple[Any, int, Any]:
        stripe_pace.wait(method, url)
        return super().request(method, url, headers, post_data)


@functools.cache
def _client(api_key: str, api_base: str) -> stripe.StripeClient:
    stripe.set_app_info("Licet", version="0.1.0")
    return stripe.StripeClient(
        api_key,
        stripe_version=stripe.api_version,
        max_network_retries=RETRIES_MAX,
        http_client=_PacedClient(timeout=TIMEOUT_SECONDS),
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
        code = KEY_WAS_USED if isinstance(error, stripe.IdempotencyError) else error.code or ""
        raise PaymentProviderRefused(
            error.user_message or _("Stripe refused the request."), provider_code=code
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
    is_paid = session.payment_status == "paid"
    # https://docs.stripe.com/payments/checkout/fulfill-orders#delayed-notification
    is_delayed = session.status == "complete" and not is_paid
    intent = session.payment_intent
    # A bank debit may wait for its buyer, who looks up two small deposits, for ten days:
    # https://docs.stripe.com/payments/ach-direct-debit/accept-a-payment
    is_under_way = (
        is_delayed
        and isinstance(intent, stripe.PaymentIntent)
        and intent.status in {"processing", "requires_action"}
    )
    return CheckoutFacts(
        session=session.id,
        url=session.url or "",
        has_expired=session.status == "expired" or (is_delayed and not is_under_way),
        is_paid=is_paid,
        currency=(session.currency or "").upper(),
        payment=payment,
        is_under_way=is_under_way,
    )


def _finish_invoice(
    client: stripe.StripeClient,
    draft: stripe.Invoice,
    items: Sequence[dict[str, Any]],
    key: str,
) -> InvoiceFacts:
    for item in items:
        client.v1.invoice_items.create(
            cast(Any, {**item, "customer": draft.customer, "invoice": draft.id}),
            {"idempotency_key": f"{key}:item:{item['metadata']['line']}"},
        )
    client.v1.invoices.finalize_invoice(
        draft.id, {"auto_advance": False}, {"idempotency_key": f"{key}:finalize"}
    )
    return _invoice(
        client.v1.invoices.send_invoice(draft.id, {}, {"idempotency_key": f"{key}:send"})
    )


def _invoice(found: stripe.Invoice, payment: PaymentFacts | None = None) -> InvoiceFacts:
    return InvoiceFacts(
        invoice=found.id,
        status=_invoice_status(found),
        currency=found.currency.upper(),
        number=found.number or "",
        url=found.hosted_invoice_url or "",
        lines={_line(line.metadata): line.id for line in found.lines.data},
        payment=payment,
    )


def _invoice_status(found: stripe.Invoice) -> str:
    """What became of an invoice.

    One that was wholly credited before anybody paid is "paid" at Stripe, for nothing is left to
    pay: it was taken back. https://docs.stripe.com/invoicing/integration/programmatic-credit-notes
    """
    is_credited = 0 < found.total <= found.pre_payment_credit_notes_amount
    return "void" if found.status == "paid" and is_credited else found.status or "draft"


def _line(metadata: Any) -> str:
    return "" if metadata is None else str(metadata.to_dict().get("line", ""))


def _invoice_payment(client: stripe.StripeClient, found: stripe.Invoice) -> PaymentFacts | None:
    """The payment of a paid invoice: by a payment intent, or outside of Stripe."""
    payments = found.payments.data if found.payments is not None else []
    for each in payments:
        intent = each.payment.payment_intent
        if each.status == "paid" and isinstance(intent, str):
            return _payment_of(client, client.v1.payment_intents.retrieve(intent, EXPANDED_PAYMENT))
    if not found.amount_paid_off_stripe:
        return None
    paid_at = found.status_transitions.paid_at
    return PaymentFacts(
        payment_intent="",
        received_minor=found.amount_paid_off_stripe,
        paid_at=None if paid_at is None else datetime.fromtimestamp(paid_at, UTC),
        decline="",
        refunds=_given_back_outside(client, found.id),
    )


def _given_back_outside(client: stripe.StripeClient, invoice: str) -> tuple[RefundFacts, ...]:
    """What credit notes say was given back by other ways than Stripe's."""
    listed = client.v1.credit_notes.list({"invoice": invoice, "limit": LISTED_MAX})
    notes = [
        RefundFacts(note.id, "succeeded", note.out_of_band_amount, _ours(note))
        for note in listed.auto_paging_iter()
        if note.out_of_band_amount and note.status == "issued"
    ]
    return tuple(reversed(notes))


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
        {
            "charge": charge.id,
            "limit": LISTED_MAX,
            "expand": ["data.balance_transaction", "data.failure_balance_transaction"],
        }
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
        returned=_settled(getattr(found, "failure_balance_transaction", None)),
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


def _first(listed: Any, ours: str, as_facts: Callable[[Any], T]) -> T | None:
    """What was made for one of our rows, in a list."""
    return next((as_facts(each) for each in listed.auto_paging_iter() if _ours(each) == ours), None)


def _id_of(listed: Any, ours: str) -> str | None:
    return _first(listed, ours, lambda each: str(each.id))


def _balance_line(found: stripe.BalanceTransaction) -> LineFacts:
    source = found.source
    return LineFacts(
        transaction=found.id,
        type=found.type,
        currency=found.currency.upper(),
        amount_minor=found.amount,
        fee_minor=found.fee,
        source=source if isinstance(source, str) else "",
        created_at=datetime.fromtimestamp(found.created, UTC),
    )


def _range(since: datetime, until: datetime, after: str) -> dict[str, Any]:
    """Parameters of a list of what was made from `since` to before `until`: whole seconds."""
    created = {"gte": int(since.timestamp()), "lt": int(until.timestamp())}
    params: dict[str, Any] = {"created": created, "limit": LISTED_MAX}
    return params | ({"starting_after": after} if after else {})


def _bodies(listed: Any) -> tuple[dict[str, Any], ...]:
    """The objects of a list as Stripe sent them: the SDK's own would lose fields it knows not."""
    return tuple(json.loads(listed.last_response.body)["data"])


def _ours(found: Any) -> str:
    """The row of ours that an object of Stripe's was made for."""
    metadata = found.metadata
    return "" if metadata is None else str(metadata.to_dict().get("licet", ""))


def _tax(found: stripe.tax.Calculation) -> TaxFacts:
    rates = [each.tax_rate_details for each in found.tax_breakdown]
    return TaxFacts(
        country=next((each.country for each in rates if each.country), ""),
        rate_basis_points=sum(_basis_points(each.percentage_decimal) for each in rates),
        amount_minor=found.tax_amount_exclusive,
        reason=next((each.taxability_reason for each in found.tax_breakdown), ""),
    )


def _basis_points(percentage: str) -> int:
    """What a decimal number says, to two decimals: further ones, as in US-CA, are not shown."""
    whole, _point, rest = (percentage or "0").partition(".")
    return int(whole) * 100 + int(f"{rest}00"[:2])
