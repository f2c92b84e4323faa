"""What 0077 demands of new rows holds of all."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("payments", "0077_command_of_remittances")]

    operations = [
        ValidateConstraint("command", "command_kind_is_known"),
    ]
