"""The tables of reconciling: what does not agree with Stripe, how far was looked, and the pace."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.typeid import TypeIDField
from payments.models.journal import Journal
from payments.models.orders import Order


class Mismatch(models.Model):
    """Something on which Stripe and our books do not agree. No tenant's row.

    Open until it is gone at another look, or until an operator says why it is all right. Written
    by `mismatches`.
    """

    class Kind(models.TextChoices):
        MISSING_IN_JOURNAL = "missing_in_journal", _("Stripe has it, the journal does not")
        MISSING_AT_STRIPE = "missing_at_stripe", _("The journal has it, Stripe does not")
        BOOKED_TWICE = "booked_twice", _("The journal has it twice")
        AMOUNT_DIFFERS = "amount_differs", _("The amounts differ")
        SIGN_DIFFERS = "sign_differs", _("It moved the other way")
        FEE_DIFFERS = "fee_differs", _("The fees differ")
        CURRENCY_DIFFERS = "currency_differs", _("The currencies differ")
        UNKNOWN_TYPE = "unknown_type", _("Of a type that we do not book")
        PAYOUT_DIFFERS = "payout_differs", _("A payout is not the sum of what it took along")
        CLEARING_OPEN = "clearing_open", _("A clearing account is not back at 0")
        EVENT_UNHANDLED = "event_unhandled", _("An event could not be handled")
        PAID_DIFFERS = "paid_differs", _("Another amount was paid than was owed")
        REFUND_FAILED = "refund_failed", _("A refund came back: the buyer is owed it")
        TAX_UNRECORDED = "tax_unrecorded", _("Stripe Tax did not record what was agreed")
        COMMAND_REFUSED = "command_refused", _("A call that moves money was refused")
        CREDIT_UNBOOKED = "credit_unbooked", _("The buyer was given credit at Stripe")
        APPEAL_WON = "appeal_won", _("An appeal was won: decide whose the money is")
        DISPUTE_DIFFERS = "dispute_differs", _("The amount of a dispute was changed")

    id = TypeIDField(prefix="mis", primary_key=True)
    livemode = models.BooleanField()
    kind = models.CharField(max_length=18, choices=Kind)
    # Stripe's id of what it is about; of a clearing account, the order, the account and currency;
    # of an amount paid, the order; of what was refused, disputed or given back, and of tax, our own
    # id; of credit, Stripe's.
    subject = models.CharField(max_length=255)
    # Stripe's type of a balance transaction, or of an event; the code of an account; the kind of a
    # call.
    subject_type = models.CharField(max_length=100, blank=True)
    order = models.ForeignKey(
        Order, models.PROTECT, null=True, blank=True, related_name="+", db_constraint=False
    )
    journal = models.ForeignKey(
        Journal, models.PROTECT, null=True, blank=True, related_name="+", db_constraint=False
    )
    # What should stand in our books, and what does: of the amount, or of the fee if that differs.
    expected_minor = models.BigIntegerField(null=True, blank=True)
    expected_currency = models.CharField(max_length=3, blank=True)
    found_minor = models.BigIntegerField(null=True, blank=True)
    found_currency = models.CharField(max_length=3, blank=True)
    # Of a clearing account: since then it has not been 0.
    since = models.DateTimeField(null=True, blank=True)
    first_seen_at = models.DateTimeField(default=timezone.now, editable=False)
    last_seen_at = models.DateTimeField(default=timezone.now)
    resolved_at = models.DateTimeField(null=True, blank=True)
    # "system", where it was gone at another look.
    resolved_by = models.CharField(max_length=40, blank=True)
    note = models.CharField(max_length=1000, blank=True)

    class Meta:
        verbose_name = _("mismatch with Stripe")
        verbose_name_plural = _("mismatches with Stripe")
        indexes = [
            # Serves each look: what is open.
            models.Index(
                name="mismatch_open",
                fields=["livemode", "first_seen_at"],
                condition=Q(resolved_at__isnull=True),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                name="mismatch_is_open_once",
                fields=["livemode", "subject"],
                condition=Q(resolved_at__isnull=True),
            ),
            models.CheckConstraint(
                name="mismatch_kind_is_known",
                condition=Q(
                    kind__in=[
                        "missing_in_journal",
                        "missing_at_stripe",
                        "booked_twice",
                        "amount_differs",
                        "sign_differs",
                        "fee_differs",
                        "currency_differs",
                        "unknown_type",
                        "payout_differs",
                        "clearing_open",
                        "event_unhandled",
                        "paid_differs",
                        "refund_failed",
                        "tax_unrecorded",
                        "command_refused",
                        "credit_unbooked",
                        "appeal_won",
                        "dispute_differs",
                    ]
                ),
            ),
            models.CheckConstraint(
                name="mismatch_was_seen_first_before_last",
                condition=Q(last_seen_at__gte=F("first_seen_at")),
            ),
            models.CheckConstraint(
                name="mismatch_is_resolved_by_somebody",
                condition=Q(resolved_at__isnull=True, resolved_by="")
                | Q(resolved_at__isnull=False) & ~Q(resolved_by=""),
            ),
            models.CheckConstraint(
                name="mismatch_closed_by_people_says_why",
                condition=Q(resolved_by__in=["", "system"]) | ~Q(note=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"

    @property
    def age(self) -> timedelta:
        """How long it has been so, or was."""
        until = self.resolved_at or timezone.now()
        return until - (self.since or self.first_seen_at)


class ReconcileCursor(models.Model):
    """How far a kind of look at Stripe has come, so that the next one goes on from there.

    No tenant's row. Written by `reconcile`.
    """

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=20)
    livemode = models.BooleanField()
    # Everything that Stripe made before this was looked at.
    reached_at = models.DateTimeField()
    # Somebody looks now, and goes on until then at most.
    busy_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="reconcile_cursor_is_one", fields=["name", "livemode"]),
        ]

    def __str__(self) -> str:
        return f"{self.name} until {self.reached_at}"


class StripePace(models.Model):
    """When the next call to Stripe, or to one of its endpoints, is on time.

    One row for all processes of the market. No tenant's row. Written by `stripe_pace`.
    """

    # "*" for all calls, else "GET /v1/charges/{}".
    name = models.CharField(max_length=120, primary_key=True)
    next_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
