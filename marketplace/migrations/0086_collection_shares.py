"""Single collections opened to single users."""

import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.lookups
import django.utils.timezone
import marketplace.typeid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("marketplace", "0085_legal_identity"),
    ]

    operations = [
        migrations.CreateModel(
            name="CollectionShare",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="shr", primary_key=True, serialize=False),
                ),
                ("created_by", models.CharField(max_length=40)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "content_object",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="shares",
                        to="marketplace.collection",
                    ),
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
                    "permission",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="auth.permission"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("content_object", "user"), name="collection_share_is_one_per_user"
                    ),
                    models.UniqueConstraint(
                        fields=("organization", "id"), name="collection_share_of_organization"
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE marketplace_collectionshare ADD CONSTRAINT"
            " collection_share_collection_same_organization"
            " FOREIGN KEY (organization_id, content_object_id)"
            " REFERENCES marketplace_collection (organization_id, id)",
            "ALTER TABLE marketplace_collectionshare DROP CONSTRAINT"
            " collection_share_collection_same_organization",
        ),
    ]
