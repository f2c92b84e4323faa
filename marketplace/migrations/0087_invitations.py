"""Mails that let one person in."""

import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.lookups
import django.utils.timezone
import marketplace.typeid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0086_collection_shares")]

    operations = [
        migrations.CreateModel(
            name="Invitation",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="inv", primary_key=True, serialize=False),
                ),
                ("email", models.EmailField(max_length=254)),
                ("role", models.CharField(blank=True, max_length=7)),
                ("right", models.CharField(blank=True, max_length=4)),
                ("token_digest", models.BinaryField(max_length=32)),
                ("created_by", models.CharField(max_length=40)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("expires_at", models.DateTimeField()),
                ("accepted_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "accepted_by",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "collection",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
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
                "constraints": [
                    models.UniqueConstraint(
                        fields=("token_digest",), name="invitation_token_is_unique"
                    ),
                    models.UniqueConstraint(
                        fields=("organization", "id"), name="invitation_of_organization"
                    ),
                    models.CheckConstraint(
                        condition=django.db.models.lookups.Exact(
                            django.db.models.functions.text.Length("token_digest"), 32
                        ),
                        name="invitation_token_is_sha256",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("email", models.Func(models.F("email"), function="lower"))
                        ),
                        name="invitation_email_is_lower_case",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("collection__isnull", True),
                                ("right", ""),
                                ("role__in", ["owner", "manager", "editor", "finance", "viewer"]),
                            ),
                            models.Q(
                                ("collection__isnull", False),
                                ("right__in", ["view", "edit"]),
                                ("role", ""),
                            ),
                            _connector="OR",
                        ),
                        name="invitation_is_to_a_role_or_to_a_collection",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("accepted_at__isnull", True), ("accepted_by__isnull", True)),
                            models.Q(
                                ("accepted_at__isnull", False), ("accepted_by__isnull", False)
                            ),
                            _connector="OR",
                        ),
                        name="invitation_is_accepted_by_somebody",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("accepted_at__isnull", True),
                            ("revoked_at__isnull", True),
                            _connector="OR",
                        ),
                        name="invitation_ends_once",
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE marketplace_invitation ADD CONSTRAINT"
            " invitation_collection_same_organization"
            " FOREIGN KEY (organization_id, collection_id)"
            " REFERENCES marketplace_collection (organization_id, id)",
            "ALTER TABLE marketplace_invitation DROP CONSTRAINT"
            " invitation_collection_same_organization",
        ),
        migrations.RunSQL(
            "ALTER TABLE marketplace_invitation"
            " ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY tenant ON marketplace_invitation USING"
            " (organization_id = (SELECT licet_tenant()) OR (SELECT licet_system()));"
            "REVOKE UPDATE, DELETE ON marketplace_invitation FROM licet_app;"
            "GRANT UPDATE (accepted_at, accepted_by_id, revoked_at)"
            " ON marketplace_invitation TO licet_app",
            "DROP POLICY tenant ON marketplace_invitation;"
            "ALTER TABLE marketplace_invitation"
            " DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        ),
    ]
