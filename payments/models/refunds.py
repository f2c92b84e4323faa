"""The tables of money that goes back: refunds and disputes."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from licensing.models import GrantEvent
from marketplace.access import Caller, TenantQuerySet
from marketplace.models import Organization
from marketplace.typeid import TypeIDField
from payments.models.orders import Order


def party_to(caller: Caller) -> Q:
    """Rows of the caller's purchases and sales."""
    return Q(organization=caller.organization) | Q(seller=caller.organization)


class RefundQuerySet(TenantQuerySet["Refund"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(party_to(caller), livemode=caller.livemode)


class Refund(models.Model):
    """A part or all of a payment that is given back, or is asked for. Written by `refunds`.

    Lifecycle: `refunds.TRANSITIONS`. What Stripe was told to give back counts as given back until
    Stripe says that it failed.
    """

    class State(models.TextChoices):
        REQUESTED = "requested", _("Awaits approval")
        SENDING = "sending", _("Under way")
        SUCCEEDED = "succeeded", _("Given back")
        DECLINED = "declined", _("Declined")
        REFUSED = "refused", _("Refused by Stripe")
        FAILED = "failed", _("Failed: the buyer's bank did not take it")

    class Cause(models.TextChoices):
        UNGRANTABLE = "ungrantable", _("No license could be given")
        BUYER = "buyer", _("The buyer asked for it")
        SELLER = "seller", _("The seller gave it")
        OPERATOR = "operator", _("The market gave it")
        STRIPE = "stripe", _("Made at Stripe")

    id = TypeIDField(prefix="rfd", primary_key=True)
    # The buyer.
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    seller = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    order = models.ForeignKey(Order, models.PROTECT, related_name="refunds", db_constraint=False)
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    cause = models.CharField(max_length=11, choices=Cause)
    reason = models.CharField(max_length=1000, blank=True)
    # What becomes of the license once all is given back.
    effect = models.CharField(
        max_length=15, choices=GrantEvent.Effect, default=GrantEvent.Effect.PROSPECTIVE
    )
    state = models.CharField(max_length=9, choices=State, default=State.REQUESTED)
    # Who must agree before it is sent: the licensor after a delivery, two people above a limit.
    needs_seller = models.BooleanField(default=False)
    needs_two = models.BooleanField(default=False)
    requested_by = models.CharField(max_length=40)
    stripe_id = models.CharField(max_length=255, null=True, blank=True, unique=True)
    failure = models.CharField(max_length=1000, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    sent_at = models.DateTimeField(null=True, blank=True)

    objects = RefundQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="refund_of_organization", fields=["organization", "livemode", "id"]
            ),
            models.CheckConstraint(
                name="refund_state_is_known",
                condition=Q(
                    state__in=[
                        "requested",
                        "sending",
                        "succeeded",
                        "declined",
                        "refused",
                        "failed",
                    ]
                ),
            ),
            models.CheckConstraint(
                name="refund_cause_is_known",
                condition=Q(cause__in=["ungrantable", "buyer", "seller", "operator", "stripe"]),
            ),
            models.CheckConstraint(
                name="refund_effect_is_known",
                condition=Q(effect__in=["prospective", "void_from_start"]),
            ),
            models.CheckConstraint(
                name="refund_gives_something_back", condition=Q(amount_minor__gt=0)
            ),
            models.CheckConstraint(
                name="refund_is_sent_iff_it_was_approved",
                condition=Q(state__in=["requested", "declined"], sent_at__isnull=True)
                | ~Q(state__in=["requested", "declined"]) & Q(sent_at__isnull=False),
            ),
            models.CheckConstraint(
                name="refund_succeeded_at_stripe",
                condition=~Q(state__in=["succeeded", "failed"]) | Q(stripe_id__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class RefundApprovalQuerySet(TenantQuerySet["RefundApproval"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(
            Q(refund__organization=caller.organization) | Q(seller=caller.organization),
            refund__livemode=caller.livemode,
        )


class RefundApproval(models.Model):
    """That one person or key agreed to a refund. Insert-only. Written by `refunds.approve`."""

    id = models.BigAutoField(primary_key=True)
    seller = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    refund = models.ForeignKey(Refund, models.PROTECT, related_name="approvals")
    actor = models.CharField(max_length=40)
    is_operator = models.BooleanField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = RefundApprovalQuerySet.as_manager()

    class Meta:
        verbose_name = _("approval of a refund")
        verbose_name_plural = _("approvals of refunds")
        constraints = [
            models.UniqueConstraint(
                name="refund_is_approved_once_by_each", fields=["refund", "actor"]
            ),
        ]

    def __str__(self) -> str:
        return f"{self.refund_id} by {self.actor}"


class DisputeQuerySet(TenantQuerySet["Dispute"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(party_to(caller), livemode=caller.livemode)


class Dispute(models.Model):
    """That a cardholder's bank wants a payment back. Written by `disputes`.

    Its status is Stripe's own word, https://docs.stripe.com/api/disputes/object: an inquiry
    (`warning_…`) holds no money and stops no license.
    """

    # Later in the list is later in a dispute's life: a stale fetch does not take it back.
    STATUSES = (
        "warning_needs_response",
        "warning_under_review",
        "warning_closed",
        "prevented",
        "needs_response",
        "under_review",
        "lost",
        # Also after an appeal.
        "won",
    )

    id = TypeIDField(prefix="dsp", primary_key=True)
    # The buyer.
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    seller = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    order = models.ForeignKey(Order, models.PROTECT, related_name="disputes", db_constraint=False)
    stripe_id = models.CharField(max_length=255, unique=True)
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    reason = models.CharField(max_length=60)
    status = models.CharField(max_length=30)
    # How much of it was given back before: that is lost twice if the dispute is lost.
    refunded_before_minor = models.BigIntegerField(default=0)
    evidence_due_at = models.DateTimeField(null=True, blank=True)
    evidence_sent_at = models.DateTimeField(null=True, blank=True)
    opened_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True, blank=True)

    objects = DisputeQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="dispute_status_is_known",
                condition=Q(
                    status__in=[
                        "warning_needs_response",
                        "warning_under_review",
                        "warning_closed",
                        "prevented",
                        "needs_response",
                        "under_review",
                        "won",
                        "lost",
                    ]
                ),
            ),
            models.CheckConstraint(
                name="dispute_is_about_something", condition=Q(amount_minor__gt=0)
            ),
            models.CheckConstraint(
                name="dispute_is_closed_iff_decided",
                condition=Q(
                    status__in=["won", "lost", "warning_closed", "prevented"],
                    closed_at__isnull=False,
                )
                | ~Q(status__in=["won", "lost", "warning_closed", "prevented"])
                & Q(closed_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return self.stripe_id
