"""How a file's columns are read: constants, ignored columns, and what was said last."""

import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.lookups
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0141_trader_and_legal_hold_walls")]

    operations = [
        # Constant defaults are kept beside the table: no row is rewritten.
        migrations.AddField(
            model_name="importjob",
            name="constants",
            field=models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict),
        ),
        migrations.AddField(
            model_name="importjob",
            name="ignored",
            field=models.JSONField(db_default=models.Value([], models.JSONField()), default=list),
        ),
        migrations.AddField(
            model_name="importjob",
            name="taken_up_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="importjob",
            name="taken_up_rows",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.CreateModel(
            name="ColumnTemplate",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("header", models.BinaryField(max_length=32)),
                ("columns", models.JSONField(default=dict)),
                ("constants", models.JSONField(default=dict)),
                ("ignored", models.JSONField(default=list)),
                ("used_at", models.DateTimeField(default=django.utils.timezone.now)),
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
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "header"),
                        name="column_template_is_one_per_header",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            django.db.models.lookups.Exact(
                                django.db.models.functions.text.Length("header"), 32
                            )
                        ),
                        name="column_template_header_is_sha256",
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE marketplace_columntemplate ENABLE ROW LEVEL SECURITY,"
            " FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY tenant ON marketplace_columntemplate USING"
            " (organization_id = (SELECT licet_tenant()) OR (SELECT licet_system()));"
            "REVOKE DELETE ON marketplace_columntemplate FROM licet_app",
            "GRANT DELETE ON marketplace_columntemplate TO licet_app;"
            "DROP POLICY tenant ON marketplace_columntemplate;"
            "ALTER TABLE marketplace_columntemplate"
            " DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        ),
    ]
