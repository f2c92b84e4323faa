"""How often an import was taken up without getting on."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0100_import_is_due"),
    ]

    operations = [
        migrations.AddField(
            model_name="importjob",
            name="attempts",
            field=models.SmallIntegerField(db_default=0, default=0),
        ),
    ]
