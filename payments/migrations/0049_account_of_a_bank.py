"""An account for what came in outside of Stripe."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

CODES = {
    "buyer_receivable": "Owed by a buyer",
    "stripe_clearing": "Under way at Stripe",
    "dispute_hold": "Held by Stripe for a dispute",
    "royalty_pool": "Royalties to be shared out",
    "stripe_balance": "Our balance at Stripe",
    "bank": "Our bank, outside of Stripe",
    "seller_payable": "Owed to a seller",
    "seller_receivable": "Owed by a seller",
    "royalty_payable": "Owed to contributors",
    "contributor_payable": "Owed to a contributor, being paid out",
    "tax_payable": "Tax owed",
    "market_fee": "The market's fee",
    "stripe_fees": "Stripe's fees",
    "dispute_losses": "Lost twice: refunded, and disputed",
    "currency_exchange": "Changed between currencies",
    "buyer_refundable": "Owed back to a buyer",
}
BEFORE = ", ".join(f"'{code}'" for code in CODES if code != "bank")
NAME = "account_code_is_known"


class Migration(migrations.Migration):
    dependencies = [("payments", "0048_invoice_walls")]

    operations = [
        migrations.AlterField(
            "account", "code", models.CharField(choices=list(CODES.items()), max_length=19)
        ),
        # The wider rule follows at once.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    [
                        "-- squawk-ignore ban-drop-constraint\n"
                        f"ALTER TABLE payments_account DROP CONSTRAINT {NAME}"
                    ],
                    f"ALTER TABLE payments_account ADD CONSTRAINT {NAME}"
                    f" CHECK (code IN ({BEFORE})) NOT VALID",
                )
            ],
            state_operations=[migrations.RemoveConstraint("account", NAME)],
        ),
        AddConstraintNotValid(
            "account",
            models.CheckConstraint(condition=models.Q(code__in=list(CODES)), name=NAME),
        ),
    ]
