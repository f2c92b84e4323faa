"""The tables of imports."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.collections import Collection
from marketplace.models.digests import DIGEST_LENGTH
from marketplace.models.tenants import Organization
from marketplace.typeid import TypeIDField


class ImportJobQuerySet(TenantQuerySet["ImportJob"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class ImportJob(models.Model):
    """One import into a collection, with its progress. Running it again resumes it.

    Lifecycle: queued -> running -> finished | failed | canceled; failed -> running. Written by
    `imports`. Counts: `imported` works that entered, `repeated` ones that changed nothing,
    `rejected` ones, and of a feed `updated` and `removed` ones. What was repeated or rejected has
    an ImportRejection each.
    """

    class Status(models.TextChoices):
        QUEUED = "queued", _("Waiting for the worker")
        RUNNING = "running", _("Running")
        FINISHED = "finished", _("Finished")
        FAILED = "failed", _("Failed")
        CANCELED = "canceled", _("Canceled")

    id = TypeIDField(prefix="imp", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    collection = models.ForeignKey(
        Collection, models.PROTECT, related_name="imports", db_constraint=False
    )
    # What was read, as the owner named it: never a full path of the server.
    source = models.CharField(max_length=500)
    # "csv", "ndjson", "parquet"; empty for a folder and other sources that are no table.
    format = models.CharField(max_length=20, blank=True, default="", db_default="")
    # Each line says what became of one work: new, changed, deleted.
    feed = models.BooleanField(default=False, db_default=False)
    # Everything is checked and reported, and nothing is written.
    dry_run = models.BooleanField(default=False, db_default=False)
    # Which column of the file stands for which field: {"sha256": "hash"}.
    columns = models.JSONField(default=dict, db_default=models.Value({}, models.JSONField()))
    # What each row has that no column says, and which columns stand for nothing, as somebody said.
    constants = models.JSONField(default=dict, db_default=models.Value({}, models.JSONField()))
    ignored = models.JSONField(default=list, db_default=models.Value([], models.JSONField()))
    # The upload (upl_…) that a worker reads; empty where a command reads the source itself.
    upload = models.CharField(max_length=60, blank=True, default="", db_default="")
    # Who asked for it, for the audit.
    requested_by = models.CharField(max_length=40, blank=True, default="", db_default="")
    status = models.CharField(max_length=8, choices=Status, default=Status.RUNNING)
    imported = models.BigIntegerField(default=0)
    updated = models.BigIntegerField(default=0, db_default=0)
    removed = models.BigIntegerField(default=0, db_default=0)
    repeated = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    # Of the works.
    bytes_read = models.BigIntegerField(default=0)
    # Of the file that lists them: how far it was read, and how long it is; null for a folder.
    source_read = models.BigIntegerField(default=0, db_default=0)
    source_length = models.BigIntegerField(null=True, blank=True)
    # What a source must still look like for the import to go on in it.
    fingerprint = models.CharField(max_length=200, blank=True, default="", db_default="")
    # Where to go on after a stop: the source's own mark of what was committed last.
    resume_after = models.CharField(max_length=4000, blank=True)
    # While it lies ahead, a worker is at it.
    leased_until = models.DateTimeField(null=True, blank=True)
    # How often workers took it up since it last got on.
    attempts = models.SmallIntegerField(default=0, db_default=0)
    # When the worker that is at it took it up, and how many rows were done by then: its pace.
    taken_up_at = models.DateTimeField(null=True, blank=True)
    taken_up_rows = models.BigIntegerField(default=0, db_default=0)
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
                condition=Q(status__in=["queued", "running", "finished", "failed", "canceled"]),
            ),
            models.CheckConstraint(
                name="import_is_ended_iff_dated",
                condition=Q(status__in=["queued", "running"], finished_at__isnull=True)
                | ~Q(status__in=["queued", "running"]) & Q(finished_at__isnull=False),
            ),
            models.CheckConstraint(
                name="import_waits_only_for_an_upload",
                condition=~Q(status="queued") | ~Q(upload=""),
            ),
        ]
        indexes = [
            # For the worker: what is due, the oldest first.
            models.Index(
                name="import_is_due",
                fields=["id"],
                condition=Q(status__in=["queued", "running"]) & ~Q(upload=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source} ({self.status})"

    @property
    def rows(self) -> int:
        """Entries of the source that are done with, whatever became of them."""
        return self.imported + self.updated + self.removed + self.repeated + self.rejected


class ColumnTemplateQuerySet(TenantQuerySet["ColumnTemplate"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class ColumnTemplate(models.Model):
    """How an organization last read the files of one header. Written by `imports.templates`."""

    id = models.BigAutoField(primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    # SHA-256 of the names of the columns, in their order.
    header = models.BinaryField(max_length=DIGEST_LENGTH)
    columns = models.JSONField(default=dict)
    constants = models.JSONField(default=dict)
    ignored = models.JSONField(default=list)
    used_at = models.DateTimeField(default=timezone.now)

    objects = ColumnTemplateQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="column_template_is_one_per_header", fields=["organization", "header"]
            ),
            models.CheckConstraint(
                name="column_template_header_is_sha256",
                condition=Q(Exact(Length("header"), DIGEST_LENGTH)),
            ),
        ]

    def __str__(self) -> str:
        return f"{len(self.columns)} columns"


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
    # Where it stands in the file, from 1: a line of text, a row of Parquet.
    line = models.BigIntegerField(null=True, blank=True)
    # Which of the entry's fields is meant; empty where it is the whole.
    field = models.CharField(max_length=60, blank=True, default="", db_default="")
    # One of `imports.REASONS`.
    code = models.CharField(max_length=40)
    detail = models.CharField(max_length=1000)

    objects = ImportRejectionQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.name}: {self.code}"
