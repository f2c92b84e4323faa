"""The index of the owner's search."""

from django.contrib.postgres.indexes import GinIndex
from django.db import migrations
from django.db.models import F, Func


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("marketplace", "0091_collection_languages")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "CREATE INDEX CONCURRENTLY IF NOT EXISTS collection_search"
                    " ON marketplace_collection"
                    " USING gin (licet_collection_vector(languages, name, description))",
                    "DROP INDEX CONCURRENTLY IF EXISTS collection_search",
                )
            ],
            state_operations=[
                migrations.AddIndex(
                    "collection",
                    GinIndex(
                        Func(
                            F("languages"),
                            F("name"),
                            F("description"),
                            function="licet_collection_vector",
                        ),
                        name="collection_search",
                    ),
                )
            ],
        ),
    ]
