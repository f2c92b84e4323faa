"""Exclusivity, row-level security, composite foreign keys, and a ledger that only grows."""

from django.db import migrations

# (table, columns, target, target's columns)
COMPOSITE = [
    ("snapshot", "organization_id, collection_id", "marketplace_collection", "organization_id, id"),
    ("offer", "organization_id, collection_id", "marketplace_collection", "organization_id, id"),
    (
        "offer",
        "organization_id, collection_id, snapshot_id",
        "licensing_snapshot",
        "organization_id, collection_id, id",
    ),
    ("offer", "organization_id, terms_id", "licensing_terms", "organization_id, id"),
    (
        "grant",
        "licensor_id, licensee_id, livemode, agreement_id",
        "licensing_agreement",
        "licensor_id, licensee_id, livemode, id",
    ),
    ("period", "licensor_id, terms_id", "licensing_terms", "organization_id, id"),
    ("coverage", "licensor_id, snapshot_id", "licensing_snapshot", "organization_id, id"),
    (
        "scopeclaim",
        "licensor_id, collection_number",
        "marketplace_collection",
        "organization_id, number",
    ),
    *(
        (
            table,
            "licensor_id, licensee_id, livemode, grant_id",
            "licensing_grant",
            "licensor_id, licensee_id, livemode, id",
        )
        for table in ("period", "coverage", "scopeclaim")
    ),
]

BY_PARTY = ["agreement", "grant", "period", "coverage", "scopeclaim"]

INSERT_ONLY = [
    "ledgerentry",
    "ledgerleaf",
    "ledgertile",
    "ledgertree",
    "ledgercheckpoint",
    "snapshot",
    "agreement",
    "period",
    "coverage",
]

EXCLUSIVITY = """
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE SEQUENCE licensing_scopeclaim_lane;
GRANT USAGE, SELECT ON SEQUENCE licensing_scopeclaim_lane TO licet_app;
ALTER TABLE licensing_scopeclaim ADD CONSTRAINT scope_claims_do_not_overlap EXCLUDE USING gist (
    collection_number WITH =,
    (livemode::int) WITH =,
    uses WITH &&,
    territories WITH &&,
    during WITH &&,
    lane WITH &&
) WHERE (state <> 'released');
"""

# A published version is fixed, and a live offer's conditions are.
FIXED_ONCE_PUBLISHED = """
CREATE FUNCTION terms_published_are_fixed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF OLD.published_at IS NOT NULL THEN
        RAISE EXCEPTION 'published terms never change' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER terms_published_are_fixed BEFORE UPDATE OR DELETE ON licensing_terms
    FOR EACH ROW EXECUTE FUNCTION terms_published_are_fixed();
ALTER TABLE licensing_terms ENABLE ALWAYS TRIGGER terms_published_are_fixed;

CREATE FUNCTION offer_published_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF OLD.published_at IS NOT NULL AND
        (to_jsonb(NEW) - 'state' - 'withdrawn_at') <> (to_jsonb(OLD) - 'state' - 'withdrawn_at')
    THEN
        RAISE EXCEPTION 'a published offer never changes' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER offer_published_is_fixed BEFORE UPDATE ON licensing_offer
    FOR EACH ROW EXECUTE FUNCTION offer_published_is_fixed();
ALTER TABLE licensing_offer ENABLE ALWAYS TRIGGER offer_published_is_fixed;

REVOKE UPDATE, DELETE ON licensing_offer FROM licet_app;
GRANT UPDATE (
    state, published_at, withdrawn_at, rights_basis, rights_license, rights_statement
) ON licensing_offer TO licet_app;
REVOKE UPDATE, DELETE ON licensing_grant FROM licet_app;
GRANT UPDATE (status, ended_at) ON licensing_grant TO licet_app;
REVOKE UPDATE, DELETE ON licensing_scopeclaim FROM licet_app;
GRANT UPDATE (state, grant_id, held_until) ON licensing_scopeclaim TO licet_app;
REVOKE UPDATE ON licensing_ledgeropening FROM licet_app;
REVOKE UPDATE ON licensing_ledgerpending FROM licet_app;
"""
FIXED_ONCE_PUBLISHED_UNDONE = """
DROP TRIGGER terms_published_are_fixed ON licensing_terms;
DROP FUNCTION terms_published_are_fixed();
DROP TRIGGER offer_published_is_fixed ON licensing_offer;
DROP FUNCTION offer_published_is_fixed();
GRANT UPDATE, DELETE ON licensing_offer, licensing_grant, licensing_scopeclaim TO licet_app;
GRANT UPDATE ON licensing_ledgeropening, licensing_ledgerpending TO licet_app;
"""

# No entry without its subject; the other direction is the subject's NOT NULL UNIQUE key.
SUBJECT = """
CREATE FUNCTION ledger_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.kind = 'grant.issued' AND NOT EXISTS (
        SELECT 1 FROM licensing_grant WHERE issued_entry_id = NEW.id AND grant_ref = NEW.subject_ref
    ) THEN
        RAISE EXCEPTION 'ledger entry % has no grant', NEW.id USING
            ERRCODE = 'integrity_constraint_violation',
            CONSTRAINT = 'ledger_entry_has_its_subject';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_entry_has_its_subject AFTER INSERT ON licensing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_entry_has_its_subject();
ALTER TABLE licensing_ledgerentry ENABLE ALWAYS TRIGGER ledger_entry_has_its_subject;
"""


def _foreign_keys() -> list[migrations.RunSQL]:
    operations = []
    for table, columns, target, keys in COMPOSITE:
        name = f"{table}_{columns.split(', ')[-1]}_same_parties"
        operations.append(
            migrations.RunSQL(
                f"ALTER TABLE licensing_{table} ADD CONSTRAINT {name}"
                f" FOREIGN KEY ({columns}) REFERENCES {target} ({keys})",
                f"ALTER TABLE licensing_{table} DROP CONSTRAINT {name}",
            )
        )
    return operations


def _walls() -> list[migrations.RunSQL]:
    conditions = dict.fromkeys(
        BY_PARTY, "licensor_id = (SELECT licet_tenant()) OR licensee_id = (SELECT licet_tenant())"
    ) | {"ledgeropening": "(SELECT licet_tenant()) = ANY (parties)"}
    return [
        migrations.RunSQL(
            f"ALTER TABLE licensing_{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            f"CREATE POLICY tenant ON licensing_{table} USING"
            f" ({condition} OR (SELECT licet_system()))",
            f"DROP POLICY tenant ON licensing_{table};"
            f"ALTER TABLE licensing_{table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        )
        for table, condition in conditions.items()
    ]


def _insert_only() -> list[migrations.RunSQL]:
    return [
        migrations.RunSQL(
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
        for table in INSERT_ONLY
    ]


class Migration(migrations.Migration):
    dependencies = [("licensing", "0001_tables"), ("marketplace", "0002_walls")]

    operations = [
        migrations.RunSQL(
            EXCLUSIVITY,
            "ALTER TABLE licensing_scopeclaim DROP CONSTRAINT scope_claims_do_not_overlap;"
            "DROP SEQUENCE licensing_scopeclaim_lane",
        ),
        *_foreign_keys(),
        *_walls(),
        *_insert_only(),
        migrations.RunSQL(FIXED_ONCE_PUBLISHED, FIXED_ONCE_PUBLISHED_UNDONE),
        migrations.RunSQL(
            SUBJECT,
            "DROP TRIGGER ledger_entry_has_its_subject ON licensing_ledgerentry;"
            "DROP FUNCTION ledger_entry_has_its_subject()",
        ),
    ]
