"""Imports wait for a worker, and can be canceled."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


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
        migrations.RemoveConstraint(model_name="importjob", name="import_status_is_known"),
        migrations.RemoveConstraint(model_name="importjob", name="import_is_ended_iff_dated"),
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
