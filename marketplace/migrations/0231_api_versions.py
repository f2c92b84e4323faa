"""Which version of the API a key is pinned to, and in which a kept answer is written."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0230_rate_tallies")]

    operations = [
        # A constant default is kept beside the table: no row is rewritten. It is also that of keys
        # which the release before makes.
        migrations.AddField(
            model_name="apikey",
            name="version",
            field=models.CharField(
                db_default="2026-11-28", max_length=10, verbose_name="API version"
            ),
        ),
        migrations.AddField(
            model_name="idempotencykey",
            name="response_version",
            field=models.CharField(blank=True, max_length=10, null=True),
        ),
        AddConstraintNotValid(
            "apikey",
            models.CheckConstraint(
                condition=models.Q(("version__regex", "^[0-9]{4}-[0-9]{2}-[0-9]{2}$")),
                name="api_key_version_is_a_date",
            ),
        ),
    ]
