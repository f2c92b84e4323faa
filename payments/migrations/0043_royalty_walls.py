"""Walls, composite keys, fixed columns and sums of the tables of 0042."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations

OWN = "organization_id = (SELECT licet_tenant())"
TABLES = [
    "royaltyaccrual",
    "royaltyadvance",
    "royaltyallocation",
    "royaltybase",
    "royaltypayment",
    "royaltypayout",
    "royaltyweight",
]
# Not the rules: an order fixes its shares as its buyer, who must read the seller's. `visible_to`
# alone walls them off.

CONTRIBUTOR = "organization_id, contributor_id", "marketplace_contributor (organization_id, id)"
RULE = "organization_id, rule_id", "payments_royaltyrule (organization_id, id)"
SNAPSHOT = "organization_id, snapshot_id", "licensing_snapshot (organization_id, id)"
ALLOCATION = "payments_royaltyallocation (organization_id, livemode, id)"
COMPOSITE = [
    (
        "royalty_rule_collection_belongs",
        "royaltyrule",
        "organization_id, collection_id",
        "marketplace_collection (organization_id, id)",
    ),
    ("royalty_base_rule_belongs", "royaltybase", *RULE),
    ("royalty_base_snapshot_belongs", "royaltybase", *SNAPSHOT),
    ("royalty_allocation_rule_belongs", "royaltyallocation", *RULE),
    ("royalty_allocation_snapshot_belongs", "royaltyallocation", *SNAPSHOT),
    (
        "royalty_allocation_order_belongs",
        "royaltyallocation",
        "organization_id, livemode, order_id",
        "payments_order (seller_id, livemode, id)",
    ),
    (
        "royalty_allocation_sale_belongs",
        "royaltyallocation",
        "organization_id, livemode, sale_id",
        ALLOCATION,
    ),
    (
        "royalty_allocation_base_belongs",
        "royaltyallocation",
        "organization_id, base_id",
        "payments_royaltybase (organization_id, id)",
    ),
    ("royalty_advance_contributor_belongs", "royaltyadvance", *CONTRIBUTOR),
    (
        "royalty_payment_payout_belongs",
        "royaltypayment",
        "organization_id, livemode, payout_id",
        "payments_royaltypayout (organization_id, livemode, id)",
    ),
    ("royalty_payment_contributor_belongs", "royaltypayment", *CONTRIBUTOR),
]

INSERT_ONLY = [
    "royaltyaccrual",
    "royaltyadvance",
    "royaltybase",
    "royaltypayout",
    "royaltyrule",
    "royaltyweight",
]

# What follows from what stays; only how far it is is written.
FIXED = """
REVOKE UPDATE, DELETE ON payments_royaltyallocation, payments_royaltypayment FROM licet_app;
GRANT UPDATE (
    state, base_id, cursor, cut_before_remainder, cut_before_hash, cut_after_remainder,
    cut_after_hash, done_at
) ON payments_royaltyallocation TO licet_app;
GRANT UPDATE (state, reference, stripe_id, refusal, settled_at)
    ON payments_royaltypayment TO licet_app;
"""
FIXED_UNDONE = """
GRANT UPDATE, DELETE ON payments_royaltyallocation, payments_royaltypayment TO licet_app;
"""

# Each is looked at once for a million rows: a check of each row by itself takes longer than to
# write them. The weights of a base, and the accruals of an allocation, are whole and of one owner.
SUMS = """
CREATE FUNCTION royalty_base_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF (
        SELECT (count(*), coalesce(sum(weight), 0), count(DISTINCT organization_id))
            IS DISTINCT FROM (NEW.sharers::bigint, NEW.total_weight::numeric, 1::bigint)
        FROM payments_royaltyweight WHERE base_id = NEW.id
    ) OR EXISTS (
        SELECT 1 FROM payments_royaltyweight weight
        LEFT JOIN marketplace_contributor contributor ON contributor.id = weight.contributor_id
            AND contributor.organization_id = NEW.organization_id
        WHERE weight.base_id = NEW.id AND (weight.organization_id <> NEW.organization_id
            OR weight.contributor_id IS NOT NULL AND contributor.id IS NULL)
    ) THEN
        RAISE EXCEPTION 'the weights of base % do not add up', NEW.id USING
            ERRCODE = 'check_violation', CONSTRAINT = 'royalty_base_adds_up';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER royalty_base_adds_up AFTER INSERT ON payments_royaltybase
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION royalty_base_adds_up();
ALTER TABLE payments_royaltybase ENABLE ALWAYS TRIGGER royalty_base_adds_up;

CREATE FUNCTION royalty_base_is_sealed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (
        SELECT 1 FROM (SELECT DISTINCT base_id FROM added) weighed
        LEFT JOIN payments_royaltybase base ON base.id = weighed.base_id
        WHERE base.xid IS DISTINCT FROM pg_current_xact_id()
    ) THEN
        RAISE EXCEPTION 'the base is sealed' USING
            ERRCODE = 'check_violation', CONSTRAINT = 'royalty_base_is_sealed';
    END IF;
    RETURN NULL;
END $$;
ALTER TABLE payments_royaltybase ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE TRIGGER royalty_base_is_sealed AFTER INSERT ON payments_royaltyweight
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION royalty_base_is_sealed();
ALTER TABLE payments_royaltyweight ENABLE ALWAYS TRIGGER royalty_base_is_sealed;

CREATE FUNCTION royalty_allocation_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF (
        SELECT coalesce(sum(amount_micro), 0) <> NEW.pool_minor::numeric * 1000000
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
CREATE CONSTRAINT TRIGGER royalty_allocation_adds_up
    AFTER INSERT OR UPDATE ON payments_royaltyallocation
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state = 'done')
    EXECUTE FUNCTION royalty_allocation_adds_up();
ALTER TABLE payments_royaltyallocation ENABLE ALWAYS TRIGGER royalty_allocation_adds_up;

CREATE FUNCTION royalty_allocation_stays_done() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'allocation % is done', OLD.id USING
        ERRCODE = 'check_violation', CONSTRAINT = 'royalty_allocation_stays_done';
END $$;
CREATE TRIGGER royalty_allocation_stays_done BEFORE UPDATE ON payments_royaltyallocation
    FOR EACH ROW WHEN (OLD.state = 'done') EXECUTE FUNCTION royalty_allocation_stays_done();
ALTER TABLE payments_royaltyallocation ENABLE ALWAYS TRIGGER royalty_allocation_stays_done;

CREATE FUNCTION royalty_accrual_is_of_a_running_allocation() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN
    IF EXISTS (
        SELECT 1 FROM (SELECT DISTINCT allocation_id, organization_id, livemode FROM added) accrued
        LEFT JOIN payments_royaltyallocation allocation
            ON allocation.id = accrued.allocation_id
            AND allocation.organization_id = accrued.organization_id
            AND allocation.livemode = accrued.livemode AND allocation.state = 'running'
        WHERE allocation.id IS NULL
    ) THEN
        RAISE EXCEPTION 'nothing accrues to an allocation that is not being shared out' USING
            ERRCODE = 'check_violation',
            CONSTRAINT = 'royalty_accrual_is_of_a_running_allocation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER royalty_accrual_is_of_a_running_allocation AFTER INSERT ON payments_royaltyaccrual
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    EXECUTE FUNCTION royalty_accrual_is_of_a_running_allocation();
ALTER TABLE payments_royaltyaccrual
    ENABLE ALWAYS TRIGGER royalty_accrual_is_of_a_running_allocation;
"""
SUMS_UNDONE = """
DROP TRIGGER royalty_accrual_is_of_a_running_allocation ON payments_royaltyaccrual;
DROP FUNCTION royalty_accrual_is_of_a_running_allocation();
DROP TRIGGER royalty_allocation_stays_done ON payments_royaltyallocation;
DROP FUNCTION royalty_allocation_stays_done();
DROP TRIGGER royalty_allocation_adds_up ON payments_royaltyallocation;
DROP FUNCTION royalty_allocation_adds_up();
DROP TRIGGER royalty_base_is_sealed ON payments_royaltyweight;
DROP FUNCTION royalty_base_is_sealed();
ALTER TABLE payments_royaltybase DROP COLUMN xid;
DROP TRIGGER royalty_base_adds_up ON payments_royaltybase;
DROP FUNCTION royalty_base_adds_up();
"""


def _walls() -> list[migrations.RunSQL]:
    return [
        migrations.RunSQL(
            f"ALTER TABLE payments_{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            f"CREATE POLICY tenant ON payments_{table} USING ({OWN} OR (SELECT licet_system()))",
            f"DROP POLICY tenant ON payments_{table};"
            f"ALTER TABLE payments_{table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        )
        for table in TABLES
    ]


def _insert_only() -> list[migrations.RunSQL]:
    return [
        migrations.RunSQL(
            f"REVOKE UPDATE, DELETE ON payments_{table} FROM licet_app;"
            f"CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON payments_{table}"
            " FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();"
            f"CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON payments_{table}"
            " EXECUTE FUNCTION licet_refuse_change();"
            f"ALTER TABLE payments_{table} ENABLE ALWAYS TRIGGER insert_only,"
            " ENABLE ALWAYS TRIGGER insert_only_truncate",
            f"DROP TRIGGER insert_only ON payments_{table};"
            f"DROP TRIGGER insert_only_truncate ON payments_{table};"
            f"GRANT UPDATE, DELETE ON payments_{table} TO licet_app",
        )
        for table in INSERT_ONLY
    ]


class Migration(migrations.Migration):
    dependencies = [("payments", "0042_royalties")]

    operations = [
        ValidateConstraint("command", "command_kind_is_known"),
        *(
            migrations.RunSQL(
                f"ALTER TABLE payments_{table} ADD CONSTRAINT {name}"
                f" FOREIGN KEY ({columns}) REFERENCES {target} NOT VALID",
                f"ALTER TABLE payments_{table} DROP CONSTRAINT {name}",
            )
            for name, table, columns, target in COMPOSITE
        ),
        *_walls(),
        *_insert_only(),
        migrations.RunSQL(FIXED, FIXED_UNDONE),
        migrations.RunSQL(SUMS, SUMS_UNDONE),
    ]
