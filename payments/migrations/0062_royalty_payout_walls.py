"""Walls, composite keys, fixed columns and sums of the tables of 0060."""

from django.db import migrations

OWN = "organization_id = (SELECT licet_tenant())"
COMPOSITE = [
    ("royalty_counted_payout_belongs", "payout_id", "payments_royaltypayout"),
    ("royalty_counted_allocation_belongs", "allocation_id", "payments_royaltyallocation"),
]

# What was confirmed stays; only how far it is written is.
FIXED = """
DROP TRIGGER insert_only ON payments_royaltypayout;
GRANT UPDATE (state, cursor, written, done_at) ON payments_royaltypayout TO licet_app;
GRANT UPDATE (waits_until) ON payments_royaltypayment TO licet_app;
REVOKE UPDATE, DELETE ON payments_royaltycounted, payments_royaltybalance FROM licet_app;
GRANT UPDATE (carried_micro, advance_minor, minimum_minor) ON payments_royaltybalance TO licet_app;
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON payments_royaltycounted
    FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();
CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON payments_royaltycounted
    EXECUTE FUNCTION licet_refuse_change();
ALTER TABLE payments_royaltycounted ENABLE ALWAYS TRIGGER insert_only,
    ENABLE ALWAYS TRIGGER insert_only_truncate;
"""
FIXED_UNDONE = """
DROP TRIGGER insert_only ON payments_royaltycounted;
DROP TRIGGER insert_only_truncate ON payments_royaltycounted;
GRANT UPDATE, DELETE ON payments_royaltycounted, payments_royaltybalance TO licet_app;
REVOKE UPDATE (waits_until) ON payments_royaltypayment FROM licet_app;
REVOKE UPDATE (state, cursor, written, done_at) ON payments_royaltypayout FROM licet_app;
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON payments_royaltypayout
    FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();
ALTER TABLE payments_royaltypayout ENABLE ALWAYS TRIGGER insert_only;
"""

# Looked at once for each statement: a look for each of a million payments takes as long as to
# write them. Payments of a payout that is not running would stand in no balance.
CHECKS = """
CREATE FUNCTION royalty_payment_payout_belongs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (
        SELECT 1
        FROM (SELECT DISTINCT payout_id, organization_id, livemode, currency FROM added) paid
        LEFT JOIN payments_royaltypayout payout ON payout.id = paid.payout_id
            AND payout.organization_id = paid.organization_id AND payout.livemode = paid.livemode
            AND payout.currency = paid.currency AND payout.state = 'running'
        WHERE payout.id IS NULL
    ) THEN
        RAISE EXCEPTION 'a payment is written while its payout runs' USING
            ERRCODE = 'check_violation', CONSTRAINT = 'royalty_payment_payout_belongs';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER royalty_payment_payout_belongs AFTER INSERT ON payments_royaltypayment
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    EXECUTE FUNCTION royalty_payment_payout_belongs();
ALTER TABLE payments_royaltypayment ENABLE ALWAYS TRIGGER royalty_payment_payout_belongs;

CREATE FUNCTION royalty_payment_contributor_belongs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (
        SELECT 1 FROM added WHERE organization_id IS DISTINCT FROM (
            SELECT organization_id FROM marketplace_contributor WHERE id = added.contributor_id
        )
    ) THEN
        RAISE EXCEPTION 'a payment is of a contributor of its organization' USING
            ERRCODE = 'check_violation', CONSTRAINT = 'royalty_payment_contributor_belongs';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER royalty_payment_contributor_belongs AFTER INSERT ON payments_royaltypayment
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    EXECUTE FUNCTION royalty_payment_contributor_belongs();
ALTER TABLE payments_royaltypayment ENABLE ALWAYS TRIGGER royalty_payment_contributor_belongs;

CREATE FUNCTION royalty_payout_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF (
        SELECT (count(*), coalesce(sum(amount_minor), 0), coalesce(sum(recouped_minor), 0))
            IS DISTINCT FROM (
                NEW.contributors::bigint, NEW.paid_minor::numeric, NEW.recouped_minor::numeric
            )
        FROM payments_royaltypayment WHERE payout_id = NEW.id
    ) THEN
        RAISE EXCEPTION 'the payments of payout % do not add up', NEW.id USING
            ERRCODE = 'check_violation', CONSTRAINT = 'royalty_payout_adds_up';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER royalty_payout_adds_up
    AFTER INSERT OR UPDATE ON payments_royaltypayout
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state = 'done')
    EXECUTE FUNCTION royalty_payout_adds_up();
ALTER TABLE payments_royaltypayout ENABLE ALWAYS TRIGGER royalty_payout_adds_up;

CREATE FUNCTION royalty_payout_stays_done() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'payout % is done', OLD.id USING
        ERRCODE = 'check_violation', CONSTRAINT = 'royalty_payout_stays_done';
END $$;
CREATE TRIGGER royalty_payout_stays_done BEFORE UPDATE ON payments_royaltypayout
    FOR EACH ROW WHEN (OLD.state = 'done') EXECUTE FUNCTION royalty_payout_stays_done();
ALTER TABLE payments_royaltypayout ENABLE ALWAYS TRIGGER royalty_payout_stays_done;
"""
CHECKS_UNDONE = """
DROP TRIGGER royalty_payout_stays_done ON payments_royaltypayout;
DROP FUNCTION royalty_payout_stays_done();
DROP TRIGGER royalty_payout_adds_up ON payments_royaltypayout;
DROP FUNCTION royalty_payout_adds_up();
DROP TRIGGER royalty_payment_contributor_belongs ON payments_royaltypayment;
DROP FUNCTION royalty_payment_contributor_belongs();
DROP TRIGGER royalty_payment_payout_belongs ON payments_royaltypayment;
DROP FUNCTION royalty_payment_payout_belongs();
"""

# The checks by row go, now that there are those by statement.
BY_ROW = {
    "royalty_payment_payout_belongs": (
        "organization_id, livemode, payout_id",
        "payments_royaltypayout (organization_id, livemode, id)",
    ),
    "royalty_payment_contributor_belongs": (
        "organization_id, contributor_id",
        "marketplace_contributor (organization_id, id)",
    ),
}

# A million rows change with each payout: room for their new versions beside them.
ROOM = "ALTER TABLE payments_royaltybalance SET (fillfactor = 50)"

# What was paid so far. What came back, what was advanced and what was earned is counted by the
# next payout, all of it.
BALANCES = """
SELECT set_config('licet.system', 'carry over what was paid to contributors', true);
INSERT INTO payments_royaltybalance (
    organization_id, livemode, currency, contributor_id, carried_micro, advance_minor
)
SELECT organization_id, livemode, currency, contributor_id,
    -1000000 * sum(amount_minor + recouped_minor), -sum(recouped_minor)
FROM payments_royaltypayment GROUP BY 1, 2, 3, 4
ON CONFLICT DO NOTHING;
UPDATE payments_royaltypayout SET written = contributors WHERE state = 'done';
SELECT set_config('licet.system', '', true);
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0061_royalty_payout_indexes")]

    operations = [
        *(
            migrations.RunSQL(
                f"ALTER TABLE payments_royaltycounted ADD CONSTRAINT {name}"
                f" FOREIGN KEY (organization_id, livemode, {column})"
                f" REFERENCES {target} (organization_id, livemode, id) NOT VALID",
                f"ALTER TABLE payments_royaltycounted DROP CONSTRAINT {name}",
            )
            for name, column, target in COMPOSITE
        ),
        *(
            migrations.RunSQL(
                f"ALTER TABLE payments_{table}"
                " ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
                f"CREATE POLICY tenant ON payments_{table}"
                f" USING ({OWN} OR (SELECT licet_system()))",
                f"DROP POLICY tenant ON payments_{table};"
                f"ALTER TABLE payments_{table}"
                " DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
            )
            for table in ("royaltycounted", "royaltybalance")
        ),
        migrations.RunSQL(FIXED, FIXED_UNDONE),
        migrations.RunSQL(BALANCES, migrations.RunSQL.noop),
        migrations.RunSQL(CHECKS, CHECKS_UNDONE),
        *(
            migrations.RunSQL(
                [
                    "-- squawk-ignore ban-drop-constraint\n"
                    f"ALTER TABLE payments_royaltypayment DROP CONSTRAINT {name}"
                ],
                f"ALTER TABLE payments_royaltypayment ADD CONSTRAINT {name}"
                f" FOREIGN KEY ({columns}) REFERENCES {target} NOT VALID",
            )
            for name, (columns, target) in BY_ROW.items()
        ),
        migrations.RunSQL(ROOM, "ALTER TABLE payments_royaltybalance RESET (fillfactor)"),
    ]
