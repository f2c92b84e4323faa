"""The checks on invoices hold for the offers that were there before them."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("licensing", "0120_offer_invoices")]

    operations = [
        ValidateConstraint("offer", "offer_invoice_days_are_known"),
        ValidateConstraint("offer", "offer_grants_on_issue_of_an_invoice"),
    ]
