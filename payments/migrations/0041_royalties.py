"""Royalties: rules, bases, allocations, accruals, advances and payouts."""

import django.db.models.deletion
import django.db.models.expressions
import django.utils.timezone
import marketplace.typeid
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("licensing", "0116_ledger_bodies_packed"),
        ("marketplace", "0106_item_units_are_valid"),
        ("payments", "0040_order_of_seller"),
    ]

    operations = [
        migrations.CreateModel(
            name="RoyaltyAccrual",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("livemode", models.BooleanField()),
                ("currency", models.CharField(max_length=3)),
                ("weight", models.BigIntegerField()),
                ("amount_micro", models.BigIntegerField()),
            ],
            options={
                "verbose_name": "royalty accrual",
            },
        ),
        migrations.CreateModel(
            name="RoyaltyAdvance",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="rad", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
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
            },
        ),
        migrations.CreateModel(
            name="RoyaltyAllocation",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="ral", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
                ("cause", models.CharField(blank=True, max_length=60)),
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
            },
        ),
        migrations.CreateModel(
            name="RoyaltyBase",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="rbs", primary_key=True, serialize=False),
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
            },
        ),
        migrations.CreateModel(
            name="RoyaltyPayment",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="rpm", primary_key=True, serialize=False),
                ),
                ("livemode", models.BooleanField()),
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
            },
        ),
        migrations.CreateModel(
            name="RoyaltyPayout",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="rpo", primary_key=True, serialize=False),
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
            },
        ),
        migrations.CreateModel(
            name="RoyaltyRule",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="rrl", primary_key=True, serialize=False),
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
            },
        ),
        migrations.CreateModel(
            name="RoyaltyWeight",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("weight", models.BigIntegerField()),
            ],
            options={
                "verbose_name": "weight in a base of royalties",
                "verbose_name_plural": "weights in bases of royalties",
            },
        ),
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    [
                        "-- squawk-ignore ban-drop-constraint\n"
                        "ALTER TABLE payments_command DROP CONSTRAINT command_kind_is_known"
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            [migrations.RemoveConstraint(model_name="command", name="command_kind_is_known")],
        ),
        migrations.AlterField(
            model_name="command",
            name="kind",
            field=models.CharField(
                choices=[
                    ("create_checkout", "Create a Checkout session"),
                    ("expire_checkout", "Close a Checkout session"),
                    ("refund", "Refund"),
                    ("create_account", "Create a connected account"),
                    ("transfer", "Transfer"),
                    ("reverse_transfer", "Reverse a transfer"),
                    ("royalty_transfer", "Transfer of royalties"),
                    ("send_evidence", "Send evidence about a dispute"),
                    ("create_customer", "Create a customer"),
                    ("send_invoice", "Send an invoice"),
                    ("void_invoice", "Void an invoice"),
                    ("credit_note", "Issue a credit note"),
                ],
                max_length=16,
            ),
        ),
        AddConstraintNotValid(
            model_name="command",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        [
                            "create_checkout",
                            "expire_checkout",
                            "refund",
                            "create_account",
                            "transfer",
                            "reverse_transfer",
                            "royalty_transfer",
                            "send_evidence",
                            "create_customer",
                            "send_invoice",
                            "void_invoice",
                            "credit_note",
                        ],
                    )
                ),
                name="command_kind_is_known",
            ),
        ),
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    "ALTER TABLE payments_order ADD CONSTRAINT order_of_seller"
                    " UNIQUE USING INDEX order_of_seller",
                    "ALTER TABLE payments_order DROP CONSTRAINT order_of_seller",
                )
            ],
            [
                migrations.AddConstraint(
                    model_name="order",
                    constraint=models.UniqueConstraint(
                        fields=("seller", "livemode", "id"), name="order_of_seller"
                    ),
                )
            ],
        ),
        migrations.AddField(
            model_name="royaltyaccrual",
            name="contributor",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.contributor",
            ),
        ),
        migrations.AddField(
            model_name="royaltyaccrual",
            name="organization",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.organization",
            ),
        ),
        migrations.AddField(
            model_name="royaltyadvance",
            name="contributor",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.contributor",
            ),
        ),
        migrations.AddField(
            model_name="royaltyadvance",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.organization",
            ),
        ),
        migrations.AddField(
            model_name="royaltyallocation",
            name="order",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="royalty_allocations",
                to="payments.order",
            ),
        ),
        migrations.AddField(
            model_name="royaltyallocation",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.organization",
            ),
        ),
        migrations.AddField(
            model_name="royaltyallocation",
            name="sale",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="payments.royaltyallocation",
            ),
        ),
        migrations.AddField(
            model_name="royaltyallocation",
            name="snapshot",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="licensing.snapshot",
            ),
        ),
        migrations.AddField(
            model_name="royaltyaccrual",
            name="allocation",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="accruals",
                to="payments.royaltyallocation",
            ),
        ),
        migrations.AddField(
            model_name="royaltybase",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.organization",
            ),
        ),
        migrations.AddField(
            model_name="royaltybase",
            name="snapshot",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="licensing.snapshot",
            ),
        ),
        migrations.AddField(
            model_name="royaltyallocation",
            name="base",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="payments.royaltybase",
            ),
        ),
        migrations.AddField(
            model_name="royaltypayment",
            name="contributor",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.contributor",
            ),
        ),
        migrations.AddField(
            model_name="royaltypayment",
            name="organization",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.organization",
            ),
        ),
        migrations.AddField(
            model_name="royaltypayout",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.organization",
            ),
        ),
        migrations.AddField(
            model_name="royaltypayment",
            name="payout",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="payments",
                to="payments.royaltypayout",
            ),
        ),
        migrations.AddField(
            model_name="royaltyrule",
            name="collection",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="royalty_rules",
                to="marketplace.collection",
            ),
        ),
        migrations.AddField(
            model_name="royaltyrule",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.organization",
            ),
        ),
        migrations.AddField(
            model_name="royaltybase",
            name="rule",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="payments.royaltyrule",
            ),
        ),
        migrations.AddField(
            model_name="royaltyallocation",
            name="rule",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="payments.royaltyrule",
            ),
        ),
        migrations.AddField(
            model_name="royaltyweight",
            name="base",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="weights",
                to="payments.royaltybase",
            ),
        ),
        migrations.AddField(
            model_name="royaltyweight",
            name="contributor",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.contributor",
            ),
        ),
        migrations.AddField(
            model_name="royaltyweight",
            name="organization",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.organization",
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltyadvance",
            constraint=models.UniqueConstraint(
                fields=("organization", "livemode", "contributor", "reference"),
                name="royalty_advance_is_recorded_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltyadvance",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount_minor__gt", 0), models.Q(("reference", ""), _negated=True)
                ),
                name="royalty_advance_is_some",
            ),
        ),
        migrations.AddIndex(
            model_name="royaltyaccrual",
            index=models.Index(fields=["contributor", "id"], name="royalty_accrual_of_person"),
        ),
        migrations.AddConstraint(
            model_name="royaltyaccrual",
            constraint=models.UniqueConstraint(
                fields=("allocation", "contributor"),
                name="royalty_accrual_is_one",
                nulls_distinct=False,
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltyaccrual",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("amount_micro", 0), _negated=True), ("weight__gte", 1)
                ),
                name="royalty_accrual_moves_something",
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltypayout",
            constraint=models.UniqueConstraint(
                fields=("organization", "livemode", "id"), name="royalty_payout_of_organization"
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltypayout",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("contributors__gte", 1), ("paid_minor__gte", 0), ("recouped_minor__gte", 0)
                ),
                name="royalty_payout_moves_something",
            ),
        ),
        migrations.AddIndex(
            model_name="royaltypayment",
            index=models.Index(fields=["contributor", "id"], name="royalty_payment_of_person"),
        ),
        migrations.AddIndex(
            model_name="royaltypayment",
            index=models.Index(
                condition=models.Q(("state", "due")),
                fields=["organization", "livemode"],
                name="royalty_payment_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltypayment",
            constraint=models.UniqueConstraint(
                fields=("payout", "contributor"), name="royalty_payment_is_one"
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltypayment",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["due", "sending", "paid", "returned"])),
                name="royalty_payment_state_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltypayment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount_minor__gte", 0),
                    ("recouped_minor__gte", 0),
                    models.Q(("amount_minor", 0), ("recouped_minor", 0), _negated=True),
                ),
                name="royalty_payment_moves_something",
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltypayment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("settled_at__isnull", False), ("state__in", ["paid", "returned"])),
                    models.Q(
                        models.Q(("state__in", ["paid", "returned"]), _negated=True),
                        ("settled_at__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="royalty_payment_settled_at_iff_settled",
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltypayment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "paid"), _negated=True),
                    ("amount_minor", 0),
                    models.Q(("reference", ""), _negated=True),
                    ("stripe_id__isnull", False),
                    _connector="OR",
                ),
                name="royalty_payment_names_how_it_was_paid",
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltyrule",
            constraint=models.UniqueConstraint(
                fields=("collection", "version"), name="royalty_rule_version_is_unique"
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltyrule",
            constraint=models.UniqueConstraint(
                fields=("organization", "id"), name="royalty_rule_of_organization"
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltyrule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("basis_points__gte", 0), ("basis_points__lte", 10000), ("version__gte", 1)
                ),
                name="royalty_rule_shares_no_more_than_all",
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltyrule",
            constraint=models.CheckConstraint(
                condition=models.Q(("method__in", ["fixed", "equal_per_work", "pro_rata"])),
                name="royalty_rule_method_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltyrule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("method", "pro_rata"),
                        ("unit__in", ["bytes", "pages", "pixels", "seconds", "tokens", "words"]),
                    ),
                    models.Q(models.Q(("method", "pro_rata"), _negated=True), ("unit", "")),
                    _connector="OR",
                ),
                name="royalty_rule_has_a_unit_iff_pro_rata",
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltyrule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("method", "fixed"), models.Q(("parts", []), _negated=True)),
                    models.Q(models.Q(("method", "fixed"), _negated=True), ("parts", [])),
                    _connector="OR",
                ),
                name="royalty_rule_has_parts_iff_fixed",
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltybase",
            constraint=models.UniqueConstraint(
                fields=("rule", "snapshot", "excluded_sha256"), name="royalty_base_is_one"
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltybase",
            constraint=models.UniqueConstraint(
                fields=("organization", "id"), name="royalty_base_of_organization"
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltybase",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("excluded__gte", 0), ("sharers__gte", 1), ("total_weight__gte", 1)
                ),
                name="royalty_base_weighs_something",
            ),
        ),
        migrations.AddIndex(
            model_name="royaltyallocation",
            index=models.Index(
                condition=models.Q(("state", "done"), _negated=True),
                fields=["id"],
                name="royalty_allocation_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltyallocation",
            constraint=models.UniqueConstraint(
                fields=("order", "cause"), name="royalty_allocation_has_one_cause"
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltyallocation",
            constraint=models.UniqueConstraint(
                fields=("organization", "livemode", "id"), name="royalty_allocation_of_organization"
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltyallocation",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["pending", "running", "done"])),
                name="royalty_allocation_state_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltyallocation",
            constraint=models.CheckConstraint(
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
        ),
        migrations.AddConstraint(
            model_name="royaltyallocation",
            constraint=models.CheckConstraint(
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
        ),
        migrations.AddConstraint(
            model_name="royaltyallocation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("base__isnull", True), ("state", "pending")),
                    models.Q(
                        models.Q(("state", "pending"), _negated=True), ("base__isnull", False)
                    ),
                    _connector="OR",
                ),
                name="royalty_allocation_has_a_base_iff_begun",
            ),
        ),
        migrations.AddConstraint(
            model_name="royaltyallocation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("done_at__isnull", False), ("state", "done")),
                    models.Q(models.Q(("state", "done"), _negated=True), ("done_at__isnull", True)),
                    _connector="OR",
                ),
                name="royalty_allocation_done_at_iff_done",
            ),
        ),
        migrations.AddIndex(
            model_name="royaltyweight",
            index=models.Index(fields=["base", "id"], name="royalty_weight_of_base"),
        ),
        migrations.AddConstraint(
            model_name="royaltyweight",
            constraint=models.CheckConstraint(
                condition=models.Q(("weight__gte", 1)), name="royalty_weight_is_some"
            ),
        ),
    ]
