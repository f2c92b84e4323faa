"""The tables of contributors."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.tenants import Organization
from marketplace.typeid import TypeIDField


class ContributorQuerySet(TenantQuerySet["Contributor"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class Contributor(models.Model):
    """A person whose works are in someone else's collection. Written by `contributors`.

    Who it is stands apart, in ContributorIdentity, so that it can be erased while the works, the
    consent and the money keep their reference.
    """

    class Consent(models.TextChoices):
        UNKNOWN = "unknown", _("Not asked")
        GRANTED = "granted", _("Granted")
        REFUSED = "refused", _("Refused")
        WITHDRAWN = "withdrawn", _("Withdrawn")

    id = TypeIDField(prefix="ctr", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="contributors")
    external_id = models.CharField(max_length=200)
    consent = models.CharField(max_length=9, choices=Consent, default=Consent.UNKNOWN)
    consent_changed_at = models.DateTimeField(null=True, blank=True)
    # Nobody is named again by an import after this.
    erased_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ContributorQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="contributor_external_id_is_unique", fields=["organization", "external_id"]
            ),
            models.UniqueConstraint(
                name="contributor_of_organization", fields=["organization", "id"]
            ),
            models.CheckConstraint(
                name="contributor_consent_is_known",
                condition=Q(consent__in=["unknown", "granted", "refused", "withdrawn"]),
            ),
            models.CheckConstraint(
                name="contributor_consent_is_dated_iff_known",
                condition=Q(consent="unknown", consent_changed_at__isnull=True)
                | ~Q(consent="unknown") & Q(consent_changed_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.external_id


class ContributorIdentityQuerySet(TenantQuerySet["ContributorIdentity"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class ContributorIdentity(models.Model):
    """Who a contributor is. Deleting the row erases the person. Written by `contributors`."""

    contributor = models.OneToOneField(
        Contributor,
        models.CASCADE,
        primary_key=True,
        related_name="identity",
        db_constraint=False,  # the composite foreign key in the migration holds it
    )
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    name = models.CharField(max_length=200)
    email = models.EmailField(blank=True)

    objects = ContributorIdentityQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name
