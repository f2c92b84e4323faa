"""Once a log is frozen, what was never signed of it loses its place, and that alone."""

from django.db import migrations

_TABLES = ("leaf", "tree", "tile")

# The last place that a row vouches for decides: whatever was signed ends before `known`.
_REFUSE = """
CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    gone CONSTANT jsonb := to_jsonb(OLD);
    place CONSTANT numeric := CASE TG_TABLE_NAME
        WHEN 'licensing_ledgerleaf' THEN (gone->>'index')::numeric
        WHEN 'licensing_ledgertree' THEN (gone->>'size')::numeric - 1
        ELSE ((gone->>'index')::numeric + 1) * 256::numeric ^ ((gone->>'level')::int + 1) - 1
    END;
BEGIN
    IF TG_OP = 'DELETE' AND EXISTS (
        SELECT FROM licensing_ledgercontinuation next
        WHERE place >= next.known AND gone->>'log' =
            next.log || CASE next.number WHEN 2 THEN '' ELSE '/' || next.number - 1 END
    ) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% is insert-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
"""
_TRIGGERS = "".join(
    f"""
DROP TRIGGER insert_only ON licensing_ledger{table};
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON licensing_ledger{table}
    FOR EACH ROW EXECUTE FUNCTION {{function}}();
ALTER TABLE licensing_ledger{table} ENABLE ALWAYS TRIGGER insert_only;
"""
    for table in _TABLES
)

# Runs as the owner: the application may delete none of these rows otherwise. The entries wait for
# a place in the generation that continues this one.
_SET_FREE = """
CREATE FUNCTION ledger_set_free(name text, size bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    freed bigint;
BEGIN
    INSERT INTO licensing_ledgerpending (entry_id, log)
        SELECT entry.id, entry.log FROM licensing_ledgerleaf leaf
        JOIN licensing_ledgerentry entry ON entry.id = leaf.entry_id
        WHERE leaf.log = ledger_set_free.name AND leaf.index >= ledger_set_free.size;
    GET DIAGNOSTICS freed = ROW_COUNT;
    DELETE FROM licensing_ledgertree tree
        WHERE tree.log = ledger_set_free.name AND tree.size > ledger_set_free.size;
    DELETE FROM licensing_ledgertile tile WHERE tile.log = ledger_set_free.name
        AND (tile.index + 1) * 256::numeric ^ (tile.level + 1) > ledger_set_free.size;
    DELETE FROM licensing_ledgerleaf leaf
        WHERE leaf.log = ledger_set_free.name AND leaf.index >= ledger_set_free.size;
    RETURN freed;
END $$;
REVOKE EXECUTE ON FUNCTION ledger_set_free(text, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger_set_free(text, bigint) TO licet_app;
"""


class Migration(migrations.Migration):
    dependencies = [("licensing", "0111_ledger_continuations")]

    operations = [
        migrations.RunSQL(
            _REFUSE + _TRIGGERS.format(function="ledger_refuse_change"),
            _TRIGGERS.format(function="licet_refuse_change")
            + "DROP FUNCTION ledger_refuse_change();",
        ),
        migrations.RunSQL(_SET_FREE, "DROP FUNCTION ledger_set_free(text, bigint)"),
    ]
