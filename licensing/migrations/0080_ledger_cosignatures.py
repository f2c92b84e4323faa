"""What witnesses sign of the logs' checkpoints: rows that never change."""

import django.utils.timezone
from django.db import migrations, models

_TABLE = "licensing_ledgercosignature"


class Migration(migrations.Migration):
    dependencies = [("licensing", "0075_ledger_openings_are_packed_or_plain")]

    operations = [
        migrations.CreateModel(
            name="LedgerCosignature",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("log", models.CharField(max_length=4)),
                ("size", models.BigIntegerField()),
                ("vkey", models.TextField()),
                ("cosigned_at", models.BigIntegerField()),
                ("line", models.TextField()),
                (
                    "kept_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "verbose_name": "ledger cosignature",
                "verbose_name_plural": "ledger cosignatures",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("log", "size", "vkey"),
                        name="ledger_witness_cosigns_once",
                    )
                ],
            },
        ),
        migrations.RunSQL(
            f"ALTER TABLE {_TABLE} ADD CONSTRAINT ledger_cosignature_is_of_a_checkpoint"
            " FOREIGN KEY (log, size) REFERENCES licensing_ledgercheckpoint (log, size)",
            f"ALTER TABLE {_TABLE} DROP CONSTRAINT ledger_cosignature_is_of_a_checkpoint",
        ),
        migrations.RunSQL(
            f"REVOKE UPDATE, DELETE ON {_TABLE} FROM licet_app;"
            f"CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON {_TABLE}"
            " FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();"
            f"CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON {_TABLE}"
            " EXECUTE FUNCTION licet_refuse_change();"
            f"ALTER TABLE {_TABLE} ENABLE ALWAYS TRIGGER insert_only,"
            " ENABLE ALWAYS TRIGGER insert_only_truncate",
            f"DROP TRIGGER insert_only ON {_TABLE};"
            f"DROP TRIGGER insert_only_truncate ON {_TABLE};"
            f"GRANT UPDATE, DELETE ON {_TABLE} TO licet_app",
        ),
    ]
