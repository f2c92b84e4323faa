"""Calls that record tax, and more of what people must look at."""

from typing import Any

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

COMMANDS = {
    "create_checkout": "Create a Checkout session",
    "expire_checkout": "Close a Checkout session",
    "refund": "Refund",
    "create_account": "Create a connected account",
    "transfer": "Transfer",
    "reverse_transfer": "Reverse a transfer",
    "royalty_transfer": "Transfer of royalties",
    "remittance": "Transfer of what is owed beside sales",
    "send_evidence": "Send evidence about a dispute",
    "create_customer": "Create a customer",
    "send_invoice": "Send an invoice",
    "void_invoice": "Void an invoice",
    "credit_note": "Issue a credit note",
    "record_tax": "Record the tax of a sale",
    "reverse_tax": "Record that tax went back",
}
MISMATCHES = {
    "missing_in_journal": "Stripe has it, the journal does not",
    "missing_at_stripe": "The journal has it, Stripe does not",
    "booked_twice": "The journal has it twice",
    "amount_differs": "The amounts differ",
    "sign_differs": "It moved the other way",
    "fee_differs": "The fees differ",
    "currency_differs": "The currencies differ",
    "unknown_type": "Of a type that we do not book",
    "payout_differs": "A payout is not the sum of what it took along",
    "clearing_open": "A clearing account is not back at 0",
    "event_unhandled": "An event could not be handled",
    "paid_differs": "Another amount was paid than was owed",
    "refund_failed": "A refund came back: the buyer is owed it",
    "tax_unrecorded": "Stripe Tax did not record what was agreed",
}


def chosen_of(table: str, kinds: dict[str, str], length_max: int) -> list[Any]:
    """Let the kind of a table's rows be one of these."""
    name = f"{table}_kind_is_known"
    return [
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    [
                        "-- squawk-ignore ban-drop-constraint\n"
                        f"ALTER TABLE payments_{table} DROP CONSTRAINT {name}"
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            [migrations.RemoveConstraint(model_name=table, name=name)],
        ),
        migrations.AlterField(
            model_name=table,
            name="kind",
            field=models.CharField(choices=list(kinds.items()), max_length=length_max),
        ),
        AddConstraintNotValid(
            model_name=table,
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", list(kinds))), name=name
            ),
        ),
    ]


class Migration(migrations.Migration):
    dependencies = [("payments", "0078_command_kinds_are_valid")]

    operations = [
        *chosen_of("command", COMMANDS, 16),
        *chosen_of("mismatch", MISMATCHES, 18),
        migrations.AddField(
            model_name="quote",
            name="tax_calculation",
            field=models.CharField(blank=True, db_default="", default="", max_length=255),
        ),
    ]
