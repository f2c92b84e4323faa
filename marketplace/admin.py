"""The operators' admin. Read-only: every change goes through a verb."""

from __future__ import annotations

from django.contrib import admin

import marketplace.identity_pages
import marketplace.mode_pages
import marketplace.organization_studio
import marketplace.studio
import marketplace.webhooks_studio  # noqa: F401  (all register pages of the workspace)
from marketplace import import_pages, models, operator_desk
from marketplace.operator_site import show
from marketplace.tenant_site import studio

studio.hang("files", import_pages.patterns)

admin.site.register(
    models.Organization,
    show("name", "kind", "legal_name", "jurisdiction", search=("name", "legal_name")),
)
admin.site.register(
    models.User,
    show(
        "email", "name", "is_operator", "is_active", search=("email",), acts=operator_desk.USER_ACTS
    ),
)
admin.site.register(models.Membership, show("user", "organization", "role"))
admin.site.register(
    models.ApiKey,
    show("name", "organization", "livemode", "last_four", "last_used_at", "revoked_at"),
)
admin.site.register(models.Contributor, show("external_id", "organization", "consent"))
admin.site.register(models.Collection, show("name", "organization", "next_snapshot"))
admin.site.register(models.Attestation, show("collection", "basis", "person_name", "attested_at"))
admin.site.register(models.Work, show("external_id", "organization", "title"))
admin.site.register(
    models.ImportJob, show("source", "collection", "status", "imported", "rejected")
)
admin.site.register(models.Audit, show("at", "organization", "actor", "action", "subject"))
admin.site.register(models.AccountAct, show("at", "user", "action"))
admin.site.register(
    models.Trader,
    show(
        "organization",
        "state",
        "submitted_at",
        "decided_at",
        "decided_by",
        acts=operator_desk.TRADER_ACTS,
    ),
)
admin.site.register(
    models.LegalHold,
    show(
        "subject",
        "matter",
        "placed_at",
        "placed_by",
        "until",
        "lifted_at",
        acts=operator_desk.HOLD_ACTS,
    ),
)
