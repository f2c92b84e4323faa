"""The table of records that may not be erased for now."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.typeid import TypeIDField


class LegalHold(models.Model):
    """Somebody's records, kept from erasure and expiry while a matter is open.

    Operators' alone. Updates: what lifts it. Written by `legal_holds`.
    """

    id = TypeIDField(prefix="lgh", primary_key=True)
    # Of what: an organization, an account, a contributor or an order, as a TypeID.
    subject = models.CharField(max_length=60)
    reason = models.TextField(max_length=2_000)
    # The matter's number with the court, the authority, or the operator's counsel.
    matter = models.CharField(max_length=100)
    # Null: until it is lifted.
    until = models.DateTimeField(null=True, blank=True)
    placed_by = models.CharField(max_length=40)
    placed_at = models.DateTimeField(default=timezone.now, editable=False)
    lifted_by = models.CharField(max_length=40, blank=True)
    lifted_at = models.DateTimeField(null=True, blank=True)
    lift_reason = models.TextField(max_length=2_000, blank=True)

    class Meta:
        verbose_name = _("legal hold")
        verbose_name_plural = _("legal holds")
        indexes = [
            # Serves `legal_holds.over`.
            models.Index(
                name="legal_hold_of_subject", fields=["subject"], condition=Q(lifted_at=None)
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="legal_hold_says_why", condition=~Q(reason="") & ~Q(matter="")
            ),
            models.CheckConstraint(
                name="legal_hold_is_lifted_with_a_reason",
                condition=Q(lifted_at__isnull=True, lifted_by="", lift_reason="")
                | Q(lifted_at__isnull=False) & ~Q(lifted_by="") & ~Q(lift_reason=""),
            ),
            models.CheckConstraint(
                name="legal_hold_is_lifted_by_another", condition=~Q(lifted_by=F("placed_by"))
            ),
            models.CheckConstraint(
                name="legal_hold_ends_after_it_begins",
                condition=Q(until__isnull=True) | Q(until__gt=F("placed_at")),
            ),
            models.CheckConstraint(
                name="legal_hold_subject_is_known",
                condition=Q(subject__regex=r"^(org|usr|ctr|ord)_[0-7][0-9a-z]{25}$"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.matter}: {self.subject}"
