"""The table of uploads."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.digests import DIGEST_LENGTH
from marketplace.models.tenants import Organization
from marketplace.typeid import TypeIDField


class UploadQuerySet(TenantQuerySet["Upload"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class Upload(models.Model):
    """Bytes on their way in, piece by piece, to become a work or an import. Written by `uploads`.

    Lifecycle: receiving -> finished -> discarded, or receiving -> discarded. The bytes are a file
    of UPLOAD_DIR until then. Of that file, the first `received` bytes are durable; what a dying
    process wrote after them does not count.
    """

    class Status(models.TextChoices):
        RECEIVING = "receiving", _("Receiving")
        FINISHED = "finished", _("Finished")
        DISCARDED = "discarded", _("Discarded")

    id = TypeIDField(prefix="upl", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    # As the owner calls it; never a path of the server.
    name = models.CharField(max_length=500, blank=True)
    length = models.BigIntegerField()
    received = models.BigIntegerField(default=0)
    # What the owner said at the beginning that the bytes would hash to, if they said.
    expected = models.BinaryField(max_length=DIGEST_LENGTH, null=True)
    digest = models.BinaryField(max_length=DIGEST_LENGTH, null=True)
    status = models.CharField(max_length=9, choices=Status, default=Status.RECEIVING)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # The last time that anybody sent to it or used it.
    used_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = UploadQuerySet.as_manager()

    class Meta:
        indexes = [
            # Serves the sweep.
            models.Index(
                name="upload_by_use", fields=["used_at"], condition=~Q(status="discarded")
            ),
        ]
        constraints = [
            # Serves the list of an organization's uploads, too.
            models.UniqueConstraint(name="upload_of_organization", fields=["organization", "id"]),
            models.CheckConstraint(
                name="upload_status_is_known",
                condition=Q(status__in=["receiving", "finished", "discarded"]),
            ),
            models.CheckConstraint(name="upload_is_not_empty", condition=Q(length__gt=0)),
            models.CheckConstraint(
                name="upload_receives_no_more_than_its_length",
                condition=Q(received__gte=0, received__lte=F("length")),
            ),
            models.CheckConstraint(
                name="upload_expected_is_sha256",
                condition=Q(expected__isnull=True) | Q(Exact(Length("expected"), DIGEST_LENGTH)),
            ),
            models.CheckConstraint(
                name="upload_digest_is_sha256",
                condition=Q(digest__isnull=True) | Q(Exact(Length("digest"), DIGEST_LENGTH)),
            ),
            models.CheckConstraint(
                name="upload_is_whole_iff_digested",
                condition=Q(digest__isnull=True, finished_at__isnull=True)
                | Q(digest__isnull=False, finished_at__isnull=False, received=F("length")),
            ),
            models.CheckConstraint(
                name="upload_is_finished_only_if_digested",
                condition=(~Q(status="receiving") | Q(digest__isnull=True))
                & (~Q(status="finished") | Q(digest__isnull=False)),
            ),
        ]

    def __str__(self) -> str:
        return self.name or str(self.pk)
