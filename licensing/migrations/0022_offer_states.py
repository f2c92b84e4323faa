"""The rules about an offer's states, for what is written from now on."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("licensing", "0021_live_offers_are_listed")]

    operations = [
        AddConstraintNotValid(
            "offer",
            models.CheckConstraint(
                name="offer_state_matches_its_dates",
                condition=Q(state="withdrawn", withdrawn_at__isnull=False)
                | Q(withdrawn_at__isnull=True, suspended_at__isnull=True)
                & (
                    Q(state="draft", published_at__isnull=True, submitted_at__isnull=True)
                    | Q(state="in_review", published_at__isnull=True, submitted_at__isnull=False)
                    | Q(state="listed", published_at__isnull=False)
                )
                | Q(
                    state="suspended",
                    published_at__isnull=False,
                    suspended_at__isnull=False,
                    withdrawn_at__isnull=True,
                ),
            ),
        ),
        AddConstraintNotValid(
            "offer",
            models.CheckConstraint(
                name="offer_on_sale_states_its_rights_basis",
                condition=~Q(state__in=["in_review", "listed", "suspended"]) | ~Q(rights_basis=""),
            ),
        ),
        AddConstraintNotValid(
            "offer",
            models.CheckConstraint(
                name="offer_suspended_says_why",
                condition=Q(state="suspended") & ~Q(state_reason="")
                | Q(state__in=["in_review", "listed"], state_reason="")
                | Q(state__in=["draft", "withdrawn"]),
            ),
        ),
    ]
