"""Periods say what they are: the first, a renewal, or an amendment, and what led to it."""

import django.db.models.deletion
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("licensing", "0099_audit_roots")]

    operations = [
        migrations.AddField(
            "period",
            "kind",
            models.CharField(
                choices=[
                    ("issued", "The first"),
                    ("renewed", "A renewal"),
                    ("amended", "An amendment"),
                ],
                db_default="issued",
                default="issued",
                max_length=7,
            ),
        ),
        migrations.AddField(
            "period", "reference", models.CharField(blank=True, db_default="", max_length=60)
        ),
        migrations.AddField(
            "period",
            "agreement",
            models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="licensing.agreement",
            ),
        ),
        migrations.RunSQL(
            "ALTER TABLE licensing_period ADD CONSTRAINT period_agreement_id_same_parties"
            " FOREIGN KEY (licensor_id, licensee_id, livemode, agreement_id)"
            " REFERENCES licensing_agreement (licensor_id, licensee_id, livemode, id) NOT VALID",
            "ALTER TABLE licensing_period DROP CONSTRAINT period_agreement_id_same_parties",
        ),
        # A later period may have no window of a name: another period's goes on, or it is over. The
        # wider rule follows at once: nothing that relied on the narrower one goes unguarded.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        "-- squawk-ignore ban-drop-constraint\n"
                        "ALTER TABLE licensing_period DROP CONSTRAINT period_windows_are_not_empty"
                    ],
                    "ALTER TABLE licensing_period ADD CONSTRAINT period_windows_are_not_empty"
                    " CHECK (NOT isempty(access_window) AND NOT isempty(training_window)"
                    " AND NOT isempty(use_window)) NOT VALID",
                )
            ],
            state_operations=[
                migrations.RemoveConstraint("period", "period_windows_are_not_empty")
            ],
        ),
        AddConstraintNotValid(
            "period",
            models.CheckConstraint(
                name="period_windows_are_not_empty",
                condition=Q(
                    access_window__isempty=False,
                    training_window__isempty=False,
                    use_window__isempty=False,
                )
                | Q(number__gt=1)
                & (
                    Q(access_window__isempty=False)
                    | Q(training_window__isempty=False)
                    | Q(use_window__isempty=False)
                ),
            ),
        ),
        AddConstraintNotValid(
            "period",
            models.CheckConstraint(
                name="period_kind_matches_the_rest",
                condition=Q(kind="issued", number=1, reference="", agreement__isnull=True)
                | Q(kind="renewed", number__gt=1) & ~Q(reference="")
                | Q(kind="amended", number__gt=1, agreement__isnull=False) & ~Q(reference=""),
            ),
        ),
    ]
