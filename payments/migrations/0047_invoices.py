"""Invoices, and whom they go to."""

import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("licensing", "0121_offer_invoices_are_valid"),
        ("payments", "0032_money_walls"),
    ]

    operations = [
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
                (
                    "grants_on",
                    models.CharField(
                        choices=[("payment", "With the payment"), ("issue", "With the invoice")],
                        max_length=7,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("draft", "Not sent yet"),
                            ("open", "Sent"),
                            ("uncollectible", "Written off"),
                            ("paid", "Paid"),
                            ("void", "Taken back"),
                            ("refused", "Refused by Stripe"),
                        ],
                        db_default="draft",
                        default="draft",
                        max_length=13,
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
            ],
        ),
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
            ],
            options={
                "verbose_name": "customer at Stripe",
                "verbose_name_plural": "customers at Stripe",
            },
        ),
        migrations.AddField(
            model_name="invoice",
            name="order",
            field=models.OneToOneField(
                db_constraint=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="invoice",
                to="payments.order",
            ),
        ),
        migrations.AddField(
            model_name="invoice",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.organization",
            ),
        ),
        migrations.AddField(
            model_name="invoice",
            name="seller",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.organization",
            ),
        ),
        migrations.AddField(
            model_name="stripecustomer",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.organization",
            ),
        ),
        migrations.AddField(
            model_name="invoice",
            name="customer",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="invoices",
                to="payments.stripecustomer",
            ),
        ),
        migrations.AddConstraint(
            model_name="stripecustomer",
            constraint=models.UniqueConstraint(
                fields=("organization", "livemode"), name="stripe_customer_is_one"
            ),
        ),
        migrations.AddConstraint(
            model_name="stripecustomer",
            constraint=models.UniqueConstraint(
                fields=("organization", "livemode", "id"), name="stripe_customer_of_organization"
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["draft", "open", "uncollectible", "paid", "void", "refused"])
                ),
                name="invoice_status_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(("net_days__in", [14, 30, 60])),
                name="invoice_net_days_are_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(("grants_on__in", ["payment", "issue"])),
                name="invoice_grants_on_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("sent_at__isnull", True),
                        ("status__in", ["draft", "refused"]),
                        ("stripe_id__isnull", True),
                    ),
                    models.Q(
                        models.Q(("status__in", ["draft", "refused"]), _negated=True),
                        ("sent_at__isnull", False),
                        ("stripe_id__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="invoice_is_at_stripe_iff_sent",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "void"), ("voided_at__isnull", False)),
                    models.Q(
                        models.Q(("status", "void"), _negated=True), ("voided_at__isnull", True)
                    ),
                    _connector="OR",
                ),
                name="invoice_voided_at_iff_void",
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(("due_at__gt", models.F("created_at"))),
                name="invoice_is_due_after_it_was_made",
            ),
        ),
    ]
