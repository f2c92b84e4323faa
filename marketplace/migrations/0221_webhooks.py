"""Where events are sent to, each event's way there, and each attempt."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


_PRIVATE = ("webhookendpoint", "webhookdelivery", "webhookattempt")
WALLS = (
    """
ALTER TABLE marketplace_webhookdelivery ADD CONSTRAINT webhookdelivery_endpoint_id_same_organization
    FOREIGN KEY (organization_id, livemode, endpoint_id)
    REFERENCES marketplace_webhookendpoint (organization_id, livemode, id);
ALTER TABLE marketplace_webhookdelivery ADD CONSTRAINT webhookdelivery_event_id_same_organization
    FOREIGN KEY (organization_id, livemode, event_id)
    REFERENCES marketplace_event (organization_id, livemode, id);
ALTER TABLE marketplace_webhookattempt ADD CONSTRAINT webhookattempt_delivery_id_same_organization
    FOREIGN KEY (organization_id, delivery_id)
    REFERENCES marketplace_webhookdelivery (organization_id, id);
ALTER TABLE marketplace_webhookattempt ADD CONSTRAINT webhook_attempt_answer_is_short
    CHECK (char_length(answer) <= 1024);
"""
    + "".join(
        f"""
ALTER TABLE marketplace_{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON marketplace_{table} USING
    (organization_id = (SELECT licet_tenant()) OR (SELECT licet_system()));
"""
        for table in _PRIVATE
    )
    + """
-- Endpoints stay: their deliveries name them. What is over is swept by all-tenant work alone.
REVOKE DELETE ON marketplace_webhookendpoint FROM licet_app;
CREATE TRIGGER insert_only_for_tenants BEFORE DELETE ON marketplace_webhookdelivery
    FOR EACH ROW WHEN (NOT licet_system()) EXECUTE FUNCTION licet_refuse_change();
CREATE TRIGGER insert_only_for_tenants BEFORE DELETE ON marketplace_webhookattempt
    FOR EACH ROW WHEN (NOT licet_system()) EXECUTE FUNCTION licet_refuse_change();
ALTER TABLE marketplace_webhookdelivery ENABLE ALWAYS TRIGGER insert_only_for_tenants;
ALTER TABLE marketplace_webhookattempt ENABLE ALWAYS TRIGGER insert_only_for_tenants;
REVOKE UPDATE ON marketplace_webhookattempt FROM licet_app;
CREATE TRIGGER insert_only BEFORE UPDATE ON marketplace_webhookattempt
    FOR EACH ROW EXECUTE FUNCTION licet_refuse_change();
ALTER TABLE marketplace_webhookattempt ENABLE ALWAYS TRIGGER insert_only;
"""
)
BACK = (
    """
DROP TRIGGER insert_only ON marketplace_webhookattempt;
GRANT UPDATE ON marketplace_webhookattempt TO licet_app;
DROP TRIGGER insert_only_for_tenants ON marketplace_webhookattempt;
DROP TRIGGER insert_only_for_tenants ON marketplace_webhookdelivery;
GRANT DELETE ON marketplace_webhookendpoint TO licet_app;
"""
    + "".join(
        f"""
DROP POLICY tenant ON marketplace_{table};
ALTER TABLE marketplace_{table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
"""
        for table in _PRIVATE
    )
    + """
ALTER TABLE marketplace_webhookattempt DROP CONSTRAINT webhook_attempt_answer_is_short,
    DROP CONSTRAINT webhookattempt_delivery_id_same_organization;
ALTER TABLE marketplace_webhookdelivery DROP CONSTRAINT webhookdelivery_event_id_same_organization,
    DROP CONSTRAINT webhookdelivery_endpoint_id_same_organization;
"""
)


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0220_events"),
    ]

    operations = [
        migrations.CreateModel(
            name="WebhookEndpoint",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="whe", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
                ("url", models.CharField(max_length=500)),
                (
                    "types",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=60),
                        blank=True,
                        default=list,
                        size=None,
                    ),
                ),
                ("description", models.CharField(blank=True, max_length=200)),
                ("secret", models.BinaryField(max_length=400)),
                ("previous_secret", models.BinaryField(blank=True, max_length=400, null=True)),
                ("previous_secret_ends_at", models.DateTimeField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("disabled_at", models.DateTimeField(blank=True, null=True)),
                (
                    "disabled_because",
                    models.CharField(
                        blank=True,
                        choices=[("owner", "Owner"), ("gone", "Gone"), ("failing", "Failing")],
                        max_length=7,
                    ),
                ),
                ("failures", models.IntegerField(default=0)),
                ("failing_since", models.DateTimeField(blank=True, null=True)),
                ("rests_until", models.DateTimeField(blank=True, null=True)),
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
                        fields=("organization", "livemode", "id"),
                        name="webhook_endpoint_of_organization",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("disabled_at__isnull", True), ("disabled_because", "")),
                            models.Q(
                                ("disabled_at__isnull", False),
                                ("disabled_because__in", ["owner", "gone", "failing"]),
                            ),
                            _connector="OR",
                        ),
                        name="webhook_endpoint_is_disabled_for_a_reason",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("previous_secret__isnull", True),
                                ("previous_secret_ends_at__isnull", True),
                            ),
                            models.Q(
                                ("previous_secret__isnull", False),
                                ("previous_secret_ends_at__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="webhook_endpoint_previous_secret_has_an_end",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("failing_since__isnull", True), ("failures", 0)),
                            models.Q(("failing_since__isnull", False), ("failures__gt", 0)),
                            _connector="OR",
                        ),
                        name="webhook_endpoint_fails_since_its_first_failure",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="WebhookDelivery",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="whd", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
                (
                    "endpoint",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deliveries",
                        to="marketplace.webhookendpoint",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("delivered", "Delivered"),
                            ("failed", "Failed"),
                            ("canceled", "Canceled"),
                        ],
                        default="pending",
                        max_length=9,
                    ),
                ),
                ("attempts", models.IntegerField(default=0)),
                ("attempts_before", models.IntegerField(default=0)),
                (
                    "next_attempt_at",
                    models.DateTimeField(blank=True, default=django.utils.timezone.now, null=True),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "event",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.event",
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
            ],
            options={
                "verbose_name_plural": "webhook deliveries",
                "indexes": [
                    models.Index(
                        condition=models.Q(("next_attempt_at__isnull", False)),
                        fields=["endpoint", "next_attempt_at"],
                        name="webhook_delivery_is_due",
                    ),
                    models.Index(
                        condition=models.Q(("ended_at__isnull", False)),
                        fields=["ended_at"],
                        name="webhook_delivery_has_ended",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "id"), name="webhook_delivery_of_organization"
                    ),
                    models.UniqueConstraint(
                        fields=("endpoint", "event"), name="webhook_delivery_is_one_per_endpoint"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("ended_at__isnull", True),
                                ("next_attempt_at__isnull", False),
                                ("state", "pending"),
                            ),
                            models.Q(
                                ("ended_at__isnull", False),
                                ("next_attempt_at__isnull", True),
                                ("state__in", ["delivered", "failed", "canceled"]),
                            ),
                            _connector="OR",
                        ),
                        name="webhook_delivery_is_due_iff_pending",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("attempts__gte", models.F("attempts_before")),
                            ("attempts_before__gte", 0),
                        ),
                        name="webhook_delivery_counts_its_attempts",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="WebhookAttempt",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="wha", primary_key=True, serialize=False),
                ),
                ("number", models.IntegerField()),
                ("started_at", models.DateTimeField()),
                ("duration_ms", models.IntegerField()),
                ("status", models.SmallIntegerField(blank=True, null=True)),
                ("error", models.CharField(blank=True, max_length=300)),
                ("answer", models.TextField(blank=True)),
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
                    "delivery",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="tries",
                        to="marketplace.webhookdelivery",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "id"), name="webhook_attempt_of_organization"
                    ),
                    models.UniqueConstraint(
                        fields=("delivery", "number"), name="webhook_attempt_is_numbered_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("error", ""), ("status__isnull", False)),
                            models.Q(
                                ("status__isnull", True), models.Q(("error", ""), _negated=True)
                            ),
                            _connector="OR",
                        ),
                        name="webhook_attempt_was_answered_or_says_why_not",
                    ),
                ],
            },
        ),
        migrations.RunSQL(WALLS, BACK),
    ]
