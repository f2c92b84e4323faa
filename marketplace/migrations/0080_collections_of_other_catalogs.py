"""What a collection is called in its owner's own catalog."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0003_reserved_digest")]

    operations = [
        migrations.AddField(
            "collection",
            "external_id",
            models.CharField(blank=True, db_default="", max_length=1000),
        ),
        migrations.AddField(
            "collection",
            "source_url",
            models.URLField(blank=True, db_default="", max_length=2000),
        ),
    ]
