"""What is counted of a work besides its bytes, and how tables hold the counts."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Cast
from django.db.models.lookups import Regex

# By their plurals, which stand in a snapshot's leaves and totals. Prices are for minutes and
# megapixels too: those are computed from a whole snapshot's seconds and pixels, because a clip of
# five seconds has no whole number of minutes.
UNITS = ("pages", "pixels", "seconds", "tokens", "words")
# A larger integer has no canonical JSON, which a snapshot's leaves are made of.
COUNT_MAX = 2**53 - 1

_PAIR = rf'"({"|".join(UNITS)})": [1-9][0-9]{{0,15}}'


def counts(column: str) -> Q:
    """That a jsonb column is an object of known units and integers from 1 to COUNT_MAX.

    Read from its text, which PostgreSQL writes in one way: so 1.0 and 1e3 are refused, too, which
    readers would take for floats.
    """
    is_too_large = Func(
        F(column),
        Value(f"$.* ? (@ > {COUNT_MAX})"),
        function="jsonb_path_exists",
        output_field=models.BooleanField(),
    )
    text = Cast(column, models.TextField())
    some = Q(Regex(text, rf"^\{{{_PAIR}(, {_PAIR})*\}}$")) & ~Q(is_too_large)
    # First the empty object: nearly all are, and it costs no regular expression.
    return Q(**{column: {}}) | some
