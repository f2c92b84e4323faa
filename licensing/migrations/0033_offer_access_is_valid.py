"""The check on access holds for the offers that were there before it."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("licensing", "0032_offer_access")]

    operations = [ValidateConstraint("offer", "offer_access_is_known")]
