"""Whose data were erased, so that a restored backup does not bring them back."""

import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0102_organization_by_work"),
    ]

    operations = [
        migrations.CreateModel(
            name="Erasure",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="era", primary_key=True, serialize=False),
                ),
                ("subject", models.CharField(blank=True, max_length=60)),
                ("refs", models.JSONField(default=dict)),
                ("counts", models.JSONField(default=dict)),
                (
                    "erased_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("copied_at", models.DateTimeField(blank=True, null=True)),
                (
                    "organization",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
            ],
            options={
                "verbose_name": "erasure",
                "verbose_name_plural": "erasures",
                "indexes": [
                    models.Index(
                        condition=models.Q(("copied_at__isnull", True)),
                        fields=["id"],
                        name="erasure_uncopied",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "id"), name="erasure_of_organization"
                    )
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE marketplace_erasure ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY tenant ON marketplace_erasure USING"
            " (organization_id = (SELECT licet_tenant()) OR (SELECT licet_system()));"
            "REVOKE UPDATE, DELETE ON marketplace_erasure FROM licet_app;"
            "GRANT UPDATE (copied_at) ON marketplace_erasure TO licet_app;"
            "CREATE TRIGGER insert_only BEFORE DELETE ON marketplace_erasure"
            " FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();"
            "CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON marketplace_erasure"
            " EXECUTE FUNCTION licet_refuse_change();"
            "ALTER TABLE marketplace_erasure ENABLE ALWAYS TRIGGER insert_only,"
            " ENABLE ALWAYS TRIGGER insert_only_truncate",
            "DROP TRIGGER insert_only ON marketplace_erasure;"
            "DROP TRIGGER insert_only_truncate ON marketplace_erasure;"
            "GRANT UPDATE, DELETE ON marketplace_erasure TO licet_app;"
            "DROP POLICY tenant ON marketplace_erasure;"
            "ALTER TABLE marketplace_erasure"
            " DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        ),
    ]
