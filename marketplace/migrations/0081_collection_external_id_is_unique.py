"""An owner's own id names one collection."""

from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("marketplace", "0080_collections_of_other_catalogs")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS"
                    " collection_external_id_is_unique ON marketplace_collection"
                    " (organization_id, external_id) WHERE NOT external_id = ''",
                    "DROP INDEX CONCURRENTLY IF EXISTS collection_external_id_is_unique",
                )
            ],
            state_operations=[
                migrations.AddConstraint(
                    "collection",
                    models.UniqueConstraint(
                        condition=~models.Q(external_id=""),
                        fields=["organization", "external_id"],
                        name="collection_external_id_is_unique",
                    ),
                )
            ],
        ),
    ]
