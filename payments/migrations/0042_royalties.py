"""Royalties: rules, bases, allocations, accruals, advances and payouts."""

import django.db.models.deletion
import django.db.models.expressions
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("licensing", "0116_ledger_bodies_packed"),
        ("marketplace", "0106_item_units_are_valid"),
        ("payments", "0041_command_of_royalties"),
    ]

    operations = [
        migrations.CreateModel(
            name="RoyaltyRule",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="rrl", primary_key=True, serialize=False),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                (
                    "collection",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="royalty_rules",
                        to="marketplace.collection",
                    ),
                ),
                ("version", models.IntegerField()),
                ("basis_points", models.IntegerField()),
                (
                    "method",
                    models.CharField(
                        choices=[
                            ("fixed", "Fixed parts"),
                            ("equal_per_work", "The same for each work"),
                            ("pro_rata", "In proportion to a unit"),
                        ],
                        max_length=14,
                    ),
                ),
                ("unit", models.CharField(blank=True, max_length=7)),
                ("parts", models.JSONField(blank=True, default=list)),
                ("minimum_minor", models.JSONField(blank=True, default=dict)),
                ("holds_while_disputed", models.BooleanField(default=True)),
                ("actor", models.CharField(max_length=40)),
                ("effective_from", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "verbose_name": "royalty rule",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("collection", "version"), name="royalty_rule_version_is_unique"
                    ),
                    models.UniqueConstraint(
                        fields=("organization", "id"), name="royalty_rule_of_organization"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("basis_points__gte", 0),
                            ("basis_points__lte", 10000),
                            ("version__gte", 1),
                        ),
                        name="royalty_rule_shares_no_more_than_all",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("method__in", ["fixed", "equal_per_work", "pro_rata"])),
                        name="royalty_rule_method_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("method", "pro_rata"),
                                (
                                    "unit__in",
                                    ["bytes", "pages", "pixels", "seconds", "tokens", "words"],
                                ),
                            ),
                            models.Q(models.Q(("method", "pro_rata"), _negated=True), ("unit", "")),
                            _connector="OR",
                        ),
                        name="royalty_rule_has_a_unit_iff_pro_rata",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("method", "fixed"), models.Q(("parts", []), _negated=True)),
                            models.Q(models.Q(("method", "fixed"), _negated=True), ("parts", [])),
                            _connector="OR",
                        ),
                        name="royalty_rule_has_parts_iff_fixed",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RoyaltyBase",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="rbs", primary_key=True, serialize=False),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                (
                    "rule",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="payments.royaltyrule",
                    ),
                ),
                (
                    "snapshot",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.snapshot",
                    ),
                ),
                ("excluded_sha256", models.BinaryField(max_length=32)),
                ("excluded", models.IntegerField()),
                ("total_weight", models.BigIntegerField()),
                ("sharers", models.IntegerField()),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "verbose_name": "base of royalties",
                "verbose_name_plural": "bases of royalties",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("rule", "snapshot", "excluded_sha256"), name="royalty_base_is_one"
                    ),
                    models.UniqueConstraint(
                        fields=("organization", "id"), name="royalty_base_of_organization"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("excluded__gte", 0), ("sharers__gte", 1), ("total_weight__gte", 1)
                        ),
                        name="royalty_base_weighs_something",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RoyaltyWeight",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "organization",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                (
                    "base",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="weights",
                        to="payments.royaltybase",
                    ),
                ),
                (
                    "contributor",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.contributor",
                    ),
                ),
                ("weight", models.BigIntegerField()),
            ],
            options={
                "verbose_name": "weight in a base of royalties",
                "verbose_name_plural": "weights in bases of royalties",
                "indexes": [models.Index(fields=["base", "id"], name="royalty_weight_of_base")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("weight__gte", 1)), name="royalty_weight_is_some"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="RoyaltyAllocation",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="ral", primary_key=True, serialize=False),
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
                (
                    "order",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="royalty_allocations",
                        to="payments.order",
                    ),
                ),
                ("cause", models.CharField(blank=True, max_length=60)),
                (
                    "sale",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="payments.royaltyallocation",
                    ),
                ),
                (
                    "rule",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="payments.royaltyrule",
                    ),
                ),
                (
                    "snapshot",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.snapshot",
                    ),
                ),
                ("sold_at", models.DateTimeField()),
                ("currency", models.CharField(max_length=3)),
                ("kept_before_minor", models.BigIntegerField(default=0)),
                ("pool_minor", models.BigIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "To be shared out"),
                            ("running", "Being shared out"),
                            ("done", "Shared out"),
                        ],
                        default="pending",
                        max_length=7,
                    ),
                ),
                (
                    "base",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="payments.royaltybase",
                    ),
                ),
                ("cursor", models.BigIntegerField(default=0)),
                ("cut_before_remainder", models.CharField(blank=True, max_length=40)),
                ("cut_before_hash", models.BinaryField(blank=True, max_length=32, null=True)),
                ("cut_after_remainder", models.CharField(blank=True, max_length=40)),
                ("cut_after_hash", models.BinaryField(blank=True, max_length=32, null=True)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("done_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "royalty allocation",
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "done"), _negated=True),
                        fields=["id"],
                        name="royalty_allocation_due",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("order", "cause"), name="royalty_allocation_has_one_cause"
                    ),
                    models.UniqueConstraint(
                        fields=("organization", "livemode", "id"),
                        name="royalty_allocation_of_organization",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["pending", "running", "done"])),
                        name="royalty_allocation_state_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("cause", ""),
                                ("kept_before_minor", 0),
                                ("pool_minor__gt", 0),
                                ("sale__isnull", True),
                            ),
                            models.Q(
                                models.Q(("cause", ""), _negated=True),
                                ("pool_minor__lt", 0),
                                ("sale__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="royalty_allocation_takes_back_of_a_sale",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("kept_before_minor__gte", 0),
                            ("kept_before_minor__lte", 9000000000000),
                            (
                                "kept_before_minor__gte",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("pool_minor"), "*", models.Value(-1)
                                ),
                            ),
                            ("pool_minor__lte", 9000000000000),
                        ),
                        name="royalty_allocation_leaves_no_less_than_nothing",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("base__isnull", True), ("state", "pending")),
                            models.Q(
                                models.Q(("state", "pending"), _negated=True),
                                ("base__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="royalty_allocation_has_a_base_iff_begun",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("done_at__isnull", False), ("state", "done")),
                            models.Q(
                                models.Q(("state", "done"), _negated=True),
                                ("done_at__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="royalty_allocation_done_at_iff_done",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RoyaltyAccrual",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "organization",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                ("livemode", models.BooleanField()),
                (
                    "allocation",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="accruals",
                        to="payments.royaltyallocation",
                    ),
                ),
                (
                    "contributor",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.contributor",
                    ),
                ),
                ("currency", models.CharField(max_length=3)),
                ("weight", models.BigIntegerField()),
                ("amount_micro", models.BigIntegerField()),
            ],
            options={
                "verbose_name": "royalty accrual",
                "indexes": [
                    models.Index(fields=["contributor", "id"], name="royalty_accrual_of_person")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("allocation", "contributor"),
                        name="royalty_accrual_is_one",
                        nulls_distinct=False,
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("amount_micro", 0), _negated=True), ("weight__gte", 1)
                        ),
                        name="royalty_accrual_moves_something",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RoyaltyAdvance",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="rad", primary_key=True, serialize=False),
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
                (
                    "contributor",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.contributor",
                    ),
                ),
                ("amount_minor", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("reference", models.CharField(max_length=200)),
                ("actor", models.CharField(max_length=40)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "verbose_name": "royalty advance",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "livemode", "contributor", "reference"),
                        name="royalty_advance_is_recorded_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("amount_minor__gt", 0), models.Q(("reference", ""), _negated=True)
                        ),
                        name="royalty_advance_is_some",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RoyaltyPayout",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="rpo", primary_key=True, serialize=False),
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
                ("contributors", models.IntegerField()),
                ("paid_minor", models.BigIntegerField()),
                ("recouped_minor", models.BigIntegerField()),
                ("actor", models.CharField(max_length=40)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "verbose_name": "royalty payout",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "livemode", "id"),
                        name="royalty_payout_of_organization",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("contributors__gte", 1),
                            ("paid_minor__gte", 0),
                            ("recouped_minor__gte", 0),
                        ),
                        name="royalty_payout_moves_something",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RoyaltyPayment",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="rpm", primary_key=True, serialize=False),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                ("livemode", models.BooleanField()),
                (
                    "payout",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="payments",
                        to="payments.royaltypayout",
                    ),
                ),
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
                ("currency", models.CharField(max_length=3)),
                ("amount_minor", models.BigIntegerField()),
                ("recouped_minor", models.BigIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("due", "To be paid"),
                            ("sending", "Being sent"),
                            ("paid", "Paid"),
                            ("returned", "Returned: it is owed again"),
                        ],
                        default="due",
                        max_length=8,
                    ),
                ),
                ("reference", models.CharField(blank=True, max_length=200)),
                ("stripe_id", models.CharField(blank=True, max_length=255, null=True, unique=True)),
                ("refusal", models.CharField(blank=True, max_length=1000)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("settled_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "royalty payment",
                "indexes": [
                    models.Index(fields=["contributor", "id"], name="royalty_payment_of_person"),
                    models.Index(
                        condition=models.Q(("state", "due")),
                        fields=["organization", "livemode"],
                        name="royalty_payment_due",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("payout", "contributor"), name="royalty_payment_is_one"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["due", "sending", "paid", "returned"])),
                        name="royalty_payment_state_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("amount_minor__gte", 0),
                            ("recouped_minor__gte", 0),
                            models.Q(("amount_minor", 0), ("recouped_minor", 0), _negated=True),
                        ),
                        name="royalty_payment_moves_something",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("settled_at__isnull", False), ("state__in", ["paid", "returned"])
                            ),
                            models.Q(
                                models.Q(("state__in", ["paid", "returned"]), _negated=True),
                                ("settled_at__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="royalty_payment_settled_at_iff_settled",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "paid"), _negated=True),
                            ("amount_minor", 0),
                            models.Q(("reference", ""), _negated=True),
                            ("stripe_id__isnull", False),
                            _connector="OR",
                        ),
                        name="royalty_payment_names_how_it_was_paid",
                    ),
                ],
            },
        ),
    ]
