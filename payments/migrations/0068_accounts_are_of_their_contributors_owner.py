"""Whose an account is is looked at together for all that are opened, as postings are.

A payout opens up to a million at once: two keys, each of which looks for each row by itself, take a
third of the time. Organizations and contributors stay by what names them elsewhere: a journal names
its organization, and a payment its contributor.
"""

import django.db.models.deletion
from django.db import migrations, models

NAME = "account_contributor_belongs"
ORGANIZATION = "payments_account_organization_id_8e6fc8e7_fk_marketpla"
# As `posting_currency_belongs`: answered row by row, from keys.
TRIGGER = f"""
CREATE FUNCTION {NAME}() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off
AS $$ BEGIN
    IF EXISTS (
        SELECT 1 FROM added WHERE contributor_id IS NOT NULL AND (
            SELECT person.organization_id FROM marketplace_contributor person
            WHERE person.id = added.contributor_id
        ) IS DISTINCT FROM added.organization_id
    ) OR EXISTS (
        SELECT 1 FROM (
            SELECT DISTINCT organization_id FROM added WHERE organization_id IS NOT NULL
        ) owner
        WHERE NOT EXISTS (
            SELECT 1 FROM marketplace_organization found WHERE found.id = owner.organization_id
        )
    ) THEN
        RAISE EXCEPTION 'an account is of an organization, and of nobody but its contributors' USING
            ERRCODE = 'foreign_key_violation', CONSTRAINT = '{NAME}';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER {NAME} AFTER INSERT ON payments_account REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION {NAME}();
ALTER TABLE payments_account ENABLE ALWAYS TRIGGER {NAME};
"""
TRIGGER_UNDONE = f"""
DROP TRIGGER {NAME} ON payments_account;
DROP FUNCTION {NAME}();
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0067_postings_are_of_their_accounts_currency")]

    operations = [
        migrations.RunSQL(TRIGGER, TRIGGER_UNDONE),
        migrations.RunSQL(
            [
                "-- squawk-ignore ban-drop-constraint\n"
                f"ALTER TABLE payments_account DROP CONSTRAINT {NAME}"
            ],
            f"ALTER TABLE payments_account ADD CONSTRAINT {NAME}"
            " FOREIGN KEY (organization_id, contributor_id)"
            " REFERENCES marketplace_contributor (organization_id, id) NOT VALID",
        ),
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    [
                        "-- squawk-ignore ban-drop-constraint\n"
                        f"ALTER TABLE payments_account DROP CONSTRAINT {ORGANIZATION}"
                    ],
                    f"ALTER TABLE payments_account ADD CONSTRAINT {ORGANIZATION}"
                    " FOREIGN KEY (organization_id) REFERENCES marketplace_organization (id)"
                    " DEFERRABLE INITIALLY DEFERRED NOT VALID",
                )
            ],
            [
                migrations.AlterField(
                    model_name="account",
                    name="organization",
                    field=models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                )
            ],
        ),
    ]
