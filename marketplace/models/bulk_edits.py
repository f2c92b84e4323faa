"""The table of edits of many works at once."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.collections import Collection
from marketplace.models.tenants import Organization
from marketplace.typeid import TypeIDField


class BulkEditQuerySet(TenantQuerySet["BulkEdit"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class BulkEdit(models.Model):
    """One change of many works of a collection, carried out in batches. Written by `bulk_edits`.

    Lifecycle: running -> finished | canceled. Each batch commits with the place that it came to, so
    a work is changed once however often a worker dies.
    """

    class Status(models.TextChoices):
        RUNNING = "running", _("Running")
        FINISHED = "finished", _("Finished")
        CANCELED = "canceled", _("Canceled")

    id = TypeIDField(prefix="bed", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    collection = models.ForeignKey(
        Collection, models.PROTECT, related_name="+", db_constraint=False
    )
    # What is set: {"language": "de"}, or {"title_prefix": "…"}.
    change = models.JSONField()
    # Which works are meant: {"works": ["wrk_…"]}, or any of {"language", "external_id_prefix"}.
    selection = models.JSONField(default=dict)
    status = models.CharField(max_length=8, choices=Status, default=Status.RUNNING)
    # The last representation of the collection that was looked at.
    done_until = models.BigIntegerField(default=0)
    looked_at = models.BigIntegerField(default=0)
    changed = models.BigIntegerField(default=0)
    requested_by = models.CharField(max_length=40)
    asked_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = BulkEditQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="bulk_edit_of_organization", fields=["organization", "id"]
            ),
            models.CheckConstraint(
                name="bulk_edit_is_ended_iff_dated",
                condition=Q(status="running", finished_at__isnull=True)
                | Q(status__in=["finished", "canceled"], finished_at__isnull=False),
            ),
            models.CheckConstraint(
                name="bulk_edit_changes_no_more_than_it_saw",
                condition=Q(changed__gte=0, changed__lte=F("looked_at")),
            ),
        ]
        indexes = [
            # For the worker.
            models.Index(name="bulk_edit_is_due", fields=["id"], condition=Q(status="running")),
        ]

    def __str__(self) -> str:
        return f"{', '.join(self.change)} ({self.status})"
