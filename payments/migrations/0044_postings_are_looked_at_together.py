"""A posting's journal is looked for by the trigger that seals it, once for all of its lines."""

import django.db.models.deletion
from django.db import migrations, models

NAME = "payments_posting_journal_id_b052c3b9_fk_payments_journal_id"


class Migration(migrations.Migration):
    dependencies = [("payments", "0043_royalty_walls")]

    operations = [
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    [
                        f"-- squawk-ignore ban-drop-constraint\nALTER TABLE payments_posting DROP CONSTRAINT {NAME}"
                    ],
                    f"ALTER TABLE payments_posting ADD CONSTRAINT {NAME} FOREIGN KEY (journal_id)"
                    " REFERENCES payments_journal (id) DEFERRABLE INITIALLY DEFERRED NOT VALID",
                )
            ],
            [
                migrations.AlterField(
                    model_name="posting",
                    name="journal",
                    field=models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="postings",
                        to="payments.journal",
                    ),
                )
            ],
        )
    ]
