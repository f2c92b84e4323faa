"""What an import reads, how far it is, and where each rejected entry stands."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0094_work_identifier"),
    ]

    operations = [
        migrations.AddField(
            model_name="importjob",
            name="format",
            field=models.CharField(blank=True, db_default="", default="", max_length=20),
        ),
        migrations.AddField(
            model_name="importjob",
            name="feed",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="importjob",
            name="dry_run",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="importjob",
            name="columns",
            field=models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict),
        ),
        migrations.AddField(
            model_name="importjob",
            name="upload",
            field=models.CharField(blank=True, db_default="", default="", max_length=60),
        ),
        migrations.AddField(
            model_name="importjob",
            name="requested_by",
            field=models.CharField(blank=True, db_default="", default="", max_length=40),
        ),
        migrations.AddField(
            model_name="importjob",
            name="updated",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="importjob",
            name="removed",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="importjob",
            name="source_read",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="importjob",
            name="source_length",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="importjob",
            name="fingerprint",
            field=models.CharField(blank=True, db_default="", default="", max_length=200),
        ),
        migrations.AddField(
            model_name="importjob",
            name="leased_until",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="importrejection",
            name="line",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="importrejection",
            name="field",
            field=models.CharField(blank=True, db_default="", default="", max_length=60),
        ),
    ]
