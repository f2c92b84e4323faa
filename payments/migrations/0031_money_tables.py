"""Where money goes: fees, accounts at Stripe, transfers, refunds, disputes."""

import django.db.models.deletion
import django.db.models.expressions
import django.utils.timezone
import marketplace.typeid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("licensing", "0116_ledger_bodies_packed"),
        ("marketplace", "0106_item_units_are_valid"),
        ("payments", "0031_more_states_of_an_order"),
    ]

    operations = [
        migrations.CreateModel(
            name="ConnectedAccount",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="acc", primary_key=True, serialize=False),
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
                    "contributor",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.contributor",
                    ),
                ),
                ("livemode", models.BooleanField()),
                ("country", models.CharField(max_length=2)),
                ("stripe_id", models.CharField(blank=True, max_length=255, null=True, unique=True)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("opening", "Being opened"),
                            ("onboarding", "Details are missing"),
                            ("pending", "Being reviewed by Stripe"),
                            ("active", "Can be paid"),
                            ("restricted", "Cannot be paid at present"),
                            ("closed", "Closed"),
                        ],
                        default="opening",
                        max_length=10,
                    ),
                ),
                ("requirements", models.JSONField(blank=True, default=list)),
                (
                    "clearance",
                    models.CharField(
                        choices=[
                            ("none", "Not looked at"),
                            ("cleared", "Cleared"),
                            ("refused", "Refused"),
                        ],
                        default="none",
                        max_length=7,
                    ),
                ),
                ("cleared_by", models.CharField(blank=True, max_length=40)),
                ("clearance_note", models.CharField(blank=True, max_length=1000)),
                ("synced_at", models.DateTimeField(blank=True, null=True)),
                ("next_sync_at", models.DateTimeField(blank=True, null=True)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "verbose_name": "connected account",
            },
        ),
        migrations.CreateModel(
            name="Dispute",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="dsp", primary_key=True, serialize=False),
                ),
                (
                    "seller",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
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
                    "order",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="disputes",
                        to="payments.order",
                    ),
                ),
                ("livemode", models.BooleanField()),
                ("stripe_id", models.CharField(max_length=255, unique=True)),
                ("amount_minor", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("reason", models.CharField(max_length=60)),
                ("status", models.CharField(max_length=30)),
                ("refunded_before_minor", models.BigIntegerField(default=0)),
                ("evidence_due_at", models.DateTimeField(blank=True, null=True)),
                ("evidence_sent_at", models.DateTimeField(blank=True, null=True)),
                ("opened_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="FeeSchedule",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="fee", primary_key=True, serialize=False),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                (
                    "offer",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="licensing.offer",
                    ),
                ),
                (
                    "collection",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.collection",
                    ),
                ),
                ("version", models.IntegerField()),
                ("basis_points", models.IntegerField()),
                ("fixed_minor", models.JSONField(blank=True, default=dict)),
                (
                    "stripe_fees",
                    models.CharField(
                        choices=[("market", "The market"), ("seller", "The seller")],
                        default="market",
                        max_length=6,
                    ),
                ),
                ("note", models.CharField(blank=True, max_length=200)),
                ("actor", models.CharField(max_length=40)),
                ("effective_from", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "verbose_name": "fee schedule",
            },
        ),
        migrations.CreateModel(
            name="Refund",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="rfd", primary_key=True, serialize=False),
                ),
                (
                    "seller",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
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
                    "order",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="refunds",
                        to="payments.order",
                    ),
                ),
                ("livemode", models.BooleanField()),
                ("amount_minor", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                (
                    "cause",
                    models.CharField(
                        choices=[
                            ("ungrantable", "No license could be given"),
                            ("buyer", "The buyer asked for it"),
                            ("seller", "The seller gave it"),
                            ("operator", "The market gave it"),
                            ("stripe", "Made at Stripe"),
                        ],
                        max_length=11,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=1000)),
                (
                    "effect",
                    models.CharField(
                        choices=[
                            ("prospective", "From then on"),
                            ("void_from_start", "As if it had never been given"),
                        ],
                        default="prospective",
                        max_length=15,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("requested", "Awaits approval"),
                            ("sending", "Under way"),
                            ("succeeded", "Given back"),
                            ("declined", "Declined"),
                            ("refused", "Refused by Stripe"),
                            ("failed", "Failed: the buyer's bank did not take it"),
                        ],
                        default="requested",
                        max_length=9,
                    ),
                ),
                ("needs_seller", models.BooleanField(default=False)),
                ("needs_two", models.BooleanField(default=False)),
                ("requested_by", models.CharField(max_length=40)),
                ("stripe_id", models.CharField(blank=True, max_length=255, null=True, unique=True)),
                ("failure", models.CharField(blank=True, max_length=1000)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("sent_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="RefundApproval",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "seller",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="marketplace.organization",
                    ),
                ),
                (
                    "refund",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="approvals",
                        to="payments.refund",
                    ),
                ),
                ("actor", models.CharField(max_length=40)),
                ("is_operator", models.BooleanField()),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "verbose_name": "approval of a refund",
                "verbose_name_plural": "approvals of refunds",
            },
        ),
        migrations.CreateModel(
            name="Transfer",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="trf", primary_key=True, serialize=False),
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
                    "order",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="transfer",
                        to="payments.order",
                    ),
                ),
                ("livemode", models.BooleanField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waits for an account that can be paid"),
                            ("sending", "Being sent"),
                            ("sent", "Sent"),
                            ("refused", "Refused by Stripe"),
                            ("dropped", "Nothing is left to send"),
                        ],
                        default="waiting",
                        max_length=7,
                    ),
                ),
                ("share_minor", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("withheld_minor", models.BigIntegerField(default=0)),
                ("sent_minor", models.BigIntegerField(default=0)),
                ("settled_minor", models.BigIntegerField(default=0)),
                ("settled_currency", models.CharField(blank=True, max_length=3)),
                ("reversed_minor", models.BigIntegerField(default=0)),
                ("stripe_id", models.CharField(blank=True, max_length=255, null=True, unique=True)),
                ("refusal", models.CharField(blank=True, max_length=1000)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("sent_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="TransferReversal",
            fields=[
                (
                    "id",
                    marketplace.typeid.TypeIDField(prefix="trr", primary_key=True, serialize=False),
                ),
                (
                    "transfer",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="reversals",
                        to="payments.transfer",
                    ),
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
                ("cause", models.CharField(max_length=60)),
                ("amount_minor", models.BigIntegerField()),
                ("settled_minor", models.BigIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("sending", "Being taken back"),
                            ("done", "Taken back"),
                            ("owed", "Owed: the account did not cover it"),
                        ],
                        default="sending",
                        max_length=7,
                    ),
                ),
                ("stripe_id", models.CharField(blank=True, max_length=255, null=True, unique=True)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "verbose_name": "reversal of a transfer",
                "verbose_name_plural": "reversals of transfers",
            },
        ),
        migrations.CreateModel(
            name="Sale",
            fields=[],
            options={
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("payments.order",),
        ),
        migrations.AddIndex(
            model_name="connectedaccount",
            index=models.Index(
                condition=models.Q(("next_sync_at__isnull", False)),
                fields=["next_sync_at"],
                name="connected_account_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="connectedaccount",
            constraint=models.UniqueConstraint(
                fields=("organization", "livemode", "contributor"),
                name="connected_account_is_one",
                nulls_distinct=False,
            ),
        ),
        migrations.AddConstraint(
            model_name="connectedaccount",
            constraint=models.UniqueConstraint(
                fields=("organization", "livemode", "id"), name="connected_account_of_organization"
            ),
        ),
        migrations.AddConstraint(
            model_name="connectedaccount",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        ["opening", "onboarding", "pending", "active", "restricted", "closed"],
                    )
                ),
                name="connected_account_state_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="connectedaccount",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("state", "opening"), ("stripe_id__isnull", False), _connector="OR"
                ),
                name="connected_account_is_open_at_stripe",
            ),
        ),
        migrations.AddConstraint(
            model_name="connectedaccount",
            constraint=models.CheckConstraint(
                condition=models.Q(("clearance__in", ["none", "cleared", "refused"])),
                name="connected_account_clearance_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="connectedaccount",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("clearance", "none"), ("cleared_by", "")),
                    models.Q(
                        models.Q(("clearance", "none"), _negated=True),
                        models.Q(("cleared_by", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="connected_account_clearance_names_who_gave_it",
            ),
        ),
        migrations.AddConstraint(
            model_name="connectedaccount",
            constraint=models.CheckConstraint(
                condition=models.Q(("country__regex", "^[A-Z]{2}$")),
                name="connected_account_country_is_iso_3166",
            ),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        [
                            "warning_needs_response",
                            "warning_under_review",
                            "warning_closed",
                            "prevented",
                            "needs_response",
                            "under_review",
                            "won",
                            "lost",
                        ],
                    )
                ),
                name="dispute_status_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_minor__gt", 0)), name="dispute_is_about_something"
            ),
        ),
        migrations.AddConstraint(
            model_name="dispute",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("closed_at__isnull", False),
                        ("status__in", ["won", "lost", "warning_closed", "prevented"]),
                    ),
                    models.Q(
                        models.Q(
                            ("status__in", ["won", "lost", "warning_closed", "prevented"]),
                            _negated=True,
                        ),
                        ("closed_at__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="dispute_is_closed_iff_decided",
            ),
        ),
        migrations.AddConstraint(
            model_name="feeschedule",
            constraint=models.UniqueConstraint(
                fields=("organization", "collection", "offer", "version"),
                name="fee_schedule_version_is_unique",
                nulls_distinct=False,
            ),
        ),
        migrations.AddConstraint(
            model_name="feeschedule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("collection__isnull", True), ("offer__isnull", True)),
                    models.Q(
                        ("organization__isnull", False),
                        models.Q(
                            ("collection__isnull", True), ("offer__isnull", True), _connector="OR"
                        ),
                    ),
                    _connector="OR",
                ),
                name="fee_schedule_is_of_one_thing",
            ),
        ),
        migrations.AddConstraint(
            model_name="feeschedule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("basis_points__gte", 0), ("basis_points__lte", 10000), ("version__gte", 1)
                ),
                name="fee_schedule_takes_no_more_than_all",
            ),
        ),
        migrations.AddConstraint(
            model_name="feeschedule",
            constraint=models.CheckConstraint(
                condition=models.Q(("stripe_fees__in", ["market", "seller"])),
                name="fee_schedule_bearer_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.UniqueConstraint(
                fields=("organization", "livemode", "id"), name="refund_of_organization"
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        ["requested", "sending", "succeeded", "declined", "refused", "failed"],
                    )
                ),
                name="refund_state_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("cause__in", ["ungrantable", "buyer", "seller", "operator", "stripe"])
                ),
                name="refund_cause_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(("effect__in", ["prospective", "void_from_start"])),
                name="refund_effect_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_minor__gt", 0)), name="refund_gives_something_back"
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("sent_at__isnull", True), ("state__in", ["requested", "declined"])),
                    models.Q(
                        models.Q(("state__in", ["requested", "declined"]), _negated=True),
                        ("sent_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="refund_is_sent_iff_it_was_approved",
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ["succeeded", "failed"]), _negated=True),
                    ("stripe_id__isnull", False),
                    _connector="OR",
                ),
                name="refund_succeeded_at_stripe",
            ),
        ),
        migrations.AddConstraint(
            model_name="refundapproval",
            constraint=models.UniqueConstraint(
                fields=("refund", "actor"), name="refund_is_approved_once_by_each"
            ),
        ),
        migrations.AddIndex(
            model_name="transfer",
            index=models.Index(
                condition=models.Q(("state", "waiting")),
                fields=["organization", "livemode"],
                name="transfer_waiting",
            ),
        ),
        migrations.AddConstraint(
            model_name="transfer",
            constraint=models.UniqueConstraint(
                fields=("organization", "livemode", "id"), name="transfer_of_organization"
            ),
        ),
        migrations.AddConstraint(
            model_name="transfer",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("state__in", ["waiting", "sending", "sent", "refused", "dropped"])
                ),
                name="transfer_state_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="transfer",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("sent_at__isnull", False), ("state", "sent"), ("stripe_id__isnull", False)
                    ),
                    models.Q(
                        models.Q(("state", "sent"), _negated=True),
                        ("sent_at__isnull", True),
                        ("stripe_id__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="transfer_is_sent_iff_stripe_has_it",
            ),
        ),
        migrations.AddConstraint(
            model_name="transfer",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("sent_minor__gte", 0),
                    ("share_minor__gt", 0),
                    (
                        "share_minor__gte",
                        django.db.models.expressions.CombinedExpression(
                            models.F("sent_minor"), "+", models.F("withheld_minor")
                        ),
                    ),
                    ("withheld_minor__gte", 0),
                ),
                name="transfer_sends_no_more_than_the_share",
            ),
        ),
        migrations.AddConstraint(
            model_name="transfer",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("reversed_minor__gte", 0), ("reversed_minor__lte", models.F("settled_minor"))
                ),
                name="transfer_reverses_no_more_than_was_sent",
            ),
        ),
        migrations.AddConstraint(
            model_name="transferreversal",
            constraint=models.UniqueConstraint(
                fields=("transfer", "cause"), name="transfer_reversal_has_one_cause"
            ),
        ),
        migrations.AddConstraint(
            model_name="transferreversal",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["sending", "done", "owed"])),
                name="transfer_reversal_state_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="transferreversal",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "done"), ("stripe_id__isnull", False)),
                    models.Q(
                        models.Q(("state", "done"), _negated=True), ("stripe_id__isnull", True)
                    ),
                    _connector="OR",
                ),
                name="transfer_reversal_is_done_iff_stripe_has_it",
            ),
        ),
        migrations.AddConstraint(
            model_name="transferreversal",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_minor__gt", 0), ("settled_minor__gte", 0)),
                name="transfer_reversal_takes_something_back",
            ),
        ),
    ]
