"""The rules of 0031 hold for what was there before; the indexes of 0033 are the rules now."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations, models

# Composite keys of 0032.
_KEYS = [
    ("refund", "refund_order_belongs"),
    ("dispute", "dispute_order_belongs"),
    ("connectedaccount", "connected_account_contributor_belongs"),
    ("account", "account_contributor_belongs"),
    ("transferreversal", "transfer_reversal_transfer_belongs"),
    ("feeschedule", "fee_schedule_collection_belongs"),
    ("feeschedule", "fee_schedule_offer_belongs"),
]


class Migration(migrations.Migration):
    dependencies = [("payments", "0033_money_indexes")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        # The wider index is there already.
                        "-- squawk-ignore ban-drop-constraint\n"
                        "ALTER TABLE payments_account DROP CONSTRAINT account_is_one",
                        "ALTER TABLE payments_account ADD CONSTRAINT account_is_one UNIQUE USING INDEX account_is_one_now",
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            state_operations=[
                migrations.RemoveConstraint("account", "account_is_one"),
                migrations.AddConstraint(
                    "account",
                    models.UniqueConstraint(
                        fields=("livemode", "code", "organization", "contributor", "currency"),
                        name="account_is_one",
                        nulls_distinct=False,
                    ),
                ),
            ],
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        # The wider index is there already.
                        "-- squawk-ignore ban-drop-constraint\n"
                        "ALTER TABLE payments_command DROP CONSTRAINT command_is_given_once",
                        "ALTER TABLE payments_command ADD CONSTRAINT command_is_given_once UNIQUE USING INDEX command_is_given_once_now",
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            state_operations=[
                migrations.RemoveConstraint("command", "command_is_given_once"),
                migrations.AddConstraint(
                    "command",
                    models.UniqueConstraint(
                        fields=("order", "kind", "reference"),
                        name="command_is_given_once",
                        nulls_distinct=False,
                    ),
                ),
            ],
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        # The wider index is there already.
                        "-- squawk-ignore ban-drop-constraint\n"
                        "ALTER TABLE payments_journal DROP CONSTRAINT journal_is_posted_once",
                        "ALTER TABLE payments_journal ADD CONSTRAINT journal_is_posted_once UNIQUE USING INDEX journal_is_posted_once_now",
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            state_operations=[
                migrations.RemoveConstraint("journal", "journal_is_posted_once"),
                migrations.AddConstraint(
                    "journal",
                    models.UniqueConstraint(
                        fields=("order", "kind", "reference"),
                        name="journal_is_posted_once",
                        nulls_distinct=False,
                    ),
                ),
            ],
        ),
        ValidateConstraint("account", "account_code_is_known"),
        ValidateConstraint("account", "account_of_a_contributor_names_the_organization"),
        ValidateConstraint("command", "command_is_about_something"),
        ValidateConstraint("command", "command_kind_is_known"),
        ValidateConstraint("journal", "journal_is_about_something"),
        ValidateConstraint("order", "order_status_is_known"),
        ValidateConstraint("order", "order_method_is_known"),
        ValidateConstraint("order", "order_paid_at_iff_paid"),
        ValidateConstraint("order", "order_is_granted_with_a_grant"),
        ValidateConstraint("order", "order_refusal_instead_of_a_grant"),
        ValidateConstraint("order", "order_loses_no_more_than_was_paid"),
        ValidateConstraint("order", "order_is_settled_whole_or_not_at_all"),
        *(
            migrations.RunSQL(
                f"ALTER TABLE payments_{table} VALIDATE CONSTRAINT {name}",
                migrations.RunSQL.noop,
            )
            for table, name in _KEYS
        ),
    ]
