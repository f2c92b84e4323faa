"""A grant as its licensee sees it: a name in Python, and nothing in the database."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("licensing", "0123_offer_milestones_are_valid")]

    operations = [
        migrations.CreateModel(
            name="HeldGrant",
            fields=[],
            options={
                "verbose_name": "license held",
                "verbose_name_plural": "licenses held",
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("licensing.grant",),
        ),
    ]
