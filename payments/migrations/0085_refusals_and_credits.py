"""More of what people must look at: refused calls, credit, appeals, changed disputes."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

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
    "command_refused": "A call that moves money was refused",
    "credit_unbooked": "The buyer was given credit at Stripe",
    "appeal_won": "An appeal was won: decide whose the money is",
    "dispute_differs": "The amount of a dispute was changed",
}
KNOWN = models.CheckConstraint(
    condition=models.Q(("kind__in", list(MISMATCHES))), name="mismatch_kind_is_known"
)


class Migration(migrations.Migration):
    dependencies = [("payments", "0081_payment_parts")]

    operations = [
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    [
                        "-- squawk-ignore ban-drop-constraint\n"
                        "ALTER TABLE payments_mismatch DROP CONSTRAINT mismatch_kind_is_known"
                    ],
                    migrations.RunSQL.noop,
                )
            ],
            [migrations.RemoveConstraint(model_name="mismatch", name="mismatch_kind_is_known")],
        ),
        migrations.AlterField(
            model_name="mismatch",
            name="kind",
            field=models.CharField(choices=list(MISMATCHES.items()), max_length=18),
        ),
        AddConstraintNotValid(model_name="mismatch", constraint=KNOWN),
    ]
