"""The check on prices holds for the offers that were there before it."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("licensing", "0122_offer_milestones")]

    operations = [ValidateConstraint("offer", "offer_price_minor_is_of_its_price")]
