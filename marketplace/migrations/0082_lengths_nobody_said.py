"""Bytes that are kept elsewhere may have a length that nobody said."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0081_collection_external_id_is_unique")]

    operations = [
        # The wider rule follows at once: nothing that relied on the narrower one goes unguarded.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        "-- squawk-ignore ban-drop-constraint\n"
                        "ALTER TABLE marketplace_representation"
                        " DROP CONSTRAINT representation_is_not_empty"
                    ],
                    "ALTER TABLE marketplace_representation"
                    " ADD CONSTRAINT representation_is_not_empty CHECK (length > 0) NOT VALID",
                )
            ],
            state_operations=[
                migrations.RemoveConstraint("representation", "representation_is_not_empty")
            ],
        ),
        AddConstraintNotValid(
            "representation",
            models.CheckConstraint(
                condition=models.Q(length__gt=0) | models.Q(custody="reference", length=0),
                name="representation_length_is_known_of_kept_bytes",
            ),
        ),
    ]
