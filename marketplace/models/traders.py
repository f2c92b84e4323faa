"""The table of who sells here, as the law asks of traders."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models.tenants import Organization
from marketplace.typeid import TypeIDField


class TraderQuerySet(TenantQuerySet["Trader"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization)


class Trader(models.Model):
    """Who a seller is, as it certified, and whether an operator verified that.

    Regulation (EU) 2022/2065, article 30. The identity is a copy of the organization's: what was
    verified is what buyers are shown. Lifecycle: `traders.TRANSITIONS`; no row is “missing”. How
    it is paid stands in its connected account, which Stripe checks. Written by `traders`.
    """

    class State(models.TextChoices):
        SUBMITTED = "submitted", _("Awaits an operator")
        VERIFIED = "verified", _("Verified")
        REFUSED = "refused", _("Refused")

    id = TypeIDField(prefix="trd", primary_key=True)
    organization = models.OneToOneField(Organization, models.PROTECT, related_name="trader")
    state = models.CharField(max_length=9, choices=State, default=State.SUBMITTED)
    legal_name = models.CharField(max_length=200)
    address = models.CharField(max_length=500)
    # Empty for a person who is in no register.
    registration_number = models.CharField(max_length=100, blank=True)
    trade_register = models.CharField(max_length=200, blank=True)
    email = models.EmailField()
    phone = models.CharField(max_length=40)
    # Who certified that only what the law allows is offered, and when.
    certified_by = models.CharField(max_length=40)
    submitted_at = models.DateTimeField(default=timezone.now)
    decided_by = models.CharField(max_length=40, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    # Why it was refused: the seller reads it.
    reason = models.TextField(max_length=2_000, blank=True)

    objects = TraderQuerySet.as_manager()

    class Meta:
        verbose_name = _("trader")
        verbose_name_plural = _("traders")
        constraints = [
            models.CheckConstraint(
                name="trader_state_matches_its_decision",
                condition=Q(state="submitted", decided_by="", decided_at__isnull=True, reason="")
                | Q(state="verified", decided_at__isnull=False, reason="") & ~Q(decided_by="")
                | Q(state="refused", decided_at__isnull=False) & ~Q(decided_by="") & ~Q(reason=""),
            ),
            models.CheckConstraint(
                name="trader_says_who_it_is",
                condition=~Q(legal_name="") & ~Q(address="") & ~Q(email="") & ~Q(phone=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.legal_name} ({self.state})"
