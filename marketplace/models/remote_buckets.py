"""The table of sellers' own buckets."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.tenants import Organization
from marketplace.typeid import TypeIDField


class RemoteBucketQuerySet(TenantQuerySet["RemoteBucket"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class RemoteBucket(models.Model):
    """Where a seller keeps its remote works, and what signs links to them. See `remote_buckets`.

    One is in use at a time; whoever changes anything connects another one.
    """

    id = TypeIDField(prefix="bkt", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    # An https:// address without a path.
    endpoint = models.CharField(max_length=300)
    region = models.CharField(max_length=60, blank=True)
    name = models.CharField(max_length=63)
    # How a work's key is made: text with {external_id} or {digest} in it.
    key = models.CharField(max_length=500)
    access_key_id = models.CharField(max_length=128)
    # Encrypted with a key that is made from SECRET_KEY; never shown again.
    secret_access_key = models.BinaryField(max_length=1000)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    disconnected_at = models.DateTimeField(null=True, blank=True)

    objects = RemoteBucketQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="remote_bucket_of_organization", fields=["organization", "id"]
            ),
            models.UniqueConstraint(
                name="remote_bucket_is_one_at_a_time",
                fields=["organization"],
                condition=Q(disconnected_at__isnull=True),
            ),
            models.CheckConstraint(
                name="remote_bucket_key_names_the_work",
                condition=Q(key__contains="{external_id}") | Q(key__contains="{digest}"),
            ),
        ]

    def __str__(self) -> str:
        return self.name
