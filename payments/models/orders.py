"""The tables of quotes and orders."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import F, Q
from django.db.models.lookups import Exact
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from licensing.models import Grant, Offer, Snapshot, Terms
from marketplace.access import Caller, TenantQuerySet
from marketplace.models import DIGEST_LENGTH, Organization, Sha256
from marketplace.typeid import TypeIDField


class QuoteQuerySet(TenantQuerySet["Quote"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class Quote(models.Model):
    """An offer priced for a chosen scope, and frozen. Written by `quotes.make`.

    Updates: cannot. `document` is the exact contract that an acceptance names by its SHA-256.
    """

    id = TypeIDField(prefix="quo", primary_key=True)
    # The buyer.
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="quotes")
    seller = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    offer = models.ForeignKey(Offer, models.PROTECT, related_name="quotes", db_constraint=False)
    snapshot = models.ForeignKey(Snapshot, models.PROTECT, related_name="+", db_constraint=False)
    terms = models.ForeignKey(Terms, models.PROTECT, related_name="+", db_constraint=False)
    # {"uses": [...], "territories": [...], "starts_at": "…"}: chosen within the terms. Where the
    # license is for one model, also "model" (see `licensing.asked_models`).
    scope = models.JSONField()
    # [{"kind": "license", "amount_minor": n}, {"kind": "tax", …}]: integers only.
    lines = models.JSONField()
    # What the grant will say of its price (`prices.basis`). Null: flat, as all were before.
    price_basis = models.JSONField(null=True, blank=True)
    subtotal_minor = models.BigIntegerField()
    tax_minor = models.BigIntegerField()
    total_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    # Of Stripe Tax, where that said what tax is due: the sale is recorded from it.
    tax_calculation = models.CharField(max_length=255, blank=True, default="", db_default="")
    document = models.TextField()
    document_sha256 = models.BinaryField(max_length=DIGEST_LENGTH)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()

    objects = QuoteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="quote_of_organization", fields=["organization", "livemode", "id"]
            ),
            models.CheckConstraint(
                name="quote_parties_differ", condition=~Q(organization=F("seller"))
            ),
            models.CheckConstraint(
                name="quote_adds_up",
                condition=Q(total_minor=F("subtotal_minor") + F("tax_minor")),
            ),
            models.CheckConstraint(
                name="quote_is_not_negative", condition=Q(subtotal_minor__gte=0, tax_minor__gte=0)
            ),
            models.CheckConstraint(
                name="quote_expires_after_it_was_made", condition=Q(expires_at__gt=F("created_at"))
            ),
            models.CheckConstraint(
                name="quote_document_hash_is_of_its_text",
                condition=Exact(Sha256("document"), F("document_sha256")),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


# Of an order for which no payment has come.
UNPAID = ["awaiting_payment", "past_due", "expired", "cancelled"]


class OrderQuerySet(TenantQuerySet["Order"]):
    def visible_to(self, caller: Caller) -> Self:
        """The buyer's own. The seller sees the sale (`party_to`)."""
        return self.filter(organization=caller.organization, livemode=caller.livemode)

    def party_to(self, caller: Caller) -> Self:
        """What the caller bought or sold."""
        party = Q(organization=caller.organization) | Q(seller=caller.organization)
        return self.filter(party, livemode=caller.livemode)


class SaleQuerySet(TenantQuerySet["Sale"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(seller=caller.organization, livemode=caller.livemode)


class Order(models.Model):
    """A quote's acceptance by a named person, and how it is paid.

    Written by `orders`, `sync`, and `commands` (the pay page, or that there will be none).

    Lifecycle: `order_states.TABLE`. Paid is a fact and always commits; what follows may be refused.
    """

    class Status(models.TextChoices):
        AWAITING_PAYMENT = "awaiting_payment", _("Awaiting payment")
        PAST_DUE = "past_due", _("Past due")
        PAID = "paid", _("Paid")
        PAID_LATE = "paid_late", _("Paid after it had ended")
        GRANTED = "granted", _("Granted")
        PAID_UNGRANTABLE = "paid_ungrantable", _("Paid, refund under way")
        PARTIALLY_REFUNDED = "partially_refunded", _("Partly refunded")
        REFUNDED = "refunded", _("Refunded")
        DISPUTED = "disputed", _("Disputed")
        DISPUTE_WON = "dispute_won", _("Dispute won")
        DISPUTE_LOST = "dispute_lost", _("Dispute lost")
        EXPIRED = "expired", _("Expired")
        CANCELLED = "cancelled", _("Cancelled")

    class Method(models.TextChoices):
        FREE = "free", _("Nothing to pay")
        CHECKOUT = "checkout", _("Pay page")
        INVOICE = "invoice", _("Invoice")

    id = TypeIDField(prefix="ord", primary_key=True)
    # The buyer.
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="orders")
    seller = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    quote = models.OneToOneField(Quote, models.PROTECT, related_name="order", db_constraint=False)
    status = models.CharField(max_length=18, choices=Status, default=Status.AWAITING_PAYMENT)
    method = models.CharField(
        max_length=8, choices=Method, default=Method.CHECKOUT, db_default=Method.CHECKOUT
    )
    total_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    # Who gets what of the total, and who bears which risk (`settlements`), fixed with the order.
    # Empty: an order from before, without market fee and royalties.
    settlement = models.JSONField(default=dict, blank=True, db_default={})
    # The acceptance.
    accepted_document_sha256 = models.BinaryField(max_length=DIGEST_LENGTH)
    accepted_by_name = models.CharField(max_length=200)
    accepted_by_title = models.CharField(max_length=200)
    accepted_by_actor = models.CharField(max_length=40)
    accepted_at = models.DateTimeField(default=timezone.now, editable=False)
    # Stripe's side; null for a free order.
    checkout_session = models.CharField(max_length=255, null=True, blank=True, unique=True)
    checkout_url = models.TextField(blank=True)
    checkout_expires_at = models.DateTimeField(null=True, blank=True)
    payment_intent = models.CharField(max_length=255, null=True, blank=True, unique=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    paid_minor = models.BigIntegerField(default=0)
    # What the payment came to at Stripe, in the currency that our account there is settled in,
    # before Stripe's fee, and the fee. Null until Stripe has said so.
    charge = models.CharField(max_length=255, null=True, blank=True)
    settled_minor = models.BigIntegerField(null=True, blank=True)
    settled_currency = models.CharField(max_length=3, blank=True, default="", db_default="")
    settled_fee_minor = models.BigIntegerField(null=True, blank=True)
    refunded_minor = models.BigIntegerField(default=0)
    # Of disputes that were lost: it does not come back.
    lost_minor = models.BigIntegerField(default=0, db_default=0)
    grant = models.OneToOneField(
        Grant, models.PROTECT, null=True, blank=True, related_name="+", db_constraint=False
    )
    granted_at = models.DateTimeField(null=True, blank=True)
    # The error code of the refusal, when paid and not grantable.
    refusal = models.CharField(max_length=60, blank=True)
    # The reconciler looks again at an unsettled order from here on.
    next_sync_at = models.DateTimeField(null=True, blank=True)
    sync_attempts = models.IntegerField(default=0)
    # When Stripe was asked last: events that come close together cost one fetch.
    asked_at = models.DateTimeField(null=True, blank=True)

    objects = OrderQuerySet.as_manager()

    class Meta:
        indexes = [
            # Serves the reconciler: unsettled orders that are due.
            models.Index(
                name="order_due_for_sync",
                fields=["next_sync_at"],
                condition=Q(next_sync_at__isnull=False),
            ),
            # Serves `stripe_events`: the order that an event about a charge is about.
            models.Index(
                name="order_by_charge", fields=["charge"], condition=Q(charge__isnull=False)
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                name="order_of_organization", fields=["organization", "livemode", "id"]
            ),
            # The target of what a seller's rows say of its sales.
            models.UniqueConstraint(name="order_of_seller", fields=["seller", "livemode", "id"]),
            models.CheckConstraint(
                name="order_status_is_known",
                condition=Q(
                    status__in=[
                        "awaiting_payment",
                        "past_due",
                        "paid",
                        "paid_late",
                        "granted",
                        "paid_ungrantable",
                        "partially_refunded",
                        "refunded",
                        "disputed",
                        "dispute_won",
                        "dispute_lost",
                        "expired",
                        "cancelled",
                    ]
                ),
            ),
            models.CheckConstraint(
                name="order_method_is_known",
                condition=Q(method__in=["free", "checkout", "invoice"]),
            ),
            models.CheckConstraint(
                name="order_parties_differ", condition=~Q(organization=F("seller"))
            ),
            models.CheckConstraint(
                name="order_paid_at_iff_paid",
                condition=Q(status__in=UNPAID, paid_at__isnull=True)
                | ~Q(status__in=UNPAID) & Q(paid_at__isnull=False),
            ),
            # By invoice, a license may be given before it is paid for, and stays that of an order
            # that was cancelled then.
            models.CheckConstraint(
                name="order_is_granted_with_a_grant",
                condition=Q(grant__isnull=True, granted_at__isnull=True)
                & ~Q(status__in=["granted", "partially_refunded"])
                | Q(grant__isnull=False, granted_at__isnull=False)
                & ~Q(status__in=["paid", "paid_late", "paid_ungrantable", "expired"])
                & (~Q(status__in=UNPAID) | Q(method="invoice")),
            ),
            models.CheckConstraint(
                name="order_refusal_instead_of_a_grant",
                condition=~Q(status="paid_ungrantable") & Q(refusal="")
                | Q(grant__isnull=True) & ~Q(refusal=""),
            ),
            models.CheckConstraint(
                name="order_refunds_no_more_than_was_paid",
                condition=Q(refunded_minor__gte=0, refunded_minor__lte=F("paid_minor")),
            ),
            models.CheckConstraint(
                name="order_loses_no_more_than_was_paid",
                condition=Q(lost_minor__gte=0, lost_minor__lte=F("paid_minor")),
            ),
            models.CheckConstraint(
                name="order_is_settled_whole_or_not_at_all",
                condition=Q(
                    settled_minor__isnull=True, settled_fee_minor__isnull=True, settled_currency=""
                )
                | Q(settled_minor__isnull=False, settled_fee_minor__isnull=False)
                & ~Q(settled_currency=""),
            ),
            models.CheckConstraint(
                name="order_names_who_accepted",
                condition=~Q(accepted_by_name="") & ~Q(accepted_by_title=""),
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class Sale(Order):
    """An order as its seller sees it."""

    objects = SaleQuerySet.as_manager()  # type: ignore[assignment,misc]

    class Meta:
        proxy = True
