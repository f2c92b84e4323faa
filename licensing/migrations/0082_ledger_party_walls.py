"""Parties' numbers are their own, never change, and are given by one function only."""

from django.db import migrations

# Whoever records a fact numbers it for the other parties too, and may not see what they have.
# Sorted: rows are locked in one order, or two recordings could wait for each other.
_ADVANCE = """
CREATE FUNCTION ledger_advance(logs text[], organizations uuid[], counts int[])
RETURNS TABLE (log text, organization_id uuid, last bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        INSERT INTO licensing_ledgercounter AS counter (log, organization_id, last)
        SELECT each.log, each.organization_id, each.count
        FROM unnest(logs, organizations, counts) AS each (log, organization_id, count)
        WHERE each.count >= 0
        ORDER BY each.log, each.organization_id
        ON CONFLICT (log, organization_id) DO UPDATE SET last = counter.last + excluded.last
        RETURNING counter.log::text, counter.organization_id, counter.last;
END $$;
REVOKE EXECUTE ON FUNCTION ledger_advance(text[], uuid[], int[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger_advance(text[], uuid[], int[]) TO licet_app;
REVOKE INSERT, UPDATE, DELETE ON licensing_ledgercounter FROM licet_app;
"""
_ADVANCE_UNDONE = """
DROP FUNCTION ledger_advance(text[], uuid[], int[]);
GRANT INSERT, UPDATE, DELETE ON licensing_ledgercounter TO licet_app;
"""

_OWN = "(organization_id = (SELECT licet_tenant()) OR (SELECT licet_system()))"

# Counters: read one's own; written by the function above, which runs as the owner.
# Numbers: read one's own. Written: for every party of an entry, by a tenant whom the same statement's
# opening has to name (its policy), or for all.
_WALLS = f"""
ALTER TABLE licensing_ledgercounter ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON licensing_ledgercounter USING {_OWN};
CREATE POLICY counted ON licensing_ledgercounter TO licet_owner USING (true) WITH CHECK (true);
ALTER TABLE licensing_ledgerparty ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON licensing_ledgerparty USING {_OWN};
CREATE POLICY recorded ON licensing_ledgerparty FOR INSERT
    WITH CHECK ((SELECT licet_tenant()) IS NOT NULL);
"""
_WALLS_UNDONE = """
DROP POLICY counted ON licensing_ledgercounter;
DROP POLICY recorded ON licensing_ledgerparty;
DROP POLICY tenant ON licensing_ledgerparty;
ALTER TABLE licensing_ledgerparty DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
DROP POLICY tenant ON licensing_ledgercounter;
ALTER TABLE licensing_ledgercounter DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
"""

_INSERT_ONLY = """
REVOKE UPDATE, DELETE ON licensing_ledgerparty FROM licet_app;
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON licensing_ledgerparty
    FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();
CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON licensing_ledgerparty
    EXECUTE FUNCTION licet_refuse_change();
ALTER TABLE licensing_ledgerparty ENABLE ALWAYS TRIGGER insert_only,
    ENABLE ALWAYS TRIGGER insert_only_truncate;
"""
_INSERT_ONLY_UNDONE = """
DROP TRIGGER insert_only ON licensing_ledgerparty;
DROP TRIGGER insert_only_truncate ON licensing_ledgerparty;
GRANT UPDATE, DELETE ON licensing_ledgerparty TO licet_app;
"""


class Migration(migrations.Migration):
    dependencies = [("licensing", "0081_ledger_parties")]

    operations = [
        migrations.RunSQL(_ADVANCE, _ADVANCE_UNDONE),
        migrations.RunSQL(_WALLS, _WALLS_UNDONE),
        migrations.RunSQL(_INSERT_ONLY, _INSERT_ONLY_UNDONE),
    ]
