"""What was "live" is "listed" from now on."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("licensing", "0020_offer_review")]

    operations = [
        migrations.RunSQL(
            "UPDATE licensing_offer SET state = 'listed' WHERE state = 'live'",
            "UPDATE licensing_offer SET state = 'live' WHERE state = 'listed'",
        )
    ]
