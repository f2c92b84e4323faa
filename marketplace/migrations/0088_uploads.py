"""Uploads: bytes that come in pieces."""

import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.lookups
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0087_invitations"),
    ]

    operations = [
        migrations.CreateModel(
            name="Upload",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="upl", primary_key=True, serialize=False),
                ),
                ("name", models.CharField(blank=True, max_length=500)),
                ("length", models.BigIntegerField()),
                ("received", models.BigIntegerField(default=0)),
                ("expected", models.BinaryField(max_length=32, null=True)),
                ("digest", models.BinaryField(max_length=32, null=True)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("receiving", "Receiving"),
                            ("finished", "Finished"),
                            ("discarded", "Discarded"),
                        ],
                        default="receiving",
                        max_length=9,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "used_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
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
                        condition=models.Q(("status", "discarded"), _negated=True),
                        fields=["used_at"],
                        name="upload_by_use",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "id"), name="upload_of_organization"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["receiving", "finished", "discarded"])),
                        name="upload_status_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("length__gt", 0)), name="upload_is_not_empty"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("received__gte", 0), ("received__lte", models.F("length"))
                        ),
                        name="upload_receives_no_more_than_its_length",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("expected__isnull", True),
                            django.db.models.lookups.Exact(
                                django.db.models.functions.text.Length("expected"), 32
                            ),
                            _connector="OR",
                        ),
                        name="upload_expected_is_sha256",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("digest__isnull", True),
                            django.db.models.lookups.Exact(
                                django.db.models.functions.text.Length("digest"), 32
                            ),
                            _connector="OR",
                        ),
                        name="upload_digest_is_sha256",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("digest__isnull", True), ("finished_at__isnull", True)),
                            models.Q(
                                ("digest__isnull", False),
                                ("finished_at__isnull", False),
                                ("received", models.F("length")),
                            ),
                            _connector="OR",
                        ),
                        name="upload_is_whole_iff_digested",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                models.Q(("status", "receiving"), _negated=True),
                                ("digest__isnull", True),
                                _connector="OR",
                            ),
                            models.Q(
                                models.Q(("status", "finished"), _negated=True),
                                ("digest__isnull", False),
                                _connector="OR",
                            ),
                        ),
                        name="upload_is_finished_only_if_digested",
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE marketplace_upload ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY tenant ON marketplace_upload USING"
            " (organization_id = (SELECT licet_tenant()) OR (SELECT licet_system()));"
            "REVOKE UPDATE, DELETE ON marketplace_upload FROM licet_app;"
            "GRANT UPDATE (received, status, digest, used_at, finished_at) ON marketplace_upload"
            " TO licet_app",
            "GRANT UPDATE, DELETE ON marketplace_upload TO licet_app;"
            "DROP POLICY tenant ON marketplace_upload;"
            "ALTER TABLE marketplace_upload DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        ),
    ]
