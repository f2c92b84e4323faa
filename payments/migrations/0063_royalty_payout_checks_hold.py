"""What 0060 demands of new payouts holds of all."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations

NAMES = (
    "royalty_payout_state_is_known",
    "royalty_payout_writes_no_more_than_it_says",
    "royalty_payout_done_at_only_if_done",
)


class Migration(migrations.Migration):
    dependencies = [("payments", "0062_royalty_payout_walls")]

    operations = [ValidateConstraint("royaltypayout", name) for name in NAMES]
