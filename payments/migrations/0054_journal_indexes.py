"""Journals are found by Stripe's ids, and by when they were written."""

from django.db import migrations, models

INDEXES = [
    (
        "journal_by_reference",
        "(reference) WHERE NOT (reference = '')",
        models.Index(
            condition=models.Q(("reference", ""), _negated=True),
            fields=["reference"],
            name="journal_by_reference",
        ),
    ),
    (
        "journal_by_time",
        "(occurred_at)",
        models.Index(fields=["occurred_at"], name="journal_by_time"),
    ),
]


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("payments", "0053_reconciliation_walls")]

    operations = [
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON payments_journal {columns}",
                    f"DROP INDEX CONCURRENTLY IF EXISTS {name}",
                )
            ],
            [migrations.AddIndex("journal", index)],
        )
        for name, columns, index in INDEXES
    ]
