"""The table of what the market keeps of sales."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from licensing.models import Offer
from marketplace.access import Caller, TenantQuerySet
from marketplace.models import Collection, Organization
from marketplace.typeid import TypeIDField


class FeeScheduleQuerySet(TenantQuerySet["FeeSchedule"]):
    def visible_to(self, caller: Caller) -> Self:
        """The seller's own, and those of the whole market."""
        return self.filter(Q(organization=None) | Q(organization=caller.organization))


class FeeSchedule(models.Model):
    """What the market keeps of a sale, and who bears what Stripe takes. Written by `fees.set`.

    Of the whole market, or of one seller, one collection or one offer: the narrowest counts.
    Updates: cannot. Deletion: cannot. A change is a new version; an order keeps what it was made
    under.
    """

    class Bearer(models.TextChoices):
        MARKET = "market", _("The market")
        SELLER = "seller", _("The seller")

    id = TypeIDField(prefix="fee", primary_key=True)
    # Whose sales; null: everybody's.
    organization = models.ForeignKey(
        Organization, models.PROTECT, null=True, blank=True, related_name="+"
    )
    collection = models.ForeignKey(
        Collection, models.PROTECT, null=True, blank=True, related_name="+", db_constraint=False
    )
    offer = models.ForeignKey(
        Offer, models.PROTECT, null=True, blank=True, related_name="+", db_constraint=False
    )
    version = models.IntegerField()
    # Of the license price, before tax: hundredths of a percent.
    basis_points = models.IntegerField()
    # {"USD": 50}: added to each sale in that currency, in minor units.
    fixed_minor = models.JSONField(default=dict, blank=True)
    stripe_fees = models.CharField(max_length=6, choices=Bearer, default=Bearer.MARKET)
    note = models.CharField(max_length=200, blank=True)
    actor = models.CharField(max_length=40)
    effective_from = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = FeeScheduleQuerySet.as_manager()

    class Meta:
        verbose_name = _("fee schedule")
        constraints = [
            models.UniqueConstraint(
                name="fee_schedule_version_is_unique",
                fields=["organization", "collection", "offer", "version"],
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="fee_schedule_is_of_one_thing",
                condition=Q(collection__isnull=True, offer__isnull=True)
                | Q(organization__isnull=False)
                & (Q(collection__isnull=True) | Q(offer__isnull=True)),
            ),
            models.CheckConstraint(
                name="fee_schedule_takes_no_more_than_all",
                condition=Q(basis_points__gte=0, basis_points__lte=10_000, version__gte=1),
            ),
            models.CheckConstraint(
                name="fee_schedule_bearer_is_known",
                condition=Q(stripe_fees__in=["market", "seller"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.basis_points} bp, version {self.version}"
