"""Status roots of the ledger: their tables."""

import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.lookups
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("licensing", "0092_grant_event_walls"),
    ]

    operations = [
        migrations.CreateModel(
            name="StatusChange",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("log", models.CharField(max_length=4)),
                ("grant_ref", models.BinaryField(max_length=16)),
            ],
            options={
                "verbose_name": "status change",
                "verbose_name_plural": "status changes",
            },
        ),
        migrations.CreateModel(
            name="StatusLeaf",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "log",
                        "grant_ref",
                        "number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("log", models.CharField(max_length=4)),
                ("grant_ref", models.BinaryField(max_length=16)),
                ("number", models.IntegerField()),
                ("state", models.SmallIntegerField()),
                ("last_leaf", models.BinaryField(max_length=32)),
            ],
            options={
                "verbose_name": "status leaf",
                "verbose_name_plural": "status leaves",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", [1, 2, 3, 4])),
                        name="status_leaf_state_is_known",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="StatusRoot",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "log",
                        "number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("log", models.CharField(max_length=4)),
                ("number", models.IntegerField()),
                ("as_of", models.DateTimeField()),
                ("log_size", models.BigIntegerField()),
                ("size", models.BigIntegerField()),
                ("root", models.BinaryField(max_length=32)),
                ("blocks", models.BinaryField()),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
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
                "verbose_name": "status root",
                "verbose_name_plural": "status roots",
                "constraints": [
                    models.CheckConstraint(
                        condition=django.db.models.lookups.Exact(
                            django.db.models.functions.text.Length("root"), 32
                        ),
                        name="status_root_is_sha256",
                    )
                ],
            },
        ),
    ]
