"""What is reserved at one organization, found without reading what is reserved at the others."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # An index that is made concurrently is made outside a transaction.
    atomic = False

    dependencies = [("marketplace", "0088_uploads")]

    operations = [
        AddIndexConcurrently(
            model_name="reserveddigest",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", True)),
                fields=["organization", "digest"],
                name="reserved_at_organization",
            ),
        ),
    ]
