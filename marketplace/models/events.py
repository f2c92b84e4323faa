"""The table of what happened to whom: the feed that clients follow, and webhooks carry."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.tenants import Organization
from marketplace.typeid import TypeIDField


class EventQuerySet(TenantQuerySet["Event"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class Event(models.Model):
    """Something that happened, as one organization is told of it. Written by `events`.

    Recorded in the transaction of what happened; its place in the organization's feed is given
    after that committed. Two parties of one fact have an event each.
    """

    id = TypeIDField(prefix="evt", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    livemode = models.BooleanField()
    # One of `events.TYPES`.
    type = models.CharField(max_length=60)
    # Ids and small facts; nothing that a person's data has a way into.
    data = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # From 1, without a gap, in each feed. Null until it is given, then set for good.
    position = models.BigIntegerField(null=True, blank=True, editable=False)

    objects = EventQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="event_of_organization", fields=["organization", "livemode", "id"]
            ),
            # What the feed is read by, too.
            models.UniqueConstraint(
                name="event_position_is_given_once", fields=["organization", "livemode", "position"]
            ),
            models.CheckConstraint(
                name="event_position_counts_from_1",
                condition=Q(position__isnull=True) | Q(position__gte=1),
            ),
        ]
        indexes = [
            # `events.give_positions` asks several times a second. Holds what waits, and no more.
            models.Index(
                name="event_waits_for_its_position",
                fields=["id"],
                condition=Q(position__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.pk}"
