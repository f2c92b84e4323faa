"""The unique indexes of 0097 become constraints, and the keys of 0096 are checked: all are null."""

from django.db import migrations

_INDEXES = [
    ("snapshot", "snapshot_ref"),
    ("snapshot", "entry_id"),
    ("terms", "terms_ref"),
    ("terms", "entry_id"),
]


class Migration(migrations.Migration):
    dependencies = [("licensing", "0097_catalogue_entry_indexes")]

    operations = [
        *(
            migrations.RunSQL(
                f"ALTER TABLE licensing_{table} ADD CONSTRAINT licensing_{table}_{column}_key"
                f" UNIQUE USING INDEX licensing_{table}_{column}_key",
                # Takes the index along; 0097 undone finds none.
                f"ALTER TABLE licensing_{table} DROP CONSTRAINT licensing_{table}_{column}_key",
            )
            for table, column in _INDEXES
        ),
        *(
            migrations.RunSQL(
                f"ALTER TABLE licensing_{table} VALIDATE CONSTRAINT {table}_entry_is_in_the_ledger",
                migrations.RunSQL.noop,
            )
            for table in ("snapshot", "terms")
        ),
    ]
