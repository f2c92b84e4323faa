"""A posting's account and currency are looked at together for all lines, as its journal is.

A key that looks for each line by itself takes as long as everything else does with a million of
them. What it held against is refused elsewhere: accounts are neither changed nor deleted.
"""

from django.db import migrations

NAME = "posting_currency_belongs"
# A subquery in the condition, so that it is answered line by line from the accounts' key: a join
# would be planned once in a session, for a million lines perhaps, and read all accounts ever after;
# and a table of one page would be read whole by a plan that is kept when a million are opened.
TRIGGER = f"""
CREATE FUNCTION {NAME}() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off
AS $$ BEGIN
    IF EXISTS (
        SELECT 1 FROM added WHERE (
            SELECT account.currency FROM payments_account account WHERE account.id = added.account_id
        ) IS DISTINCT FROM added.currency
    ) THEN
        RAISE EXCEPTION 'a posting is in the currency of its account' USING
            ERRCODE = 'foreign_key_violation', CONSTRAINT = '{NAME}';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER {NAME} AFTER INSERT ON payments_posting REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION {NAME}();
ALTER TABLE payments_posting ENABLE ALWAYS TRIGGER {NAME};
"""
TRIGGER_UNDONE = f"""
DROP TRIGGER {NAME} ON payments_posting;
DROP FUNCTION {NAME}();
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0066_advances_of_collections_add_up")]

    operations = [
        migrations.RunSQL(TRIGGER, TRIGGER_UNDONE),
        migrations.RunSQL(
            [
                "-- squawk-ignore ban-drop-constraint\n"
                f"ALTER TABLE payments_posting DROP CONSTRAINT {NAME}"
            ],
            f"ALTER TABLE payments_posting ADD CONSTRAINT {NAME} FOREIGN KEY (account_id, currency)"
            " REFERENCES payments_account (id, currency) NOT VALID",
        ),
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    [
                        "-- squawk-ignore ban-drop-constraint\n"
                        "ALTER TABLE payments_account DROP CONSTRAINT account_of_currency"
                    ],
                    "ALTER TABLE payments_account ADD CONSTRAINT account_of_currency"
                    " UNIQUE (id, currency)",
                )
            ],
            [migrations.RemoveConstraint("account", "account_of_currency")],
        ),
    ]
