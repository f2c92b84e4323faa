"""A payout of royalties is written by a job, from balances and what no payout counted yet."""

from typing import Any

import django.db.models.deletion
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import F, Q

ORGANIZATION: dict[str, Any] = {
    "on_delete": django.db.models.deletion.PROTECT,
    "to": "marketplace.organization",
}


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0106_item_units_are_valid"),
        ("payments", "0055_journal_checks_hold"),
    ]

    operations = [
        migrations.AddField("royaltypayout", "cursor", models.UUIDField(blank=True, null=True)),
        migrations.AddField(
            "royaltypayout", "done_at", models.DateTimeField(blank=True, null=True)
        ),
        migrations.AddField(
            "royaltypayout",
            "held",
            models.JSONField(blank=True, db_default=[], default=list),
        ),
        # What is there was written at once.
        migrations.AddField(
            "royaltypayout",
            "state",
            models.CharField(
                choices=[("running", "Being written"), ("done", "Written")],
                db_default="done",
                default="running",
                max_length=7,
            ),
        ),
        migrations.AddField(
            "royaltypayout", "written", models.IntegerField(db_default=0, default=0)
        ),
        migrations.AddField(
            "royaltypayment", "waits_until", models.DateTimeField(blank=True, null=True)
        ),
        AddConstraintNotValid(
            "royaltypayout",
            models.CheckConstraint(
                condition=Q(state__in=["running", "done"]), name="royalty_payout_state_is_known"
            ),
        ),
        AddConstraintNotValid(
            "royaltypayout",
            models.CheckConstraint(
                condition=Q(written__gte=0, written__lte=F("contributors")),
                name="royalty_payout_writes_no_more_than_it_says",
            ),
        ),
        AddConstraintNotValid(
            "royaltypayout",
            models.CheckConstraint(
                condition=Q(state="done") | Q(done_at__isnull=True),
                name="royalty_payout_done_at_only_if_done",
            ),
        ),
        migrations.CreateModel(
            name="RoyaltyCounted",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("livemode", models.BooleanField()),
                ("organization", models.ForeignKey(**ORGANIZATION, related_name="+")),
                (
                    "payout",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="counted",
                        to="payments.royaltypayout",
                    ),
                ),
                (
                    "allocation",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="payments.royaltyallocation",
                    ),
                ),
                (
                    "advance",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="payments.royaltyadvance",
                    ),
                ),
                (
                    "payment",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="payments.royaltypayment",
                    ),
                ),
            ],
            options={
                "verbose_name": "counted by a payout of royalties",
                "verbose_name_plural": "counted by payouts of royalties",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("allocation",), name="royalty_allocation_is_counted_once"
                    ),
                    models.UniqueConstraint(
                        fields=("advance",), name="royalty_advance_is_counted_once"
                    ),
                    models.UniqueConstraint(
                        fields=("payment",), name="royalty_payment_is_counted_once"
                    ),
                    models.CheckConstraint(
                        condition=Q(
                            allocation__isnull=False, advance__isnull=True, payment__isnull=True
                        )
                        | Q(allocation__isnull=True, advance__isnull=False, payment__isnull=True)
                        | Q(allocation__isnull=True, advance__isnull=True, payment__isnull=False),
                        name="royalty_counted_is_one_thing",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RoyaltyBalance",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "organization",
                    models.ForeignKey(
                        **ORGANIZATION, db_constraint=False, db_index=False, related_name="+"
                    ),
                ),
                ("livemode", models.BooleanField()),
                ("currency", models.CharField(max_length=3)),
                (
                    "contributor",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.contributor",
                    ),
                ),
                ("carried_micro", models.BigIntegerField()),
                ("advance_minor", models.BigIntegerField()),
                ("minimum_minor", models.BigIntegerField(null=True)),
            ],
            options={
                "verbose_name": "balance of royalties",
                "verbose_name_plural": "balances of royalties",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "livemode", "currency", "contributor"),
                        name="royalty_balance_is_one",
                    ),
                ],
            },
        ),
    ]
