"""Prices by milestones: an offer may say them, and none is charged yet."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast
from django.db.models.lookups import Exact

OLD_RULE_GOES = """
-- squawk-ignore ban-drop-constraint
ALTER TABLE licensing_offer DROP CONSTRAINT offer_price_minor_is_of_its_price;
"""
OLD_RULE = """
ALTER TABLE licensing_offer ADD CONSTRAINT offer_price_minor_is_of_its_price CHECK (
    price IS NULL
    OR price ->> 'model' = 'free' AND price_minor = 0
    OR price ->> 'model' IN ('flat', 'subscription')
        AND (price ->> 'amount_minor')::bigint = price_minor
    OR price ->> 'model' = 'per_unit' AND price_minor > 0
    OR price ->> 'model' = 'metered') NOT VALID;
"""


class Migration(migrations.Migration):
    dependencies = [("licensing", "0121_offer_invoices_are_valid")]

    operations = [
        migrations.RunSQL(
            OLD_RULE_GOES,
            OLD_RULE,
            state_operations=[
                migrations.RemoveConstraint("offer", "offer_price_minor_is_of_its_price")
            ],
        ),
        AddConstraintNotValid(
            "offer",
            models.CheckConstraint(
                name="offer_price_minor_is_of_its_price",
                condition=Q(price__isnull=True)
                | Q(price__model="free", price_minor=0)
                | Q(
                    Exact(
                        Cast(KeyTextTransform("amount_minor", "price"), models.BigIntegerField()),
                        F("price_minor"),
                    ),
                    price__model__in=["flat", "subscription"],
                )
                | Q(price__model__in=["per_unit", "milestones"], price_minor__gt=0)
                | Q(price__model="metered"),
            ),
        ),
    ]
