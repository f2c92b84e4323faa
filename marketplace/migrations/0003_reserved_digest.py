"""Digests that nobody may license, for now or for good."""

import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.lookups
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0002_walls"),
    ]

    operations = [
        migrations.CreateModel(
            name="ReservedDigest",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("digest", models.BinaryField(max_length=32)),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("opted_out", "Opted out"),
                            ("held", "Held until it is decided"),
                            ("claimed", "Claimed by somebody else"),
                        ],
                        max_length=9,
                    ),
                ),
                ("cause", models.CharField(max_length=60)),
                ("since", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "organization",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("ended_at__isnull", True)),
                        fields=("digest", "organization", "reason"),
                        name="reserved_digest_is_reserved_once",
                        nulls_distinct=False,
                    ),
                    models.CheckConstraint(
                        condition=django.db.models.lookups.Exact(
                            django.db.models.functions.text.Length("digest"), 32
                        ),
                        name="reserved_digest_is_sha256",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("reason__in", ["opted_out", "held", "claimed"])),
                        name="reserved_digest_reason_is_known",
                    ),
                ],
            },
        ),
        # Rows of this table end; none is rewritten or goes away.
        migrations.RunSQL(
            "REVOKE UPDATE, DELETE ON marketplace_reserveddigest FROM licet_app;"
            "GRANT UPDATE (ended_at) ON marketplace_reserveddigest TO licet_app",
            "GRANT UPDATE, DELETE ON marketplace_reserveddigest TO licet_app",
        ),
    ]
