"""The operators' view of this app's tables."""

from __future__ import annotations

from django.contrib import admin

import licensing.agreements_studio
import licensing.deals_studio
import licensing.decision_pages
import licensing.moderation_studio
import licensing.optouts_studio
import licensing.studio  # noqa: F401  (all register pages of the workspace)
from licensing import models, operator_desk
from marketplace.operator_site import show

admin.site.register(models.Snapshot, show("collection", "number", "size", "finalized_at"))
admin.site.register(models.Terms, show("name", "version", "organization", "published_at"))
admin.site.register(
    models.Offer,
    show(
        "collection",
        "organization",
        "state",
        "price_minor",
        "currency",
        "audience",
        acts=operator_desk.OFFER_ACTS,
    ),
)
admin.site.register(
    models.Agreement, show("id", "licensor", "licensee", "livemode", "accepted_by_name")
)
admin.site.register(
    models.Grant, show("id", "licensor", "licensee", "livemode", "status", "issued_at")
)
admin.site.register(
    models.GrantEvent, show("grant", "kind", "effective_at", "cause", "actor", "created_at")
)
admin.site.register(models.Period, show("grant", "number", "terms", "training_window"))
admin.site.register(models.ScopeClaim, show("held_by", "collection", "state", "held_until"))
admin.site.register(models.LedgerEntry, show("id", "log", "kind", "seq", "created_at"))
admin.site.register(
    models.Report,
    show(
        "id",
        "ground",
        "offer",
        "organization",
        "state",
        acts=operator_desk.REPORT_ACTS,
        besides=operator_desk.REPORT_BESIDES,
    ),
)
admin.site.register(
    models.ModerationDecision,
    show(
        "id",
        "organization",
        "measure",
        "ground",
        "state",
        "decided_by",
        "until",
        acts=operator_desk.DECISION_ACTS,
    ),
)
admin.site.register(
    models.Appeal,
    show(
        "id", "decision", "by", "state", "filed_at", "answered_at", acts=operator_desk.APPEAL_ACTS
    ),
)
