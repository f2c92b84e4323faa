"""Who sells here as a trader, and whose records are kept while a matter is open."""

import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0132_shared_counts"),
    ]

    operations = [
        migrations.CreateModel(
            name="LegalHold",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="lgh", primary_key=True, serialize=False),
                ),
                ("subject", models.CharField(max_length=60)),
                ("reason", models.TextField(max_length=2000)),
                ("matter", models.CharField(max_length=100)),
                ("until", models.DateTimeField(blank=True, null=True)),
                ("placed_by", models.CharField(max_length=40)),
                (
                    "placed_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("lifted_by", models.CharField(blank=True, max_length=40)),
                ("lifted_at", models.DateTimeField(blank=True, null=True)),
                ("lift_reason", models.TextField(blank=True, max_length=2000)),
            ],
            options={
                "verbose_name": "legal hold",
                "verbose_name_plural": "legal holds",
                "indexes": [
                    models.Index(
                        condition=models.Q(("lifted_at", None)),
                        fields=["subject"],
                        name="legal_hold_of_subject",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("reason", ""), _negated=True),
                            models.Q(("matter", ""), _negated=True),
                        ),
                        name="legal_hold_says_why",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("lift_reason", ""), ("lifted_at__isnull", True), ("lifted_by", "")
                            ),
                            models.Q(
                                ("lifted_at__isnull", False),
                                models.Q(("lifted_by", ""), _negated=True),
                                models.Q(("lift_reason", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="legal_hold_is_lifted_with_a_reason",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("lifted_by", models.F("placed_by")), _negated=True),
                        name="legal_hold_is_lifted_by_another",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("until__isnull", True),
                            ("until__gt", models.F("placed_at")),
                            _connector="OR",
                        ),
                        name="legal_hold_ends_after_it_begins",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("subject__regex", "^(org|usr|ctr|ord)_[0-7][0-9a-z]{25}$")
                        ),
                        name="legal_hold_subject_is_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Trader",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="trd", primary_key=True, serialize=False),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("submitted", "Awaits an operator"),
                            ("verified", "Verified"),
                            ("refused", "Refused"),
                        ],
                        default="submitted",
                        max_length=9,
                    ),
                ),
                ("legal_name", models.CharField(max_length=200)),
                ("address", models.CharField(max_length=500)),
                ("registration_number", models.CharField(blank=True, max_length=100)),
                ("trade_register", models.CharField(blank=True, max_length=200)),
                ("email", models.EmailField(max_length=254)),
                ("phone", models.CharField(max_length=40)),
                ("certified_by", models.CharField(max_length=40)),
                ("submitted_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("decided_by", models.CharField(blank=True, max_length=40)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("reason", models.TextField(blank=True, max_length=2000)),
                (
                    "organization",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="trader",
                        to="marketplace.organization",
                    ),
                ),
            ],
            options={
                "verbose_name": "trader",
                "verbose_name_plural": "traders",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("decided_at__isnull", True),
                                ("decided_by", ""),
                                ("reason", ""),
                                ("state", "submitted"),
                            ),
                            models.Q(
                                ("decided_at__isnull", False),
                                ("reason", ""),
                                ("state", "verified"),
                                models.Q(("decided_by", ""), _negated=True),
                            ),
                            models.Q(
                                ("decided_at__isnull", False),
                                ("state", "refused"),
                                models.Q(("decided_by", ""), _negated=True),
                                models.Q(("reason", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="trader_state_matches_its_decision",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("legal_name", ""), _negated=True),
                            models.Q(("address", ""), _negated=True),
                            models.Q(("email", ""), _negated=True),
                            models.Q(("phone", ""), _negated=True),
                        ),
                        name="trader_says_who_it_is",
                    ),
                ],
            },
        ),
    ]
