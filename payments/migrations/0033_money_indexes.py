"""What is unique of commands, journals and accounts becomes wider; orders are found by charge."""

from django.db import migrations, models

_INDEXES = {
    "account_is_one": ("account", "livemode, code, organization_id, contributor_id, currency"),
    "command_is_given_once": ("command", "order_id, kind, reference"),
    "journal_is_posted_once": ("journal", "order_id, kind, reference"),
}


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("payments", "0032_money_walls")]

    operations = [
        *(
            migrations.RunSQL(
                f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {name}_now"
                f" ON payments_{table} ({columns}) NULLS NOT DISTINCT",
                f"DROP INDEX CONCURRENTLY IF EXISTS {name}_now",
            )
            for name, (table, columns) in _INDEXES.items()
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "CREATE INDEX CONCURRENTLY IF NOT EXISTS order_by_charge"
                    " ON payments_order (charge) WHERE charge IS NOT NULL",
                    "DROP INDEX CONCURRENTLY IF EXISTS order_by_charge",
                )
            ],
            state_operations=[
                migrations.AddIndex(
                    "order",
                    models.Index(
                        condition=models.Q(("charge__isnull", False)),
                        fields=["charge"],
                        name="order_by_charge",
                    ),
                )
            ],
        ),
    ]
