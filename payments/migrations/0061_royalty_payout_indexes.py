"""One payout of a currency runs at a time; payments are found by their payout and contributor."""

import django.db.models.deletion
from django.db import migrations, models

BY_PAYOUT = "payments_royaltypayment_payout_id_0b95d822"


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("payments", "0060_royalty_payouts_run")]

    operations = [
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS royalty_payout_runs_alone"
                    " ON payments_royaltypayout (organization_id, livemode, currency)"
                    " WHERE state = 'running'",
                    "DROP INDEX CONCURRENTLY IF EXISTS royalty_payout_runs_alone",
                )
            ],
            [
                migrations.AddConstraint(
                    "royaltypayout",
                    models.UniqueConstraint(
                        condition=models.Q(state="running"),
                        fields=("organization", "livemode", "currency"),
                        name="royalty_payout_runs_alone",
                    ),
                )
            ],
        ),
        # `royalty_payment_is_one` begins with the payout too.
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    f"DROP INDEX CONCURRENTLY IF EXISTS {BY_PAYOUT}",
                    f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {BY_PAYOUT}"
                    " ON payments_royaltypayment (payout_id)",
                )
            ],
            [
                migrations.AlterField(
                    "royaltypayment",
                    "payout",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="payments",
                        to="payments.royaltypayout",
                    ),
                )
            ],
        ),
    ]
