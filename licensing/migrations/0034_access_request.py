"""Who asked to license what is sold on request: private to both parties, and never deleted."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("licensing", "0033_offer_access_is_valid"),
        ("marketplace", "0003_reserved_digest"),
    ]

    operations = [
        migrations.CreateModel(
            name="AccessRequest",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="acr", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
                (
                    "uses",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=60), size=None
                    ),
                ),
                (
                    "territories",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=6), size=None
                    ),
                ),
                ("model_name", models.CharField(max_length=200)),
                ("model_version", models.CharField(blank=True, max_length=100)),
                (
                    "model_release",
                    models.CharField(
                        choices=[
                            ("closed_api", "Served through an interface"),
                            ("open_weights", "Open weights"),
                            ("internal_only", "Used inside the organization only"),
                        ],
                        max_length=13,
                    ),
                ),
                ("message", models.TextField(blank=True, max_length=5000)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Awaits the seller's answer"),
                            ("approved", "Approved"),
                            ("declined", "Declined"),
                            ("expired", "Expired"),
                            ("canceled", "Canceled by the buyer"),
                        ],
                        default="pending",
                        max_length=8,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=1000)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("expires_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decided_by", models.CharField(blank=True, max_length=40)),
                ("canceled_at", models.DateTimeField(blank=True, null=True)),
                (
                    "licensee",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                (
                    "licensor",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                (
                    "offer",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="access_requests",
                        to="licensing.offer",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("state__in", ["pending", "approved"])),
                        fields=["expires_at"],
                        name="access_request_due",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("licensor", "licensee", "livemode", "id"),
                        name="access_request_of_parties",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "pending")),
                        fields=("offer", "licensee", "livemode"),
                        name="access_request_is_open_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("licensor", models.F("licensee")), _negated=True),
                        name="access_request_parties_differ",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("canceled_at__isnull", True),
                                ("decided_at__isnull", True),
                                ("state", "pending"),
                            ),
                            models.Q(
                                ("canceled_at__isnull", True),
                                ("decided_at__isnull", False),
                                ("state__in", ["approved", "declined"]),
                            ),
                            models.Q(("canceled_at__isnull", True), ("state", "expired")),
                            models.Q(("canceled_at__isnull", False), ("state", "canceled")),
                            _connector="OR",
                        ),
                        name="access_request_state_matches_its_dates",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("state", "declined"), models.Q(("reason", ""), _negated=True)
                            ),
                            models.Q(
                                models.Q(("state", "declined"), _negated=True), ("reason", "")
                            ),
                            _connector="OR",
                        ),
                        name="access_request_reason_iff_declined",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("decided_at__isnull", True), ("decided_by", "")),
                            models.Q(
                                ("decided_at__isnull", False),
                                models.Q(("decided_by", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="access_request_decision_names_who",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("territories__len__gt", 0),
                            ("uses__len__gt", 0),
                            models.Q(("model_name", ""), _negated=True),
                        ),
                        name="access_request_asks_for_something",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("model_release__in", ["closed_api", "open_weights", "internal_only"])
                        ),
                        name="access_request_release_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("expires_at__gt", models.F("created_at"))),
                        name="access_request_expires_after_it_was_made",
                    ),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE licensing_accessrequest ADD CONSTRAINT accessrequest_offer_id_same_parties"
            " FOREIGN KEY (licensor_id, offer_id)"
            " REFERENCES licensing_offer (organization_id, id)",
            "ALTER TABLE licensing_accessrequest"
            " DROP CONSTRAINT accessrequest_offer_id_same_parties",
        ),
        migrations.RunSQL(
            "ALTER TABLE licensing_accessrequest"
            " ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY tenant ON licensing_accessrequest USING"
            " (licensor_id = (SELECT licet_tenant()) OR licensee_id = (SELECT licet_tenant())"
            " OR (SELECT licet_system()))",
            "DROP POLICY tenant ON licensing_accessrequest;"
            "ALTER TABLE licensing_accessrequest"
            " DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        ),
        # What was asked stays as it was asked.
        migrations.RunSQL(
            "REVOKE UPDATE, DELETE ON licensing_accessrequest FROM licet_app;"
            "GRANT UPDATE (state, reason, expires_at, decided_at, decided_by, canceled_at)"
            " ON licensing_accessrequest TO licet_app",
            "GRANT UPDATE, DELETE ON licensing_accessrequest TO licet_app",
        ),
    ]
