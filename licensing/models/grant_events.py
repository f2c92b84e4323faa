"""The table of what became of grants after they were issued."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Self

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from licensing.models.ledger import LedgerEntry
from licensing.models.licenses import Grant, party_to
from marketplace.access import Caller, TenantQuerySet
from marketplace.models import Organization
from marketplace.typeid import TypeIDField


class GrantEventQuerySet(TenantQuerySet["GrantEvent"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(party_to(caller), livemode=caller.livemode)

    def in_effect(self, at: datetime) -> Self:
        """What has taken effect by an instant; of each grant's, the first says how it stands."""
        return self.filter(effective_at__lte=at).order_by("grant", "-number")


class GrantEvent(models.Model):
    """That a grant was suspended, reinstated, revoked, or has expired. Written by `lifecycle`.

    Updates: cannot. Deletion: cannot. Counts from `effective_at` on, which may be later than its
    recording; of those that are in effect, the one recorded last says how the grant stands.
    """

    class Kind(models.TextChoices):
        SUSPENDED = "suspended", _("Suspended")
        REINSTATED = "reinstated", _("Reinstated")
        REVOKED = "revoked", _("Revoked")
        EXPIRED = "expired", _("Expired")

    class Effect(models.TextChoices):
        PROSPECTIVE = "prospective", _("From then on")
        VOID_FROM_START = "void_from_start", _("As if it had never been given")

    class By(models.TextChoices):
        LICENSOR = "licensor", _("The licensor")
        LICENSEE = "licensee", _("The licensee")
        OPERATOR = "operator", _("The market's operator")
        MARKET = "market", _("The market, by its rules")

    class Cause(models.TextChoices):
        # What typed terms may name as reasons of an early end (`dimensions.Termination`).
        BREACH = "breach", _("Breach of the terms")
        INSOLVENCY = "insolvency", _("Insolvency")
        CHANGE_OF_CONTROL = "change_of_control", _("Change of control")
        CONVENIENCE_LICENSOR = "convenience_licensor", _("The licensor's own wish")
        CONVENIENCE_LICENSEE = "convenience_licensee", _("The licensee's own wish")
        LAW = "law", _("Law, or an order of a court or an authority")
        # What else happens to licenses.
        AGREED = "agreed", _("The parties agreed on it")
        RIGHTS_CLAIMED = "rights_claimed", _("Somebody else claims the rights")
        MISTAKE = "mistake", _("Issued by mistake")
        REFUNDED = "refunded", _("The payment was returned")
        PAYMENT_DISPUTED = "payment_disputed", _("The payment is disputed")
        PAYMENT_OVERDUE = "payment_overdue", _("The payment is overdue")
        SETTLED = "settled", _("What led to it is settled")
        OTHER = "other", _("Something else: see the reason")

    # How a grant stands once an event is in effect.
    STATUS: ClassVar[dict[str, Grant.Status]] = {
        Kind.SUSPENDED: Grant.Status.SUSPENDED,
        Kind.REINSTATED: Grant.Status.ACTIVE,
        Kind.REVOKED: Grant.Status.REVOKED,
        Kind.EXPIRED: Grant.Status.EXPIRED,
    }

    id = TypeIDField(prefix="gev", primary_key=True)
    livemode = models.BooleanField()
    licensor = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    licensee = models.ForeignKey(Organization, models.PROTECT, related_name="+", db_index=False)
    grant = models.ForeignKey(
        Grant, models.PROTECT, related_name="events", db_index=False, db_constraint=False
    )
    # Its entry's number in the grant's chain.
    number = models.IntegerField()
    kind = models.CharField(max_length=10, choices=Kind)
    effective_at = models.DateTimeField()
    # Of a revocation; "" of others.
    effect = models.CharField(max_length=15, choices=Effect, blank=True)
    # Whose act it is, why, and what shows it (such as an order's id). "" of an expiry.
    by = models.CharField(max_length=8, choices=By, blank=True)
    cause = models.CharField(max_length=20, choices=Cause, blank=True)
    reference = models.CharField(max_length=60, blank=True)
    reason = models.CharField(max_length=1000, blank=True)
    # What the licensee has to do: [{"do": word, "within_days": n}], of `lifecycle.DUTIES`.
    duties = models.JSONField(default=list)
    actor = models.CharField(max_length=40)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    entry = models.OneToOneField(LedgerEntry, models.PROTECT, related_name="+")

    objects = GrantEventQuerySet.as_manager()

    class Meta:
        verbose_name = _("event of a grant")
        verbose_name_plural = _("events of grants")
        constraints = [
            models.UniqueConstraint(
                name="grant_event_number_is_unique", fields=["grant", "number"]
            ),
            models.CheckConstraint(name="grant_event_follows_its_issue", condition=Q(number__gt=0)),
            models.CheckConstraint(
                name="grant_event_kind_is_known",
                condition=Q(kind__in=["suspended", "reinstated", "revoked", "expired"]),
            ),
            models.CheckConstraint(
                name="grant_event_effect_iff_revoked",
                condition=Q(kind="revoked", effect__in=["prospective", "void_from_start"])
                | ~Q(kind="revoked") & Q(effect=""),
            ),
            models.CheckConstraint(
                name="grant_event_says_why_unless_expired",
                condition=Q(kind="expired", by="", cause="", reason="", reference="")
                | ~Q(kind="expired") & ~Q(by="") & ~Q(cause="") & ~Q(reason=""),
            ),
        ]
        indexes = [
            # `lifecycle.carry_out_due`: what was announced for later.
            models.Index(
                name="grant_event_announced",
                fields=["effective_at"],
                condition=Q(effective_at__gt=F("created_at")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.grant_id} {self.kind}"
