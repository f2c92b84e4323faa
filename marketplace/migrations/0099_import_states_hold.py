"""What 0014 demands of new rows holds for all of them."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0098_import_states"),
    ]

    operations = [
        ValidateConstraint(model_name="importjob", name="import_status_is_known"),
        ValidateConstraint(model_name="importjob", name="import_is_ended_iff_dated"),
        ValidateConstraint(model_name="importjob", name="import_waits_only_for_an_upload"),
    ]
