"""The tables of works, their exact bytes, and their lives in collections."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.collections import Collection
from marketplace.models.contributors import Contributor
from marketplace.models.digests import DIGEST_LENGTH
from marketplace.models.tenants import Organization
from marketplace.models.units import counts
from marketplace.typeid import TypeIDField


class WorkQuerySet(TenantQuerySet["Work"]):
    def visible_to(self, caller: Caller) -> Self:
        """One's own, and those in collections that were shared with the signed-in user."""
        own = Q(organization=caller.organization)
        if not caller.has_shares:
            return self.filter(own)
        shared = CollectionItem.objects.filter(
            organization=OuterRef("organization"),
            work=OuterRef("pk"),
            removed_in__isnull=True,
            collection__shares__user=caller.user,
        )
        return self.filter(own | Exists(shared))


class Work(models.Model):
    """One item of content in the owner's own terms. Written by `works`.

    Three indexes: the key, `UNIQUE (organization, external_id)` for imports, and
    `UNIQUE (organization, id)` for composite foreign keys.
    """

    id = TypeIDField(prefix="wrk", primary_key=True)
    organization = models.ForeignKey(
        Organization, models.PROTECT, related_name="works", db_index=False
    )
    external_id = models.CharField(max_length=1000)
    title = models.CharField(max_length=1000, blank=True)
    source_url = models.URLField(max_length=2000, blank=True)
    # BCP 47, such as "en" or "pt-BR"; empty where nobody said.
    language = models.CharField(max_length=35, blank=True)
    # The owner's own word for the state of the work: "v3", a date, a commit.
    revision = models.CharField(max_length=200, blank=True, default="", db_default="")
    contributor = models.ForeignKey(
        Contributor,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="works",
        db_index=False,
        db_constraint=False,
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = WorkQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="work_external_id_is_unique", fields=["organization", "external_id"]
            ),
            models.UniqueConstraint(name="work_of_organization", fields=["organization", "id"]),
            models.CheckConstraint(name="work_has_an_external_id", condition=~Q(external_id="")),
        ]

    def __str__(self) -> str:
        return self.title or self.external_id


class RepresentationQuerySet(TenantQuerySet["Representation"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class Representation(models.Model):
    """One exact byte form of a work. Written by `works`.

    Three indexes: the key, `UNIQUE (organization, digest)` for repeats and delivery, and
    `UNIQUE (work, id)` for "the forms of a work" and the items' composite foreign key.
    """

    class Custody(models.TextChoices):
        HOSTED = "hosted", _("Hosted here")
        REMOTE = "remote", _("In the seller's own store")
        REFERENCE = "reference", _("Digest only")

    id = models.BigAutoField(primary_key=True)
    # The composite key of the work implies it: no check of its own for each of millions of rows.
    organization = models.ForeignKey(
        Organization, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    work = models.ForeignKey(
        Work, models.PROTECT, related_name="representations", db_index=False, db_constraint=False
    )
    digest = models.BinaryField(max_length=DIGEST_LENGTH)
    # In bytes; 0 where the bytes are elsewhere and nobody said.
    length = models.BigIntegerField()
    media_type = models.CharField(max_length=255)
    # How the bytes were made canonical before hashing: "raw", "text/nfc-lf/v1".
    canonicalization = models.CharField(max_length=40, default="raw")
    custody = models.CharField(max_length=9, choices=Custody)

    objects = RepresentationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="representation_digest_is_unique", fields=["organization", "digest"]
            ),
            models.UniqueConstraint(name="representation_of_work", fields=["work", "id"]),
            models.CheckConstraint(
                name="representation_digest_is_sha256",
                condition=Exact(Length("digest"), DIGEST_LENGTH),
            ),
            # 0: nobody said, which only a digest without bytes can leave open.
            models.CheckConstraint(
                name="representation_length_is_known_of_kept_bytes",
                condition=Q(length__gt=0) | Q(length=0, custody="reference"),
            ),
            models.CheckConstraint(
                name="representation_custody_is_known",
                condition=Q(custody__in=["hosted", "remote", "reference"]),
            ),
        ]

    def __str__(self) -> str:
        return bytes(self.digest).hex()


class CollectionItemQuerySet(TenantQuerySet["CollectionItem"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)

    def in_snapshot(self, number: int) -> Self:
        """Those in snapshot `number`: added by then, and not removed by then."""
        return self.filter(
            Q(removed_in__isnull=True) | Q(removed_in__gt=number), added_in__lte=number
        )


class CollectionItem(models.Model):
    """One life of a representation in a collection, as an interval of snapshot numbers.

    It is in snapshot n iff `added_in <= n < coalesce(removed_in, infinity)`, so a snapshot copies
    no rows. Each number is set once. Written by `collections`.

    Three indexes: the key, the live item of (collection, representation), and
    (organization, representation) for "which collections hold these bytes?".
    """

    id = models.BigAutoField(primary_key=True)
    # The composite key of the work implies it: no check of its own for each of millions of rows.
    organization = models.ForeignKey(
        Organization, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    collection = models.ForeignKey(
        Collection,
        models.PROTECT,
        to_field="number",
        db_column="collection_number",
        related_name="items",
        db_index=False,
        db_constraint=False,
    )
    work = models.ForeignKey(
        Work, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    representation = models.ForeignKey(
        Representation, models.PROTECT, related_name="items", db_index=False, db_constraint=False
    )
    added_in = models.IntegerField()
    removed_in = models.IntegerField(null=True, blank=True)
    # How many tokens, words, … the bytes have, {unit: integer}. Here and not at the representation:
    # snapshots hashed them, so whoever counts otherwise ends this life and begins another.
    units = models.JSONField(default=dict, blank=True, db_default={})

    objects = CollectionItemQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(name="item_by_representation", fields=["organization", "representation"]),
        ]
        constraints = [
            models.UniqueConstraint(
                name="item_lives_once_at_a_time",
                fields=["collection", "representation"],
                condition=Q(removed_in__isnull=True),
            ),
            models.CheckConstraint(
                name="item_is_removed_after_it_was_added",
                condition=Q(removed_in__isnull=True) | Q(removed_in__gte=F("added_in")),
            ),
            models.CheckConstraint(
                name="item_units_are_known_and_counted", condition=counts("units")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.representation_id} in {self.collection_id}"
