"""What a seller's rows say of its sales can be checked: the index of that key."""

from django.db import migrations


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("payments", "0034_money_rules_hold")]

    operations = [
        migrations.RunSQL(
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS order_of_seller"
            " ON payments_order (seller_id, livemode, id)",
            "DROP INDEX CONCURRENTLY IF EXISTS order_of_seller",
        )
    ]
