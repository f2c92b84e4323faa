"""Walls, composite keys and fixed columns of the tables of 0031."""

from django.db import migrations

PARTIES = "organization_id = (SELECT licet_tenant()) OR seller_id = (SELECT licet_tenant())"
OWN = "organization_id = (SELECT licet_tenant())"

# Who may see a row, beside all-tenant work.
PRIVATE = {
    "connectedaccount": OWN,
    "dispute": PARTIES,
    "feeschedule": f"organization_id IS NULL OR {OWN}",
    "refund": PARTIES,
    "refundapproval": (
        "seller_id = (SELECT licet_tenant()) OR EXISTS (SELECT 1 FROM payments_refund refund"
        " WHERE refund.id = refund_id AND refund.organization_id = (SELECT licet_tenant()))"
    ),
    "transfer": OWN,
    "transferreversal": OWN,
}

ORDER = "organization_id, livemode, order_id"

TO_ORDER = "payments_order (organization_id, livemode, id)"
COMPOSITE = [
    ("refund_order_belongs", "refund", ORDER, TO_ORDER),
    ("dispute_order_belongs", "dispute", ORDER, TO_ORDER),
    (
        "connected_account_contributor_belongs",
        "connectedaccount",
        "organization_id, contributor_id",
        "marketplace_contributor (organization_id, id)",
    ),
    (
        "account_contributor_belongs",
        "account",
        "organization_id, contributor_id",
        "marketplace_contributor (organization_id, id)",
    ),
    (
        "transfer_reversal_transfer_belongs",
        "transferreversal",
        "organization_id, livemode, transfer_id",
        "payments_transfer (organization_id, livemode, id)",
    ),
    (
        "fee_schedule_collection_belongs",
        "feeschedule",
        "organization_id, collection_id",
        "marketplace_collection (organization_id, id)",
    ),
    (
        "fee_schedule_offer_belongs",
        "feeschedule",
        "organization_id, offer_id",
        "licensing_offer (organization_id, id)",
    ),
]

# A buyer, to whom the account is nobody's business, must still be told that nothing can be bought.
STANDING = """
CREATE FUNCTION payments_standing(seller uuid, live boolean)
    RETURNS TABLE (country varchar, state varchar, clearance varchar)
    LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    before text := coalesce(current_setting('licet.system', true), '');
BEGIN
    PERFORM set_config('licet.system', 'tell whether a seller can be paid', true);
    RETURN QUERY SELECT account.country, account.state, account.clearance
        FROM payments_connectedaccount account
        WHERE account.organization_id = seller AND account.livemode = live
            AND account.contributor_id IS NULL;
    PERFORM set_config('licet.system', before, true);
END $$;
"""

INSERT_ONLY = ["feeschedule", "refundapproval"]

# What was agreed stays; only what happens next is written.
FIXED = """
REVOKE UPDATE, DELETE ON payments_connectedaccount, payments_dispute, payments_refund,
    payments_transfer, payments_transferreversal FROM licet_app;
GRANT DELETE ON payments_connectedaccount TO licet_app;
GRANT UPDATE (
    stripe_id, state, requirements, clearance, cleared_by, clearance_note, synced_at, next_sync_at
) ON payments_connectedaccount TO licet_app;
GRANT UPDATE (
    status, reason, amount_minor, evidence_due_at, evidence_sent_at, closed_at
) ON payments_dispute TO licet_app;
GRANT UPDATE (state, stripe_id, failure, sent_at) ON payments_refund TO licet_app;
GRANT UPDATE (
    state, withheld_minor, sent_minor, settled_minor, settled_currency, reversed_minor, stripe_id,
    refusal, sent_at
) ON payments_transfer TO licet_app;
GRANT UPDATE (state, stripe_id) ON payments_transferreversal TO licet_app;
GRANT UPDATE (charge, settled_minor, settled_currency, settled_fee_minor, lost_minor)
    ON payments_order TO licet_app;
"""
FIXED_UNDONE = """
GRANT UPDATE, DELETE ON payments_connectedaccount, payments_dispute, payments_refund,
    payments_transfer, payments_transferreversal TO licet_app;
"""


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
    dependencies = [("payments", "0031_money_tables")]

    operations = [
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
        migrations.RunSQL(STANDING, "DROP FUNCTION payments_standing(uuid, boolean)"),
        # A seller sees its sales.
        migrations.RunSQL(
            f"ALTER POLICY tenant ON payments_order USING ({PARTIES} OR (SELECT licet_system()))",
            f"ALTER POLICY tenant ON payments_order USING ({OWN} OR (SELECT licet_system()))",
        ),
    ]
