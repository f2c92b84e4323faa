"""Who sells is shown to buyers; holds are operators' alone, and whoever erases is told of one."""

from django.db import migrations

# Who erases as a tenant does not see the hold itself, and must still be refused by its name.
HELD = """
CREATE FUNCTION marketplace_held(subjects text[]) RETURNS TABLE (id uuid)
    LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    before text := coalesce(current_setting('licet.system', true), '');
BEGIN
    PERFORM set_config('licet.system', 'tell whether records are held', true);
    RETURN QUERY SELECT hold.id FROM marketplace_legalhold hold
        WHERE hold.subject = ANY(subjects) AND hold.lifted_at IS NULL
            AND (hold.until IS NULL OR hold.until > now())
        ORDER BY hold.id LIMIT 1;
    PERFORM set_config('licet.system', before, true);
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0140_traders_and_legal_holds")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE marketplace_legalhold ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY operators ON marketplace_legalhold USING ((SELECT licet_system()));"
            "REVOKE UPDATE, DELETE ON marketplace_legalhold, marketplace_trader FROM licet_app;"
            "GRANT UPDATE (lifted_by, lifted_at, lift_reason) ON marketplace_legalhold TO licet_app;"
            "GRANT UPDATE (state, legal_name, address, registration_number, trade_register, email,"
            " phone, certified_by, submitted_at, decided_by, decided_at, reason)"
            " ON marketplace_trader TO licet_app",
            "GRANT UPDATE, DELETE ON marketplace_legalhold, marketplace_trader TO licet_app;"
            "DROP POLICY operators ON marketplace_legalhold;"
            "ALTER TABLE marketplace_legalhold"
            " DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        ),
        migrations.RunSQL(HELD, "DROP FUNCTION marketplace_held(text[])"),
    ]
