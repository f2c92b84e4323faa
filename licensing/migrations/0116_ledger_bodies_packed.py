"""Bodies of entries are stored packed from now on; what is there stays as it is, and readable."""

from django.db import migrations

import licensing.models.ledger


class Migration(migrations.Migration):
    dependencies = [("licensing", "0115_delivery_entries_have_subjects")]

    operations = [
        migrations.AlterField("ledgerentry", "body", licensing.models.ledger.BodyField()),
    ]
