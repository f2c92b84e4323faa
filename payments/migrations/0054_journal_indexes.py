"""Journals are found by Stripe's ids, and by when they were written."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("payments", "0053_reconciliation_walls")]

    operations = [
        AddIndexConcurrently(
            "journal",
            models.Index(
                condition=models.Q(("reference", ""), _negated=True),
                fields=["reference"],
                name="journal_by_reference",
            ),
        ),
        AddIndexConcurrently(
            "journal", models.Index(fields=["occurred_at"], name="journal_by_time")
        ),
    ]
