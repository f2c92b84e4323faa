"""Renewals, amendments and added coverage: no entry without its row, no row without its entry."""

from django.db import migrations

# Every later kind of a grant's chain, in one function: a kind that is not named here is refused.
_SUBJECT = """
CREATE OR REPLACE FUNCTION grant_event_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN
    IF EXISTS (
        SELECT FROM licensing_grantevent event
        JOIN licensing_grant given ON given.id = event.grant_id
        WHERE event.entry_id = NEW.id AND event.number = NEW.seq
            AND given.grant_ref = NEW.subject_ref AND NEW.kind = 'grant.' || event.kind
    ) OR EXISTS (
        SELECT FROM licensing_period period
        JOIN licensing_grant given ON given.id = period.grant_id
        WHERE period.entry_id = NEW.id AND period.kind <> 'issued'
            AND given.grant_ref = NEW.subject_ref AND NEW.kind = 'grant.' || period.kind
    ) OR EXISTS (
        SELECT FROM licensing_coverage coverage
        JOIN licensing_grant given ON given.id = coverage.grant_id
        WHERE coverage.entry_id = NEW.id
            AND given.grant_ref = NEW.subject_ref AND NEW.kind = 'grant.coverage_added'
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
"""
_SUBJECT_UNDONE = """
CREATE OR REPLACE FUNCTION grant_event_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN
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
"""

# The other direction: an entry of the kind that its row says, in its grant's own chain. The first
# period and the first coverage are those of the grant's own entry.
_ENTRY = """
CREATE FUNCTION period_has_its_entry() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NOT EXISTS (
        SELECT FROM licensing_ledgerentry entry
        JOIN licensing_grant given ON given.grant_ref = entry.subject_ref
        WHERE entry.id = NEW.entry_id AND entry.kind = 'grant.' || NEW.kind
            AND given.id = NEW.grant_id
    ) THEN
        RAISE EXCEPTION 'period % has no entry of its own', NEW.id USING
            ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'period_has_its_entry';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER period_has_its_entry AFTER INSERT ON licensing_period
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.kind <> 'issued') EXECUTE FUNCTION period_has_its_entry();
ALTER TABLE licensing_period ENABLE ALWAYS TRIGGER period_has_its_entry;

CREATE FUNCTION coverage_has_its_entry() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NOT EXISTS (
        SELECT FROM licensing_grant given
        JOIN licensing_ledgerentry entry ON entry.id = NEW.entry_id
        WHERE given.id = NEW.grant_id AND given.grant_ref = entry.subject_ref
            AND entry.kind IN ('grant.issued', 'grant.coverage_added')
    ) THEN
        RAISE EXCEPTION 'coverage % has no entry of its own', NEW.id USING
            ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'coverage_has_its_entry';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER coverage_has_its_entry AFTER INSERT ON licensing_coverage
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION coverage_has_its_entry();
ALTER TABLE licensing_coverage ENABLE ALWAYS TRIGGER coverage_has_its_entry;
"""
_ENTRY_UNDONE = """
DROP TRIGGER coverage_has_its_entry ON licensing_coverage;
DROP FUNCTION coverage_has_its_entry();
DROP TRIGGER period_has_its_entry ON licensing_period;
DROP FUNCTION period_has_its_entry();
"""


class Migration(migrations.Migration):
    dependencies = [("licensing", "0102_period_reference_is_unique")]

    operations = [
        migrations.RunSQL(_SUBJECT, _SUBJECT_UNDONE),
        migrations.RunSQL(_ENTRY, _ENTRY_UNDONE),
    ]
