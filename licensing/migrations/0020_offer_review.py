"""Columns for the review of listings; the old rules about an offer's states go."""

from django.db import migrations, models

FIXED = """
CREATE OR REPLACE FUNCTION offer_published_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moving CONSTANT text[] := ARRAY[{moving}];
BEGIN
    IF OLD.published_at IS NOT NULL AND (to_jsonb(NEW) - moving) <> (to_jsonb(OLD) - moving) THEN
        RAISE EXCEPTION 'a published offer never changes' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
"""

OLD_RULES_GO = """
-- squawk-ignore ban-drop-constraint
ALTER TABLE licensing_offer DROP CONSTRAINT offer_state_matches_its_dates;
-- squawk-ignore ban-drop-constraint
ALTER TABLE licensing_offer DROP CONSTRAINT offer_on_sale_states_its_rights_basis;
"""
OLD_RULES = """
ALTER TABLE licensing_offer ADD CONSTRAINT offer_state_matches_its_dates CHECK (
    state = 'draft' AND published_at IS NULL AND withdrawn_at IS NULL
    OR state = 'live' AND published_at IS NOT NULL AND withdrawn_at IS NULL
    OR state = 'withdrawn' AND withdrawn_at IS NOT NULL) NOT VALID;
ALTER TABLE licensing_offer ADD CONSTRAINT offer_on_sale_states_its_rights_basis
    CHECK (state <> 'live' OR rights_basis <> '') NOT VALID;
"""


class Migration(migrations.Migration):
    dependencies = [("licensing", "0002_walls")]

    operations = [
        migrations.AddField(
            "offer",
            "state_reason",
            models.TextField(blank=True, db_default="", max_length=2000),
        ),
        migrations.AddField("offer", "submitted_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("offer", "suspended_at", models.DateTimeField(blank=True, null=True)),
        migrations.AlterField(
            "offer",
            "state",
            models.CharField(
                choices=[
                    ("draft", "Draft"),
                    ("in_review", "In review"),
                    ("listed", "On sale"),
                    ("suspended", "Suspended"),
                    ("withdrawn", "Withdrawn"),
                ],
                default="draft",
                max_length=9,
            ),
        ),
        # The new rules follow in 0022, under the same names: `offers` keeps both meanwhile.
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL([OLD_RULES_GO], OLD_RULES)],
            state_operations=[
                migrations.RemoveConstraint("offer", "offer_state_matches_its_dates"),
                migrations.RemoveConstraint("offer", "offer_on_sale_states_its_rights_basis"),
            ],
        ),
        migrations.RunSQL(
            FIXED.format(moving="'state', 'state_reason', 'suspended_at', 'withdrawn_at'")
            + "GRANT UPDATE (state_reason, submitted_at, suspended_at)"
            " ON licensing_offer TO licet_app",
            FIXED.format(moving="'state', 'withdrawn_at'"),
        ),
    ]
