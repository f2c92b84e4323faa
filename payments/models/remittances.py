"""The table of what sellers are sent beside their shares of sales."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models import Organization
from marketplace.typeid import TypeIDField


class RemittanceQuerySet(TenantQuerySet["Remittance"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class Remittance(models.Model):
    """One sum of what a seller is owed beside its shares of sales. Written by `remittances`.

    Such as royalties that paid back its advances, or that it paid itself. What it owes is taken
    off first; the rest goes to its account.
    """

    class State(models.TextChoices):
        SENDING = "sending", _("Being sent")
        SENT = "sent", _("Sent")
        # It is still owed, and part of a later one.
        RETURNED = "returned", _("Refused by Stripe")
        WITHHELD = "withheld", _("All of it paid what the seller owed")

    id = TypeIDField(prefix="rem", primary_key=True)
    # The seller.
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    currency = models.CharField(max_length=3)
    # What paid a debt of the seller's, and what is sent.
    withheld_minor = models.BigIntegerField()
    amount_minor = models.BigIntegerField()
    state = models.CharField(max_length=8, choices=State)
    stripe_id = models.CharField(max_length=255, null=True, blank=True, unique=True)
    refusal = models.CharField(max_length=1000, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = RemittanceQuerySet.as_manager()

    class Meta:
        indexes = [
            # Serves `remittances.start_due`: when a seller was sent something last.
            models.Index(
                name="remittance_by_time",
                fields=["organization", "livemode", "currency", "created_at"],
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="remittance_state_is_known",
                condition=Q(state__in=["sending", "sent", "returned", "withheld"]),
            ),
            models.CheckConstraint(
                name="remittance_moves_something",
                condition=Q(withheld_minor__gte=0, amount_minor__gte=0)
                & (Q(withheld_minor__gt=0) | Q(amount_minor__gt=0)),
            ),
            models.CheckConstraint(
                name="remittance_sends_nothing_iff_all_is_withheld",
                condition=Q(state="withheld", amount_minor=0)
                | ~Q(state="withheld") & Q(amount_minor__gt=0),
            ),
            models.CheckConstraint(
                name="remittance_is_sent_iff_stripe_has_it",
                condition=Q(state="sent", stripe_id__isnull=False)
                | ~Q(state="sent") & Q(stripe_id__isnull=True),
            ),
            models.CheckConstraint(
                name="remittance_ended_at_iff_ended",
                condition=Q(state="sending", ended_at__isnull=True)
                | ~Q(state="sending") & Q(ended_at__isnull=False),
            ),
            # The journal says that it is owed until it is sent: a second one would send it again.
            models.UniqueConstraint(
                name="remittance_is_sent_one_at_a_time",
                fields=["organization", "livemode", "currency"],
                condition=Q(state="sending"),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)
