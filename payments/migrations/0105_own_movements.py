"""What the journal says of a tenant's own accounts, inside that tenant's own transaction."""

from django.db import migrations

# Whole journals belong to no tenant, and stay out of sight. Whoever calls this gets the lines on
# the accounts of the tenant that the transaction is of, and no others: without one, none. All lines
# are there before the setting is put back; an error undoes it with whatever it was set in. ROWS is for the planner: with fewer, it would look the orders
# of a year's sales up one by one.
MOVEMENTS = """
CREATE FUNCTION payments_own_movements(
    live boolean, codes text[], kinds text[], since timestamptz, until timestamptz
)
    RETURNS TABLE (
        code varchar, currency varchar, kind varchar, order_id uuid, occurred_at timestamptz,
        amount_minor bigint
    )
    LANGUAGE plpgsql VOLATILE ROWS 10000 AS $$
#variable_conflict use_column
DECLARE
    before text := coalesce(current_setting('licet.system', true), '');
BEGIN
    PERFORM set_config('licet.system', 'a tenant reads its own movements', true);
    RETURN QUERY SELECT account.code, posting.currency, journal.kind, journal.order_id,
            journal.occurred_at, posting.amount_minor
        FROM payments_account account
        JOIN payments_posting posting ON posting.account_id = account.id
        JOIN payments_journal journal ON journal.id = posting.journal_id
        WHERE account.organization_id = licet_tenant() AND account.contributor_id IS NULL
            AND account.livemode = live AND account.code = ANY (codes)
            AND (kinds IS NULL OR journal.kind = ANY (kinds))
            AND (since IS NULL OR journal.occurred_at >= since)
            AND (until IS NULL OR journal.occurred_at < until);
    PERFORM set_config('licet.system', before, true);
END $$;
"""
MOVEMENTS_UNDONE = """
DROP FUNCTION payments_own_movements(boolean, text[], text[], timestamptz, timestamptz)
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0086_mismatch_kinds_hold")]

    operations = [migrations.RunSQL(MOVEMENTS, MOVEMENTS_UNDONE)]
