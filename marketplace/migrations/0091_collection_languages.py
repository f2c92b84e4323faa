"""The languages of a collection."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0090_text_search_by_language")]

    operations = [
        migrations.AddField(
            "collection",
            "languages",
            django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=35),
                blank=True,
                db_default=[],
                default=list,
                size=100,
            ),
        ),
    ]
