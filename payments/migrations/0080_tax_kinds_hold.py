"""What 0070 demands of new rows holds of all."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("payments", "0079_tax_records")]

    operations = [
        ValidateConstraint("command", "command_kind_is_known"),
        ValidateConstraint("mismatch", "mismatch_kind_is_known"),
    ]
