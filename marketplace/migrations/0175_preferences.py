"""How a person reads pages: language, time zone, formats."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0152_bulk_edits")]

    operations = [
        migrations.AddField(
            model_name="user",
            name=name,
            field=models.CharField(blank=True, db_default="", default="", max_length=length),
        )
        for name, length in (("language", 12), ("time_zone", 64), ("formats", 12))
    ]
