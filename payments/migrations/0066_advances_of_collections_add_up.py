"""Walls and sums of the table of 0065; a pool's accruals add up to what advances leave of it."""

from django.db import migrations

OWN = "organization_id = (SELECT licet_tenant())"
COMPOSITE = [
    (
        "royalty_advance_line_collection_belongs",
        "organization_id, collection_id",
        "marketplace_collection (organization_id, id)",
    ),
    (
        "royalty_advance_line_allocation_belongs",
        "organization_id, livemode, allocation_id",
        "payments_royaltyallocation (organization_id, livemode, id)",
    ),
]

# After the row, so that its key speaks first: two that follow on the same line have one number.
FOLLOWS = """
CREATE FUNCTION royalty_advance_line_follows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last record;
BEGIN
    SELECT number, open_minor INTO last FROM payments_royaltyadvanceline
    WHERE collection_id = NEW.collection_id AND livemode = NEW.livemode
        AND currency = NEW.currency AND number < NEW.number
    ORDER BY number DESC LIMIT 1;
    IF NEW.number <> coalesce(last.number, 0) + 1
        OR NEW.open_minor <> coalesce(last.open_minor, 0) + NEW.moved_minor
    THEN
        RAISE EXCEPTION 'line % does not follow on the last one', NEW.number USING
            ERRCODE = 'check_violation', CONSTRAINT = 'royalty_advance_line_follows';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER royalty_advance_line_follows AFTER INSERT ON payments_royaltyadvanceline
    FOR EACH ROW EXECUTE FUNCTION royalty_advance_line_follows();
ALTER TABLE payments_royaltyadvanceline ENABLE ALWAYS TRIGGER royalty_advance_line_follows;
"""
FOLLOWS_UNDONE = """
DROP TRIGGER royalty_advance_line_follows ON payments_royaltyadvanceline;
DROP FUNCTION royalty_advance_line_follows();
"""

# A sale's pool pays back all that it can; what goes back of the sale takes from contributors first,
# and from the advance what is left: as if the sale had been that small.
REPLAYS = """
CREATE FUNCTION royalty_advance_line_replays() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    made record;
    recoups bigint;
BEGIN
    SELECT allocation.*, snapshot.collection_id INTO made
    FROM payments_royaltyallocation allocation
    JOIN licensing_snapshot snapshot ON snapshot.id = allocation.snapshot_id
    WHERE allocation.id = NEW.allocation_id;
    IF made.sale_id IS NULL THEN
        recoups := least(made.pool_minor, NEW.open_minor - NEW.moved_minor);
    ELSE
        SELECT -moved_minor INTO recoups FROM payments_royaltyadvanceline
        WHERE allocation_id = made.sale_id;
    END IF;
    IF (made.state = 'pending' AND made.collection_id = NEW.collection_id
        AND made.currency = NEW.currency
        AND NEW.moved_minor = least(made.kept_before_minor, recoups)
            - least(made.kept_before_minor + made.pool_minor, recoups)) IS NOT TRUE
    THEN
        RAISE EXCEPTION 'allocation % pays something else back', NEW.allocation_id USING
            ERRCODE = 'check_violation', CONSTRAINT = 'royalty_advance_line_replays';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER royalty_advance_line_replays AFTER INSERT ON payments_royaltyadvanceline
    FOR EACH ROW WHEN (NEW.allocation_id IS NOT NULL)
    EXECUTE FUNCTION royalty_advance_line_replays();
ALTER TABLE payments_royaltyadvanceline ENABLE ALWAYS TRIGGER royalty_advance_line_replays;
"""
REPLAYS_UNDONE = """
DROP TRIGGER royalty_advance_line_replays ON payments_royaltyadvanceline;
DROP FUNCTION royalty_advance_line_replays();
"""


def _adds_up(pool: str) -> str:
    """The function of 0043, of what is left of a pool."""
    return f"""
CREATE OR REPLACE FUNCTION royalty_allocation_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF (
        SELECT coalesce(sum(amount_micro), 0) <> ({pool})::numeric * 1000000
            OR bool_or(currency <> NEW.currency)
        FROM payments_royaltyaccrual WHERE allocation_id = NEW.id
    ) OR EXISTS (
        SELECT 1 FROM payments_royaltyaccrual accrual
        LEFT JOIN marketplace_contributor contributor ON contributor.id = accrual.contributor_id
            AND contributor.organization_id = NEW.organization_id
        WHERE accrual.allocation_id = NEW.id
            AND accrual.contributor_id IS NOT NULL AND contributor.id IS NULL
    ) THEN
        RAISE EXCEPTION 'the accruals of allocation % do not add up', NEW.id USING
            ERRCODE = 'check_violation', CONSTRAINT = 'royalty_allocation_adds_up';
    END IF;
    RETURN NULL;
END $$;
"""


LEFT = """NEW.pool_minor + coalesce((
            SELECT moved_minor FROM payments_royaltyadvanceline WHERE allocation_id = NEW.id
        ), 0)"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0065_advances_of_collections")]

    operations = [
        *(
            migrations.RunSQL(
                f"ALTER TABLE payments_royaltyadvanceline ADD CONSTRAINT {name}"
                f" FOREIGN KEY ({columns}) REFERENCES {target} NOT VALID",
                f"ALTER TABLE payments_royaltyadvanceline DROP CONSTRAINT {name}",
            )
            for name, columns, target in COMPOSITE
        ),
        migrations.RunSQL(
            "ALTER TABLE payments_royaltyadvanceline ENABLE ROW LEVEL SECURITY,"
            " FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY tenant ON payments_royaltyadvanceline"
            f" USING ({OWN} OR (SELECT licet_system()))",
            "DROP POLICY tenant ON payments_royaltyadvanceline;"
            "ALTER TABLE payments_royaltyadvanceline DISABLE ROW LEVEL SECURITY,"
            " NO FORCE ROW LEVEL SECURITY",
        ),
        migrations.RunSQL(
            "REVOKE UPDATE, DELETE ON payments_royaltyadvanceline FROM licet_app;"
            "CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON payments_royaltyadvanceline"
            " FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();"
            "CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON payments_royaltyadvanceline"
            " EXECUTE FUNCTION licet_refuse_change();"
            "ALTER TABLE payments_royaltyadvanceline ENABLE ALWAYS TRIGGER insert_only,"
            " ENABLE ALWAYS TRIGGER insert_only_truncate",
            "DROP TRIGGER insert_only ON payments_royaltyadvanceline;"
            "DROP TRIGGER insert_only_truncate ON payments_royaltyadvanceline;"
            "GRANT UPDATE, DELETE ON payments_royaltyadvanceline TO licet_app",
        ),
        migrations.RunSQL(FOLLOWS, FOLLOWS_UNDONE),
        migrations.RunSQL(REPLAYS, REPLAYS_UNDONE),
        migrations.RunSQL(_adds_up(LEFT), _adds_up("NEW.pool_minor")),
    ]
