"""A queue of the entries whose receipts somebody waits for."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("licensing", "0071_ledger_recovered")]

    operations = [
        migrations.CreateModel(
            name="LedgerAwaited",
            fields=[
                (
                    "entry",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="licensing.ledgerentry",
                    ),
                ),
                ("log", models.CharField(max_length=4)),
            ],
        ),
        migrations.RunSQL(
            "REVOKE UPDATE ON licensing_ledgerawaited FROM licet_app",
            "GRANT UPDATE ON licensing_ledgerawaited TO licet_app",
        ),
    ]
