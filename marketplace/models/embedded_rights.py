"""The tables of what image files say of their own rights, and of who answered for it."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.collections import Collection
from marketplace.models.digests import DIGEST_LENGTH
from marketplace.models.tenants import Organization
from marketplace.typeid import TypeIDField


class RightsOverrideQuerySet(TenantQuerySet["RightsOverride"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class RightsOverride(models.Model):
    """A person's statement that works may be licensed although their files prohibit mining.

    Updates: cannot. Deletion: cannot. Written by `embedded_rights.override`.
    """

    id = TypeIDField(prefix="rov", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    collection = models.ForeignKey(
        Collection, models.PROTECT, related_name="rights_overrides", db_constraint=False
    )
    statement = models.TextField(max_length=5_000)
    person_name = models.CharField(max_length=200)
    person_title = models.CharField(max_length=200)
    actor = models.CharField(max_length=40)
    # How many works it stands for.
    works = models.BigIntegerField()
    made_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = RightsOverrideQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="rights_override_of_organization", fields=["organization", "id"]
            ),
            models.CheckConstraint(
                name="rights_override_is_signed",
                condition=~Q(statement="") & ~Q(person_name="") & ~Q(person_title=""),
            ),
            models.CheckConstraint(
                name="rights_override_stands_for_works", condition=Q(works__gt=0)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.works} works, by {self.person_name}"


class EmbeddedRightsQuerySet(TenantQuerySet["EmbeddedRights"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)

    def prohibiting(self) -> Self:
        """Those that forbid data mining, and for which nobody has answered."""
        return self.filter(is_prohibited=True, override__isnull=True)


class EmbeddedRights(models.Model):
    """What an image file says of its creator, its copyright and data mining (IPTC, XMP, PLUS).

    A prohibition keeps every collection with the file from being listed until the owner has
    overridden it, on record. Updates: `override`, once. Written by `embedded_rights`.
    """

    id = models.BigAutoField(primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    # With the organization: its representation.
    digest = models.BinaryField(max_length=DIGEST_LENGTH)
    creator = models.CharField(max_length=500, blank=True)
    copyright_notice = models.CharField(max_length=2000, blank=True)
    # The PLUS vocabulary's word, such as "DMI-PROHIBITED-AIMLTRAINING"; "" where the file has none.
    data_mining = models.CharField(max_length=100, blank=True)
    is_prohibited = models.BooleanField()
    override = models.ForeignKey(
        RightsOverride,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="overridden",
        db_index=False,
        db_constraint=False,
    )
    read_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = EmbeddedRightsQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="embedded_rights_are_read_once", fields=["organization", "digest"]
            ),
            models.CheckConstraint(
                name="embedded_rights_override_a_prohibition",
                condition=Q(override__isnull=True) | Q(is_prohibited=True),
            ),
        ]
        indexes = [
            # Serves `embedded_rights.blocking`: prohibitions are few among many images.
            models.Index(
                name="embedded_rights_prohibiting",
                fields=["organization", "digest"],
                condition=Q(is_prohibited=True, override__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{bytes(self.digest).hex()}: {self.data_mining or 'nothing said'}"
