"""Generations that continue frozen logs: rows that never change, and no such entry without one."""

import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.lookups
from django.db import migrations, models
from django.db.models import F, Q

_TABLE = "licensing_ledgercontinuation"

_SUBJECT = f"""
CREATE OR REPLACE FUNCTION log_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.kind = 'log.key_changed' AND EXISTS (
        SELECT FROM licensing_ledgerkeychange
        WHERE entry_id = NEW.id AND ref = NEW.subject_ref AND log = NEW.log
    ) OR NEW.kind = 'log.continued' AND EXISTS (
        SELECT FROM {_TABLE}
        WHERE entry_id = NEW.id AND ref = NEW.subject_ref AND log = NEW.log
    ) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'ledger entry % (%) has no subject', NEW.id, NEW.kind USING
        ERRCODE = 'integrity_constraint_violation',
        CONSTRAINT = 'log_entry_has_its_subject';
END $$;
"""
_SUBJECT_UNDONE = """
CREATE OR REPLACE FUNCTION log_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.kind = 'log.key_changed' AND EXISTS (
        SELECT FROM licensing_ledgerkeychange
        WHERE entry_id = NEW.id AND ref = NEW.subject_ref AND log = NEW.log
    ) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'ledger entry % (%) has no subject', NEW.id, NEW.kind USING
        ERRCODE = 'integrity_constraint_violation',
        CONSTRAINT = 'log_entry_has_its_subject';
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("licensing", "0110_ledger_generation_names")]

    operations = [
        migrations.CreateModel(
            name="LedgerContinuation",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("log", models.CharField(max_length=4)),
                ("number", models.IntegerField()),
                ("ref", models.BinaryField(max_length=16)),
                ("size", models.BigIntegerField()),
                ("checkpoint", models.TextField()),
                ("known", models.BigIntegerField()),
                (
                    "entry",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="continuation",
                        to="licensing.ledgerentry",
                    ),
                ),
            ],
            options={
                "verbose_name": "continuation of a log",
                "verbose_name_plural": "continuations of the logs",
                "constraints": [
                    models.UniqueConstraint(fields=("log", "number"), name="ledger_continues_once"),
                    models.CheckConstraint(
                        condition=Q(number__gte=2, number__lte=9999),
                        name="ledger_continuation_is_a_later_one",
                    ),
                    models.CheckConstraint(
                        condition=Q(known__gte=0, known__lte=F("size")),
                        name="ledger_continuation_knows_what_was_signed",
                    ),
                    models.CheckConstraint(
                        condition=django.db.models.lookups.Exact(
                            django.db.models.functions.text.Length("ref"), 16
                        ),
                        name="ledger_continuation_ref_is_16_bytes",
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
