"""When a contributor was erased: no import names them again."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0096_work_revision"),
    ]

    operations = [
        migrations.AddField(
            model_name="contributor",
            name="erased_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
