"""Opt-outs and notices: walls, parties, rows that never change, and entries with their subjects."""

from django.db import migrations

# (table, columns, target, target's columns)
COMPOSITE = [
    ("optoutitem", "organization_id, opt_out_id", "licensing_optout", "organization_id, id"),
    (
        "optoutitem",
        "organization_id, digest",
        "marketplace_representation",
        "organization_id, digest",
    ),
    ("notice", "licensor_id, opt_out_id", "licensing_optout", "organization_id, id"),
    (
        "notice",
        "licensor_id, licensee_id, livemode, grant_id",
        "licensing_grant",
        "licensor_id, licensee_id, livemode, id",
    ),
    (
        "acknowledgement",
        "licensor_id, licensee_id, livemode, notice_id",
        "licensing_notice",
        "licensor_id, licensee_id, livemode, id",
    ),
    (
        "contributorlink",
        "organization_id, contributor_id",
        "marketplace_contributor",
        "organization_id, id",
    ),
    ("contributorlink", "organization_id, opt_out_id", "licensing_optout", "organization_id, id"),
]

_OWNER = "organization_id = (SELECT licet_tenant())"
_PARTIES = "licensor_id = (SELECT licet_tenant()) OR licensee_id = (SELECT licet_tenant())"
POLICIES = {
    "optout": _OWNER,
    "contributorlink": _OWNER,
    "notice": _PARTIES,
    "acknowledgement": _PARTIES,
}
# A licensee reads what its notices are about, and writes nothing there.
ITEMS = f"""
ALTER TABLE licensing_optoutitem ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON licensing_optoutitem
    USING ({_OWNER} OR (SELECT licet_system()) OR opt_out_id IN (
        SELECT notice.opt_out_id FROM licensing_notice notice
        WHERE notice.licensee_id = (SELECT licet_tenant())
    ))
    WITH CHECK ({_OWNER} OR (SELECT licet_system()));
"""
ITEMS_UNDONE = """
DROP POLICY tenant ON licensing_optoutitem;
ALTER TABLE licensing_optoutitem DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
"""

INSERT_ONLY = ["optout", "optoutitem", "notice", "acknowledgement"]

# A link is used or revoked, and nothing else of it changes.
LINKS = """
REVOKE UPDATE, DELETE ON licensing_contributorlink FROM licet_app;
GRANT UPDATE (used_at, revoked_at, opt_out_id) ON licensing_contributorlink TO licet_app;
CREATE FUNCTION contributor_link_ended_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF OLD.used_at IS NOT NULL OR OLD.revoked_at IS NOT NULL THEN
        RAISE EXCEPTION 'a link is used or revoked once' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER contributor_link_ended_is_fixed BEFORE UPDATE ON licensing_contributorlink
    FOR EACH ROW EXECUTE FUNCTION contributor_link_ended_is_fixed();
ALTER TABLE licensing_contributorlink ENABLE ALWAYS TRIGGER contributor_link_ended_is_fixed;
"""
LINKS_UNDONE = """
DROP TRIGGER contributor_link_ended_is_fixed ON licensing_contributorlink;
DROP FUNCTION contributor_link_ended_is_fixed();
GRANT UPDATE, DELETE ON licensing_contributorlink TO licet_app;
"""

# No entry without its subject, as for grants; a trigger of its own, so that what other kinds need
# stays where it is.
SUBJECT = """
CREATE FUNCTION optout_entry_has_its_subject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.kind = 'optout.recorded' AND EXISTS (
        SELECT FROM licensing_optout
        WHERE opt_out_ref = NEW.subject_ref AND NEW.id IN (entry_id, other_entry_id)
    ) OR NEW.kind = 'optout.notified' AND EXISTS (
        SELECT FROM licensing_notice WHERE entry_id = NEW.id AND notice_ref = NEW.subject_ref
    ) OR NEW.kind = 'optout.acknowledged' AND EXISTS (
        SELECT FROM licensing_acknowledgement acknowledged
        JOIN licensing_notice notice ON notice.id = acknowledged.notice_id
        WHERE acknowledged.entry_id = NEW.id AND notice.notice_ref = NEW.subject_ref
    ) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'ledger entry % (%) has no subject', NEW.id, NEW.kind USING
        ERRCODE = 'integrity_constraint_violation',
        CONSTRAINT = 'optout_entry_has_its_subject';
END $$;
CREATE CONSTRAINT TRIGGER optout_entry_has_its_subject AFTER INSERT ON licensing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (starts_with(NEW.kind, 'optout.'))
    EXECUTE FUNCTION optout_entry_has_its_subject();
ALTER TABLE licensing_ledgerentry ENABLE ALWAYS TRIGGER optout_entry_has_its_subject;
"""
SUBJECT_UNDONE = """
DROP TRIGGER optout_entry_has_its_subject ON licensing_ledgerentry;
DROP FUNCTION optout_entry_has_its_subject();
"""


def _foreign_keys() -> list[migrations.RunSQL]:
    operations = []
    for table, columns, target, keys in COMPOSITE:
        name = f"{table}_{columns.split(', ')[-1]}_same_parties"
        operations.append(
            migrations.RunSQL(
                f"ALTER TABLE licensing_{table} ADD CONSTRAINT {name}"
                f" FOREIGN KEY ({columns}) REFERENCES {target} ({keys})"
                # At the commit: an opt-out's items are written before it is, for its root is
                # computed from them.
                " DEFERRABLE INITIALLY DEFERRED NOT VALID",
                f"ALTER TABLE licensing_{table} DROP CONSTRAINT {name}",
            )
        )
    return operations


def _walls() -> list[migrations.RunSQL]:
    return [
        migrations.RunSQL(
            f"ALTER TABLE licensing_{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            f"CREATE POLICY tenant ON licensing_{table} USING"
            f" ({condition} OR (SELECT licet_system()))",
            f"DROP POLICY tenant ON licensing_{table};"
            f"ALTER TABLE licensing_{table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        )
        for table, condition in POLICIES.items()
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
    dependencies = [("licensing", "0060_optouts"), ("marketplace", "0089_reserved_at_organization")]

    operations = [
        *_foreign_keys(),
        *_walls(),
        migrations.RunSQL(ITEMS, ITEMS_UNDONE),
        *_insert_only(),
        migrations.RunSQL(LINKS, LINKS_UNDONE),
        migrations.RunSQL(SUBJECT, SUBJECT_UNDONE),
    ]
