"""What 0085 demands of new rows holds of all."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("payments", "0085_refusals_and_credits")]

    operations = [ValidateConstraint("mismatch", "mismatch_kind_is_known")]
