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
    models.StripeEvent,
    show("id", "type", "livemode", "received_at", "handled_at", "is_foreign", "last_error"),
)
admin.site.register(
    models.Mismatch,
    show(
        "id", "kind", "subject", "order", "expected_minor", "found_minor", "age", "resolved_at",
        "note",
    ),
)  # fmt: skip
admin.site.register(models.Account, show("code", "organization", "currency", "livemode"))
admin.site.register(models.Journal, show("id", "kind", "order", "occurred_at"))
admin.site.register(models.Posting, show("journal", "account", "amount_minor", "currency"))
