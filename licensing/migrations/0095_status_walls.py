"""Status roots never change, commit with their entries, and a changed status is queued for one."""

from django.db import migrations

_TABLES = ("statusroot", "statusleaf")

# No entry without its subject; but for one that came back from the log's copy (0071).
_SUBJECT = """
CREATE FUNCTION status_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NOT EXISTS (
        SELECT FROM licensing_statusroot
        WHERE entry_id = NEW.id AND log = NEW.log AND number = NEW.seq
    ) AND NOT EXISTS (
        SELECT FROM licensing_ledgerrecovered recovered
        JOIN licensing_ledgerleaf leaf ON leaf.entry_id = recovered.entry_id
        WHERE recovered.entry_id = NEW.id
    ) THEN
        RAISE EXCEPTION 'ledger entry % has no status root', NEW.id USING
            ERRCODE = 'integrity_constraint_violation',
            CONSTRAINT = 'status_entry_has_its_subject';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER status_entry_has_its_subject AFTER INSERT ON licensing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.kind = 'status.root')
    EXECUTE FUNCTION status_entry_has_its_subject();
ALTER TABLE licensing_ledgerentry ENABLE ALWAYS TRIGGER status_entry_has_its_subject;
"""
_SUBJECT_UNDONE = """
DROP TRIGGER status_entry_has_its_subject ON licensing_ledgerentry;
DROP FUNCTION status_entry_has_its_subject();
"""

# By the database: a status that somebody changed past the verbs is told to the world as well.
_QUEUE = """
REVOKE UPDATE ON licensing_statuschange FROM licet_app;
CREATE FUNCTION status_change_is_queued() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO licensing_statuschange (log, grant_ref)
    VALUES (CASE WHEN NEW.livemode THEN 'live' ELSE 'test' END, NEW.grant_ref);
    RETURN NULL;
END $$;
CREATE TRIGGER status_change_is_queued AFTER UPDATE OF status ON licensing_grant
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION status_change_is_queued();
ALTER TABLE licensing_grant ENABLE ALWAYS TRIGGER status_change_is_queued;
"""
_QUEUE_UNDONE = """
DROP TRIGGER status_change_is_queued ON licensing_grant;
DROP FUNCTION status_change_is_queued();
GRANT UPDATE ON licensing_statuschange TO licet_app;
"""


def _insert_only(table: str) -> migrations.RunSQL:
    return migrations.RunSQL(
        f"REVOKE UPDATE, DELETE ON licensing_{table} FROM licet_app;"
        f"CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON licensing_{table}"
        " FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();"
        f"CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON licensing_{table}"
        " EXECUTE FUNCTION licet_refuse_change();"
        f"ALTER TABLE licensing_{table} ENABLE ALWAYS TRIGGER insert_only,"
        " ENABLE ALWAYS TRIGGER insert_only_truncate",
        f"DROP TRIGGER insert_only ON licensing_{table};"
        f"DROP TRIGGER insert_only_truncate ON licensing_{table};"
        f"GRANT UPDATE, DELETE ON licensing_{table} TO licet_app",
    )


class Migration(migrations.Migration):
    dependencies = [("licensing", "0094_status_roots")]

    operations = [
        *map(_insert_only, _TABLES),
        migrations.RunSQL(_SUBJECT, _SUBJECT_UNDONE),
        migrations.RunSQL(_QUEUE, _QUEUE_UNDONE),
    ]
