"""Every party's number of an entry, and the counters that give it."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("licensing", "0080_ledger_cosignatures")]

    operations = [
        migrations.CreateModel(
            name="LedgerCounter",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "log",
                        "organization_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("log", models.CharField(max_length=4)),
                ("organization_id", models.UUIDField()),
                ("last", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="LedgerParty",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "log",
                        "organization_id",
                        "sequence",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("log", models.CharField(max_length=4)),
                ("organization_id", models.UUIDField()),
                ("sequence", models.BigIntegerField()),
                (
                    "entry",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="numbered",
                        to="licensing.ledgerentry",
                    ),
                ),
            ],
            options={
                "verbose_name": "party of a ledger entry",
                "verbose_name_plural": "parties of ledger entries",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("entry", "organization_id"), name="ledger_party_has_one_number"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("sequence__gte", 1)), name="ledger_numbers_begin_at_1"
                    ),
                ],
            },
        ),
    ]
