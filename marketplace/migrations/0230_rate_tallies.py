"""Until when the quota of each caller of the API is spent: what all processes share."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0221_webhooks")]

    operations = [
        # Not logged: nothing of it is worth a write to the disk, and after a crash all are full.
        migrations.RunSQL(
            "CREATE UNLOGGED TABLE marketplace_ratetally ("
            " bucket bytea NOT NULL PRIMARY KEY,"
            " spent_until timestamp with time zone NOT NULL"
            # The one index is on the key: a row is updated where it lies.
            ") WITH (fillfactor = 70)",
            "DROP TABLE marketplace_ratetally",
        ),
    ]
