"""Excerpts of hosted works, for pages."""

import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.lookups
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0150_import_mappings")]

    operations = [
        migrations.CreateModel(
            name="Excerpt",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("digest", models.BinaryField(max_length=32)),
                (
                    "kind",
                    models.CharField(
                        choices=[("picture", "Picture"), ("text", "Text")], max_length=7
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("due", "To be made"),
                            ("made", "Made"),
                            ("none", "There is none"),
                        ],
                        default="due",
                        max_length=4,
                    ),
                ),
                ("content", models.BinaryField(max_length=262144, null=True)),
                ("attempts", models.SmallIntegerField(default=0)),
                (
                    "asked_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "due")), fields=["id"], name="excerpt_is_due"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "digest"), name="excerpt_is_made_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["picture", "text"])),
                        name="excerpt_kind_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("content__isnull", False), ("status", "made")),
                            models.Q(("content__isnull", True), ("status__in", ["due", "none"])),
                            _connector="OR",
                        ),
                        name="excerpt_has_content_iff_made",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("content__isnull", True),
                            django.db.models.lookups.LessThanOrEqual(
                                django.db.models.functions.text.Length("content"), 262144
                            ),
                            _connector="OR",
                        ),
                        name="excerpt_is_small",
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE marketplace_excerpt ADD CONSTRAINT excerpt_of_a_representation"
            " FOREIGN KEY (organization_id, digest)"
            " REFERENCES marketplace_representation (organization_id, digest)"
            " ON DELETE CASCADE;"
            "ALTER TABLE marketplace_excerpt ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY tenant ON marketplace_excerpt USING"
            " (organization_id = (SELECT licet_tenant()) OR (SELECT licet_system()))",
            "DROP POLICY tenant ON marketplace_excerpt;"
            "ALTER TABLE marketplace_excerpt"
            " DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;"
            "ALTER TABLE marketplace_excerpt DROP CONSTRAINT excerpt_of_a_representation",
        ),
    ]
