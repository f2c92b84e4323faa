"""The table of invitations that were mailed."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils import timezone

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.collections import Collection
from marketplace.models.digests import DIGEST_LENGTH
from marketplace.models.tenants import Membership, Organization, User
from marketplace.typeid import TypeIDField


class InvitationQuerySet(TenantQuerySet["Invitation"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)

    def open(self) -> Self:
        """Those that can still be accepted."""
        return self.filter(
            accepted_at__isnull=True, revoked_at__isnull=True, expires_at__gt=timezone.now()
        )


class Invitation(models.Model):
    """A mail that lets one person in: as a member, or to a single collection.

    The token in the mail proves the address; only its hash is kept, and it works once. Updates:
    `accepted_at` with `accepted_by`, or `revoked_at`. Written by `invitations`.
    """

    id = TypeIDField(prefix="inv", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    email = models.EmailField()
    # For a member: their role. For a share: the collection and the right to it.
    role = models.CharField(max_length=7, blank=True)
    collection = models.ForeignKey(
        Collection, models.PROTECT, null=True, blank=True, related_name="+", db_constraint=False
    )
    right = models.CharField(max_length=4, blank=True)
    # SHA-256 of the token.
    token_digest = models.BinaryField(max_length=DIGEST_LENGTH)
    created_by = models.CharField(max_length=40)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.ForeignKey(
        User, models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        constraints = [
            # Serves `invitations.find`, by the token's hash.
            models.UniqueConstraint(name="invitation_token_is_unique", fields=["token_digest"]),
            models.UniqueConstraint(
                name="invitation_of_organization", fields=["organization", "id"]
            ),
            models.CheckConstraint(
                name="invitation_token_is_sha256",
                condition=Exact(Length("token_digest"), DIGEST_LENGTH),
            ),
            models.CheckConstraint(
                name="invitation_email_is_lower_case",
                condition=Q(email=Func(F("email"), function="lower")),
            ),
            models.CheckConstraint(
                name="invitation_is_to_a_role_or_to_a_collection",
                condition=Q(role__in=Membership.Role.values, collection__isnull=True, right="")
                | Q(role="", collection__isnull=False, right__in=["view", "edit"]),
            ),
            models.CheckConstraint(
                name="invitation_is_accepted_by_somebody",
                condition=Q(accepted_at__isnull=True, accepted_by__isnull=True)
                | Q(accepted_at__isnull=False, accepted_by__isnull=False),
            ),
            models.CheckConstraint(
                name="invitation_ends_once",
                condition=Q(accepted_at__isnull=True) | Q(revoked_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email} to {self.role or self.collection_id}"
