"""Mismatches with Stripe, how far was looked for them, and the pace of calls."""

import django.db.models.deletion
import django.utils.timezone
import marketplace.typeid
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0106_item_units_are_valid"),
        ("payments", "0050_account_codes_are_valid"),
    ]

    operations = [
        migrations.CreateModel(
            name="Mismatch",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="mis", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("missing_in_journal", "Stripe has it, the journal does not"),
                            ("missing_at_stripe", "The journal has it, Stripe does not"),
                            ("booked_twice", "The journal has it twice"),
                            ("amount_differs", "The amounts differ"),
                            ("sign_differs", "It moved the other way"),
                            ("fee_differs", "The fees differ"),
                            ("currency_differs", "The currencies differ"),
                            ("unknown_type", "Of a type that we do not book"),
                            ("payout_differs", "A payout is not the sum of what it took along"),
                            ("clearing_open", "A clearing account is not back at 0"),
                            ("event_unhandled", "An event could not be handled"),
                        ],
                        max_length=18,
                    ),
                ),
                ("subject", models.CharField(max_length=255)),
                ("subject_type", models.CharField(blank=True, max_length=100)),
                ("expected_minor", models.BigIntegerField(blank=True, null=True)),
                ("expected_currency", models.CharField(blank=True, max_length=3)),
                ("found_minor", models.BigIntegerField(blank=True, null=True)),
                ("found_currency", models.CharField(blank=True, max_length=3)),
                ("since", models.DateTimeField(blank=True, null=True)),
                (
                    "first_seen_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("last_seen_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
                ("resolved_by", models.CharField(blank=True, max_length=40)),
                ("note", models.CharField(blank=True, max_length=1000)),
            ],
            options={
                "verbose_name": "mismatch with Stripe",
                "verbose_name_plural": "mismatches with Stripe",
            },
        ),
        migrations.CreateModel(
            name="ReconcileCursor",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=20)),
                ("livemode", models.BooleanField()),
                ("reached_at", models.DateTimeField()),
                ("busy_until", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="StripePace",
            fields=[
                ("name", models.CharField(max_length=120, primary_key=True, serialize=False)),
                ("next_at", models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            model_name="order",
            name="asked_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="stripeevent",
            name="is_fetched",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="stripeevent",
            name="is_foreign",
            field=models.BooleanField(db_default=False, default=False),
        ),
        # Journals of the market's own money belong to no organization; who reads journals, reads
        # them by their order.
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    [
                        "-- squawk-ignore ban-drop-not-null\n"
                        "ALTER TABLE payments_journal ALTER COLUMN organization_id DROP NOT NULL"
                    ],
                    "ALTER TABLE payments_journal ALTER COLUMN organization_id SET NOT NULL",
                )
            ],
            [
                migrations.AlterField(
                    model_name="journal",
                    name="organization",
                    field=models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
            ],
        ),
        AddConstraintNotValid(
            model_name="journal",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("order__isnull", True), ("organization__isnull", False), _connector="OR"
                ),
                name="journal_of_an_order_names_the_buyer",
            ),
        ),
        migrations.AddField(
            model_name="mismatch",
            name="journal",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="payments.journal",
            ),
        ),
        migrations.AddField(
            model_name="mismatch",
            name="order",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="payments.order",
            ),
        ),
        migrations.AddConstraint(
            model_name="reconcilecursor",
            constraint=models.UniqueConstraint(
                fields=("name", "livemode"), name="reconcile_cursor_is_one"
            ),
        ),
        migrations.AddIndex(
            model_name="mismatch",
            index=models.Index(
                condition=models.Q(("resolved_at__isnull", True)),
                fields=["livemode", "first_seen_at"],
                name="mismatch_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="mismatch",
            constraint=models.UniqueConstraint(
                condition=models.Q(("resolved_at__isnull", True)),
                fields=("livemode", "subject"),
                name="mismatch_is_open_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="mismatch",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        [
                            "missing_in_journal",
                            "missing_at_stripe",
                            "booked_twice",
                            "amount_differs",
                            "sign_differs",
                            "fee_differs",
                            "currency_differs",
                            "unknown_type",
                            "payout_differs",
                            "clearing_open",
                            "event_unhandled",
                        ],
                    )
                ),
                name="mismatch_kind_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="mismatch",
            constraint=models.CheckConstraint(
                condition=models.Q(("last_seen_at__gte", models.F("first_seen_at"))),
                name="mismatch_was_seen_first_before_last",
            ),
        ),
        migrations.AddConstraint(
            model_name="mismatch",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("resolved_at__isnull", True), ("resolved_by", "")),
                    models.Q(
                        ("resolved_at__isnull", False), models.Q(("resolved_by", ""), _negated=True)
                    ),
                    _connector="OR",
                ),
                name="mismatch_is_resolved_by_somebody",
            ),
        ),
        migrations.AddConstraint(
            model_name="mismatch",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("resolved_by__in", ["", "system"]),
                    models.Q(("note", ""), _negated=True),
                    _connector="OR",
                ),
                name="mismatch_closed_by_people_says_why",
            ),
        ),
    ]
