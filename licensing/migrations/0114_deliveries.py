"""What was delivered: counts until a day is over, and summaries that never change."""

import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.lookups
from django.db import migrations, models

# Who fetched what of whom, of all tenants: nobody's but ours. The parties read the entries.
_WALLS = """
ALTER TABLE licensing_{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON licensing_{table} USING ((SELECT licet_system()));
"""
_WALLS_UNDONE = """
DROP POLICY system ON licensing_{table};
ALTER TABLE licensing_{table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
"""

# Counts go up, and nothing else of them changes.
_ONLY_COUNTED_UP = """
REVOKE UPDATE ON licensing_deliverycount FROM licet_app;
GRANT UPDATE (answers, bytes) ON licensing_deliverycount TO licet_app;
"""
_ONLY_COUNTED_UP_UNDONE = """
REVOKE UPDATE (answers, bytes) ON licensing_deliverycount FROM licet_app;
GRANT UPDATE ON licensing_deliverycount TO licet_app;
"""

_INSERT_ONLY = """
REVOKE UPDATE, DELETE ON licensing_deliverysummary FROM licet_app;
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON licensing_deliverysummary
    FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();
CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON licensing_deliverysummary
    EXECUTE FUNCTION licet_refuse_change();
ALTER TABLE licensing_deliverysummary ENABLE ALWAYS TRIGGER insert_only,
    ENABLE ALWAYS TRIGGER insert_only_truncate;
"""
_INSERT_ONLY_UNDONE = """
DROP TRIGGER insert_only ON licensing_deliverysummary;
DROP TRIGGER insert_only_truncate ON licensing_deliverysummary;
GRANT UPDATE, DELETE ON licensing_deliverysummary TO licet_app;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("licensing", "0113_one_check_of_an_entrys_subject"),
    ]

    operations = [
        migrations.CreateModel(
            name="DeliveryCount",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "coverage",
                        "day",
                        "what",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("day", models.DateField()),
                (
                    "what",
                    models.CharField(
                        choices=[
                            ("manifests", "Manifests, and indexes of shards"),
                            ("works", "Works, one by one"),
                            ("shards", "Shards of many works"),
                            ("redirects", "Links to the seller's own store"),
                        ],
                        max_length=9,
                    ),
                ),
                ("answers", models.BigIntegerField()),
                ("bytes", models.BigIntegerField()),
                (
                    "coverage",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.coverage",
                    ),
                ),
            ],
            options={
                "verbose_name": "delivery count",
                "verbose_name_plural": "delivery counts",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("answers__gte", 0), ("bytes__gte", 0)),
                        name="delivery_count_is_not_negative",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("what__in", ["manifests", "works", "shards", "redirects"])
                        ),
                        name="delivery_count_is_of_a_known_sort",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="DeliverySummary",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("day", models.DateField()),
                ("part", models.IntegerField()),
                ("delivery_ref", models.BinaryField(max_length=16)),
                (
                    "coverage",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.coverage",
                    ),
                ),
                (
                    "entry",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.ledgerentry",
                    ),
                ),
            ],
            options={
                "verbose_name": "delivery summary",
                "verbose_name_plural": "delivery summaries",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("coverage", "day", "part"), name="delivery_is_summarized_once"
                    ),
                    models.CheckConstraint(
                        condition=django.db.models.lookups.Exact(
                            django.db.models.functions.text.Length("delivery_ref"), 16
                        ),
                        name="delivery_ref_is_16_bytes",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("part__gte", 0)), name="delivery_parts_begin_at_0"
                    ),
                ],
            },
        ),
        *(
            migrations.RunSQL(_WALLS.format(table=table), _WALLS_UNDONE.format(table=table))
            for table in ("deliverycount", "deliverysummary")
        ),
        migrations.RunSQL(_ONLY_COUNTED_UP, _ONLY_COUNTED_UP_UNDONE),
        migrations.RunSQL(_INSERT_ONLY, _INSERT_ONLY_UNDONE),
    ]
