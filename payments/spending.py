"""Spending: what a buyer paid, tax included, by month and by seller, less what came back."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace import panels
from marketplace.access import Scope
from marketplace.panels import Figure, Line, Panel, Question, Section, Series, Stat

NAMED_MAX = 8

# A refund counts from when it is sent, unless it failed; a dispute once the bank has decided it for
# the buyer.
_MOVED = """
WITH moved AS (
    SELECT seller_id, currency, paid_at AS at, paid_minor AS minor FROM payments_order
    WHERE organization_id = %(organization)s AND livemode = %(livemode)s
        AND paid_at >= %(begins_at)s AND paid_at < %(ends_at)s
    UNION ALL
    SELECT seller_id, currency, sent_at, -amount_minor FROM payments_refund
    WHERE organization_id = %(organization)s AND livemode = %(livemode)s
        AND state IN ('sending', 'succeeded') AND sent_at >= %(begins_at)s AND sent_at < %(ends_at)s
    UNION ALL
    SELECT seller_id, currency, closed_at, -amount_minor FROM payments_dispute
    WHERE organization_id = %(organization)s AND livemode = %(livemode)s
        AND status = 'lost' AND closed_at >= %(begins_at)s AND closed_at < %(ends_at)s
)
"""
_BY_MONTH = (
    _MOVED
    + """
SELECT width_bucket(at, %(months)s::timestamptz[]), currency, sum(minor)::bigint
FROM moved GROUP BY 1, 2 HAVING sum(minor) <> 0
"""
)
_BY_SELLER = (
    _MOVED
    + """,
summed AS (
    SELECT seller_id, currency, sum(minor)::bigint AS minor FROM moved
    GROUP BY 1, 2 HAVING sum(minor) <> 0
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY currency ORDER BY minor DESC, seller_id) AS place
    FROM summed
)
SELECT CASE WHEN place <= %(named)s THEN seller.name END, currency, sum(minor)::bigint, min(place)
FROM ranked JOIN marketplace_organization seller ON seller.id = ranked.seller_id
GROUP BY currency, CASE WHEN place <= %(named)s THEN place END, 1 ORDER BY currency, 4
"""
)


def by_month(question: Question) -> Series:
    """What the caller's organization paid in each month of the period, for each currency."""
    lines = panels.by_month(question, panels.fetch(_BY_MONTH, question))
    sums = [(currency, sum(values)) for currency, values in lines.items()]
    return Series(
        _("You spent %(sums)s in these %(n)d months, with tax and less refunds.")
        % {"sums": panels.sums_text(sums), "n": len(question.period.months)},
        question.period.days,
        tuple(Line(currency, currency, tuple(values)) for currency, values in lines.items()),
    )


def by_seller(question: Question) -> Stat:
    """The same sums by seller: the eight that got most, of each currency, and the others."""
    figures = tuple(
        Figure(_("Other sellers") if name is None else name, int(minor), currency)
        for name, currency, minor, _place in panels.fetch(_BY_SELLER, question, named=NAMED_MAX)
    )
    sentence = ""
    if figures:
        sentence = _("You spent most on licenses of %(name)s: %(sum)s in these months.") % {
            "name": figures[0].label,
            "sum": panels.money_text(figures[0].value, figures[0].unit),
        }
    return Stat(sentence, _("Seller"), figures)


_EMPTY = gettext_lazy(
    "You paid for no license in these months. Search the market, and ask for a quote."
)
PANELS = (
    Panel(
        key="spending-by-month",
        title=gettext_lazy("Spending by month"),
        section=Section.LICENSES,
        scope=Scope.ORDERS_READ,
        empty=_EMPTY,
        read=by_month,
        place=40,
    ),
    Panel(
        key="spending-by-seller",
        title=gettext_lazy("Spending by seller"),
        section=Section.LICENSES,
        scope=Scope.ORDERS_READ,
        empty=_EMPTY,
        read=by_seller,
        place=50,
    ),
)
