"""Sellers' own buckets."""

import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0092_collection_search_index"),
    ]

    operations = [
        migrations.CreateModel(
            name="RemoteBucket",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="bkt", primary_key=True, serialize=False),
                ),
                ("endpoint", models.CharField(max_length=300)),
                ("region", models.CharField(blank=True, max_length=60)),
                ("name", models.CharField(max_length=63)),
                ("key", models.CharField(max_length=500)),
                ("access_key_id", models.CharField(max_length=128)),
                ("secret_access_key", models.BinaryField(max_length=1000)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("disconnected_at", models.DateTimeField(blank=True, null=True)),
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
                        fields=("organization", "id"), name="remote_bucket_of_organization"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("disconnected_at__isnull", True)),
                        fields=("organization",),
                        name="remote_bucket_is_one_at_a_time",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("key__contains", "{external_id}"),
                            ("key__contains", "{digest}"),
                            _connector="OR",
                        ),
                        name="remote_bucket_key_names_the_work",
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE marketplace_remotebucket ENABLE ROW LEVEL SECURITY,"
            " FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY tenant ON marketplace_remotebucket USING"
            " (organization_id = (SELECT licet_tenant()) OR (SELECT licet_system()));"
            "REVOKE UPDATE, DELETE ON marketplace_remotebucket FROM licet_app;"
            "GRANT UPDATE (disconnected_at) ON marketplace_remotebucket TO licet_app",
            "GRANT UPDATE, DELETE ON marketplace_remotebucket TO licet_app;"
            "DROP POLICY tenant ON marketplace_remotebucket;"
            "ALTER TABLE marketplace_remotebucket"
            " DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        ),
    ]
