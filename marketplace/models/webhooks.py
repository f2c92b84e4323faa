"""The tables of webhooks: where events are sent to, each event's way there, and each attempt."""

from __future__ import annotations

from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.events import Event
from marketplace.models.tenants import Organization
from marketplace.typeid import TypeIDField


class WebhookEndpointQuerySet(TenantQuerySet["WebhookEndpoint"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class WebhookEndpoint(models.Model):
    """An address of an organization that its events of one mode are sent to.

    Created and changed by `webhooks`; what its deliveries come to is noted by
    `webhook_deliveries`. One that was disabled is sent nothing, and can be enabled again.
    """

    class Because(models.TextChoices):
        OWNER = "owner"
        # It answered 410.
        GONE = "gone"
        # Nothing was taken for days.
        FAILING = "failing"

    id = TypeIDField(prefix="whe", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    livemode = models.BooleanField()
    url = models.CharField(max_length=500)
    # Of `events.TYPES`; none: all.
    types = ArrayField(models.CharField(max_length=60), default=list, blank=True)
    description = models.CharField(max_length=200, blank=True)
    # Sealed by `webhook_secrets`: what signs by HMAC, and the seed of what signs by Ed25519.
    secret = models.BinaryField(max_length=400)
    # The one before, which signs as well until its time is over.
    previous_secret = models.BinaryField(max_length=400, null=True, blank=True)
    previous_secret_ends_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_because = models.CharField(max_length=7, choices=Because, blank=True)
    # Attempts in a row that failed, whatever they carried.
    failures = models.IntegerField(default=0)
    failing_since = models.DateTimeField(null=True, blank=True)
    # Until then it is left alone.
    rests_until = models.DateTimeField(null=True, blank=True)

    objects = WebhookEndpointQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="webhook_endpoint_of_organization", fields=["organization", "livemode", "id"]
            ),
            models.CheckConstraint(
                name="webhook_endpoint_is_disabled_for_a_reason",
                condition=Q(disabled_at__isnull=True, disabled_because="")
                | Q(disabled_at__isnull=False, disabled_because__in=["owner", "gone", "failing"]),
            ),
            models.CheckConstraint(
                name="webhook_endpoint_previous_secret_has_an_end",
                condition=Q(previous_secret__isnull=True, previous_secret_ends_at__isnull=True)
                | Q(previous_secret__isnull=False, previous_secret_ends_at__isnull=False),
            ),
            models.CheckConstraint(
                name="webhook_endpoint_fails_since_its_first_failure",
                condition=Q(failures=0, failing_since__isnull=True)
                | Q(failures__gt=0, failing_since__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.url


class WebhookDeliveryQuerySet(TenantQuerySet["WebhookDelivery"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class WebhookDelivery(models.Model):
    """One event on its way to one endpoint. Written by `webhook_deliveries`.

    Lifecycle: pending -> delivered | failed | canceled; a replay makes it pending again. Deleted
    some weeks after its end.
    """

    class State(models.TextChoices):
        PENDING = "pending", _("Pending")
        DELIVERED = "delivered", _("Delivered")
        # No attempt of its schedule was taken.
        FAILED = "failed", _("Failed")
        # Its endpoint was disabled before.
        CANCELED = "canceled", _("Canceled")

    id = TypeIDField(prefix="whd", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    livemode = models.BooleanField()
    # Composite foreign keys hold these.
    endpoint = models.ForeignKey(
        WebhookEndpoint,
        models.PROTECT,
        related_name="deliveries",
        db_index=False,
        db_constraint=False,
    )
    event = models.ForeignKey(
        Event, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    state = models.CharField(max_length=9, choices=State, default=State.PENDING)
    # Begun so far, and begun when it was last asked for: the schedule counts from there.
    attempts = models.IntegerField(default=0)
    attempts_before = models.IntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True, default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = WebhookDeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = _("webhook deliveries")
        constraints = [
            # What an organization's deliveries are listed by, too.
            models.UniqueConstraint(
                name="webhook_delivery_of_organization", fields=["organization", "id"]
            ),
            models.UniqueConstraint(
                name="webhook_delivery_is_one_per_endpoint", fields=["endpoint", "event"]
            ),
            models.CheckConstraint(
                name="webhook_delivery_is_due_iff_pending",
                condition=Q(state="pending", next_attempt_at__isnull=False, ended_at__isnull=True)
                | Q(
                    state__in=["delivered", "failed", "canceled"],
                    next_attempt_at__isnull=True,
                    ended_at__isnull=False,
                ),
            ),
            models.CheckConstraint(
                name="webhook_delivery_counts_its_attempts",
                condition=Q(attempts_before__gte=0, attempts__gte=F("attempts_before")),
            ),
        ]
        indexes = [
            # Which endpoints have something due, and what of one is due first.
            models.Index(
                name="webhook_delivery_is_due",
                fields=["endpoint", "next_attempt_at"],
                condition=Q(next_attempt_at__isnull=False),
            ),
            # `webhook_deliveries.sweep`.
            models.Index(
                name="webhook_delivery_has_ended",
                fields=["ended_at"],
                condition=Q(ended_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class WebhookAttemptQuerySet(TenantQuerySet["WebhookAttempt"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, delivery__livemode=caller.livemode)


class WebhookAttempt(models.Model):
    """One request to an endpoint, and what came of it. Written by `webhook_deliveries`.

    Updates: cannot. Deletion: with its delivery, by all-tenant work alone. An attempt whose
    process died leaves no row, only a gap in the numbers.
    """

    id = TypeIDField(prefix="wha", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    # A composite foreign key holds it.
    delivery = models.ForeignKey(
        WebhookDelivery,
        models.PROTECT,
        related_name="tries",
        db_index=False,
        db_constraint=False,
    )
    number = models.IntegerField()
    started_at = models.DateTimeField()
    duration_ms = models.IntegerField()
    # Of the answer; null where none came, and then the error says why.
    status = models.SmallIntegerField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)
    # Its beginning, as text.
    answer = models.TextField(blank=True)

    objects = WebhookAttemptQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="webhook_attempt_of_organization", fields=["organization", "id"]
            ),
            models.UniqueConstraint(
                name="webhook_attempt_is_numbered_once", fields=["delivery", "number"]
            ),
            models.CheckConstraint(
                name="webhook_attempt_was_answered_or_says_why_not",
                condition=Q(status__isnull=False, error="")
                | (Q(status__isnull=True) & ~Q(error="")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.delivery_id} {self.number}"
