"""Changes of the logs' keys: rows that never change, and no such entry without its row."""

import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.lookups
from django.db import migrations, models

_TABLE = "licensing_ledgerkeychange"

_SUBJECT = f"""
CREATE FUNCTION log_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.kind = 'log.key_changed' AND EXISTS (
        SELECT FROM {_TABLE}
        WHERE entry_id = NEW.id AND ref = NEW.subject_ref AND log = NEW.log
    ) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'ledger entry % (%) has no subject', NEW.id, NEW.kind USING
        ERRCODE = 'integrity_constraint_violation',
        CONSTRAINT = 'log_entry_has_its_subject';
END $$;
CREATE CONSTRAINT TRIGGER log_entry_has_its_subject AFTER INSERT ON licensing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (starts_with(NEW.kind, 'log.'))
    EXECUTE FUNCTION log_entry_has_its_subject();
ALTER TABLE licensing_ledgerentry ENABLE ALWAYS TRIGGER log_entry_has_its_subject;
"""
_SUBJECT_UNDONE = """
DROP TRIGGER log_entry_has_its_subject ON licensing_ledgerentry;
DROP FUNCTION log_entry_has_its_subject();
"""


class Migration(migrations.Migration):
    dependencies = [("licensing", "0083_ledger_not_before")]

    operations = [
        migrations.CreateModel(
            name="LedgerKeyChange",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("log", models.CharField(max_length=4)),
                ("ref", models.BinaryField(max_length=16)),
                ("old_vkey", models.TextField()),
                ("new_vkey", models.TextField()),
                (
                    "entry",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="key_change",
                        to="licensing.ledgerentry",
                    ),
                ),
            ],
            options={
                "verbose_name": "change of a log's key",
                "verbose_name_plural": "changes of the logs' keys",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("new_vkey",), name="ledger_key_is_announced_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("old_vkey", models.F("new_vkey")), _negated=True),
                        name="ledger_key_gives_way_to_another",
                    ),
                    models.CheckConstraint(
                        condition=django.db.models.lookups.Exact(
                            django.db.models.functions.text.Length("ref"), 16
                        ),
                        name="ledger_key_change_ref_is_16_bytes",
                    ),
                ],
            },
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
        migrations.RunSQL(_SUBJECT, _SUBJECT_UNDONE),
    ]
