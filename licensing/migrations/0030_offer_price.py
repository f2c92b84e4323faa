"""An offer's typed price, beside what a buyer pays at least now. Older offers stay flat."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast
from django.db.models.lookups import Exact


class Migration(migrations.Migration):
    dependencies = [
        ("licensing", "0024_search_documents"),
        ("marketplace", "0003_reserved_digest"),
    ]

    operations = [
        migrations.AddField("offer", "price", models.JSONField(blank=True, null=True)),
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
                | Q(price__model="per_unit", price_minor__gt=0)
                | Q(price__model="metered"),
            ),
        ),
    ]
