"""An index for the worker: imports that are due."""

from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("marketplace", "0099_import_states_hold"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "CREATE INDEX CONCURRENTLY IF NOT EXISTS import_is_due"
                    " ON marketplace_importjob (id)"
                    " WHERE status IN ('queued', 'running') AND NOT (upload = '')",
                    "DROP INDEX CONCURRENTLY IF EXISTS import_is_due",
                )
            ],
            state_operations=[
                migrations.AddIndex(
                    model_name="importjob",
                    index=models.Index(
                        condition=models.Q(
                            ("status__in", ["queued", "running"]),
                            models.Q(("upload", ""), _negated=True),
                        ),
                        fields=["id"],
                        name="import_is_due",
                    ),
                ),
            ],
        ),
    ]
