"""What organizations note on their objects, each for itself."""

import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models

WALLS = """
ALTER TABLE marketplace_metadata ADD CONSTRAINT metadata_is_few_named_texts CHECK (
    jsonb_typeof(data) = 'object'
    AND jsonb_array_length(jsonb_path_query_array(data, '$.keyvalue()', '{}', true)) <= 50
    AND NOT jsonb_path_exists(data,
        '$.keyvalue() ? (@.value.type() != "string" || @.value == "" || @.key == "")', '{}', true)
    AND octet_length(data::text) <= 262144);
ALTER TABLE marketplace_metadata ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON marketplace_metadata USING
    (organization_id = (SELECT licet_tenant()) OR (SELECT licet_system()));
REVOKE UPDATE, DELETE ON marketplace_metadata FROM licet_app;
GRANT UPDATE (data, changed_at) ON marketplace_metadata TO licet_app;
"""
BACK = """
GRANT UPDATE, DELETE ON marketplace_metadata TO licet_app;
DROP POLICY tenant ON marketplace_metadata;
ALTER TABLE marketplace_metadata DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
ALTER TABLE marketplace_metadata DROP CONSTRAINT metadata_is_few_named_texts;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0232_api_key_version_is_a_date"),
    ]

    operations = [
        migrations.CreateModel(
            name="Metadata",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="mtd", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("col", "Collection"),
                            ("off", "Offer"),
                            ("quo", "Quote"),
                            ("ord", "Order"),
                            ("grt", "Grant"),
                        ],
                        max_length=3,
                    ),
                ),
                ("subject", models.UUIDField()),
                ("data", models.JSONField()),
                ("changed_at", models.DateTimeField(default=django.utils.timezone.now)),
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
                        fields=("organization", "subject", "kind", "livemode"),
                        name="metadata_of_an_object_is_one",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["col", "off", "quo", "ord", "grt"])),
                        name="metadata_kind_is_known",
                    ),
                ],
            },
        ),
        migrations.RunSQL(WALLS, BACK),
    ]
