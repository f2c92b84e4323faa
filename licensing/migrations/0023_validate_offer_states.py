"""The rules about an offer's states hold for every row."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("licensing", "0022_offer_states")]

    operations = [
        ValidateConstraint("offer", "offer_state_matches_its_dates"),
        ValidateConstraint("offer", "offer_on_sale_states_its_rights_basis"),
        ValidateConstraint("offer", "offer_suspended_says_why"),
    ]
