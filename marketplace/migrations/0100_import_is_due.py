"""An index for the worker: imports that are due."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("marketplace", "0099_import_states_hold"),
    ]

    operations = [
        AddIndexConcurrently(
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
    ]
