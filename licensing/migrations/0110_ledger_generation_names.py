"""Room for the names of generations, such as `live/2`, where a log's tree is stored.

A longer varchar rewrites neither rows nor indexes: it takes as long for a million leaves as for one.
"""

from django.db import migrations, models

_MODELS = ["ledgerleaf", "ledgertile", "ledgertree", "ledgercheckpoint", "ledgercosignature"]


def _widened(model: str) -> migrations.SeparateDatabaseAndState:
    # A list, so that the comments for squawk stay.
    return migrations.SeparateDatabaseAndState(
        database_operations=[
            migrations.RunSQL(
                [
                    "-- Wider, so nothing is read or rewritten.\n"
                    "-- squawk-ignore changing-column-type\n"
                    f"ALTER TABLE licensing_{model} ALTER COLUMN log TYPE varchar(9)"
                ],
                [f"ALTER TABLE licensing_{model} ALTER COLUMN log TYPE varchar(4)"],
            )
        ],
        state_operations=[
            migrations.AlterField(model, "log", models.CharField(max_length=9)),
        ],
    )


class Migration(migrations.Migration):
    dependencies = [("licensing", "0103_grant_changes_have_subjects")]

    operations = [_widened(model) for model in _MODELS]
