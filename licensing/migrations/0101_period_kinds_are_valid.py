"""What periods say of themselves holds for those that were there before."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("licensing", "0100_period_kinds")]

    operations = [
        ValidateConstraint("period", "period_windows_are_not_empty"),
        ValidateConstraint("period", "period_kind_matches_the_rest"),
        migrations.RunSQL(
            "ALTER TABLE licensing_period VALIDATE CONSTRAINT period_agreement_id_same_parties",
            migrations.RunSQL.noop,
        ),
    ]
