"""Reports are operators' alone; a seller sees what was decided against it; all of it stays."""

from django.db import migrations

OWN = "(organization_id = (SELECT licet_tenant()) AND {} OR (SELECT licet_system()))"
WALLS = {
    "report": "((SELECT licet_system()))",
    # That nothing was done is told to reporters alone, and a reporter's appeal is no seller's.
    "moderationdecision": OWN.format("measure <> 'none'"),
    "appeal": OWN.format("\"by\" = 'seller'"),
}


def _wall(table: str, rule: str) -> migrations.RunSQL:
    return migrations.RunSQL(
        f"ALTER TABLE licensing_{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        f"CREATE POLICY tenant ON licensing_{table} USING {rule};"
        f"REVOKE UPDATE, DELETE ON licensing_{table} FROM licet_app",
        f"GRANT UPDATE, DELETE ON licensing_{table} TO licet_app;"
        f"DROP POLICY tenant ON licensing_{table};"
        f"ALTER TABLE licensing_{table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
    )


class Migration(migrations.Migration):
    dependencies = [("licensing", "0140_moderation")]

    operations = [
        *(_wall(table, rule) for table, rule in WALLS.items()),
        # What was said and decided stays; only what happens next is written.
        migrations.RunSQL(
            "GRANT UPDATE (state, decision_id, reporter_name, reporter_email, erased_at)"
            " ON licensing_report TO licet_app;"
            "GRANT UPDATE (suspended, state, ended_by, ended_at, end_reason, token_sha256)"
            " ON licensing_moderationdecision TO licet_app;"
            "GRANT UPDATE (state, answer, answered_by, answered_at)"
            " ON licensing_appeal TO licet_app",
            "REVOKE UPDATE (state, decision_id, reporter_name, reporter_email, erased_at)"
            " ON licensing_report FROM licet_app;"
            "REVOKE UPDATE (suspended, state, ended_by, ended_at, end_reason, token_sha256)"
            " ON licensing_moderationdecision FROM licet_app;"
            "REVOKE UPDATE (state, answer, answered_by, answered_at)"
            " ON licensing_appeal FROM licet_app",
        ),
    ]
