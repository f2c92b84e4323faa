"""What a bank is shown when a payment is disputed: the contract, who accepted it, what left."""

from __future__ import annotations

from licensing import delivery_summaries
from marketplace import money
from payments import journal
from payments.models import Dispute, Order

# https://docs.stripe.com/api/disputes/evidence_object: characters of one text, and of all.
TEXT_LENGTH_MAX = 20_000
DAYS_MAX = 200


def for_dispute(order: Order, dispute: Dispute) -> dict[str, str]:
    """Our side of a dispute, as the fields of Stripe's evidence. In the transaction of a merge."""
    quote = order.quote
    evidence = {
        "product_description": (
            f"A license to use the data set “{quote.offer.collection.name}”, delivered online."
            f" Order {order.pk}, {money.show(order.total_minor, order.currency)}."
        ),
        "customer_name": order.organization.legal_name,
        "service_date": order.accepted_at.date().isoformat(),
        "access_activity_log": _deliveries(order),
        "uncategorized_text": _acceptance(order),
    }
    refunded = order.refunded_minor - journal.returned_minor(order)
    if refunded > 0:
        evidence["refund_refusal_explanation"] = (
            f"{money.show(refunded, order.currency)} of the payment was refunded before"
            " the dispute."
        )
    return {name: text[:TEXT_LENGTH_MAX] for name, text in evidence.items() if text}


def _acceptance(order: Order) -> str:
    return (
        f"The contract, a document with SHA-256 {bytes(order.accepted_document_sha256).hex()}, was"
        f" accepted on {order.accepted_at:%Y-%m-%d %H:%M:%S} UTC by {order.accepted_by_name},"
        f" {order.accepted_by_title}, who stated to have authority to bind"
        f" {order.organization.legal_name}. Its text:\n\n{order.quote.document}"
    )


def _deliveries(order: Order) -> str:
    """The delivery log: what left under the license, by day, at least."""
    if order.grant_id is None:
        return ""
    rows = delivery_summaries.log_of(order.grant_id)
    lines = [
        f"{day.isoformat()} UTC: {what}: {answers} answers, {sent} bytes"
        for day, what, answers, sent in rows[-DAYS_MAX:]
    ]
    if not lines:
        return f"Nothing was fetched under license {order.grant_id} yet."
    head = f"What was fetched under license {order.grant_id}, with the buyer's own key, at least:"
    return "\n".join([head, *lines])
