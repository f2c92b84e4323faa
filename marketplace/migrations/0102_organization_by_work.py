"""What hangs on a work has its organization by the work's composite key, and checks it once."""

from django.db import migrations, models
from django.db.models.deletion import PROTECT


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0101_import_attempts"),
    ]

    operations = [
        migrations.AlterField(
            model_name=name,
            name="organization",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=PROTECT,
                related_name="+",
                to="marketplace.organization",
            ),
        )
        for name in ("collectionitem", "representation", "workidentifier")
    ]
