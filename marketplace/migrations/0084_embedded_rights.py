"""What image files say of their own rights, and who answered for it."""

import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


FOREIGN_KEYS = """
ALTER TABLE marketplace_embeddedrights ADD CONSTRAINT embedded_rights_of_a_representation
    FOREIGN KEY (organization_id, digest)
    REFERENCES marketplace_representation (organization_id, digest);
ALTER TABLE marketplace_embeddedrights ADD CONSTRAINT embedded_rights_override_same_organization
    FOREIGN KEY (organization_id, override_id)
    REFERENCES marketplace_rightsoverride (organization_id, id);
ALTER TABLE marketplace_rightsoverride ADD CONSTRAINT rights_override_collection_same_organization
    FOREIGN KEY (organization_id, collection_id)
    REFERENCES marketplace_collection (organization_id, id);
"""
FOREIGN_KEYS_UNDONE = """
ALTER TABLE marketplace_embeddedrights
    DROP CONSTRAINT embedded_rights_of_a_representation,
    DROP CONSTRAINT embedded_rights_override_same_organization;
ALTER TABLE marketplace_rightsoverride
    DROP CONSTRAINT rights_override_collection_same_organization;
"""

WALLS = """
ALTER TABLE marketplace_embeddedrights ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON marketplace_embeddedrights USING
    (organization_id = (SELECT licet_tenant()) OR (SELECT licet_system()));
ALTER TABLE marketplace_rightsoverride ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON marketplace_rightsoverride USING
    (organization_id = (SELECT licet_tenant()) OR (SELECT licet_system()));
"""
WALLS_UNDONE = """
DROP POLICY tenant ON marketplace_embeddedrights;
ALTER TABLE marketplace_embeddedrights DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
DROP POLICY tenant ON marketplace_rightsoverride;
ALTER TABLE marketplace_rightsoverride DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
"""

# What a file said stays said; an override is written once and answers for good.
FIXED = """
REVOKE UPDATE, DELETE ON marketplace_embeddedrights FROM licet_app;
GRANT UPDATE (override_id) ON marketplace_embeddedrights TO licet_app;
REVOKE UPDATE, DELETE ON marketplace_rightsoverride FROM licet_app;
CREATE TRIGGER insert_only BEFORE UPDATE OR DELETE ON marketplace_rightsoverride
    FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();
CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON marketplace_rightsoverride
    EXECUTE FUNCTION licet_refuse_change();
ALTER TABLE marketplace_rightsoverride ENABLE ALWAYS TRIGGER insert_only,
    ENABLE ALWAYS TRIGGER insert_only_truncate;
"""
FIXED_UNDONE = """
DROP TRIGGER insert_only ON marketplace_rightsoverride;
DROP TRIGGER insert_only_truncate ON marketplace_rightsoverride;
GRANT UPDATE, DELETE ON marketplace_rightsoverride, marketplace_embeddedrights TO licet_app;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0083_validate_lengths"),
    ]

    operations = [
        migrations.CreateModel(
            name="RightsOverride",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="rov", primary_key=True, serialize=False),
                ),
                ("statement", models.TextField(max_length=5000)),
                ("person_name", models.CharField(max_length=200)),
                ("person_title", models.CharField(max_length=200)),
                ("actor", models.CharField(max_length=40)),
                ("works", models.BigIntegerField()),
                (
                    "made_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "collection",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="rights_overrides",
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
        ),
        migrations.CreateModel(
            name="EmbeddedRights",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("digest", models.BinaryField(max_length=32)),
                ("creator", models.CharField(blank=True, max_length=500)),
                ("copyright_notice", models.CharField(blank=True, max_length=2000)),
                ("data_mining", models.CharField(blank=True, max_length=100)),
                ("is_prohibited", models.BooleanField()),
                (
                    "read_at",
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
                (
                    "override",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="overridden",
                        to="marketplace.rightsoverride",
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="rightsoverride",
            constraint=models.UniqueConstraint(
                fields=("organization", "id"), name="rights_override_of_organization"
            ),
        ),
        migrations.AddConstraint(
            model_name="rightsoverride",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("statement", ""), _negated=True),
                    models.Q(("person_name", ""), _negated=True),
                    models.Q(("person_title", ""), _negated=True),
                ),
                name="rights_override_is_signed",
            ),
        ),
        migrations.AddConstraint(
            model_name="rightsoverride",
            constraint=models.CheckConstraint(
                condition=models.Q(("works__gt", 0)), name="rights_override_stands_for_works"
            ),
        ),
        migrations.AddIndex(
            model_name="embeddedrights",
            index=models.Index(
                condition=models.Q(("is_prohibited", True), ("override__isnull", True)),
                fields=["organization", "digest"],
                name="embedded_rights_prohibiting",
            ),
        ),
        migrations.AddConstraint(
            model_name="embeddedrights",
            constraint=models.UniqueConstraint(
                fields=("organization", "digest"), name="embedded_rights_are_read_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="embeddedrights",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("override__isnull", True), ("is_prohibited", True), _connector="OR"
                ),
                name="embedded_rights_override_a_prohibition",
            ),
        ),
        migrations.RunSQL(FOREIGN_KEYS, FOREIGN_KEYS_UNDONE),
        migrations.RunSQL(WALLS, WALLS_UNDONE),
        migrations.RunSQL(FIXED, FIXED_UNDONE),
    ]
