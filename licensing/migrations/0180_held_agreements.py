"""An agreement as its licensee sees it: a name in Python, and nothing in the database."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("licensing", "0150_offers_in_review")]

    operations = [
        migrations.CreateModel(
            name="HeldAgreement",
            fields=[],
            options={
                "verbose_name": "agreement held",
                "verbose_name_plural": "agreements held",
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("licensing.agreement",),
        ),
    ]
