"""The languages of a collection, and what its owner's search finds it by."""

import django.contrib.postgres.fields
import django.contrib.postgres.search
from django.contrib.postgres.search import SearchConfig, SearchVector
from django.db import migrations, models

READ_AS = models.Func(models.F("languages"), function="licet_text_config")


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0020_text_search_by_language")]

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
        migrations.AddField(
            "collection",
            "search",
            models.GeneratedField(
                db_persist=True,
                expression=django.contrib.postgres.search.CombinedSearchVector(
                    SearchVector("name", config=READ_AS, weight="A"),
                    "||",
                    SearchVector("description", config=READ_AS, weight="D"),
                    SearchConfig(READ_AS),
                ),
                output_field=django.contrib.postgres.search.SearchVectorField(),
            ),
        ),
    ]
