"""The table of who asked to license what is sold on request."""

from __future__ import annotations

from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from licensing.models.licenses import Offer, party_to
from marketplace.access import Caller, TenantQuerySet
from marketplace.models import Organization
from marketplace.typeid import TypeIDField


class AccessRequestQuerySet(TenantQuerySet["AccessRequest"]):
    def visible_to(self, caller: Caller) -> Self:
        """Those that the caller made, and those made to it."""
        return self.filter(party_to(caller), livemode=caller.livemode)

    def overdue(self) -> Self:
        """What time has ended, whether or not the worker has said so yet."""
        return self.filter(state__in=["pending", "approved"], expires_at__lte=timezone.now())

    def in_state(self, state: str) -> Self:
        """Those that are in a state now (see `AccessRequest.state_now`)."""
        overdue = Q(state__in=["pending", "approved"], expires_at__lte=timezone.now())
        if state == AccessRequest.State.EXPIRED:
            return self.filter(Q(state=state) | overdue)
        return self.filter(~overdue, state=state)


class AccessRequest(models.Model):
    """A buyer's question whether it may license an offer that is sold on request.

    Private to its two parties. Lifecycle: `access_requests.TRANSITIONS`. Written by
    `access_requests`.
    """

    class State(models.TextChoices):
        PENDING = "pending", _("Awaits the seller's answer")
        APPROVED = "approved", _("Approved")
        DECLINED = "declined", _("Declined")
        EXPIRED = "expired", _("Expired")
        CANCELED = "canceled", _("Canceled by the buyer")

    class Release(models.TextChoices):
        CLOSED_API = "closed_api", _("Served through an interface")
        OPEN_WEIGHTS = "open_weights", _("Open weights")
        INTERNAL_ONLY = "internal_only", _("Used inside the organization only")

    id = TypeIDField(prefix="acr", primary_key=True)
    livemode = models.BooleanField()
    # The seller, and the buyer.
    licensor = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    licensee = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    offer = models.ForeignKey(
        Offer, models.PROTECT, related_name="access_requests", db_constraint=False
    )
    # What is asked for, within the offer's terms; an approval is for all of it.
    uses = ArrayField(models.CharField(max_length=60))
    territories = ArrayField(models.CharField(max_length=6))
    model_name = models.CharField(max_length=200)
    model_version = models.CharField(max_length=100, blank=True)
    model_release = models.CharField(max_length=13, choices=Release)
    message = models.TextField(max_length=5_000, blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.PENDING)
    # Why it was declined.
    reason = models.CharField(max_length=1_000, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # Of the question, then of the approval.
    expires_at = models.DateTimeField()
    # The seller's answer, and who gave it.
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=40, blank=True)
    canceled_at = models.DateTimeField(null=True, blank=True)

    objects = AccessRequestQuerySet.as_manager()

    class Meta:
        indexes = [
            # Serves the worker: what time has ended.
            models.Index(
                name="access_request_due",
                fields=["expires_at"],
                condition=Q(state__in=["pending", "approved"]),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                name="access_request_of_parties",
                fields=["licensor", "licensee", "livemode", "id"],
            ),
            models.UniqueConstraint(
                name="access_request_is_open_once",
                fields=["offer", "licensee", "livemode"],
                condition=Q(state="pending"),
            ),
            models.CheckConstraint(
                name="access_request_parties_differ", condition=~Q(licensor=F("licensee"))
            ),
            models.CheckConstraint(
                name="access_request_state_matches_its_dates",
                condition=Q(state="pending", decided_at__isnull=True, canceled_at__isnull=True)
                | Q(
                    state__in=["approved", "declined"],
                    decided_at__isnull=False,
                    canceled_at__isnull=True,
                )
                | Q(state="expired", canceled_at__isnull=True)
                | Q(state="canceled", canceled_at__isnull=False),
            ),
            models.CheckConstraint(
                name="access_request_reason_iff_declined",
                condition=Q(state="declined") & ~Q(reason="") | ~Q(state="declined") & Q(reason=""),
            ),
            models.CheckConstraint(
                name="access_request_decision_names_who",
                condition=Q(decided_at__isnull=True, decided_by="")
                | Q(decided_at__isnull=False) & ~Q(decided_by=""),
            ),
            models.CheckConstraint(
                name="access_request_asks_for_something",
                condition=Q(uses__len__gt=0, territories__len__gt=0) & ~Q(model_name=""),
            ),
            models.CheckConstraint(
                name="access_request_release_is_known",
                condition=Q(model_release__in=["closed_api", "open_weights", "internal_only"]),
            ),
            models.CheckConstraint(
                name="access_request_expires_after_it_was_made",
                condition=Q(expires_at__gt=F("created_at")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.licensee_id} for {self.offer_id} ({self.state})"

    @property
    def state_now(self) -> str:
        """The state that counts: what time has ended is expired, also before the worker says so."""
        is_open = self.state in {self.State.PENDING, self.State.APPROVED}
        if is_open and self.expires_at <= timezone.now():
            return self.State.EXPIRED.value
        return str(self.state)
