"""What sellers are sent beside their shares of sales."""

import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0106_item_units_are_valid"),
        ("payments", "0066_advances_of_collections_add_up"),
    ]

    operations = [
        migrations.CreateModel(
            name="Remittance",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="rem", primary_key=True, serialize=False),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                ("livemode", models.BooleanField()),
                ("currency", models.CharField(max_length=3)),
                ("withheld_minor", models.BigIntegerField()),
                ("amount_minor", models.BigIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("sending", "Being sent"),
                            ("sent", "Sent"),
                            ("returned", "Refused by Stripe"),
                            ("withheld", "All of it paid what the seller owed"),
                        ],
                        max_length=8,
                    ),
                ),
                ("stripe_id", models.CharField(blank=True, max_length=255, null=True, unique=True)),
                ("refusal", models.CharField(blank=True, max_length=1000)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.AddIndex(
            model_name="remittance",
            index=models.Index(
                fields=["organization", "livemode", "currency", "created_at"],
                name="remittance_by_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="remittance",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["sending", "sent", "returned", "withheld"])),
                name="remittance_state_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="remittance",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount_minor__gte", 0),
                    ("withheld_minor__gte", 0),
                    models.Q(("withheld_minor__gt", 0), ("amount_minor__gt", 0), _connector="OR"),
                ),
                name="remittance_moves_something",
            ),
        ),
        migrations.AddConstraint(
            model_name="remittance",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("amount_minor", 0), ("state", "withheld")),
                    models.Q(
                        models.Q(("state", "withheld"), _negated=True), ("amount_minor__gt", 0)
                    ),
                    _connector="OR",
                ),
                name="remittance_sends_nothing_iff_all_is_withheld",
            ),
        ),
        migrations.AddConstraint(
            model_name="remittance",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "sent"), ("stripe_id__isnull", False)),
                    models.Q(
                        models.Q(("state", "sent"), _negated=True), ("stripe_id__isnull", True)
                    ),
                    _connector="OR",
                ),
                name="remittance_is_sent_iff_stripe_has_it",
            ),
        ),
        migrations.AddConstraint(
            model_name="remittance",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ended_at__isnull", True), ("state", "sending")),
                    models.Q(
                        models.Q(("state", "sending"), _negated=True), ("ended_at__isnull", False)
                    ),
                    _connector="OR",
                ),
                name="remittance_ended_at_iff_ended",
            ),
        ),
        migrations.AddConstraint(
            model_name="remittance",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "sending")),
                fields=("organization", "livemode", "currency"),
                name="remittance_is_sent_one_at_a_time",
            ),
        ),
    ]
