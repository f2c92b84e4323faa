"""What 0052 demands of new rows holds of all."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("payments", "0054_journal_indexes")]

    operations = [
        ValidateConstraint("journal", "journal_of_an_order_names_the_buyer"),
    ]
