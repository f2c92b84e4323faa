"""The table of erasures: whose data were deleted, so that no backup brings them back."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.tenants import Organization
from marketplace.typeid import TypeIDField


class ErasureQuerySet(TenantQuerySet["Erasure"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class Erasure(models.Model):
    """One person's data, deleted: ids, counts and a time, nothing that says who it was.

    Insert-only, but for `copied_at`. Written by `erasures`.
    """

    id = TypeIDField(prefix="era", primary_key=True)
    # Whose contributor it was; null where the person was of no one tenant.
    organization = models.ForeignKey(
        Organization, models.PROTECT, null=True, blank=True, related_name="+"
    )
    # The contributor or the account (a TypeID); empty where somebody was found by name.
    subject = models.CharField(max_length=60, blank=True)
    # Kind of row -> ids of the rows that went, as a restored database has them again.
    refs = models.JSONField(default=dict)
    # Kind of row -> how many of them were deleted or blanked.
    counts = models.JSONField(default=dict)
    erased_at = models.DateTimeField(default=timezone.now, editable=False)
    # When the list outside the database had it.
    copied_at = models.DateTimeField(null=True, blank=True)

    objects = ErasureQuerySet.as_manager()

    class Meta:
        verbose_name = _("erasure")
        verbose_name_plural = _("erasures")
        constraints = [
            models.UniqueConstraint(name="erasure_of_organization", fields=["organization", "id"]),
        ]
        indexes = [
            # Serves `erasures.uncopied`.
            models.Index(
                name="erasure_uncopied", fields=["id"], condition=models.Q(copied_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)
