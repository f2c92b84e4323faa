"""Walls and fixed columns of the tables of 0052, and what may be written of its new columns."""

from django.db import migrations

# No tenant's rows: only all-tenant work sees them.
TABLES = ["mismatch", "reconcilecursor", "stripepace"]

FIXED = """
REVOKE UPDATE, DELETE ON payments_mismatch, payments_reconcilecursor, payments_stripepace
    FROM licet_app;
GRANT UPDATE (
    kind, subject_type, order_id, journal_id, expected_minor, expected_currency, found_minor,
    found_currency, since, last_seen_at, resolved_at, resolved_by, note
) ON payments_mismatch TO licet_app;
GRANT UPDATE (reached_at, busy_until) ON payments_reconcilecursor TO licet_app;
GRANT UPDATE (next_at) ON payments_stripepace TO licet_app;
GRANT UPDATE (asked_at) ON payments_order TO licet_app;
GRANT UPDATE (is_foreign) ON payments_stripeevent TO licet_app;
"""
FIXED_UNDONE = """
GRANT UPDATE, DELETE ON payments_mismatch, payments_reconcilecursor, payments_stripepace
    TO licet_app;
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0052_reconciliation")]

    operations = [
        *(
            migrations.RunSQL(
                f"ALTER TABLE payments_{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
                f"CREATE POLICY tenant ON payments_{table} USING ((SELECT licet_system()))",
                f"DROP POLICY tenant ON payments_{table};"
                f"ALTER TABLE payments_{table} DISABLE ROW LEVEL SECURITY,"
                " NO FORCE ROW LEVEL SECURITY",
            )
            for table in TABLES
        ),
        migrations.RunSQL(FIXED, FIXED_UNDONE),
    ]
