"""Look at the versions of the keys that stand already: all are the first."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0231_api_versions")]

    operations = [ValidateConstraint("apikey", "api_key_version_is_a_date")]
