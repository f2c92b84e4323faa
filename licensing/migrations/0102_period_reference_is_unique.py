"""What led to a renewal or an amendment leads to one of its grant."""

from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("licensing", "0101_period_kinds_are_valid")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS period_reference_is_unique"
                    " ON licensing_period (grant_id, reference) WHERE NOT reference = ''",
                    "DROP INDEX CONCURRENTLY IF EXISTS period_reference_is_unique",
                )
            ],
            state_operations=[
                migrations.AddConstraint(
                    "period",
                    models.UniqueConstraint(
                        condition=~models.Q(reference=""),
                        fields=["grant", "reference"],
                        name="period_reference_is_unique",
                    ),
                )
            ],
        ),
    ]
