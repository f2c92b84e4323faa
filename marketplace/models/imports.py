"""The tables of imports."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.collections import Collection
from marketplace.models.tenants import Organization
from marketplace.typeid import TypeIDField


class ImportJobQuerySet(TenantQuerySet["ImportJob"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class ImportJob(models.Model):
    """One import into a collection, with its progress. Running it again resumes it.

    Written by `imports`. Counts: `imported` new works, `repeated` ones whose bytes or name the
    organization already has, `rejected` ones with an ImportRejection each.
    """

    class Status(models.TextChoices):
        RUNNING = "running", _("Running")
        FINISHED = "finished", _("Finished")
        FAILED = "failed", _("Failed")

    id = TypeIDField(prefix="imp", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    collection = models.ForeignKey(
        Collection, models.PROTECT, related_name="imports", db_constraint=False
    )
    # What was read, as the owner named it: never a full path of the server.
    source = models.CharField(max_length=500)
    status = models.CharField(max_length=8, choices=Status, default=Status.RUNNING)
    imported = models.BigIntegerField(default=0)
    repeated = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    bytes_read = models.BigIntegerField(default=0)
    # Where to go on after a stop: the last name that was committed, in the source's order.
    resume_after = models.CharField(max_length=4000, blank=True)
    failure = models.CharField(max_length=500, blank=True)
    started_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = ImportJobQuerySet.as_manager()

    class Meta:
        verbose_name = _("import")
        constraints = [
            models.UniqueConstraint(name="import_of_organization", fields=["organization", "id"]),
            models.CheckConstraint(
                name="import_status_is_known",
                condition=Q(status__in=["running", "finished", "failed"]),
            ),
            models.CheckConstraint(
                name="import_is_ended_iff_dated",
                condition=Q(status="running", finished_at__isnull=True)
                | ~Q(status="running") & Q(finished_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source} ({self.status})"


class ImportRejectionQuerySet(TenantQuerySet["ImportRejection"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class ImportRejection(models.Model):
    """One entry of a source that was not imported (rejected or repeated), and why. Insert-only."""

    id = models.BigAutoField(primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    job = models.ForeignKey(
        ImportJob, models.PROTECT, related_name="rejections", db_constraint=False
    )
    # The entry's name; bytes that are no UTF-8 are shown as \xNN.
    name = models.CharField(max_length=4000)
    # One of `imports.REASONS`.
    code = models.CharField(max_length=40)
    detail = models.CharField(max_length=1000)

    objects = ImportRejectionQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.name}: {self.code}"
