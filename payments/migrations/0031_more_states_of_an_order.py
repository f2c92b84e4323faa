"""More states of an order, more kinds of calls and accounts, and journals of no order."""

import django.db.models.deletion
from django.contrib.postgres.operations import AddConstraintNotValid
import django.db.models.expressions
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("licensing", "0116_ledger_bodies_packed"),
        ("marketplace", "0106_item_units_are_valid"),
        ("payments", "0030_quote_price_basis"),
    ]

    operations = [
        migrations.AddField(
            model_name="account",
            name="contributor",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="marketplace.contributor",
            ),
        ),
        migrations.AddField(
            model_name="command",
            name="reference",
            field=models.CharField(blank=True, db_default="", default="", max_length=60),
        ),
        migrations.AddField(
            model_name="journal",
            name="reference",
            field=models.CharField(blank=True, db_default="", default="", max_length=60),
        ),
        migrations.AddField(
            model_name="order",
            name="charge",
            field=models.CharField(blank=True, max_length=255, null=True),
        ),
        migrations.AddField(
            model_name="order",
            name="lost_minor",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="order",
            name="method",
            field=models.CharField(
                choices=[
                    ("free", "Nothing to pay"),
                    ("checkout", "Pay page"),
                    ("invoice", "Invoice"),
                ],
                db_default="checkout",
                default="checkout",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="order",
            name="settled_currency",
            field=models.CharField(blank=True, db_default="", default="", max_length=3),
        ),
        migrations.AddField(
            model_name="order",
            name="settled_fee_minor",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="order",
            name="settled_minor",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="order",
            name="settlement",
            field=models.JSONField(blank=True, db_default={}, default=dict),
        ),
        migrations.AddField(
            model_name="stripeevent",
            name="account",
            field=models.CharField(blank=True, db_default="", default="", max_length=255),
        ),
        migrations.AddField(
            model_name="stripeevent",
            name="is_thin",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        # Longer text rewrites no row.
                        "-- squawk-ignore changing-column-type\n"
                        "ALTER TABLE payments_account ALTER COLUMN code TYPE varchar(19)"
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="account",
                    name="code",
                    field=models.CharField(
                        choices=[
                            ("buyer_receivable", "Owed by a buyer"),
                            ("stripe_clearing", "Under way at Stripe"),
                            ("dispute_hold", "Held by Stripe for a dispute"),
                            ("royalty_pool", "Royalties to be shared out"),
                            ("stripe_balance", "Our balance at Stripe"),
                            ("seller_payable", "Owed to a seller"),
                            ("seller_receivable", "Owed by a seller"),
                            ("royalty_payable", "Owed to contributors"),
                            ("contributor_payable", "Owed to a contributor, being paid out"),
                            ("tax_payable", "Tax owed"),
                            ("market_fee", "The market's fee"),
                            ("stripe_fees", "Stripe's fees"),
                            ("dispute_losses", "Lost twice: refunded, and disputed"),
                            ("currency_exchange", "Changed between currencies"),
                            ("buyer_refundable", "Owed back to a buyer"),
                        ],
                        max_length=19,
                    ),
                )
            ],
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        # Longer text rewrites no row.
                        "-- squawk-ignore changing-column-type\n"
                        "ALTER TABLE payments_command ALTER COLUMN kind TYPE varchar(16)"
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            state_operations=[
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
                            ("send_evidence", "Send evidence about a dispute"),
                            ("create_customer", "Create a customer"),
                            ("send_invoice", "Send an invoice"),
                            ("void_invoice", "Void an invoice"),
                            ("credit_note", "Issue a credit note"),
                        ],
                        max_length=16,
                    ),
                )
            ],
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        # A reader of the old release joins to the order, and passes such rows over.
                        "-- squawk-ignore ban-drop-not-null\n"
                        "ALTER TABLE payments_command ALTER COLUMN order_id DROP NOT NULL"
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="command",
                    name="order",
                    field=models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="commands",
                        to="payments.order",
                    ),
                )
            ],
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        # A reader of the old release joins to the order, and passes such rows over.
                        "-- squawk-ignore ban-drop-not-null\n"
                        "ALTER TABLE payments_journal ALTER COLUMN order_id DROP NOT NULL"
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="journal",
                    name="order",
                    field=models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="journals",
                        to="payments.order",
                    ),
                )
            ],
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        # Longer text rewrites no row.
                        "-- squawk-ignore changing-column-type\n"
                        "ALTER TABLE payments_order ALTER COLUMN status TYPE varchar(18)"
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="order",
                    name="status",
                    field=models.CharField(
                        choices=[
                            ("awaiting_payment", "Awaiting payment"),
                            ("past_due", "Past due"),
                            ("paid", "Paid"),
                            ("paid_late", "Paid after it had ended"),
                            ("granted", "Granted"),
                            ("paid_ungrantable", "Paid, refund under way"),
                            ("partially_refunded", "Partly refunded"),
                            ("refunded", "Refunded"),
                            ("disputed", "Disputed"),
                            ("dispute_won", "Dispute won"),
                            ("dispute_lost", "Dispute lost"),
                            ("expired", "Expired"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="awaiting_payment",
                        max_length=18,
                    ),
                )
            ],
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        # The wider rule follows at once.
                        "-- squawk-ignore ban-drop-constraint\n"
                        "ALTER TABLE payments_account DROP CONSTRAINT account_code_is_known"
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            state_operations=[migrations.RemoveConstraint("account", "account_code_is_known")],
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        # The wider rule follows at once.
                        "-- squawk-ignore ban-drop-constraint\n"
                        "ALTER TABLE payments_command DROP CONSTRAINT command_kind_is_known"
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            state_operations=[migrations.RemoveConstraint("command", "command_kind_is_known")],
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        # The wider rule follows at once.
                        "-- squawk-ignore ban-drop-constraint\n"
                        "ALTER TABLE payments_order DROP CONSTRAINT order_status_is_known"
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            state_operations=[migrations.RemoveConstraint("order", "order_status_is_known")],
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        # The wider rule follows at once.
                        "-- squawk-ignore ban-drop-constraint\n"
                        "ALTER TABLE payments_order DROP CONSTRAINT order_paid_at_iff_paid"
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            state_operations=[migrations.RemoveConstraint("order", "order_paid_at_iff_paid")],
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        # The wider rule follows at once.
                        "-- squawk-ignore ban-drop-constraint\n"
                        "ALTER TABLE payments_order DROP CONSTRAINT order_grant_iff_granted"
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            state_operations=[migrations.RemoveConstraint("order", "order_grant_iff_granted")],
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        # The wider rule follows at once.
                        "-- squawk-ignore ban-drop-constraint\n"
                        "ALTER TABLE payments_order DROP CONSTRAINT order_refusal_iff_ungrantable"
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            state_operations=[
                migrations.RemoveConstraint("order", "order_refusal_iff_ungrantable")
            ],
        ),
        AddConstraintNotValid(
            "account",
            models.CheckConstraint(
                condition=models.Q(
                    (
                        "code__in",
                        [
                            "buyer_receivable",
                            "stripe_clearing",
                            "dispute_hold",
                            "royalty_pool",
                            "stripe_balance",
                            "seller_payable",
                            "seller_receivable",
                            "royalty_payable",
                            "contributor_payable",
                            "tax_payable",
                            "market_fee",
                            "stripe_fees",
                            "dispute_losses",
                            "currency_exchange",
                            "buyer_refundable",
                        ],
                    )
                ),
                name="account_code_is_known",
            ),
        ),
        AddConstraintNotValid(
            "account",
            models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("code", "contributor_payable"),
                        ("contributor__isnull", False),
                        ("organization__isnull", False),
                    ),
                    models.Q(
                        models.Q(("code", "contributor_payable"), _negated=True),
                        ("contributor__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="account_of_a_contributor_names_the_organization",
            ),
        ),
        AddConstraintNotValid(
            "command",
            models.CheckConstraint(
                condition=models.Q(
                    ("order__isnull", False),
                    models.Q(("reference", ""), _negated=True),
                    _connector="OR",
                ),
                name="command_is_about_something",
            ),
        ),
        AddConstraintNotValid(
            "command",
            models.CheckConstraint(
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
        AddConstraintNotValid(
            "journal",
            models.CheckConstraint(
                condition=models.Q(
                    ("order__isnull", False),
                    models.Q(("reference", ""), _negated=True),
                    _connector="OR",
                ),
                name="journal_is_about_something",
            ),
        ),
        AddConstraintNotValid(
            "order",
            models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        [
                            "awaiting_payment",
                            "past_due",
                            "paid",
                            "paid_late",
                            "granted",
                            "paid_ungrantable",
                            "partially_refunded",
                            "refunded",
                            "disputed",
                            "dispute_won",
                            "dispute_lost",
                            "expired",
                            "cancelled",
                        ],
                    )
                ),
                name="order_status_is_known",
            ),
        ),
        AddConstraintNotValid(
            "order",
            models.CheckConstraint(
                condition=models.Q(("method__in", ["free", "checkout", "invoice"])),
                name="order_method_is_known",
            ),
        ),
        AddConstraintNotValid(
            "order",
            models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("paid_at__isnull", True),
                        ("status__in", ["awaiting_payment", "past_due", "expired", "cancelled"]),
                    ),
                    models.Q(
                        models.Q(
                            (
                                "status__in",
                                ["awaiting_payment", "past_due", "expired", "cancelled"],
                            ),
                            _negated=True,
                        ),
                        ("paid_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="order_paid_at_iff_paid",
            ),
        ),
        AddConstraintNotValid(
            "order",
            models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("grant__isnull", True),
                        ("granted_at__isnull", True),
                        models.Q(("status__in", ["granted", "partially_refunded"]), _negated=True),
                    ),
                    models.Q(
                        ("grant__isnull", False),
                        ("granted_at__isnull", False),
                        models.Q(
                            ("status__in", ["paid", "paid_late", "paid_ungrantable", "expired"]),
                            _negated=True,
                        ),
                        models.Q(
                            models.Q(
                                (
                                    "status__in",
                                    ["awaiting_payment", "past_due", "expired", "cancelled"],
                                ),
                                _negated=True,
                            ),
                            ("method", "invoice"),
                            _connector="OR",
                        ),
                    ),
                    _connector="OR",
                ),
                name="order_is_granted_with_a_grant",
            ),
        ),
        AddConstraintNotValid(
            "order",
            models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        models.Q(("status", "paid_ungrantable"), _negated=True), ("refusal", "")
                    ),
                    models.Q(("grant__isnull", True), models.Q(("refusal", ""), _negated=True)),
                    _connector="OR",
                ),
                name="order_refusal_instead_of_a_grant",
            ),
        ),
        AddConstraintNotValid(
            "order",
            models.CheckConstraint(
                condition=models.Q(
                    ("lost_minor__gte", 0), ("lost_minor__lte", models.F("paid_minor"))
                ),
                name="order_loses_no_more_than_was_paid",
            ),
        ),
        AddConstraintNotValid(
            "order",
            models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("settled_currency", ""),
                        ("settled_fee_minor__isnull", True),
                        ("settled_minor__isnull", True),
                    ),
                    models.Q(
                        ("settled_fee_minor__isnull", False),
                        ("settled_minor__isnull", False),
                        models.Q(("settled_currency", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="order_is_settled_whole_or_not_at_all",
            ),
        ),
    ]
