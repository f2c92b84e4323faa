"""Earnings: what sales brought a seller, by month, collection and use, as the journal has it.

A seller's share, after the market's fee, its contributors' royalties and tax; what went back to
buyers is taken off in the month that it did. How that is paid (`payout_panels`) is something else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace import panels
from marketplace.access import Scope
from marketplace.panels import Figure, Line, Panel, Question, Section, Series, Stat
from payments import journal
from payments.models import Account

# Of each currency, the largest so many are named, and the others in one sum.
NAMED_MAX = 8
# What a seller earns and loses by. Other kinds move what is owed, and earn nothing.
KINDS = (
    journal.SALE,
    journal.VOIDED,
    journal.REFUND,
    journal.DISPUTE_LOST,
    journal.EXCHANGE_LOSS,
    journal.EXCHANGE_GAIN,
)

_MOVED = """
WITH moved AS MATERIALIZED (
    SELECT order_id, currency, occurred_at, -amount_minor AS earned_minor
    FROM payments_own_movements(
        %(livemode)s, %(codes)s, %(kinds)s, %(begins_at)s, %(ends_at)s
    )
)
"""
_BY_MONTH = (
    _MOVED
    + """
SELECT width_bucket(occurred_at, %(months)s::timestamptz[]), currency, sum(earned_minor)::bigint
FROM moved GROUP BY 1, 2
"""
)
# A grant's first coverage says of which collection it is: growth stays in the collection. Joined
# by way of grants, which a seller may see; a buyer's quotes it may not. Snapshots and names are
# looked up for what was sold alone: a join would read those of every collection.
_BY_COLLECTION = (
    _MOVED
    + """,
of_grant AS MATERIALIZED (
    SELECT DISTINCT ON (coverage.grant_id) coverage.grant_id, coverage.snapshot_id
    FROM licensing_coverage coverage
    WHERE coverage.licensor_id = %(organization)s AND coverage.livemode = %(livemode)s
    ORDER BY coverage.grant_id, coverage.effective_from, coverage.id
), of_snapshot AS MATERIALIZED (
    SELECT of_grant.snapshot_id, moved.currency, sum(moved.earned_minor) AS earned_minor
    FROM moved
    JOIN payments_order sold ON sold.id = moved.order_id AND sold.seller_id = %(organization)s
    LEFT JOIN of_grant ON of_grant.grant_id = sold.grant_id
    GROUP BY 1, 2
), of_collection AS (
    SELECT (
            SELECT snapshot.collection_id FROM licensing_snapshot snapshot
            WHERE snapshot.id = of_snapshot.snapshot_id
        ) AS collection_id, currency, sum(earned_minor)::bigint AS earned_minor
    FROM of_snapshot GROUP BY 1, 2
), ranked AS (
    SELECT *, row_number() OVER (
        PARTITION BY currency ORDER BY earned_minor DESC, collection_id
    ) AS place FROM of_collection
), named AS (
    SELECT CASE WHEN place <= %(named)s THEN (
            SELECT collection.name FROM marketplace_collection collection
            WHERE collection.id = ranked.collection_id
        ) END AS name, least(place, %(named)s + 1) AS place, currency, earned_minor
    FROM ranked
)
SELECT name, currency, sum(earned_minor)::bigint, place
FROM named GROUP BY name, currency, place ORDER BY currency, place
"""
)
_BY_USE = (
    _MOVED
    + """,
of_scope AS MATERIALIZED (
    SELECT period.scope -> 'uses' AS uses, moved.currency, sum(moved.earned_minor) AS earned_minor
    FROM moved
    JOIN payments_order sold ON sold.id = moved.order_id AND sold.seller_id = %(organization)s
    LEFT JOIN licensing_period period ON period.grant_id = sold.grant_id AND period.number = 1
        AND period.licensor_id = %(organization)s AND period.livemode = %(livemode)s
    GROUP BY 1, 2
), summed AS (
    SELECT uses, currency, sum(earned_minor)::bigint AS earned_minor FROM (
        SELECT (SELECT string_agg(one, ', ' ORDER BY one)
            FROM jsonb_array_elements_text(of_scope.uses) one) AS uses, currency, earned_minor
        FROM of_scope
    ) named GROUP BY 1, 2
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY currency ORDER BY earned_minor DESC, uses) AS place
    FROM summed
)
SELECT CASE WHEN place <= %(named)s THEN uses END, currency, sum(earned_minor)::bigint, min(place)
FROM ranked GROUP BY currency, CASE WHEN place <= %(named)s THEN place END, 1 ORDER BY currency, 4
"""
)


def by_month(question: Question) -> Series:
    """What the caller's organization earned in each month of the period, for each currency."""
    found = _read(_BY_MONTH, question)
    lines = panels.by_month(question, found)
    sums = [(currency, sum(values)) for currency, values in lines.items()]
    return Series(
        _("You earned %(sums)s in these %(n)d months, after fees and tax.")
        % {"sums": panels.sums_text(sums), "n": len(question.period.months)},
        question.period.days,
        tuple(Line(currency, currency, tuple(values)) for currency, values in lines.items()),
    )


def by_collection(question: Question) -> Stat:
    """The same sums by collection: the eight that earned most, of each currency, and the others."""
    figures = _figures(_read(_BY_COLLECTION, question, named=NAMED_MAX), _("Other collections"))
    return Stat(_most(figures), _("Collection"), figures)


def by_use(question: Question) -> Stat:
    """The same sums by the uses that were licensed together: a price is not of a part of them."""
    figures = _figures(_read(_BY_USE, question, named=NAMED_MAX), _("Other uses"))
    return Stat(_most(figures), _("Uses"), figures)


def _read(sql: str, question: Question, **more: Any) -> list[tuple[Any, ...]]:
    return panels.fetch(
        sql, question, codes=[str(Account.Code.SELLER_PAYABLE)], kinds=list(KINDS), **more
    )


def _figures(found: Iterable[tuple[Any, ...]], others: str) -> tuple[Figure, ...]:
    return tuple(
        Figure(others if name is None else name, int(earned), currency)
        for name, currency, earned, _place in found
        if earned
    )


def _most(figures: tuple[Figure, ...]) -> str:
    if not figures:
        return ""
    # The first of the first currency: currencies are not compared with each other.
    return _("“%(name)s” earned most: %(sum)s in these months.") % {
        "name": figures[0].label,
        "sum": panels.money_text(figures[0].value, figures[0].unit),
    }


_EMPTY = gettext_lazy(
    "Nothing was sold in these months. List an offer with a price; what it earns stands here once"
    " it is paid and licensed."
)
PANELS = (
    Panel(
        key="earnings-by-month",
        title=gettext_lazy("Earnings by month"),
        section=Section.STUDIO,
        scope=Scope.SALES_READ,
        empty=_EMPTY,
        read=by_month,
        place=10,
    ),
    Panel(
        key="earnings-by-collection",
        title=gettext_lazy("Earnings by collection"),
        section=Section.STUDIO,
        scope=Scope.SALES_READ,
        empty=_EMPTY,
        read=by_collection,
        place=40,
    ),
    Panel(
        key="earnings-by-use",
        title=gettext_lazy("Earnings by use"),
        section=Section.STUDIO,
        scope=Scope.SALES_READ,
        empty=_EMPTY,
        read=by_use,
        place=110,
    ),
)
