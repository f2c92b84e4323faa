"""The table of digests that nobody may license, for now or for good."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.models.digests import DIGEST_LENGTH
from marketplace.models.tenants import Organization


class ReservedDigest(models.Model):
    """Bytes that were taken out of licensing, at one organization or at all of them.

    Read by imports, listing, quotes, delivery and decisions, also for other tenants' works; it
    tells a digest and no more, so it is not private. Written by `reservations`. A row ends (a
    hold is decided) and is never deleted.
    """

    class Reason(models.TextChoices):
        OPTED_OUT = "opted_out", _("Opted out")
        HELD = "held", _("Held until it is decided")
        CLAIMED = "claimed", _("Claimed by somebody else")

    id = models.BigAutoField(primary_key=True)
    digest = models.BinaryField(max_length=DIGEST_LENGTH)
    # Null: at every organization.
    organization = models.ForeignKey(
        Organization, models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    reason = models.CharField(max_length=9, choices=Reason)
    # What led to it, as a TypeID: an opt-out, an import, a claim.
    cause = models.CharField(max_length=60)
    since = models.DateTimeField(default=timezone.now, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            # "Which of a snapshot's works are out?" begins at what is reserved at its owner, which
            # is little, not at its works.
            models.Index(
                name="reserved_at_organization",
                fields=["organization", "digest"],
                condition=Q(ended_at__isnull=True),
            ),
        ]
        constraints = [
            # Serves every look-up by digest, too.
            models.UniqueConstraint(
                name="reserved_digest_is_reserved_once",
                fields=["digest", "organization", "reason"],
                condition=Q(ended_at__isnull=True),
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="reserved_digest_is_sha256", condition=Exact(Length("digest"), DIGEST_LENGTH)
            ),
            models.CheckConstraint(
                name="reserved_digest_reason_is_known",
                condition=Q(reason__in=["opted_out", "held", "claimed"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{bytes(self.digest).hex()} ({self.reason})"
