"""What operators do to the market itself is of no organization, and no tenant reads it."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0175_preferences")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    # Older code reads such a row only where it gives acts their places, and is
                    # refused beside this schema.
                    [
                        "-- squawk-ignore ban-drop-not-null\n"
                        "ALTER TABLE marketplace_audit ALTER COLUMN organization_id DROP NOT NULL"
                    ],
                    ["ALTER TABLE marketplace_audit ALTER COLUMN organization_id SET NOT NULL"],
                )
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="audit",
                    name="organization",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                )
            ],
        )
    ]
