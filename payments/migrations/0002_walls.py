"""A journal that balances, row-level security, and composite foreign keys."""

from django.db import migrations

COMPOSITE = [
    ("quote", "seller_id, offer_id", "licensing_offer", "organization_id, id"),
    ("quote", "seller_id, snapshot_id", "licensing_snapshot", "organization_id, id"),
    ("quote", "seller_id, terms_id", "licensing_terms", "organization_id, id"),
    (
        "order",
        "organization_id, livemode, quote_id",
        "payments_quote",
        "organization_id, livemode, id",
    ),
    (
        "order",
        "seller_id, organization_id, livemode, grant_id",
        "licensing_grant",
        "licensor_id, licensee_id, livemode, id",
    ),
    (
        "command",
        "organization_id, livemode, order_id",
        "payments_order",
        "organization_id, livemode, id",
    ),
    (
        "journal",
        "organization_id, livemode, order_id",
        "payments_order",
        "organization_id, livemode, id",
    ),
    ("posting", "account_id, currency", "payments_account", "id, currency"),
]

# Who may see a row, beside all-tenant work. Whole journals belong to no tenant.
PRIVATE = {
    "quote": "organization_id = (SELECT licet_tenant())",
    "order": "organization_id = (SELECT licet_tenant())",
    "command": "organization_id = (SELECT licet_tenant())",
    "account": "organization_id = (SELECT licet_tenant())",
    "journal": "false",
    "posting": "false",
    "stripeevent": "false",
}

INSERT_ONLY = ["quote", "account", "journal", "posting"]

# Balance is checked once for each journal, at its header, and postings are sealed in the header's
# own transaction: a trigger that sums for each posting grows with the square of their number.
BALANCE = """
ALTER TABLE payments_journal ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE FUNCTION journal_balances() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NOT EXISTS (SELECT 1 FROM payments_posting WHERE journal_id = NEW.id) OR EXISTS (
        SELECT 1 FROM payments_posting WHERE journal_id = NEW.id
        GROUP BY currency HAVING sum(amount_minor) <> 0
    ) THEN
        RAISE EXCEPTION 'journal % does not balance', NEW.id USING
            ERRCODE = 'check_violation', CONSTRAINT = 'journal_balances';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER journal_balances AFTER INSERT ON payments_journal
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION journal_balances();
ALTER TABLE payments_journal ENABLE ALWAYS TRIGGER journal_balances;

CREATE FUNCTION journal_is_sealed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (
        SELECT 1 FROM (SELECT DISTINCT journal_id FROM added) posted
        LEFT JOIN payments_journal journal ON journal.id = posted.journal_id
        WHERE journal.xid IS DISTINCT FROM pg_current_xact_id()
    ) THEN
        RAISE EXCEPTION 'the journal is sealed' USING
            ERRCODE = 'check_violation', CONSTRAINT = 'journal_is_sealed';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER journal_is_sealed AFTER INSERT ON payments_posting REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION journal_is_sealed();
ALTER TABLE payments_posting ENABLE ALWAYS TRIGGER journal_is_sealed;
"""
BALANCE_UNDONE = """
DROP TRIGGER journal_is_sealed ON payments_posting;
DROP FUNCTION journal_is_sealed();
DROP TRIGGER journal_balances ON payments_journal;
DROP FUNCTION journal_balances();
ALTER TABLE payments_journal DROP COLUMN xid;
"""


# What was agreed and what Stripe said stay as they are; only what happens next is written.
FIXED = """
REVOKE UPDATE, DELETE ON payments_order, payments_command, payments_stripeevent FROM licet_app;
GRANT UPDATE (
    status, checkout_session, checkout_url, payment_intent, paid_at, paid_minor, refunded_minor,
    grant_id, granted_at, refusal, next_sync_at, sync_attempts
) ON payments_order TO licet_app;
GRANT UPDATE (state, stripe_id, refusal, attempts, first_sent_at, next_attempt_at)
    ON payments_command TO licet_app;
GRANT UPDATE (handled_at, attempts, last_error, next_attempt_at)
    ON payments_stripeevent TO licet_app;
"""
FIXED_UNDONE = """
GRANT UPDATE, DELETE ON payments_order, payments_command, payments_stripeevent TO licet_app;
"""


def _foreign_keys() -> list[migrations.RunSQL]:
    operations = []
    for table, columns, target, keys in COMPOSITE:
        name = f"{table}_{columns.replace('_id', '').split(', ')[-1]}_belongs"
        operations.append(
            migrations.RunSQL(
                f"ALTER TABLE payments_{table} ADD CONSTRAINT {name}"
                f" FOREIGN KEY ({columns}) REFERENCES {target} ({keys})",
                f"ALTER TABLE payments_{table} DROP CONSTRAINT {name}",
            )
        )
    return operations


def _walls() -> list[migrations.RunSQL]:
    return [
        migrations.RunSQL(
            f"ALTER TABLE payments_{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            f"CREATE POLICY tenant ON payments_{table} USING"
            f" ({condition} OR (SELECT licet_system()))",
            f"DROP POLICY tenant ON payments_{table};"
            f"ALTER TABLE payments_{table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        )
        for table, condition in PRIVATE.items()
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
    dependencies = [("payments", "0001_tables"), ("licensing", "0002_walls")]

    operations = [
        migrations.RunSQL(BALANCE, BALANCE_UNDONE),
        *_foreign_keys(),
        *_walls(),
        *_insert_only(),
        migrations.RunSQL(FIXED, FIXED_UNDONE),
    ]
