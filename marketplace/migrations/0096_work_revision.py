"""The owner's own word for the state of a work."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0095_import_progress"),
    ]

    operations = [
        migrations.AddField(
            model_name="work",
            name="revision",
            field=models.CharField(blank=True, db_default="", default="", max_length=200),
        ),
        migrations.RunSQL(
            "GRANT UPDATE (revision) ON marketplace_work TO licet_app",
            "REVOKE UPDATE (revision) ON marketplace_work FROM licet_app",
        ),
    ]
