"""What is reserved at one organization, found without reading what is reserved at the others."""

from django.db import migrations, models


class Migration(migrations.Migration):
    # An index that is made concurrently is made outside a transaction.
    atomic = False

    dependencies = [("marketplace", "0088_uploads")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "CREATE INDEX CONCURRENTLY IF NOT EXISTS reserved_at_organization"
                    " ON marketplace_reserveddigest (organization_id, digest)"
                    " WHERE ended_at IS NULL",
                    "DROP INDEX CONCURRENTLY IF EXISTS reserved_at_organization",
                )
            ],
            state_operations=[
                migrations.AddIndex(
                    model_name="reserveddigest",
                    index=models.Index(
                        condition=models.Q(("ended_at__isnull", True)),
                        fields=["organization", "digest"],
                        name="reserved_at_organization",
                    ),
                ),
            ],
        ),
    ]
