"""An entry, and a name in the public log, is of one snapshot or of one version of terms."""

from django.db import migrations

_INDEXES = [
    ("snapshot", "snapshot_ref"),
    ("snapshot", "entry_id"),
    ("terms", "terms_ref"),
    ("terms", "entry_id"),
]


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("licensing", "0096_catalogue_is_recorded")]

    operations = [
        migrations.RunSQL(
            f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS licensing_{table}_{column}_key"
            f" ON licensing_{table} ({column})",
            f"DROP INDEX CONCURRENTLY IF EXISTS licensing_{table}_{column}_key",
        )
        for table, column in _INDEXES
    ]
