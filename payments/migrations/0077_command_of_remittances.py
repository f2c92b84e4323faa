"""Calls that send sellers what they are owed beside their sales."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0076_remittance_walls")]

    operations = [
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
                    ("remittance", "Transfer of what is owed beside sales"),
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
                            "remittance",
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
    ]
