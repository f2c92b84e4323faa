"""Look at the lengths that stand already."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0082_lengths_nobody_said")]

    operations = [
        ValidateConstraint("representation", "representation_length_is_known_of_kept_bytes"),
    ]
