"""The only door to Stripe: small typed verbs in, plain facts out. Nothing else imports `stripe`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar, cast

import stripe
from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from marketplace import metrics, traces
from marketplace.errors import (
    PaymentModeUnavailable,
    PaymentProviderRefused,
    PaymentProviderUnavailable,
    WebhookSignatureInvalid,
)
from payments import stripe_objects, stripe_pace
from payments.stripe_facts import (
    AccountFacts,
    CheckoutFacts,
    DisputeFacts,
    InvoiceFacts,
    LineFacts,
    Page,
    PaymentFacts,
    RefundFacts,
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

# Version 2 has a class for each type of its errors: https://docs.stripe.com/api-v2-overview.
_FINAL = (
    stripe.InvalidRequestError,
    stripe.CardError,
    stripe.IdempotencyError,
    stripe.AlreadyCanceledError,
    stripe.BlockedByStripeError,
    stripe.CannotProceedError,
    stripe.CapabilityNotEnabledError,
    stripe.ControlledByAlternateResourceError,
    stripe.FeatureNotEnabledError,
    stripe.NotCancelableError,
    stripe.QuotaExceededError,
)

T = TypeVar("T")


def check_mode(livemode: bool) -> None:
    """Refuse to take a payment of the other mode than that of our Stripe key."""
    if livemode != settings.STRIPE_LIVEMODE:
        raise PaymentModeUnavailable(
            _("This market takes payments in live mode only. Use live mode, or a licet_live_ key.")
            if settings.STRIPE_LIVEMODE
            else _(
                "This market takes payments in test mode only. Use test mode, or a licet_test_ key."
            ),
            livemode=livemode,
        )


def create_checkout(params: dict[str, Any], *, key: str) -> CheckoutFacts:
    """Open a Checkout session. Repeating it with the same key gives the first call's session."""
    return _call(
        lambda client: stripe_objects.checkout(
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
        return stripe_objects.checkout(found, _payment_of(client, found.payment_intent))

    return _call(fetch)


def expire_checkout(session: str, *, key: str) -> CheckoutFacts:
    """Close a Checkout session, so that nobody can pay it. One that is closed stays as it is."""

    def close(client: stripe.StripeClient) -> CheckoutFacts:
        try:
            return stripe_objects.checkout(
                client.v1.checkout.sessions.expire(session, {}, {"idempotency_key": key})
            )
        except stripe.InvalidRequestError:
            # Paid or expired already: what it is now decides.
            return stripe_objects.checkout(client.v1.checkout.sessions.retrieve(session))

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
        found = next(
            (each for each in listed.auto_paging_iter() if stripe_objects.ours(each) == ours), None
        )
        if found is None:
            return None
        if found.status != "draft":
            return _invoice(found)
        there = {stripe_objects.line(line.metadata) for line in found.lines.data}
        missing = [item for item in items if item["metadata"]["line"] not in there]
        return _finish_invoice(client, found, missing, key)

    return _call(find)


def retrieve_invoice(invoice: str) -> InvoiceFacts:
    """Fetch an invoice and its payments.

    The charge, and what it came to, are too deep to expand from the invoice: a request for each.
    """

    def fetch(client: stripe.StripeClient) -> InvoiceFacts:
        found = client.v1.invoices.retrieve(invoice, {"expand": ["payments"]})
        notes = _credit_notes(client, found)
        payments = _invoice_payments(client, found, notes) if found.amount_paid else []
        return replace(_invoice(found, payments), credits=_credits(notes))

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
        lambda client: stripe_objects.refund(
            client.v1.refunds.create(cast(Any, params), {"idempotency_key": key})
        )
    )


def find_refund(payment_intent: str, ours: str) -> RefundFacts | None:
    """The refund of a payment that was made for one of our rows, if there is one."""

    def find(client: stripe.StripeClient) -> RefundFacts | None:
        listed = client.v1.refunds.list({"payment_intent": payment_intent, "limit": LISTED_MAX})
        return _first(listed, ours, stripe_objects.refund)

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
        lambda client: stripe_objects.account(
            client.v2.core.accounts.create(cast(Any, params), {"idempotency_key": key})
        )
    )


def retrieve_account(account: str) -> AccountFacts:
    """Fetch a connected account, with what is missing of it."""
    return _call(
        lambda client: stripe_objects.account(
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
        lambda client: stripe_objects.transfer(
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
        return _first(listed, ours, stripe_objects.transfer)

    return _call(find)


def reverse_transfer(transfer: str, params: dict[str, Any], *, key: str) -> TransferFacts:
    """Take a part of a transfer back, as far as the connected account's balance covers it."""
    return _call(
        lambda client: stripe_objects.transfer(
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
        return _first(listed, ours, stripe_objects.transfer)

    return _call(find)


def reversals_by_others(transfer: str) -> tuple[TransferFacts, ...]:
    """What was taken back of a transfer for none of our rows: by somebody at Stripe's dashboard."""

    def fetch(client: stripe.StripeClient) -> tuple[TransferFacts, ...]:
        listed = client.v1.transfers.reversals.list(
            transfer, {"limit": LISTED_MAX, "expand": ["data.balance_transaction"]}
        )
        return tuple(
            stripe_objects.transfer(each)
            for each in listed.auto_paging_iter()
            if not stripe_objects.ours(each)
        )

    return _call(fetch)


def reversed_transfer(transaction: str) -> str:
    """The transfer of which a balance transaction took a part back; "" where it took none."""

    def fetch(client: stripe.StripeClient) -> str:
        found = client.v1.balance_transactions.retrieve(transaction, {"expand": ["source"]})
        source: Any = found.source
        if not isinstance(source, stripe.TransferReversal):
            return ""
        return source.transfer if isinstance(source.transfer, str) else source.transfer.id

    return _call(fetch)


def calculate_tax(params: dict[str, Any]) -> TaxFacts:
    """Ask Stripe Tax what is due. Nothing is collected, and nothing reported, by asking."""
    return _call(
        lambda client: stripe_objects.tax(client.v1.tax.calculations.create(cast(Any, params)))
    )


def record_tax(params: dict[str, Any], *, key: str) -> str:
    """Have Stripe Tax count a sale, from what it calculated. Returns its tax transaction.

    Repeating it with the same key gives the first call's. Stripe lists no tax transactions; a
    reference is one sale's for ever, so that a late repeat is refused, and makes no second.
    """
    return _call(
        lambda client: (
            client.v1.tax.transactions.create_from_calculation(
                cast(Any, params), {"idempotency_key": key}
            ).id
        )
    )


def reverse_tax(transaction: str, params: dict[str, Any], *, key: str) -> str:
    """Have Stripe Tax count less: all of a sale, or a part of its one line. As `record_tax`.

    `params` has, for a part, the `amount` and `amount_tax` that go back, below 0.
    """

    def reverse(client: stripe.StripeClient) -> str:
        given = {**params, "original_transaction": transaction}
        if params["mode"] == "partial":
            [line] = client.v1.tax.transactions.line_items.list(transaction).data
            part = {name: given.pop(name) for name in ("amount", "amount_tax")}
            given["line_items"] = [
                {"original_line_item": line.id, "reference": line.reference, **part}
            ]
        made = client.v1.tax.transactions.create_reversal(
            cast(Any, given), {"idempotency_key": key}
        )
        return made.id

    return _call(reverse)


def balance_lines(since: datetime, until: datetime, *, after: str = "") -> Page[LineFacts]:
    """A page of the balance transactions that were made from `since` to before `until`."""

    def fetch(client: stripe.StripeClient) -> Page[LineFacts]:
        params = _range(since, until, after)
        listed = client.v1.balance_transactions.list(cast(Any, params))
        lines = tuple(stripe_objects.balance_line(each) for each in listed.data)
        return Page(lines, lines[-1].transaction if listed.has_more else "")

    return _call(fetch)


def balance_line(transaction: str) -> LineFacts | None:
    """One balance transaction; None where Stripe has none of this id."""

    def fetch(client: stripe.StripeClient) -> LineFacts | None:
        try:
            return stripe_objects.balance_line(client.v1.balance_transactions.retrieve(transaction))
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
        return tuple(stripe_objects.balance_line(each) for each in listed.auto_paging_iter())

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
    outcome = "failed"
    try:
        with traces.span("Stripe"):
            answer = _translated(use)
        outcome = "answered"
        return answer
    except PaymentProviderRefused:
        outcome = "refused"
        raise
    except PaymentProviderUnavailable:
        outcome = "unavailable"
        raise
    finally:
        metrics.stripe_answered(outcome)


def _translated(use: Callable[[stripe.StripeClient], T]) -> T:
    # A durable block refuses to be nested (Django knows a test's own wrapping): a slow Stripe
    # must never hold a database lock.
    with transaction.atomic(durable=True):
        pass
    try:
        return use(_client(settings.STRIPE_API_KEY, settings.STRIPE_API_BASE))
    except stripe.StripeError as error:
        if not _is_final(error):
            raise _unavailable() from error
        code = KEY_WAS_USED if isinstance(error, stripe.IdempotencyError) else error.code or ""
        raise PaymentProviderRefused(
            error.user_message or _("Stripe refused the request."), provider_code=code
        ) from error


def _is_final(error: stripe.StripeError) -> bool:
    """Whether a call can never succeed as it stands.

    A lock at Stripe (409) passes by itself, a wrong key of ours by its repair.
    """
    status = error.http_status or 400
    return isinstance(error, _FINAL) and status != 409 and status < 500


def _unavailable() -> PaymentProviderUnavailable:
    return PaymentProviderUnavailable(
        _("The payment provider did not answer. Send the same request again to go on.")
    )


def _finish_invoice(
    client: stripe.StripeClient,
    draft: stripe.Invoice,
    items: Sequence[dict[str, Any]],
    key: str,
) -> InvoiceFacts:
    if draft.starting_balance:
        # It would be taken off the invoice, or added to it, and the contract says what is owed.
        # https://docs.stripe.com/billing/customer/balance
        client.v1.invoices.delete(draft.id)
        raise PaymentProviderRefused(
            _("The buyer has a balance at Stripe. The market has to settle it before.")
        )
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


def _invoice(found: stripe.Invoice, payments: Sequence[PaymentFacts] = ()) -> InvoiceFacts:
    is_one = found.status == "paid" and len(payments) == 1
    return InvoiceFacts(
        invoice=found.id,
        status=_invoice_status(found),
        currency=found.currency.upper(),
        number=found.number or "",
        url=found.hosted_invoice_url or "",
        lines={stripe_objects.line(line.metadata): line.id for line in found.lines.data},
        payment=payments[0] if is_one else None,
        parts=() if is_one else tuple(payments),
    )


def _invoice_status(found: stripe.Invoice) -> str:
    """What became of an invoice.

    One that was wholly credited before anybody paid is "paid" at Stripe, for nothing is left to
    pay: it was taken back. https://docs.stripe.com/invoicing/integration/programmatic-credit-notes
    """
    is_credited = 0 < found.total <= found.pre_payment_credit_notes_amount
    return "void" if found.status == "paid" and is_credited else found.status or "draft"


def _invoice_payments(
    client: stripe.StripeClient, found: stripe.Invoice, notes: Sequence[stripe.CreditNote]
) -> list[PaymentFacts]:
    """What an invoice was paid by, the oldest first: payment intents, and outside of Stripe.

    What went back outside of Stripe is of what came so, else of the last payment.
    """
    payments: list[PaymentFacts] = []
    listed = found.payments.auto_paging_iter() if found.payments is not None else ()
    for each in listed:
        intent = each.payment.payment_intent
        if each.status == "paid" and isinstance(intent, str):
            fetched = client.v1.payment_intents.retrieve(intent, EXPANDED_PAYMENT)
            payment = _payment_of(client, fetched)
            if payment is not None:
                payments.insert(0, payment)
    if found.amount_paid_off_stripe:
        paid_at = found.status_transitions.paid_at
        outside = PaymentFacts(
            payment_intent="",
            received_minor=found.amount_paid_off_stripe,
            paid_at=None if paid_at is None else datetime.fromtimestamp(paid_at, UTC),
            decline="",
        )
        payments.append(outside)
    given_back = _given_back_outside(notes)
    if payments and given_back:
        payments[-1] = replace(payments[-1], refunds=(*payments[-1].refunds, *given_back))
    return payments


def _credit_notes(client: stripe.StripeClient, found: stripe.Invoice) -> list[stripe.CreditNote]:
    """The credit notes of what was paid of an invoice, the oldest first."""
    if not found.post_payment_credit_notes_amount:
        return []
    listed = client.v1.credit_notes.list({"invoice": found.id, "limit": LISTED_MAX})
    notes = [note for note in listed.auto_paging_iter() if note.status == "issued"]
    return notes[::-1]


def _given_back_outside(notes: Sequence[stripe.CreditNote]) -> tuple[RefundFacts, ...]:
    """What credit notes say was given back by other ways than Stripe's."""
    return tuple(
        RefundFacts(
            note.id,
            "succeeded",
            note.out_of_band_amount,
            stripe_objects.ours(note),
            is_outside=True,
        )
        for note in notes
        if note.out_of_band_amount
    )


def _credits(notes: Sequence[stripe.CreditNote]) -> dict[str, int]:
    """What credit notes put on the balance of a customer, by their ids."""
    left = {
        note.id: note.post_payment_amount
        - (note.out_of_band_amount or 0)
        - sum(each.amount_refunded for each in note.refunds)
        for note in notes
    }
    return {note: amount for note, amount in left.items() if amount > 0}


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
        settled=stripe_objects.settled(charge.balance_transaction) if charge and paid else None,
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
    return tuple(reversed([stripe_objects.refund(each) for each in listed.auto_paging_iter()]))


def _disputes_of(client: stripe.StripeClient, payment_intent: str) -> tuple[DisputeFacts, ...]:
    listed = client.v1.disputes.list({"payment_intent": payment_intent, "limit": LISTED_MAX})
    return tuple(stripe_objects.dispute(each) for each in listed.auto_paging_iter())


def _first(listed: Any, ours: str, as_facts: Callable[[Any], T]) -> T | None:
    """What was made for one of our rows, in a list."""
    return next(
        (as_facts(each) for each in listed.auto_paging_iter() if stripe_objects.ours(each) == ours),
        None,
    )


def _id_of(listed: Any, ours: str) -> str | None:
    return _first(listed, ours, lambda each: str(each.id))


def _range(since: datetime, until: datetime, after: str) -> dict[str, Any]:
    """Parameters of a list of what was made from `since` to before `until`: whole seconds."""
    created = {"gte": int(since.timestamp()), "lt": int(until.timestamp())}
    params: dict[str, Any] = {"created": created, "limit": LISTED_MAX}
    return params | ({"starting_after": after} if after else {})


def _bodies(listed: Any) -> tuple[dict[str, Any], ...]:
    """The objects of a list as Stripe sent them: the SDK's own would lose fields it knows not."""
    return tuple(json.loads(listed.last_response.body)["data"])
