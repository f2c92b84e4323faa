"""Invoices that are paid in several parts: the parts, with their walls and fixed columns."""

from typing import Any

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import marketplace.typeid

ORGANIZATION: Any = {
    "on_delete": django.db.models.deletion.PROTECT,
    "related_name": "+",
    "to": "marketplace.organization",
}
BELONGS = """
ALTER TABLE payments_paymentpart ADD CONSTRAINT payment_part_order_belongs
    FOREIGN KEY (organization_id, livemode, order_id)
    REFERENCES payments_order (organization_id, livemode, id) NOT VALID
"""
WALL = """
ALTER TABLE payments_paymentpart ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON payments_paymentpart USING (
    organization_id = (SELECT licet_tenant()) OR seller_id = (SELECT licet_tenant())
    OR (SELECT licet_system())
);
"""
WALL_UNDONE = """
DROP POLICY tenant ON payments_paymentpart;
ALTER TABLE payments_paymentpart DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
"""
FIXED = """
REVOKE UPDATE, DELETE ON payments_paymentpart FROM licet_app;
GRANT UPDATE (charge, refunded_minor) ON payments_paymentpart TO licet_app;
"""
FIXED_UNDONE = "GRANT UPDATE, DELETE ON payments_paymentpart TO licet_app;"


class Migration(migrations.Migration):
    dependencies = [("payments", "0080_tax_kinds_hold")]

    operations = [
        migrations.CreateModel(
            name="PaymentPart",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="ppt", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
                (
                    "payment_intent",
                    models.CharField(blank=True, max_length=255, null=True, unique=True),
                ),
                ("charge", models.CharField(blank=True, db_default="", default="", max_length=255)),
                ("amount_minor", models.BigIntegerField()),
                ("refunded_minor", models.BigIntegerField(db_default=0, default=0)),
                ("paid_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "order",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="parts",
                        to="payments.order",
                    ),
                ),
                ("organization", models.ForeignKey(**ORGANIZATION)),
                ("seller", models.ForeignKey(**ORGANIZATION)),
            ],
            options={
                "verbose_name": "part of a payment",
                "verbose_name_plural": "parts of payments",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("payment_intent__isnull", True)),
                        fields=("order",),
                        name="payment_part_outside_is_one",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("amount_minor__gt", 0)),
                        name="payment_part_is_more_than_nothing",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("refunded_minor__gte", 0),
                            ("refunded_minor__lte", models.F("amount_minor")),
                        ),
                        name="payment_part_refunds_no_more_than_it_is",
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            BELONGS, "ALTER TABLE payments_paymentpart DROP CONSTRAINT payment_part_order_belongs"
        ),
        migrations.RunSQL(WALL, WALL_UNDONE),
        migrations.RunSQL(FIXED, FIXED_UNDONE),
    ]
