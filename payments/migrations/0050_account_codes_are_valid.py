"""What 0049 demands of new accounts holds for all of them."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("payments", "0049_account_of_a_bank")]

    operations = [ValidateConstraint("account", "account_code_is_known")]
