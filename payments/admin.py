"""The operators' view of this app's tables."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

import payments.contributors_studio
import payments.invoices_studio
import payments.market_pages
import payments.payout_pages
import payments.quotes_studio
import payments.royalties_studio
import payments.studio  # noqa: F401  (all register pages of the workspace)
from marketplace.operator_site import show
from payments import models, operator_desk

admin.site.register(
    models.Quote, show("id", "organization", "seller", "total_minor", "currency", "expires_at")
)
admin.site.register(
    models.Order,
    show(
        "id",
        "organization",
        "seller",
        "status",
        "total_minor",
        "currency",
        "refusal",
        acts=operator_desk.ORDER_ACTS,
    ),
)
admin.site.register(
    models.Invoice, show("id", "number", "order", "organization", "status", "due_at", "sent_at")
)
admin.site.register(
    models.PaymentPart, show("order", "payment_intent", "amount_minor", "refunded_minor", "paid_at")
)
admin.site.register(models.StripeCustomer, show("id", "organization", "livemode", "stripe_id"))
admin.site.register(models.Command, show("id", "order", "kind", "state", "attempts"))
admin.site.register(
    models.ConnectedAccount,
    show(
        "id",
        "organization",
        "livemode",
        "country",
        "state",
        "clearance",
        "synced_at",
        acts=operator_desk.ACCOUNT_ACTS,
    ),
)
admin.site.register(
    models.Transfer,
    show(
        "id",
        "organization",
        "order",
        "state",
        "share_minor",
        "sent_minor",
        "reversed_minor",
        acts=operator_desk.TRANSFER_ACTS,
    ),
)
admin.site.register(
    models.TransferReversal, show("id", "organization", "transfer", "state", "amount_minor")
)
admin.site.register(
    models.Remittance,
    show("id", "organization", "state", "withheld_minor", "amount_minor", "currency", "refusal"),
)
admin.site.register(
    models.Refund,
    show(
        "id",
        "organization",
        "seller",
        "order",
        "state",
        "amount_minor",
        "currency",
        "cause",
        acts=operator_desk.REFUND_ACTS,
    ),
)
admin.site.register(models.RefundApproval, show("refund", "actor", "is_operator", "created_at"))
admin.site.register(
    models.Dispute,
    show(
        "id",
        "seller",
        "order",
        "status",
        "reason",
        "amount_minor",
        "evidence_due_at",
        besides=operator_desk.DISPUTE_BESIDES,
    ),
)
admin.site.register(
    models.FeeSchedule,
    show(
        "id",
        "organization",
        "collection",
        "offer",
        "version",
        "basis_points",
        "effective_from",
        acts=operator_desk.FEE_ACTS,
    ),
)
admin.site.register(
    models.StripeEvent,
    show("id", "type", "livemode", "received_at", "handled_at", "is_foreign", "last_error"),
)
admin.site.register(
    models.Mismatch,
    show(
        "id", "kind", "subject", "order", "expected_minor", "found_minor", "age", "resolved_at",
        "note", acts=operator_desk.MISMATCH_ACTS,
    ),
)  # fmt: skip
admin.site.register(models.Account, show("code", "organization", "currency", "livemode"))
admin.site.register(models.Journal, show("id", "kind", "order", "occurred_at"))
admin.site.register(models.Posting, show("journal", "account", "amount_minor", "currency"))
admin.site.register(
    models.RoyaltyRule,
    show("id", "collection", "version", "basis_points", "method", "effective_from"),
)
admin.site.register(
    models.RoyaltyAllocation,
    show("id", "organization", "order", "cause", "pool_minor", "currency", "state"),
)
admin.site.register(
    models.RoyaltyPayout,
    show("id", "organization", "state", "contributors", "written", "paid_minor", "currency"),
)
admin.site.register(
    models.RoyaltyPayment, show("id", "payout", "contributor", "amount_minor", "currency", "state")
)

admin.site.hang("doctor", _("Doctor"), "stethoscope", operator_desk.doctor)  # type: ignore[attr-defined]
