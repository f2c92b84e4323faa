"""A quote keeps what its grant will say of the price. Older quotes were flat."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0002_walls")]

    operations = [
        migrations.AddField("quote", "price_basis", models.JSONField(blank=True, null=True))
    ]
