"""Stripe's objects in plain facts: what is read of each, and nothing fetched for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import stripe

from payments.stripe_facts import (
    AccountFacts,
    CheckoutFacts,
    DisputeFacts,
    LineFacts,
    PaymentFacts,
    RefundFacts,
    RequirementFacts,
    SettledFacts,
    TaxFacts,
    TransferFacts,
)


def checkout(
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


def dispute(found: stripe.Dispute) -> DisputeFacts:
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


def refund(found: stripe.Refund) -> RefundFacts:
    return RefundFacts(
        refund=found.id,
        status=found.status or "pending",
        amount_minor=found.amount,
        ours=ours(found),
        failure=getattr(found, "failure_reason", "") or "",
        settled=settled(found.balance_transaction),
        returned=settled(getattr(found, "failure_balance_transaction", None)),
    )


def settled(found: Any) -> SettledFacts | None:
    if not isinstance(found, stripe.BalanceTransaction):
        return None
    return SettledFacts(found.id, found.currency.upper(), found.amount, found.fee)


def transfer(found: Any) -> TransferFacts:
    return TransferFacts(
        found.id, found.amount, found.currency.upper(), settled(found.balance_transaction)
    )


def balance_line(found: stripe.BalanceTransaction) -> LineFacts:
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


def account(found: Any) -> AccountFacts:
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


def tax(found: stripe.tax.Calculation) -> TaxFacts:
    rates = [each.tax_rate_details for each in found.tax_breakdown]
    return TaxFacts(
        country=next((each.country for each in rates if each.country), ""),
        rate_basis_points=sum(_basis_points(each.percentage_decimal) for each in rates),
        amount_minor=found.tax_amount_exclusive,
        reason=next((each.taxability_reason for each in found.tax_breakdown), ""),
        calculation=found.id or "",
    )


def line(metadata: Any) -> str:
    return "" if metadata is None else str(metadata.to_dict().get("line", ""))


def ours(found: Any) -> str:
    """The row of ours that an object of Stripe's was made for."""
    metadata = found.metadata
    return "" if metadata is None else str(metadata.to_dict().get("licet", ""))


def _requirement(entry: Any) -> RequirementFacts:
    return RequirementFacts(
        what=entry.description,
        awaited_from=entry.awaiting_action_from,
        deadline=entry.minimum_deadline.status,
        errors=tuple(error.description for error in entry.errors or ()),
    )


def _basis_points(percentage: str) -> int:
    """What a decimal number says, to two decimals: further ones, as in US-CA, are not shown."""
    whole, _point, rest = (percentage or "0").partition(".")
    return int(whole) * 100 + int(f"{rest}00"[:2])
