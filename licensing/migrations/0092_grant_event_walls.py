"""Events of grants: walls, rows that never change, and entries with their subjects."""

from django.db import migrations

_WALLS = """
ALTER TABLE licensing_grantevent ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON licensing_grantevent USING (
    licensor_id = (SELECT licet_tenant()) OR licensee_id = (SELECT licet_tenant())
    OR (SELECT licet_system())
);
"""
_WALLS_UNDONE = """
DROP POLICY tenant ON licensing_grantevent;
ALTER TABLE licensing_grantevent DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
"""

_INSERT_ONLY = """
REVOKE UPDATE, DELETE ON licensing_grantevent FROM licet_app;
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON licensing_grantevent
    FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();
CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON licensing_grantevent
    EXECUTE FUNCTION licet_refuse_change();
ALTER TABLE licensing_grantevent ENABLE ALWAYS TRIGGER insert_only,
    ENABLE ALWAYS TRIGGER insert_only_truncate;
"""
_INSERT_ONLY_UNDONE = """
DROP TRIGGER insert_only ON licensing_grantevent;
DROP TRIGGER insert_only_truncate ON licensing_grantevent;
GRANT UPDATE, DELETE ON licensing_grantevent TO licet_app;
"""

# No later entry in a grant's chain without its row, but what a recovery brought back; the first
# entry has a trigger of its own. A kind that is not named here is refused.
_SUBJECT = """
CREATE FUNCTION grant_event_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (
        SELECT FROM licensing_grantevent event
        JOIN licensing_grant given ON given.id = event.grant_id
        WHERE event.entry_id = NEW.id AND event.number = NEW.seq
            AND given.grant_ref = NEW.subject_ref AND NEW.kind = 'grant.' || event.kind
    ) OR EXISTS (
        SELECT FROM licensing_ledgerrecovered recovered
        JOIN licensing_ledgerleaf leaf ON leaf.entry_id = recovered.entry_id
        WHERE recovered.entry_id = NEW.id
    ) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'ledger entry % (%) has no subject', NEW.id, NEW.kind USING
        ERRCODE = 'integrity_constraint_violation',
        CONSTRAINT = 'grant_event_entry_has_its_subject';
END $$;
CREATE CONSTRAINT TRIGGER grant_event_entry_has_its_subject AFTER INSERT ON licensing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (starts_with(NEW.kind, 'grant.') AND NEW.kind <> 'grant.issued')
    EXECUTE FUNCTION grant_event_entry_has_its_subject();
ALTER TABLE licensing_ledgerentry ENABLE ALWAYS TRIGGER grant_event_entry_has_its_subject;
"""
_SUBJECT_UNDONE = """
DROP TRIGGER grant_event_entry_has_its_subject ON licensing_ledgerentry;
DROP FUNCTION grant_event_entry_has_its_subject();
"""


class Migration(migrations.Migration):
    dependencies = [("licensing", "0091_grant_events")]

    operations = [
        migrations.RunSQL(_WALLS, _WALLS_UNDONE),
        migrations.RunSQL(_INSERT_ONLY, _INSERT_ONLY_UNDONE),
        migrations.RunSQL(_SUBJECT, _SUBJECT_UNDONE),
    ]
