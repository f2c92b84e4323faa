"""Calls that transfer royalties; the key by which a seller's rows name its sales."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0040_order_of_seller")]

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
    ]
