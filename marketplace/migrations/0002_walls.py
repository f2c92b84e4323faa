"""Roles, row-level security, composite foreign keys, and rows that never change."""

from django.db import migrations

# The tenant of this transaction, and whether it works for all of them. Only `access` sets these.
FUNCTIONS = """
CREATE FUNCTION licet_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('licet.tenant', true), '')::uuid $$;
CREATE FUNCTION licet_system() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT coalesce(current_setting('licet.system', true), '') <> '' $$;
CREATE FUNCTION licet_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION '% is insert-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
"""

PRIVILEGES = """
GRANT USAGE ON SCHEMA public TO licet_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO licet_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO licet_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO licet_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO licet_app;
REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM licet_app;
"""

# (table, column) -> (table, column), always together with the organization.
SAME_ORGANIZATION = [
    ("contributoridentity", "contributor_id", "contributor", "id"),
    ("attestation", "collection_id", "collection", "id"),
    ("work", "contributor_id", "contributor", "id"),
    ("representation", "work_id", "work", "id"),
    ("collectionitem", "collection_number", "collection", "number"),
    ("collectionitem", "work_id", "work", "id"),
    ("importjob", "collection_id", "collection", "id"),
    ("importrejection", "job_id", "importjob", "id"),
]

PRIVATE = [
    "membership",
    "apikey",
    "contributor",
    "contributoridentity",
    "attestation",
    "importjob",
    "importrejection",
    "audit",
    "idempotencykey",
]

INSERT_ONLY = ["attestation", "importrejection", "audit"]


def _foreign_keys() -> list[migrations.RunSQL]:
    rows = [
        migrations.RunSQL(
            f"ALTER TABLE marketplace_{table} ADD CONSTRAINT {table}_{column}_same_organization"
            f" FOREIGN KEY (organization_id, {column})"
            f" REFERENCES marketplace_{target} (organization_id, {key})",
            f"ALTER TABLE marketplace_{table} DROP CONSTRAINT {table}_{column}_same_organization",
        )
        for table, column, target, key in SAME_ORGANIZATION
    ]
    # Tenancy follows through the work, which saves the representation a fourth index.
    rows.append(
        migrations.RunSQL(
            "ALTER TABLE marketplace_collectionitem ADD CONSTRAINT item_representation_same_work"
            " FOREIGN KEY (work_id, representation_id)"
            " REFERENCES marketplace_representation (work_id, id)",
            "ALTER TABLE marketplace_collectionitem DROP CONSTRAINT item_representation_same_work",
        )
    )
    return rows


def _walls() -> list[migrations.RunSQL]:
    return [
        migrations.RunSQL(
            f"ALTER TABLE marketplace_{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            f"CREATE POLICY tenant ON marketplace_{table} USING"
            " (organization_id = (SELECT licet_tenant()) OR (SELECT licet_system()))",
            f"DROP POLICY tenant ON marketplace_{table};"
            f"ALTER TABLE marketplace_{table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        )
        for table in PRIVATE
    ]


def _insert_only() -> list[migrations.RunSQL]:
    return [
        migrations.RunSQL(
            f"REVOKE UPDATE, DELETE ON marketplace_{table} FROM licet_app;"
            f"CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON marketplace_{table}"
            " FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();"
            f"CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON marketplace_{table}"
            " EXECUTE FUNCTION licet_refuse_change();"
            f"ALTER TABLE marketplace_{table} ENABLE ALWAYS TRIGGER insert_only,"
            " ENABLE ALWAYS TRIGGER insert_only_truncate",
            f"DROP TRIGGER insert_only ON marketplace_{table};"
            f"DROP TRIGGER insert_only_truncate ON marketplace_{table};"
            f"GRANT UPDATE, DELETE ON marketplace_{table} TO licet_app",
        )
        for table in INSERT_ONLY
    ]


# Snapshots are computed from these rows again whenever a manifest is made: what a root depends on
# never changes, and nothing that somebody bought or used goes away.
FIXED = """
REVOKE UPDATE, DELETE ON marketplace_representation, marketplace_work, marketplace_apikey
    FROM licet_app;
REVOKE DELETE ON marketplace_collection, marketplace_organization FROM licet_app;
GRANT UPDATE (title, source_url, language) ON marketplace_work TO licet_app;
GRANT UPDATE (expires_at, revoked_at, last_used_at) ON marketplace_apikey TO licet_app;
"""
FIXED_UNDONE = """
GRANT UPDATE, DELETE ON marketplace_representation, marketplace_work, marketplace_apikey,
    marketplace_collection, marketplace_organization TO licet_app;
"""

# An item's life is written once: who may change a row may only end it.
ITEMS = """
REVOKE UPDATE, DELETE ON marketplace_collectionitem FROM licet_app;
GRANT UPDATE (removed_in) ON marketplace_collectionitem TO licet_app;
CREATE FUNCTION item_ends_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF OLD.removed_in IS NOT NULL OR (to_jsonb(NEW) - 'removed_in') <> (to_jsonb(OLD) - 'removed_in')
    THEN
        RAISE EXCEPTION 'an item''s numbers are set once' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER item_ends_once BEFORE UPDATE ON marketplace_collectionitem
    FOR EACH ROW EXECUTE FUNCTION item_ends_once();
ALTER TABLE marketplace_collectionitem ENABLE ALWAYS TRIGGER item_ends_once;
"""
ITEMS_UNDONE = """
DROP TRIGGER item_ends_once ON marketplace_collectionitem;
DROP FUNCTION item_ends_once();
GRANT UPDATE, DELETE ON marketplace_collectionitem TO licet_app;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0001_tables"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.RunSQL(
            FUNCTIONS,
            "DROP FUNCTION licet_refuse_change(); DROP FUNCTION licet_system();"
            "DROP FUNCTION licet_tenant()",
        ),
        migrations.RunSQL(PRIVILEGES, migrations.RunSQL.noop),
        *_foreign_keys(),
        *_walls(),
        *_insert_only(),
        migrations.RunSQL(FIXED, FIXED_UNDONE),
        migrations.RunSQL(ITEMS, ITEMS_UNDONE),
    ]
