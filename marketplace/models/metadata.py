"""The table of what organizations note on their objects."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.utils import timezone

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.tenants import Organization
from marketplace.typeid import TypeIDField


class MetadataQuerySet(TenantQuerySet["Metadata"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class Metadata(models.Model):
    """What one organization notes on one object: its own references. Written by `metadata`.

    An order or a grant is seen by two organizations, so what one notes stands here, and nowhere
    the other looks. Limits: `metadata_is_few_named_texts`, and those of the module.
    """

    class Kind(models.TextChoices):
        """What can be noted on, by the prefix of its id."""

        COLLECTION = "col"
        OFFER = "off"
        QUOTE = "quo"
        ORDER = "ord"
        GRANT = "grt"

    id = TypeIDField(prefix="mtd", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    # Also where the object is of no mode, as the catalogue is: keys of each mode note their own.
    livemode = models.BooleanField()
    kind = models.CharField(max_length=3, choices=Kind)
    # The object's key, without a constraint: it is in one of several tables.
    subject = models.UUIDField()
    data = models.JSONField()
    changed_at = models.DateTimeField(default=timezone.now)

    objects = MetadataQuerySet.as_manager()

    class Meta:
        constraints = [
            # Serves each look: it begins with all that is known of a row.
            models.UniqueConstraint(
                name="metadata_of_an_object_is_one",
                fields=["organization", "subject", "kind", "livemode"],
            ),
            models.CheckConstraint(
                name="metadata_kind_is_known",
                condition=models.Q(kind__in=["col", "off", "quo", "ord", "grt"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"
