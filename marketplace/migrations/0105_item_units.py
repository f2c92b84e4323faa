"""How many tokens, words, pages, seconds or pixels an item's bytes have."""

import django.db.models.functions.comparison
import django.db.models.lookups
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

PAIR = '"(pages|pixels|seconds|tokens|words)": [1-9][0-9]{0,15}'


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0104_invitations_can_be_erased")]

    operations = [
        # A constant default is kept beside the table: no row is rewritten.
        migrations.AddField(
            model_name="collectionitem",
            name="units",
            field=models.JSONField(blank=True, db_default={}, default=dict),
        ),
        AddConstraintNotValid(
            "collectionitem",
            models.CheckConstraint(
                condition=models.Q(
                    ("units", {}),
                    models.Q(
                        django.db.models.lookups.Regex(
                            django.db.models.functions.comparison.Cast("units", models.TextField()),
                            rf"^\{{{PAIR}(, {PAIR})*\}}$",
                        ),
                        models.Q(
                            models.Func(
                                models.F("units"),
                                models.Value("$.* ? (@ > 9007199254740991)"),
                                function="jsonb_path_exists",
                                output_field=models.BooleanField(),
                            ),
                            _negated=True,
                        ),
                    ),
                    _connector="OR",
                ),
                name="item_units_are_known_and_counted",
            ),
        ),
    ]
