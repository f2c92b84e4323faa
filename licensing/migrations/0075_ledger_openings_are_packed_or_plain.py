"""What opens an entry is packed or plain, in every row."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("licensing", "0074_pack_ledger_openings")]

    operations = [ValidateConstraint("ledgeropening", "ledger_opening_is_packed_or_plain")]
