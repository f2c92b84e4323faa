"""Whether an offer is sold to whoever pays, or to whom its seller approved."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import Q

CHOICES = [
    ("open", "Whoever pays may license it"),
    ("on_request", "Only whom the seller approved"),
]


class Migration(migrations.Migration):
    dependencies = [("licensing", "0031_offer_price_is_valid")]

    operations = [
        migrations.AddField(
            "offer",
            "access",
            models.CharField(choices=CHOICES, db_default="open", default="open", max_length=10),
        ),
        AddConstraintNotValid(
            "offer",
            models.CheckConstraint(
                name="offer_access_is_known", condition=Q(access__in=["open", "on_request"])
            ),
        ),
    ]
