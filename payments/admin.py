"""The operators' view of this app's tables."""

from __future__ import annotations

from django.contrib import admin

from marketplace.operator_site import show
from payments import models

admin.site.register(
    models.Quote, show("id", "organization", "seller", "total_minor", "currency", "expires_at")
)
admin.site.register(
    models.Order,
    show("id", "organization", "seller", "status", "total_minor", "currency", "refusal"),
)
admin.site.register(models.Command, show("id", "order", "kind", "state", "attempts"))
admin.site.register(
    models.StripeEvent, show("id", "type", "livemode", "received_at", "handled_at", "last_error")
)
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
    show("id", "organization", "contributors", "paid_minor", "recouped_minor", "currency"),
)
admin.site.register(
    models.RoyaltyPayment, show("id", "payout", "contributor", "amount_minor", "currency", "state")
)
