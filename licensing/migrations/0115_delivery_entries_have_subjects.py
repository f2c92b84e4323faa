"""No delivery summary in the ledger without its row: the check of an entry's subject knows them."""

from importlib import import_module

from django.db import migrations

_before = import_module("licensing.migrations.0113_one_check_of_an_entrys_subject")

_EXISTS = """
CREATE FUNCTION delivery_subject_exists(entry licensing_ledgerentry) RETURNS boolean
LANGUAGE plpgsql AS $$ BEGIN RETURN entry.kind = 'delivery.summarized' AND EXISTS (
    SELECT FROM licensing_deliverysummary
    WHERE entry_id = entry.id AND delivery_ref = entry.subject_ref
); END $$;
"""


def _asking(families: list[str]) -> str:
    """The check, which asks each family's function; as 0113 made it, for these families."""
    asked = "\n".join(
        f"        WHEN '{family}' THEN {family}_subject_exists(NEW)" for family in families
    )
    return f"""
CREATE OR REPLACE FUNCTION ledger_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.kind = 'grant.issued' THEN
        IF EXISTS (
            SELECT FROM licensing_grant
            WHERE issued_entry_id = NEW.id AND grant_ref = NEW.subject_ref
        ) THEN
            RETURN NULL;
        END IF;
    ELSIF (CASE split_part(NEW.kind, '.', 1)
{asked}
        ELSE true
    END) THEN
        RETURN NULL;
    END IF;
    IF NOT starts_with(NEW.kind, 'log.') AND EXISTS (
        SELECT FROM licensing_ledgerrecovered recovered
        JOIN licensing_ledgerleaf leaf ON leaf.entry_id = recovered.entry_id
        WHERE recovered.entry_id = NEW.id
    ) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'ledger entry % (%) has no subject', NEW.id, NEW.kind USING
        ERRCODE = 'integrity_constraint_violation',
        CONSTRAINT = 'ledger_entry_has_its_subject';
END $$;
"""


_FAMILIES = list(_before._FAMILIES)


class Migration(migrations.Migration):
    dependencies = [("licensing", "0114_deliveries")]

    operations = [
        migrations.RunSQL(
            _EXISTS + _asking([*_FAMILIES, "delivery"]),
            _asking(_FAMILIES) + "DROP FUNCTION delivery_subject_exists(licensing_ledgerentry);",
        ),
    ]
