"""Whether an offer can be bought on invoice, and when a license then begins."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import Q

GRANTS_ON = [("payment", "With the payment"), ("issue", "With the invoice")]


class Migration(migrations.Migration):
    dependencies = [("licensing", "0116_ledger_bodies_packed")]

    operations = [
        migrations.AddField(
            "offer", "invoice_days", models.JSONField(blank=True, db_default=[], default=list)
        ),
        migrations.AddField(
            "offer",
            "grants_on",
            models.CharField(
                choices=GRANTS_ON, db_default="payment", default="payment", max_length=7
            ),
        ),
        AddConstraintNotValid(
            "offer",
            models.CheckConstraint(
                name="offer_invoice_days_are_known",
                condition=Q(invoice_days__contains=[], invoice_days__contained_by=[14, 30, 60]),
            ),
        ),
        AddConstraintNotValid(
            "offer",
            models.CheckConstraint(
                name="offer_grants_on_issue_of_an_invoice",
                condition=Q(grants_on="payment") | Q(grants_on="issue") & ~Q(invoice_days=[]),
            ),
        ),
    ]
