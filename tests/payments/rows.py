"""Plain rows for tests of tables and nouns, saved past the verbs that normally write them."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from typing import Any

from django.utils import timezone

from licensing.models import Offer, Snapshot, Terms
from marketplace.models import Collection, Organization
from payments.models import (
    Command,
    ConnectedAccount,
    Dispute,
    FeeSchedule,
    Invoice,
    Order,
    PaymentPart,
    Quote,
    Refund,
    Remittance,
    StripeCustomer,
    Transfer,
    TransferReversal,
)
from tests import ledger

DOCUMENT = "A contract."


def make_offer_row(seller: Organization, **fields: Any) -> Offer:
    collection = Collection.objects.create(organization=seller, name="Letters")
    snapshot = Snapshot.objects.create(
        organization=seller,
        collection=collection,
        number=1,
        size=1,
        root=b"r" * 32,
        totals={"works": 1, "bytes": 3},
        citation=b"c" * 32,
        secret=b"s" * 32,
        snapshot_ref=os.urandom(16),
        entry=ledger.append(),
    )
    text = "Terms."
    terms = Terms.objects.create(
        organization=seller,
        name=f"Terms of {collection.pk}",
        typed=text,
        typed_sha256=hashlib.sha256(text.encode()).digest(),
        text=text,
        text_sha256=hashlib.sha256(text.encode()).digest(),
        template_version="1",
        published_at=timezone.now(),
        terms_ref=os.urandom(16),
        entry=ledger.append(),
    )
    values: dict[str, Any] = {
        "organization": seller,
        "collection": collection,
        "snapshot": snapshot,
        "terms": terms,
        "state": "listed",
        "rights_basis": "own",
        "rights_statement": "We wrote them.",
        "published_at": timezone.now(),
        "price_minor": 50_000,
        "currency": "USD",
    }
    return Offer.objects.create(**{**values, **fields})


def make_quote_row(buyer: Organization, on: Offer, **fields: Any) -> Quote:
    now = timezone.now()
    values: dict[str, Any] = {
        "organization": buyer,
        "seller": on.organization,
        "livemode": False,
        "offer": on,
        "snapshot": on.snapshot,
        "terms": on.terms,
        "scope": {"uses": ["pretrain"], "territories": ["*"], "starts_at": now.isoformat()},
        "lines": [{"kind": "license", "amount_minor": 50_000}, {"kind": "tax", "amount_minor": 0}],
        "subtotal_minor": 50_000,
        "tax_minor": 0,
        "total_minor": 50_000,
        "currency": "USD",
        "document": DOCUMENT,
        "document_sha256": hashlib.sha256(DOCUMENT.encode()).digest(),
        "created_at": now,
        "expires_at": now + timedelta(hours=1),
    }
    return Quote.objects.create(**{**values, **fields})


def make_order_row(of: Quote, **fields: Any) -> Order:
    values: dict[str, Any] = {
        "organization": of.organization,
        "seller": of.seller,
        "livemode": of.livemode,
        "quote": of,
        "total_minor": of.total_minor,
        "currency": of.currency,
        "accepted_document_sha256": of.document_sha256,
        "accepted_by_name": "Ada",
        "accepted_by_title": "Counsel",
        "accepted_by_actor": "system",
    }
    return Order.objects.create(**{**values, **fields})


def paid_order_row(of: Quote, **fields: Any) -> Order:
    return make_order_row(
        of,
        **{
            "status": "paid",
            "paid_at": timezone.now(),
            "paid_minor": of.total_minor,
            "payment_intent": f"pi_{of.pk}",
            **fields,
        },
    )


def make_command_row(of: Order, **fields: Any) -> Command:
    values: dict[str, Any] = {
        "organization": of.organization,
        "livemode": of.livemode,
        "order": of,
        "kind": "refund",
        "params": {},
    }
    return Command.objects.create(**{**values, **fields})


def make_fee_row(seller: Organization, **fields: Any) -> FeeSchedule:
    values: dict[str, Any] = {
        "organization": seller,
        "version": 1,
        "basis_points": 250,
        "actor": "system",
    }
    return FeeSchedule.objects.create(**{**values, **fields})


def make_connected_row(seller: Organization, **fields: Any) -> ConnectedAccount:
    values: dict[str, Any] = {"organization": seller, "livemode": False, "country": "US"}
    return ConnectedAccount.objects.create(**{**values, **fields})


def make_transfer_row(of: Order, **fields: Any) -> Transfer:
    values: dict[str, Any] = {
        "organization": of.seller,
        "livemode": of.livemode,
        "order": of,
        "share_minor": 100,
        "currency": of.currency,
    }
    return Transfer.objects.create(**{**values, **fields})


def make_reversal_row(of: Transfer, **fields: Any) -> TransferReversal:
    values: dict[str, Any] = {
        "organization": of.organization,
        "livemode": of.livemode,
        "transfer": of,
        "cause": "rfd_1",
        "amount_minor": 10,
        "settled_minor": 10,
    }
    return TransferReversal.objects.create(**{**values, **fields})


def make_remittance_row(seller: Organization, **fields: Any) -> Remittance:
    values: dict[str, Any] = {
        "organization": seller,
        "livemode": False,
        "currency": "USD",
        "withheld_minor": 0,
        "amount_minor": 100,
        "state": "sending",
    }
    return Remittance.objects.create(**{**values, **fields})


def _back(of: Order) -> dict[str, Any]:
    return {
        "organization": of.organization,
        "seller": of.seller,
        "livemode": of.livemode,
        "order": of,
        "amount_minor": 10,
        "currency": of.currency,
    }


def make_refund_row(of: Order, **fields: Any) -> Refund:
    values = {**_back(of), "cause": "buyer", "requested_by": "system"}
    return Refund.objects.create(**{**values, **fields})


def make_dispute_row(of: Order, **fields: Any) -> Dispute:
    values = {
        **_back(of),
        "stripe_id": "du_1",
        "reason": "fraudulent",
        "status": "needs_response",
    }
    return Dispute.objects.create(**{**values, **fields})


def make_customer_row(buyer: Organization, **fields: Any) -> StripeCustomer:
    return StripeCustomer.objects.create(**{"organization": buyer, "livemode": False, **fields})


def make_part_row(of: Order, **fields: Any) -> PaymentPart:
    values: dict[str, Any] = {
        "organization": of.organization,
        "seller": of.seller,
        "livemode": of.livemode,
        "order": of,
        "amount_minor": 10_000,
    }
    return PaymentPart.objects.create(**{**values, **fields})


def make_invoice_row(of: Order, **fields: Any) -> Invoice:
    if "customer" not in fields:
        fields["customer"] = make_customer_row(of.organization)
    values: dict[str, Any] = {
        "organization": of.organization,
        "seller": of.seller,
        "livemode": of.livemode,
        "order": of,
        "net_days": 30,
        "due_at": timezone.now() + timedelta(days=30),
        "grants_on": "payment",
    }
    return Invoice.objects.create(**{**values, **fields})
