"""Look at the units that stand already: all are empty."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0105_item_units")]

    operations = [ValidateConstraint("collectionitem", "item_units_are_known_and_counted")]
