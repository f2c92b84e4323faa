"""The table that keeps exclusivity."""

from __future__ import annotations

from typing import Any, Self

from django.contrib.postgres.fields import DateTimeRangeField
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from licensing.models.licenses import Grant, party_to
from marketplace.access import Caller, TenantQuerySet
from marketplace.models import Collection, Organization
from marketplace.typeid import TypeIDField


class MultiRangeField(models.Field):  # type: ignore[type-arg]
    """PostgreSQL's `int4multirange`: a set of small integers. Python: psycopg's Multirange."""

    def db_type(self, connection: Any) -> str:
        return "int4multirange"


class LaneField(models.Field):  # type: ignore[type-arg]
    """PostgreSQL's `int8range`, bounds included as psycopg's Range says."""

    def db_type(self, connection: Any) -> str:
        return "int8range"


class ScopeClaimQuerySet(TenantQuerySet["ScopeClaim"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(party_to(caller), livemode=caller.livemode)


class ScopeClaim(models.Model):
    """Who holds which use of a collection, where and when; the database keeps exclusivity.

    A non-exclusive claim takes a lane of its own, an exclusive one every lane; overlapping claims
    in a common lane are refused by `scope_claims_do_not_overlap` (an exclusion constraint).
    Lifecycle: held (by an order) -> active (by its grant) -> released. Written by `scope_claims`.
    """

    class State(models.TextChoices):
        HELD = "held", _("Held")
        ACTIVE = "active", _("Active")
        SUSPENDED = "suspended", _("Suspended")
        RELEASED = "released", _("Released")

    id = TypeIDField(prefix="clm", primary_key=True)
    livemode = models.BooleanField()
    licensor = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    licensee = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    collection = models.ForeignKey(
        Collection,
        models.PROTECT,
        to_field="number",
        db_column="collection_number",
        related_name="claims",
        db_constraint=False,
    )
    # Vocabulary numbers.
    uses = MultiRangeField()
    territories = MultiRangeField()
    during = DateTimeRangeField()
    lane = LaneField()
    state = models.CharField(max_length=9, choices=State)
    # The order that holds it, as a TypeID, and until when.
    held_by = models.CharField(max_length=60, unique=True)
    held_until = models.DateTimeField(null=True, blank=True)
    grant = models.ForeignKey(
        Grant, models.PROTECT, null=True, blank=True, related_name="claims", db_constraint=False
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ScopeClaimQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="scope_claim_state_matches_its_holder",
                condition=Q(state="held", held_until__isnull=False, grant__isnull=True)
                | Q(state__in=["active", "suspended"], grant__isnull=False)
                | Q(state="released"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.held_by} ({self.state})"
