"""Offers that wait for review are found without reading the others."""

from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("licensing", "0141_moderation_walls")]

    operations = [
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    "CREATE INDEX CONCURRENTLY IF NOT EXISTS offer_in_review"
                    " ON licensing_offer (submitted_at) WHERE state = 'in_review'",
                    "DROP INDEX CONCURRENTLY IF EXISTS offer_in_review",
                )
            ],
            [
                migrations.AddIndex(
                    "offer",
                    models.Index(
                        condition=models.Q(("state", "in_review")),
                        fields=["submitted_at"],
                        name="offer_in_review",
                    ),
                )
            ],
        )
    ]
