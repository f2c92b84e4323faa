"""The tables of invoices, and of whom they go to."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from licensing.models import Offer
from marketplace.access import Caller, TenantQuerySet
from marketplace.models import Organization
from marketplace.typeid import TypeIDField
from payments.models.orders import Order

PURCHASE_ORDER_LENGTH_MAX = 140


class StripeCustomerQuerySet(TenantQuerySet["StripeCustomer"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class StripeCustomer(models.Model):
    """A buyer as Stripe knows it, once for each mode. Written by `invoices`."""

    id = TypeIDField(prefix="scu", primary_key=True)
    # The buyer.
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    # Null until Stripe has answered.
    stripe_id = models.CharField(max_length=255, null=True, blank=True, unique=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = StripeCustomerQuerySet.as_manager()

    class Meta:
        verbose_name = _("customer at Stripe")
        verbose_name_plural = _("customers at Stripe")
        constraints = [
            models.UniqueConstraint(
                name="stripe_customer_is_one", fields=["organization", "livemode"]
            ),
            # The target of the invoices' composite key.
            models.UniqueConstraint(
                name="stripe_customer_of_organization", fields=["organization", "livemode", "id"]
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class InvoiceQuerySet(TenantQuerySet["Invoice"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class Invoice(models.Model):
    """What an order's buyer is asked to pay within some weeks. Written by `invoices`.

    Lifecycle: `invoices.TRANSITIONS`, as Stripe says; whether it is late, and what of the license,
    is the order's.
    """

    class Status(models.TextChoices):
        DRAFT = "draft", _("Not sent yet")
        OPEN = "open", _("Sent")
        UNCOLLECTIBLE = "uncollectible", _("Written off")
        PAID = "paid", _("Paid")
        VOID = "void", _("Taken back")
        REFUSED = "refused", _("Refused by Stripe")

    id = TypeIDField(prefix="inv", primary_key=True)
    # The buyer.
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    seller = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    order = models.OneToOneField(Order, models.PROTECT, related_name="invoice", db_constraint=False)
    customer = models.ForeignKey(
        StripeCustomer, models.PROTECT, related_name="invoices", db_constraint=False
    )
    net_days = models.SmallIntegerField()
    due_at = models.DateTimeField()
    # The buyer's own number for it.
    purchase_order = models.CharField(
        max_length=PURCHASE_ORDER_LENGTH_MAX, blank=True, default="", db_default=""
    )
    # As the offer said when the order was placed.
    grants_on = models.CharField(max_length=7, choices=Offer.GrantsOn)
    status = models.CharField(
        max_length=13, choices=Status, default=Status.DRAFT, db_default=Status.DRAFT
    )
    # Stripe's side; null and empty until it was sent.
    stripe_id = models.CharField(max_length=255, null=True, blank=True, unique=True)
    number = models.CharField(max_length=60, blank=True, default="", db_default="")
    hosted_url = models.TextField(blank=True, default="", db_default="")
    # {"license": "il_…", "tax": "il_…"}: what a credit note names.
    stripe_lines = models.JSONField(default=dict, blank=True, db_default={})
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    sent_at = models.DateTimeField(null=True, blank=True)
    reminded_at = models.DateTimeField(null=True, blank=True)
    # Its license was suspended because it was not paid.
    suspended_at = models.DateTimeField(null=True, blank=True)
    # Its buyer gave the order up.
    void_asked_at = models.DateTimeField(null=True, blank=True)
    voided_at = models.DateTimeField(null=True, blank=True)

    objects = InvoiceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="invoice_status_is_known",
                condition=Q(
                    status__in=["draft", "open", "uncollectible", "paid", "void", "refused"]
                ),
            ),
            models.CheckConstraint(
                name="invoice_net_days_are_known", condition=Q(net_days__in=[14, 30, 60])
            ),
            models.CheckConstraint(
                name="invoice_grants_on_is_known", condition=Q(grants_on__in=["payment", "issue"])
            ),
            models.CheckConstraint(
                name="invoice_is_at_stripe_iff_sent",
                condition=Q(
                    status__in=["draft", "refused"], stripe_id__isnull=True, sent_at__isnull=True
                )
                | ~Q(status__in=["draft", "refused"])
                & Q(stripe_id__isnull=False, sent_at__isnull=False),
            ),
            models.CheckConstraint(
                name="invoice_voided_at_iff_void",
                condition=Q(status="void", voided_at__isnull=False)
                | ~Q(status="void") & Q(voided_at__isnull=True),
            ),
            models.CheckConstraint(
                name="invoice_is_due_after_it_was_made",
                condition=Q(due_at__gt=models.F("created_at")),
            ),
        ]

    def __str__(self) -> str:
        return self.number or str(self.pk)


class PaymentPartQuerySet(TenantQuerySet["PaymentPart"]):
    def visible_to(self, caller: Caller) -> Self:
        return self.filter(organization=caller.organization, livemode=caller.livemode)


class PaymentPart(models.Model):
    """One of several payments of an invoice. Written by `payment_parts`.

    What one payment pays whole stands in its order alone.
    """

    id = TypeIDField(prefix="ppt", primary_key=True)
    # The buyer.
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    seller = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    livemode = models.BooleanField()
    order = models.ForeignKey(Order, models.PROTECT, related_name="parts", db_constraint=False)
    # Null for what was paid outside of Stripe.
    payment_intent = models.CharField(max_length=255, null=True, blank=True, unique=True)
    charge = models.CharField(max_length=255, blank=True, default="", db_default="")
    amount_minor = models.BigIntegerField()
    # Of what Stripe said was given back.
    refunded_minor = models.BigIntegerField(default=0, db_default=0)
    paid_at = models.DateTimeField(default=timezone.now)

    objects = PaymentPartQuerySet.as_manager()

    class Meta:
        verbose_name = _("part of a payment")
        verbose_name_plural = _("parts of payments")
        constraints = [
            models.UniqueConstraint(
                name="payment_part_outside_is_one",
                fields=["order"],
                condition=Q(payment_intent__isnull=True),
            ),
            models.CheckConstraint(
                name="payment_part_is_more_than_nothing", condition=Q(amount_minor__gt=0)
            ),
            models.CheckConstraint(
                name="payment_part_refunds_no_more_than_it_is",
                condition=Q(refunded_minor__gte=0, refunded_minor__lte=models.F("amount_minor")),
            ),
        ]

    def __str__(self) -> str:
        return self.payment_intent or f"outside of Stripe for {self.order_id}"
