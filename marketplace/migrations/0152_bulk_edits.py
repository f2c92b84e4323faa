"""Edits of many works at once."""

import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0151_excerpts")]

    operations = [
        migrations.CreateModel(
            name="BulkEdit",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="bed", primary_key=True, serialize=False),
                ),
                ("change", models.JSONField()),
                ("selection", models.JSONField(default=dict)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("finished", "Finished"),
                            ("canceled", "Canceled"),
                        ],
                        default="running",
                        max_length=8,
                    ),
                ),
                ("done_until", models.BigIntegerField(default=0)),
                ("looked_at", models.BigIntegerField(default=0)),
                ("changed", models.BigIntegerField(default=0)),
                ("requested_by", models.CharField(max_length=40)),
                (
                    "asked_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "collection",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.collection",
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "running")),
                        fields=["id"],
                        name="bulk_edit_is_due",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "id"), name="bulk_edit_of_organization"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("finished_at__isnull", True), ("status", "running")),
                            models.Q(
                                ("finished_at__isnull", False),
                                ("status__in", ["finished", "canceled"]),
                            ),
                            _connector="OR",
                        ),
                        name="bulk_edit_is_ended_iff_dated",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("changed__gte", 0), ("changed__lte", models.F("looked_at"))
                        ),
                        name="bulk_edit_changes_no_more_than_it_saw",
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE marketplace_bulkedit ADD CONSTRAINT"
            " bulkedit_collection_id_same_organization"
            " FOREIGN KEY (organization_id, collection_id)"
            " REFERENCES marketplace_collection (organization_id, id);"
            "ALTER TABLE marketplace_bulkedit ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY tenant ON marketplace_bulkedit USING"
            " (organization_id = (SELECT licet_tenant()) OR (SELECT licet_system()));"
            "REVOKE DELETE ON marketplace_bulkedit FROM licet_app",
            "GRANT DELETE ON marketplace_bulkedit TO licet_app;"
            "DROP POLICY tenant ON marketplace_bulkedit;"
            "ALTER TABLE marketplace_bulkedit"
            " DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;"
            "ALTER TABLE marketplace_bulkedit"
            " DROP CONSTRAINT bulkedit_collection_id_same_organization",
        ),
    ]
