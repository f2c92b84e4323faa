"""The index of the owner's search."""

import django.contrib.postgres.indexes
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("marketplace", "0021_collection_search")]

    operations = [
        AddIndexConcurrently(
            "collection",
            django.contrib.postgres.indexes.GinIndex(fields=["search"], name="collection_search"),
        ),
    ]
