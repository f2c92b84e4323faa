"""Who an organization is to the law."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0084_embedded_rights")]

    operations = [
        migrations.AddField(
            model_name="organization",
            name="contact_email",
            field=models.EmailField(blank=True, db_default="", max_length=254),
        ),
        migrations.AddField(
            model_name="organization",
            name="registered_address",
            field=models.CharField(blank=True, db_default="", max_length=500),
        ),
        migrations.AddField(
            model_name="organization",
            name="representative_name",
            field=models.CharField(blank=True, db_default="", max_length=200),
        ),
        migrations.AddField(
            model_name="organization",
            name="vat_id",
            field=models.CharField(blank=True, db_default="", max_length=20),
        ),
    ]
