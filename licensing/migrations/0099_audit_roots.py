"""The audit's tree and its roots: rows that never change, and no such entry without its row."""

import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.lookups
from django.db import migrations, models

# Which acts of all tenants have which place: nobody's but ours. A root shows hashes alone.
_WALLS = """
ALTER TABLE licensing_auditleaf ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON licensing_auditleaf USING ((SELECT licet_system()));
"""
_WALLS_UNDONE = """
DROP POLICY system ON licensing_auditleaf;
ALTER TABLE licensing_auditleaf DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
"""

# No entry without its root, but for one that came back from a log's copy and has its place.
_SUBJECT = """
CREATE FUNCTION audit_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.kind = 'audit.root' AND EXISTS (
        SELECT FROM licensing_auditroot
        WHERE entry_id = NEW.id AND log = NEW.log AND number = NEW.seq
    ) OR EXISTS (
        SELECT FROM licensing_ledgerrecovered recovered
        JOIN licensing_ledgerleaf leaf ON leaf.entry_id = recovered.entry_id
        WHERE recovered.entry_id = NEW.id
    ) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'ledger entry % (%) has no subject', NEW.id, NEW.kind USING
        ERRCODE = 'integrity_constraint_violation',
        CONSTRAINT = 'audit_entry_has_its_subject';
END $$;
CREATE CONSTRAINT TRIGGER audit_entry_has_its_subject AFTER INSERT ON licensing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (starts_with(NEW.kind, 'audit.'))
    EXECUTE FUNCTION audit_entry_has_its_subject();
ALTER TABLE licensing_ledgerentry ENABLE ALWAYS TRIGGER audit_entry_has_its_subject;
"""
_SUBJECT_UNDONE = """
DROP TRIGGER audit_entry_has_its_subject ON licensing_ledgerentry;
DROP FUNCTION audit_entry_has_its_subject();
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
    dependencies = [
        ("licensing", "0098_catalogue_entries_are_unique"),
        ("marketplace", "0104_invitations_can_be_erased"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditLeaf",
            fields=[
                ("position", models.BigIntegerField(primary_key=True, serialize=False)),
                ("leaf_hash", models.BinaryField(max_length=32)),
                (
                    "audit",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="leaf",
                        to="marketplace.audit",
                    ),
                ),
            ],
            options={
                "verbose_name": "leaf of the audit",
                "verbose_name_plural": "leaves of the audit",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("position__gte", 0)),
                        name="audit_leaf_positions_begin_at_0",
                    ),
                    models.CheckConstraint(
                        condition=django.db.models.lookups.Exact(
                            django.db.models.functions.text.Length("leaf_hash"), 32
                        ),
                        name="audit_leaf_is_sha256",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AuditRoot",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "log",
                        "number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("log", models.CharField(max_length=4)),
                ("number", models.IntegerField()),
                ("size", models.BigIntegerField()),
                ("root", models.BinaryField(max_length=32)),
                ("until", models.DateTimeField()),
                ("frontier", models.BinaryField()),
                (
                    "entry",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.ledgerentry",
                    ),
                ),
            ],
            options={
                "verbose_name": "root of the audit",
                "verbose_name_plural": "roots of the audit",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("size__gt", 0)), name="audit_root_is_not_of_nothing"
                    ),
                    models.CheckConstraint(
                        condition=django.db.models.lookups.Exact(
                            django.db.models.functions.text.Length("root"), 32
                        ),
                        name="audit_root_is_sha256",
                    ),
                ],
            },
        ),
        migrations.RunSQL(_WALLS, _WALLS_UNDONE),
        _insert_only("auditleaf"),
        _insert_only("auditroot"),
        migrations.RunSQL(_SUBJECT, _SUBJECT_UNDONE),
    ]
