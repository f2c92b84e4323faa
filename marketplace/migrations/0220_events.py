"""What happened to whom, in feeds whose places are given after commit."""

import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


WALLS = """
ALTER TABLE marketplace_event ADD CONSTRAINT event_data_is_small
    CHECK (octet_length(data::text) <= 16384);
ALTER TABLE marketplace_event ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON marketplace_event USING
    (organization_id = (SELECT licet_tenant()) OR (SELECT licet_system()));
-- Who acts tells the other party of it, whose events it does not read.
CREATE POLICY recorded ON marketplace_event FOR INSERT
    WITH CHECK ((SELECT licet_tenant()) IS NOT NULL);
REVOKE UPDATE, DELETE ON marketplace_event FROM licet_app;
GRANT UPDATE (position) ON marketplace_event TO licet_app;
CREATE TRIGGER event_keeps_its_position BEFORE UPDATE ON marketplace_event
    FOR EACH ROW WHEN (OLD.position IS NOT NULL) EXECUTE FUNCTION licet_refuse_change();
CREATE TRIGGER insert_only BEFORE DELETE ON marketplace_event
    FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();
CREATE TRIGGER insert_only_truncate BEFORE TRUNCATE ON marketplace_event
    EXECUTE FUNCTION licet_refuse_change();
ALTER TABLE marketplace_event ENABLE ALWAYS TRIGGER event_keeps_its_position,
    ENABLE ALWAYS TRIGGER insert_only, ENABLE ALWAYS TRIGGER insert_only_truncate;
"""
BACK = """
DROP TRIGGER event_keeps_its_position ON marketplace_event;
DROP TRIGGER insert_only ON marketplace_event;
DROP TRIGGER insert_only_truncate ON marketplace_event;
GRANT UPDATE, DELETE ON marketplace_event TO licet_app;
DROP POLICY recorded ON marketplace_event;
DROP POLICY tenant ON marketplace_event;
ALTER TABLE marketplace_event DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
ALTER TABLE marketplace_event DROP CONSTRAINT event_data_is_small;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0196_written_ids"),
    ]

    operations = [
        migrations.CreateModel(
            name="Event",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="evt", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
                ("type", models.CharField(max_length=60)),
                ("data", models.JSONField()),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("position", models.BigIntegerField(blank=True, editable=False, null=True)),
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
                        condition=models.Q(("position__isnull", True)),
                        fields=["id"],
                        name="event_waits_for_its_position",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "livemode", "id"), name="event_of_organization"
                    ),
                    models.UniqueConstraint(
                        fields=("organization", "livemode", "position"),
                        name="event_position_is_given_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("position__isnull", True), ("position__gte", 1), _connector="OR"
                        ),
                        name="event_position_counts_from_1",
                    ),
                ],
            },
        ),
        migrations.RunSQL(WALLS, BACK),
    ]
