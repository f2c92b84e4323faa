"""Entries that came back from a log's copy without their subjects, and the triggers that allow it."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

# A stand-in counts for an entry that already has its place: who records a fact never gives one.
_IS_RECOVERED = """EXISTS (
        SELECT FROM licensing_ledgerrecovered recovered
        JOIN licensing_ledgerleaf leaf ON leaf.entry_id = recovered.entry_id
        WHERE recovered.entry_id = NEW.id
    )"""

_GRANT = """
CREATE OR REPLACE FUNCTION ledger_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.kind = 'grant.issued' AND NOT EXISTS (
        SELECT 1 FROM licensing_grant WHERE issued_entry_id = NEW.id AND grant_ref = NEW.subject_ref
    ){or_recovered} THEN
        RAISE EXCEPTION 'ledger entry % has no grant', NEW.id USING
            ERRCODE = 'integrity_constraint_violation',
            CONSTRAINT = 'ledger_entry_has_its_subject';
    END IF;
    RETURN NULL;
END $$;
"""

_OPT_OUT = """
CREATE OR REPLACE FUNCTION optout_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.kind = 'optout.recorded' AND EXISTS (
        SELECT FROM licensing_optout
        WHERE opt_out_ref = NEW.subject_ref AND NEW.id IN (entry_id, other_entry_id)
    ) OR NEW.kind = 'optout.notified' AND EXISTS (
        SELECT FROM licensing_notice WHERE entry_id = NEW.id AND notice_ref = NEW.subject_ref
    ) OR NEW.kind = 'optout.acknowledged' AND EXISTS (
        SELECT FROM licensing_acknowledgement acknowledged
        JOIN licensing_notice notice ON notice.id = acknowledged.notice_id
        WHERE acknowledged.entry_id = NEW.id AND notice.notice_ref = NEW.subject_ref
    ){or_recovered} THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'ledger entry % (%) has no subject', NEW.id, NEW.kind USING
        ERRCODE = 'integrity_constraint_violation',
        CONSTRAINT = 'optout_entry_has_its_subject';
END $$;
"""


def _subjects(*, with_recovered: bool) -> str:
    if not with_recovered:
        return (_GRANT + _OPT_OUT).replace("{or_recovered}", "")
    return _GRANT.replace("{or_recovered}", f" AND NOT {_IS_RECOVERED}") + _OPT_OUT.replace(
        "{or_recovered}", f" OR {_IS_RECOVERED}"
    )


class Migration(migrations.Migration):
    dependencies = [("licensing", "0070_samples")]

    operations = [
        migrations.CreateModel(
            name="LedgerRecovered",
            fields=[
                (
                    "entry",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="recovered",
                        serialize=False,
                        to="licensing.ledgerentry",
                    ),
                ),
                (
                    "recovered_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "verbose_name": "recovered ledger entry",
                "verbose_name_plural": "recovered ledger entries",
            },
        ),
        migrations.RunSQL(
            "REVOKE UPDATE, DELETE ON licensing_ledgerrecovered FROM licet_app;"
            "CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON licensing_ledgerrecovered"
            " FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();"
            "CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON licensing_ledgerrecovered"
            " EXECUTE FUNCTION licet_refuse_change();"
            "ALTER TABLE licensing_ledgerrecovered ENABLE ALWAYS TRIGGER insert_only,"
            " ENABLE ALWAYS TRIGGER insert_only_truncate",
            "DROP TRIGGER insert_only ON licensing_ledgerrecovered;"
            "DROP TRIGGER insert_only_truncate ON licensing_ledgerrecovered;"
            "GRANT UPDATE, DELETE ON licensing_ledgerrecovered TO licet_app",
        ),
        migrations.RunSQL(_subjects(with_recovered=True), _subjects(with_recovered=False)),
    ]
