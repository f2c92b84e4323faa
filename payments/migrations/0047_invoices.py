"""Invoices, and whom they go to."""

from typing import Any

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models
from django.db.models import F, Q

import marketplace.typeid

ORGANIZATION: dict[str, Any] = {
    "on_delete": django.db.models.deletion.PROTECT,
    "to": "marketplace.organization",
}
STATUSES = [
    ("draft", "Not sent yet"),
    ("open", "Sent"),
    ("uncollectible", "Written off"),
    ("paid", "Paid"),
    ("void", "Taken back"),
    ("refused", "Refused by Stripe"),
]
GRANTS_ON = [("payment", "With the payment"), ("issue", "With the invoice")]
UNSENT = ["draft", "refused"]


class Migration(migrations.Migration):
    dependencies = [
        ("licensing", "0121_offer_invoices_are_valid"),
        ("payments", "0044_postings_are_looked_at_together"),
    ]

    operations = [
        migrations.CreateModel(
            name="StripeCustomer",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="scu", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
                ("stripe_id", models.CharField(blank=True, max_length=255, null=True, unique=True)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("organization", models.ForeignKey(**ORGANIZATION, related_name="+")),
            ],
            options={
                "verbose_name": "customer at Stripe",
                "verbose_name_plural": "customers at Stripe",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "livemode"), name="stripe_customer_is_one"
                    ),
                    models.UniqueConstraint(
                        fields=("organization", "livemode", "id"),
                        name="stripe_customer_of_organization",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Invoice",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="inv", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
                ("net_days", models.SmallIntegerField()),
                ("due_at", models.DateTimeField()),
                (
                    "purchase_order",
                    models.CharField(blank=True, db_default="", default="", max_length=140),
                ),
                ("grants_on", models.CharField(choices=GRANTS_ON, max_length=7)),
                (
                    "status",
                    models.CharField(
                        choices=STATUSES, db_default="draft", default="draft", max_length=13
                    ),
                ),
                ("stripe_id", models.CharField(blank=True, max_length=255, null=True, unique=True)),
                ("number", models.CharField(blank=True, db_default="", default="", max_length=60)),
                ("hosted_url", models.TextField(blank=True, db_default="", default="")),
                ("stripe_lines", models.JSONField(blank=True, db_default={}, default=dict)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("sent_at", models.DateTimeField(blank=True, null=True)),
                ("reminded_at", models.DateTimeField(blank=True, null=True)),
                ("suspended_at", models.DateTimeField(blank=True, null=True)),
                ("void_asked_at", models.DateTimeField(blank=True, null=True)),
                ("voided_at", models.DateTimeField(blank=True, null=True)),
                (
                    "customer",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="invoices",
                        to="payments.stripecustomer",
                    ),
                ),
                (
                    "order",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="invoice",
                        to="payments.order",
                    ),
                ),
                ("organization", models.ForeignKey(**ORGANIZATION, related_name="+")),
                ("seller", models.ForeignKey(**ORGANIZATION, related_name="+")),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(status__in=[status for status, _words in STATUSES]),
                        name="invoice_status_is_known",
                    ),
                    models.CheckConstraint(
                        condition=Q(net_days__in=[14, 30, 60]), name="invoice_net_days_are_known"
                    ),
                    models.CheckConstraint(
                        condition=Q(grants_on__in=["payment", "issue"]),
                        name="invoice_grants_on_is_known",
                    ),
                    models.CheckConstraint(
                        condition=Q(status__in=UNSENT, stripe_id__isnull=True, sent_at__isnull=True)
                        | ~Q(status__in=UNSENT) & Q(stripe_id__isnull=False, sent_at__isnull=False),
                        name="invoice_is_at_stripe_iff_sent",
                    ),
                    models.CheckConstraint(
                        condition=Q(status="void", voided_at__isnull=False)
                        | ~Q(status="void") & Q(voided_at__isnull=True),
                        name="invoice_voided_at_iff_void",
                    ),
                    models.CheckConstraint(
                        condition=Q(due_at__gt=F("created_at")),
                        name="invoice_is_due_after_it_was_made",
                    ),
                ],
            },
        ),
    ]
