"""Walls and fixed columns of remittances; a mismatch that ended stays as it ended."""

from django.db import migrations

OWN = "organization_id = (SELECT licet_tenant())"

FIXED = """
REVOKE UPDATE, DELETE ON payments_remittance FROM licet_app;
GRANT UPDATE (state, stripe_id, refusal, ended_at) ON payments_remittance TO licet_app;
"""
FIXED_UNDONE = "GRANT UPDATE, DELETE ON payments_remittance TO licet_app"

# Who closed one, when and why, is of no organization's audit where the money is of none's: its row
# is the trace, and nobody changes it afterward. What is not so any more comes back as a new row.
STAYS = """
CREATE FUNCTION mismatch_stays_resolved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'mismatch % is resolved', OLD.id USING
        ERRCODE = 'check_violation', CONSTRAINT = 'mismatch_stays_resolved';
END $$;
CREATE TRIGGER mismatch_stays_resolved BEFORE UPDATE OR DELETE ON payments_mismatch
    FOR EACH ROW WHEN (OLD.resolved_at IS NOT NULL) EXECUTE FUNCTION mismatch_stays_resolved();
ALTER TABLE payments_mismatch ENABLE ALWAYS TRIGGER mismatch_stays_resolved;
"""
STAYS_UNDONE = """
DROP TRIGGER mismatch_stays_resolved ON payments_mismatch;
DROP FUNCTION mismatch_stays_resolved();
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0075_remittances")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE payments_remittance ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            f"CREATE POLICY tenant ON payments_remittance USING ({OWN} OR (SELECT licet_system()))",
            "DROP POLICY tenant ON payments_remittance;"
            "ALTER TABLE payments_remittance DISABLE ROW LEVEL SECURITY,"
            " NO FORCE ROW LEVEL SECURITY",
        ),
        migrations.RunSQL(FIXED, FIXED_UNDONE),
        migrations.RunSQL(STAYS, STAYS_UNDONE),
    ]
