"""The tables of what is said between us and Stripe: calls that must happen, and events."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.access import Caller, TenantQuerySet
from marketplace.models import Organization
from marketplace.typeid import TypeIDField
from payments.models.orders import Order


class CommandQuerySet(TenantQuerySet["Command"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class Command(models.Model):
    """One call to Stripe that must happen: committed first, made after, its result stored.

    Its idempotency key is its own id, so a repeat finds the first call's object. Written by
    `commands`.
    """

    class Kind(models.TextChoices):
        CREATE_CHECKOUT = "create_checkout", _("Create a Checkout session")
        EXPIRE_CHECKOUT = "expire_checkout", _("Close a Checkout session")
        REFUND = "refund", _("Refund")
        CREATE_ACCOUNT = "create_account", _("Create a connected account")
        TRANSFER = "transfer", _("Transfer")
        REVERSE_TRANSFER = "reverse_transfer", _("Reverse a transfer")
        ROYALTY_TRANSFER = "royalty_transfer", _("Transfer of royalties")
        REMITTANCE = "remittance", _("Transfer of what is owed beside sales")
        SEND_EVIDENCE = "send_evidence", _("Send evidence about a dispute")
        CREATE_CUSTOMER = "create_customer", _("Create a customer")
        SEND_INVOICE = "send_invoice", _("Send an invoice")
        VOID_INVOICE = "void_invoice", _("Void an invoice")
        CREDIT_NOTE = "credit_note", _("Issue a credit note")
        RECORD_TAX = "record_tax", _("Record the tax of a sale")
        REVERSE_TAX = "reverse_tax", _("Record that tax went back")

    class State(models.TextChoices):
        PENDING = "pending", _("Pending")
        DONE = "done", _("Done")
        REFUSED = "refused", _("Refused")

    id = TypeIDField(prefix="cmd", primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    # Null where the call is about no single order, such as a seller's account.
    order = models.ForeignKey(
        Order, models.PROTECT, null=True, blank=True, related_name="commands", db_constraint=False
    )
    kind = models.CharField(max_length=16, choices=Kind)
    # The row that the call is about, where an order can have several, such as a refund's id.
    reference = models.CharField(max_length=60, blank=True, default="", db_default="")
    # The exact parameters of the call.
    params = models.JSONField()
    state = models.CharField(max_length=7, choices=State, default=State.PENDING)
    stripe_id = models.CharField(max_length=255, blank=True)
    refusal = models.CharField(max_length=1000, blank=True)
    attempts = models.IntegerField(default=0)
    first_sent_at = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(null=True, blank=True, default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = CommandQuerySet.as_manager()

    class Meta:
        indexes = [
            # Serves the completer: pending calls that are due.
            models.Index(
                name="command_due",
                fields=["next_attempt_at"],
                condition=Q(next_attempt_at__isnull=False),
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                name="command_is_given_once",
                fields=["order", "kind", "reference"],
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="command_is_about_something",
                condition=Q(order__isnull=False) | ~Q(reference=""),
            ),
            models.CheckConstraint(
                name="command_kind_is_known",
                condition=Q(
                    kind__in=[
                        "create_checkout",
                        "expire_checkout",
                        "refund",
                        "create_account",
                        "transfer",
                        "reverse_transfer",
                        "royalty_transfer",
                        "remittance",
                        "send_evidence",
                        "create_customer",
                        "send_invoice",
                        "void_invoice",
                        "credit_note",
                        "record_tax",
                        "reverse_tax",
                    ]
                ),
            ),
            models.CheckConstraint(
                name="command_state_is_known", condition=Q(state__in=["pending", "done", "refused"])
            ),
            models.CheckConstraint(
                name="command_is_due_iff_pending",
                condition=Q(state="pending", next_attempt_at__isnull=False)
                | ~Q(state="pending") & Q(next_attempt_at__isnull=True),
            ),
            models.CheckConstraint(
                name="command_result_iff_done",
                condition=Q(state="done") & ~Q(stripe_id="") | ~Q(state="done") & Q(stripe_id=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} for {self.reference or self.order_id}"


class StripeEvent(models.Model):
    """A delivery of Stripe's, stored under its id before anything acts on it. No tenant's row.

    Written by `stripe_events`.
    """

    id = models.CharField(max_length=255, primary_key=True)
    type = models.CharField(max_length=100)
    livemode = models.BooleanField()
    api_version = models.CharField(max_length=60, blank=True)
    # A thin event says what it is about, and nothing of how that stands.
    is_thin = models.BooleanField(default=False, db_default=False)
    # The connected account that it is about; "" for our own.
    account = models.CharField(max_length=255, blank=True, default="", db_default="")
    # The object that the event is about, and the order that it names, if any.
    object_id = models.CharField(max_length=255, blank=True)
    order_ref = models.CharField(max_length=60, blank=True)
    # Fetched from Stripe, because no delivery of it arrived: without a signature.
    is_fetched = models.BooleanField(default=False, db_default=False)
    # Of an account that is neither ours nor one of our sellers': nothing was done.
    is_foreign = models.BooleanField(default=False, db_default=False)
    body = models.JSONField()
    received_at = models.DateTimeField(default=timezone.now, editable=False)
    handled_at = models.DateTimeField(null=True, blank=True)
    attempts = models.IntegerField(default=0)
    last_error = models.CharField(max_length=1000, blank=True)
    next_attempt_at = models.DateTimeField(null=True, blank=True, default=timezone.now)

    class Meta:
        indexes = [
            # Serves the worker: events not handled yet that are due.
            models.Index(
                name="stripe_event_due",
                fields=["next_attempt_at"],
                condition=Q(next_attempt_at__isnull=False),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="stripe_event_is_due_iff_unhandled",
                condition=Q(handled_at__isnull=True, next_attempt_at__isnull=False)
                | Q(handled_at__isnull=False, next_attempt_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"
