"""The tables of who can be paid, and of what was sent to them."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models import Contributor, Organization
from marketplace.typeid import TypeIDField
from payments.models.orders import Order


class ConnectedAccountQuerySet(TenantQuerySet["ConnectedAccount"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class ConnectedAccount(models.Model):
    """Where Stripe pays a seller, or one of its contributors. Written by `connect`.

    Stripe keeps who they are and their bank; here stands only whether they can be paid, and what
    is missing, as Stripe said last. `connect.sync_account` is the only way that changes.
    """

    class State(models.TextChoices):
        OPENING = "opening", _("Being opened")
        ONBOARDING = "onboarding", _("Details are missing")
        PENDING = "pending", _("Being reviewed by Stripe")
        ACTIVE = "active", _("Can be paid")
        RESTRICTED = "restricted", _("Cannot be paid at present")
        CLOSED = "closed", _("Closed")

    class Clearance(models.TextChoices):
        NONE = "none", _("Not looked at")
        CLEARED = "cleared", _("Cleared")
        REFUSED = "refused", _("Refused")

    id = TypeIDField(prefix="acc", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    # Null: the organization's own.
    contributor = models.ForeignKey(
        Contributor, models.PROTECT, null=True, blank=True, related_name="+", db_constraint=False
    )
    # ISO 3166-1 alpha-2.
    country = models.CharField(max_length=2)
    stripe_id = models.CharField(max_length=255, null=True, blank=True, unique=True)
    state = models.CharField(max_length=10, choices=State, default=State.OPENING)
    # [{"what": "…", "from": "them" | "stripe", "due_at": "…" | null}], as Stripe said last.
    requirements = models.JSONField(default=list, blank=True)
    # May this party be paid in live mode: an operator's word, or a screening's.
    clearance = models.CharField(max_length=7, choices=Clearance, default=Clearance.NONE)
    cleared_by = models.CharField(max_length=40, blank=True)
    clearance_note = models.CharField(max_length=1000, blank=True)
    synced_at = models.DateTimeField(null=True, blank=True)
    next_sync_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ConnectedAccountQuerySet.as_manager()

    class Meta:
        verbose_name = _("connected account")
        indexes = [
            # Serves the worker: accounts that are due for another look.
            models.Index(
                name="connected_account_due",
                fields=["next_sync_at"],
                condition=Q(next_sync_at__isnull=False),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                name="connected_account_is_one",
                fields=["organization", "livemode", "contributor"],
                nulls_distinct=False,
            ),
            models.UniqueConstraint(
                name="connected_account_of_organization",
                fields=["organization", "livemode", "id"],
            ),
            models.CheckConstraint(
                name="connected_account_state_is_known",
                condition=Q(
                    state__in=[
                        "opening",
                        "onboarding",
                        "pending",
                        "active",
                        "restricted",
                        "closed",
                    ]
                ),
            ),
            models.CheckConstraint(
                name="connected_account_is_open_at_stripe",
                condition=Q(state="opening") | Q(stripe_id__isnull=False),
            ),
            models.CheckConstraint(
                name="connected_account_clearance_is_known",
                condition=Q(clearance__in=["none", "cleared", "refused"]),
            ),
            models.CheckConstraint(
                name="connected_account_clearance_names_who_gave_it",
                condition=Q(clearance="none", cleared_by="")
                | ~Q(clearance="none") & ~Q(cleared_by=""),
            ),
            models.CheckConstraint(
                name="connected_account_country_is_iso_3166",
                condition=Q(country__regex=r"^[A-Z]{2}$"),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class TransferQuerySet(TenantQuerySet["Transfer"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class Transfer(models.Model):
    """A seller's share of one sale on its way to the seller's account. Written by `transfers`.

    It waits until the account can be paid. What was withheld pays what the seller owed.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("Waits for an account that can be paid")
        SENDING = "sending", _("Being sent")
        SENT = "sent", _("Sent")
        REFUSED = "refused", _("Refused by Stripe")
        DROPPED = "dropped", _("Nothing is left to send")

    id = TypeIDField(prefix="trf", primary_key=True)
    # The seller.
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    order = models.OneToOneField(
        Order, models.PROTECT, related_name="transfer", db_constraint=False
    )
    state = models.CharField(max_length=7, choices=State, default=State.WAITING)
    # The share of the sale, in its currency; how much of it went back to the buyer before it was
    # sent, and how much paid what the seller owed.
    share_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    withheld_minor = models.BigIntegerField(default=0)
    # What is sent, in the sale's currency, and as Stripe sends it.
    sent_minor = models.BigIntegerField(default=0)
    settled_minor = models.BigIntegerField(default=0)
    settled_currency = models.CharField(max_length=3, blank=True)
    # Taken back again, in the currency it was sent in.
    reversed_minor = models.BigIntegerField(default=0)
    stripe_id = models.CharField(max_length=255, null=True, blank=True, unique=True)
    refusal = models.CharField(max_length=1000, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    sent_at = models.DateTimeField(null=True, blank=True)

    objects = TransferQuerySet.as_manager()

    class Meta:
        indexes = [
            # Serves `transfers.start_waiting`: what an account has been waiting for.
            models.Index(
                name="transfer_waiting",
                fields=["organization", "livemode"],
                condition=Q(state="waiting"),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                name="transfer_of_organization", fields=["organization", "livemode", "id"]
            ),
            models.CheckConstraint(
                name="transfer_state_is_known",
                condition=Q(state__in=["waiting", "sending", "sent", "refused", "dropped"]),
            ),
            models.CheckConstraint(
                name="transfer_is_sent_iff_stripe_has_it",
                condition=Q(state="sent", stripe_id__isnull=False, sent_at__isnull=False)
                | ~Q(state="sent") & Q(stripe_id__isnull=True, sent_at__isnull=True),
            ),
            models.CheckConstraint(
                name="transfer_sends_no_more_than_the_share",
                condition=Q(
                    share_minor__gt=0,
                    withheld_minor__gte=0,
                    sent_minor__gte=0,
                    share_minor__gte=F("sent_minor") + F("withheld_minor"),
                ),
            ),
            models.CheckConstraint(
                name="transfer_reverses_no_more_than_was_sent",
                condition=Q(reversed_minor__gte=0, reversed_minor__lte=F("settled_minor")),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class TransferReversalQuerySet(TenantQuerySet["TransferReversal"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class TransferReversal(models.Model):
    """A part of a transfer that is taken back, because of a refund or a lost dispute.

    Written by `transfers`. Where the seller's account does not cover it, the seller owes it.
    """

    class State(models.TextChoices):
        SENDING = "sending", _("Being taken back")
        DONE = "done", _("Taken back")
        OWED = "owed", _("Owed: the account did not cover it")

    id = TypeIDField(prefix="trr", primary_key=True)
    # The seller.
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    transfer = models.ForeignKey(
        Transfer, models.PROTECT, related_name="reversals", db_constraint=False
    )
    # The refund or the dispute that it follows from, or that the transfer came late.
    cause = models.CharField(max_length=60)
    # In the sale's currency, and in the one that was sent.
    amount_minor = models.BigIntegerField()
    settled_minor = models.BigIntegerField()
    state = models.CharField(max_length=7, choices=State, default=State.SENDING)
    stripe_id = models.CharField(max_length=255, null=True, blank=True, unique=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = TransferReversalQuerySet.as_manager()

    class Meta:
        verbose_name = _("reversal of a transfer")
        verbose_name_plural = _("reversals of transfers")
        constraints = [
            models.UniqueConstraint(
                name="transfer_reversal_has_one_cause", fields=["transfer", "cause"]
            ),
            models.CheckConstraint(
                name="transfer_reversal_state_is_known",
                condition=Q(state__in=["sending", "done", "owed"]),
            ),
            models.CheckConstraint(
                name="transfer_reversal_is_done_iff_stripe_has_it",
                condition=Q(state="done", stripe_id__isnull=False)
                | ~Q(state="done") & Q(stripe_id__isnull=True),
            ),
            models.CheckConstraint(
                name="transfer_reversal_takes_something_back",
                condition=Q(amount_minor__gt=0, settled_minor__gte=0),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)
