"""Imports wait for a worker, and can be canceled."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


# As they were before.
NARROWER = {
    "import_status_is_known": "status IN ('running', 'finished', 'failed')",
    "import_is_ended_iff_dated": "(status = 'running') = (finished_at IS NULL)",
}


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0097_contributor_erased_at"),
    ]

    operations = [
        migrations.AlterField(
            model_name="importjob",
            name="status",
            field=models.CharField(
                choices=[
                    ("queued", "Waiting for the worker"),
                    ("running", "Running"),
                    ("finished", "Finished"),
                    ("failed", "Failed"),
                    ("canceled", "Canceled"),
                ],
                default="running",
                max_length=8,
            ),
        ),
        # The wider rules follow at once.
        *(
            migrations.SeparateDatabaseAndState(
                database_operations=[
                    migrations.RunSQL(
                        [
                            "-- squawk-ignore ban-drop-constraint\n"
                            f"ALTER TABLE marketplace_importjob DROP CONSTRAINT {name}"
                        ],
                        f"ALTER TABLE marketplace_importjob ADD CONSTRAINT {name} CHECK ({rule})"
                        " NOT VALID",
                    )
                ],
                state_operations=[migrations.RemoveConstraint("importjob", name)],
            )
            for name, rule in NARROWER.items()
        ),
        AddConstraintNotValid(
            model_name="importjob",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["queued", "running", "finished", "failed", "canceled"])
                ),
                name="import_status_is_known",
            ),
        ),
        AddConstraintNotValid(
            model_name="importjob",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("finished_at__isnull", True), ("status__in", ["queued", "running"])),
                    models.Q(
                        models.Q(("status__in", ["queued", "running"]), _negated=True),
                        ("finished_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="import_is_ended_iff_dated",
            ),
        ),
        AddConstraintNotValid(
            model_name="importjob",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "queued"), _negated=True),
                    models.Q(("upload", ""), _negated=True),
                    _connector="OR",
                ),
                name="import_waits_only_for_an_upload",
            ),
        ),
    ]
