"""When somebody last signed out everywhere."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0130_account_acts")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="signed_out_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
    ]
