"""Accounts and postings are looked at once for each statement, whose they are and in which currency.

A look for each of a million lines takes longer than to write them.
"""

from django.db import migrations

# No joins: their plans are kept, and what is quick for a million lines is slow for two. By the key
# even where the table has one page when it is planned: it may have millions later.
POSTINGS = """
CREATE FUNCTION posting_currency_belongs() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off
AS $$ BEGIN
    IF EXISTS (
        SELECT 1 FROM added WHERE currency IS DISTINCT FROM (
            SELECT currency FROM payments_account WHERE id = added.account_id
        )
    ) THEN
        RAISE EXCEPTION 'a posting is in the currency of its account' USING
            ERRCODE = 'check_violation', CONSTRAINT = 'posting_currency_belongs';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER posting_currency_belongs AFTER INSERT ON payments_posting
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    EXECUTE FUNCTION posting_currency_belongs();
ALTER TABLE payments_posting ENABLE ALWAYS TRIGGER posting_currency_belongs;
"""
POSTINGS_UNDONE = """
DROP TRIGGER posting_currency_belongs ON payments_posting;
DROP FUNCTION posting_currency_belongs();
"""
ACCOUNTS = """
CREATE FUNCTION account_contributor_belongs() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off
AS $$ BEGIN
    IF EXISTS (
        SELECT 1 FROM added WHERE contributor_id IS NOT NULL AND organization_id IS DISTINCT FROM (
            SELECT organization_id FROM marketplace_contributor WHERE id = added.contributor_id
        )
    ) THEN
        RAISE EXCEPTION 'an account is of a contributor of its organization' USING
            ERRCODE = 'check_violation', CONSTRAINT = 'account_contributor_belongs';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER account_contributor_belongs AFTER INSERT ON payments_account
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    EXECUTE FUNCTION account_contributor_belongs();
ALTER TABLE payments_account ENABLE ALWAYS TRIGGER account_contributor_belongs;
"""
ACCOUNTS_UNDONE = """
DROP TRIGGER account_contributor_belongs ON payments_account;
DROP FUNCTION account_contributor_belongs();
"""


def _without(table: str, name: str, back: str) -> migrations.RunSQL:
    return migrations.RunSQL(
        [f"-- squawk-ignore ban-drop-constraint\nALTER TABLE {table} DROP CONSTRAINT {name}"],
        f"ALTER TABLE {table} ADD CONSTRAINT {name} {back}",
    )


class Migration(migrations.Migration):
    dependencies = [("payments", "0063_royalty_payout_checks_hold")]

    operations = [
        migrations.RunSQL(POSTINGS, POSTINGS_UNDONE),
        migrations.RunSQL(ACCOUNTS, ACCOUNTS_UNDONE),
        _without(
            "payments_posting",
            "posting_currency_belongs",
            "FOREIGN KEY (account_id, currency) REFERENCES payments_account (id, currency)"
            " NOT VALID",
        ),
        _without(
            "payments_account",
            "account_contributor_belongs",
            "FOREIGN KEY (organization_id, contributor_id)"
            " REFERENCES marketplace_contributor (organization_id, id) NOT VALID",
        ),
        # It was what the postings' key named.
        migrations.SeparateDatabaseAndState(
            [_without("payments_account", "account_of_currency", "UNIQUE (id, currency)")],
            [migrations.RemoveConstraint("account", "account_of_currency")],
        ),
    ]
