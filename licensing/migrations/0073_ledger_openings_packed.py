"""What opens an entry is packed from now on. What is there stays readable as it is."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("licensing", "0072_ledger_awaited")]

    operations = [
        # The column keeps its name, for the release before that still runs.
        migrations.AlterField(
            model_name="ledgeropening",
            name="values",
            field=models.TextField(db_column="values", db_default=""),
        ),
        migrations.RenameField(model_name="ledgeropening", old_name="values", new_name="plain"),
        migrations.AddField(
            model_name="ledgeropening",
            name="packed",
            field=models.BinaryField(null=True),
        ),
        AddConstraintNotValid(
            "ledgeropening",
            models.CheckConstraint(
                name="ledger_opening_is_packed_or_plain",
                condition=Q(packed__isnull=False, plain="") | Q(packed__isnull=True) & ~Q(plain=""),
            ),
        ),
    ]
