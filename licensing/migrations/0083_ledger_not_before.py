"""Entries that are to be recorded later: of private deals, whose time tells too much."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("licensing", "0082_ledger_party_walls")]

    operations = [
        migrations.AddField("ledgerpending", "not_before", models.DateTimeField(null=True)),
    ]
