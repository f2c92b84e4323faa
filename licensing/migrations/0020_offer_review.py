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
        migrations.RemoveConstraint("offer", "offer_state_matches_its_dates"),
        migrations.RemoveConstraint("offer", "offer_on_sale_states_its_rights_basis"),
        migrations.RunSQL(
            FIXED.format(moving="'state', 'state_reason', 'suspended_at', 'withdrawn_at'")
            + "GRANT UPDATE (state_reason, submitted_at, suspended_at)"
            " ON licensing_offer TO licet_app",
            FIXED.format(moving="'state', 'withdrawn_at'"),
        ),
    ]
