"""The tables of collections and of what their owners attest."""

from __future__ import annotations

from typing import Self

from django.contrib.auth.models import Permission
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Exists, F, Func, OuterRef, Q, Value
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from guardian.managers import UserObjectPermissionManager
from guardian.models import UserObjectPermissionBase

from marketplace.access import Caller, Scope, TenantQuerySet
from marketplace.models.tenants import Organization
from marketplace.typeid import TypeIDField

# How PostgreSQL reads a collection's texts: as its main language does (migration 0020).
READ_AS = Func(F("languages"), function="licet_text_config")
SEARCHED = Func(F("languages"), F("name"), F("description"), function="licet_collection_vector")


class CollectionQuerySet(TenantQuerySet["Collection"]):
    def owned_by(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)

    def visible_to(self, caller: Caller) -> Self:
        """One's own, and those that were shared with the signed-in user."""
        if not caller.has_shares:
            return self.owned_by(caller)
        shared = CollectionShare.objects.filter(content_object=OuterRef("pk"), user=caller.user)
        return self.filter(Q(organization=caller.organization) | Exists(shared))

    def editable_by(self, caller: Caller) -> Self:
        """One's own where the role allows it, and those that were shared for editing."""
        own = self.owned_by(caller) if caller.may(Scope.COLLECTIONS_WRITE) else self.none()
        if not caller.has_shares:
            return own
        shared = CollectionShare.objects.filter(
            content_object=OuterRef("pk"), user=caller.user, permission__codename=EDIT
        )
        return own | self.filter(Exists(shared))


class Collection(models.Model):
    """Works that one organization keeps together. Written by `collections`.

    `number` keys its items and claims (4 bytes a row instead of 16); no client sees it.
    `next_snapshot` is the number that the next snapshot will get: what is added now belongs to it.
    """

    id = TypeIDField(prefix="col", primary_key=True)
    number = models.IntegerField(
        unique=True,
        editable=False,
        db_default=Func(Value("marketplace_collection_number"), function="nextval"),
    )
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="collections")
    name = models.CharField(max_length=200)
    description = models.TextField(max_length=10_000, blank=True)
    # What the owner's own catalog calls it, and where it stands there; both often empty.
    external_id = models.CharField(max_length=1000, blank=True, db_default="")
    source_url = models.URLField(max_length=2000, blank=True, db_default="")
    # Shown wherever the collection is: "not an offer" on the demo's.
    notice = models.CharField(max_length=200, blank=True)
    # BCP 47, the main one first, such as "de" or "pt-BR". Empty: those of the works count.
    languages = ArrayField(
        models.CharField(max_length=35), default=list, blank=True, db_default=[], size=100
    )
    next_snapshot = models.IntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = CollectionQuerySet.as_manager()

    class Meta:
        indexes = [
            # Serves `collections.matching`.
            GinIndex(SEARCHED, name="collection_search"),
        ]
        constraints = [
            models.UniqueConstraint(
                name="collection_of_organization", fields=["organization", "id"]
            ),
            models.UniqueConstraint(
                name="collection_number_of_organization", fields=["organization", "number"]
            ),
            models.UniqueConstraint(
                name="collection_external_id_is_unique",
                fields=["organization", "external_id"],
                condition=~Q(external_id=""),
            ),
            models.CheckConstraint(name="collection_has_a_name", condition=~Q(name="")),
            models.CheckConstraint(
                name="collection_snapshots_count_from_one", condition=Q(next_snapshot__gte=1)
            ),
        ]

    def __str__(self) -> str:
        return self.name


VIEW, EDIT = "view_collection", "change_collection"


def permission_for(right: str) -> Permission:
    """Django's own permission on collections that stands for a right, "view" or "edit"."""
    codename = EDIT if right == "edit" else VIEW
    return Permission.objects.get_by_natural_key(codename, "marketplace", "collection")


class CollectionShareQuerySet(TenantQuerySet["CollectionShare"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class CollectionShare(UserObjectPermissionBase):
    """A single collection opened to a user: a colleague, or an editor from outside.

    django-guardian's direct foreign-key form; its generic tables stay empty. Editing includes
    looking. Written by `sharing`.
    """

    id = TypeIDField(prefix="shr", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    content_object = models.ForeignKey(
        Collection, models.PROTECT, related_name="shares", db_constraint=False
    )
    created_by = models.CharField(max_length=40)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = UserObjectPermissionManager.from_queryset(CollectionShareQuerySet)()  # type: ignore[misc]

    class Meta:
        constraints = [
            # Serves the look-up in `visible_to`, by collection and user.
            models.UniqueConstraint(
                name="collection_share_is_one_per_user", fields=["content_object", "user"]
            ),
            models.UniqueConstraint(
                name="collection_share_of_organization", fields=["organization", "id"]
            ),
        ]

    def __str__(self) -> str:
        return f"{self.content_object_id} with {self.user_id}"

    @property
    def right(self) -> str:
        return "edit" if self.permission.codename == EDIT else "view"


class AttestationQuerySet(TenantQuerySet["Attestation"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class Attestation(models.Model):
    """A person's statement of why the organization may license a collection.

    Updates: cannot. Deletion: cannot. The newest one counts. Written by `collections.attest`.
    """

    class Basis(models.TextChoices):
        OWN = "own", _("Own works")
        ASSIGNED = "assigned", _("Rights assigned to us")
        AGENT = "agent", _("Agent of the owners")
        PLATFORM_TERMS = "platform_terms", _("Terms of our platform")
        OPEN_LICENSE = "open_license", _("Open license")
        PUBLIC_DOMAIN = "public_domain", _("Public domain")

    id = TypeIDField(prefix="att", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    collection = models.ForeignKey(
        Collection, models.PROTECT, related_name="attestations", db_constraint=False
    )
    basis = models.CharField(max_length=14, choices=Basis)
    # An SPDX identifier or name where the basis is an open license, such as "PSF-2.0".
    license_name = models.CharField(max_length=100, blank=True)
    statement = models.TextField(max_length=5_000)
    person_name = models.CharField(max_length=200)
    person_title = models.CharField(max_length=200)
    actor = models.CharField(max_length=40)
    attested_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = AttestationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="attestation_basis_is_known",
                condition=Q(
                    basis__in=[
                        "own",
                        "assigned",
                        "agent",
                        "platform_terms",
                        "open_license",
                        "public_domain",
                    ]
                ),
            ),
            models.CheckConstraint(
                name="attestation_names_its_open_license",
                condition=~Q(basis="open_license") | ~Q(license_name=""),
            ),
            models.CheckConstraint(
                name="attestation_is_signed",
                condition=~Q(statement="") & ~Q(person_name="") & ~Q(person_title=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.basis} by {self.person_name}"
