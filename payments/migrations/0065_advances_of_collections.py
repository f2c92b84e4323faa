"""What is open of the advances on a collection, line by line."""

import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0106_item_units_are_valid"),
        ("payments", "0064_postings_are_checked_together"),
    ]

    operations = [
        migrations.CreateModel(
            name="RoyaltyAdvanceLine",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="rav", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
                ("currency", models.CharField(max_length=3)),
                ("number", models.IntegerField()),
                ("moved_minor", models.BigIntegerField()),
                ("open_minor", models.BigIntegerField()),
                ("reference", models.CharField(blank=True, max_length=200)),
                ("actor", models.CharField(max_length=40)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "allocation",
                    models.OneToOneField(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="advance_line",
                        to="payments.royaltyallocation",
                    ),
                ),
                (
                    "collection",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.collection",
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
            ],
            options={
                "verbose_name": "line of a collection's advances",
                "verbose_name_plural": "lines of collections' advances",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("collection", "livemode", "currency", "number"),
                        name="royalty_advance_line_number_is_unique",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("reference", ""), _negated=True),
                        fields=("collection", "livemode", "reference"),
                        name="royalty_advance_line_is_recorded_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("moved_minor", 0), _negated=True),
                            ("number__gte", 1),
                            ("open_minor__gte", 0),
                        ),
                        name="royalty_advance_line_moves_something",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("allocation__isnull", True),
                                ("moved_minor__gt", 0),
                                models.Q(("reference", ""), _negated=True),
                            ),
                            models.Q(("allocation__isnull", False), ("reference", "")),
                            _connector="OR",
                        ),
                        name="royalty_advance_line_is_given_or_of_a_pool",
                    ),
                ],
            },
        ),
    ]
