"""Panels of payouts: what sellers are due, what they were sent, what contributors are owed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace import panels
from marketplace.access import Scope
from marketplace.panels import Figure, Panel, Question, Section, Stat
from payments.models import Account

# Shares of sales, and what is owed beside them. What waits is in the sale's currency; what was
# sent, in the one that it was sent in.
_PAYOUTS = """
SELECT what, currency, sum(minor)::bigint FROM (
    SELECT state AS what, currency,
        CASE state WHEN 'sending' THEN sent_minor ELSE share_minor - withheld_minor END AS minor
    FROM payments_transfer
    WHERE organization_id = %(organization)s AND livemode = %(livemode)s
        AND state IN ('waiting', 'sending', 'refused')
    UNION ALL
    SELECT 'sent', settled_currency, settled_minor - reversed_minor FROM payments_transfer
    WHERE organization_id = %(organization)s AND livemode = %(livemode)s
        AND sent_at >= %(begins_at)s AND sent_at < %(ends_at)s
    UNION ALL
    SELECT state, currency, amount_minor FROM payments_remittance
    WHERE organization_id = %(organization)s AND livemode = %(livemode)s
        AND (state = 'sending'
            OR state = 'sent' AND ended_at >= %(begins_at)s AND ended_at < %(ends_at)s)
) moved GROUP BY 1, 2 HAVING sum(minor) <> 0 ORDER BY 2, 1
"""
_ROYALTIES = """
SELECT what, currency, sum(minor)::bigint FROM (
    SELECT code AS what, currency, -amount_minor AS minor
    FROM payments_own_movements(%(livemode)s, %(codes)s, NULL, NULL, NULL)
    UNION ALL
    SELECT 'confirmed', currency, paid_minor FROM payments_royaltypayout
    WHERE organization_id = %(organization)s AND livemode = %(livemode)s
        AND created_at >= %(begins_at)s AND created_at < %(ends_at)s
) moved GROUP BY 1, 2 HAVING sum(minor) <> 0 ORDER BY 2, 1
"""
_NAMES = {
    "waiting": gettext_lazy("Waits for an account that can be paid"),
    "sending": gettext_lazy("Being sent"),
    "refused": gettext_lazy("Refused by Stripe"),
    "sent": gettext_lazy("Sent in these months"),
}
_ROYALTY_NAMES = {
    "royalty_payable": gettext_lazy("Owed to contributors, and in no payout yet"),
    "royalty_pool": gettext_lazy("Not shared out yet"),
    "confirmed": gettext_lazy("Confirmed for payout in these months"),
}


def payouts(question: Question) -> Stat:
    """What the caller's organization is about to be sent, and was sent in the period."""
    figures = _figures(panels.fetch(_PAYOUTS, question), _NAMES)
    due = _sums(figures, _NAMES, ("waiting", "sending", "refused"))
    sentence = (
        _("%(sums)s is due to you.") % {"sums": panels.sums_text(due)}
        if due
        else _("Everything that is due to you was sent.")
    )
    return Stat(sentence, _("Payouts"), figures)


def royalties(question: Question) -> Stat:
    """What the caller's organization owes its contributors, and what it had paid out."""
    codes = [str(Account.Code.ROYALTY_PAYABLE), str(Account.Code.ROYALTY_POOL)]
    figures = _figures(panels.fetch(_ROYALTIES, question, codes=codes), _ROYALTY_NAMES)
    owed = _sums(figures, _ROYALTY_NAMES, ("royalty_payable", "royalty_pool"))
    sentence = (
        _("Your contributors are owed %(sums)s.") % {"sums": panels.sums_text(owed)}
        if owed
        else _("Your contributors are owed nothing that is in no payout.")
    )
    return Stat(sentence, _("Royalties"), figures)


def _figures(found: Iterable[tuple[Any, ...]], names: Mapping[str, object]) -> tuple[Figure, ...]:
    sums = {(str(currency), str(what)): int(minor) for what, currency, minor in found}
    return tuple(
        Figure(str(name), sums[currency, what], currency)
        for currency in sorted({currency for currency, _what in sums})
        for what, name in names.items()
        if (currency, what) in sums
    )


def _sums(
    figures: tuple[Figure, ...], names: Mapping[str, object], kinds: tuple[str, ...]
) -> list[tuple[str, int]]:
    labels = {str(names[kind]) for kind in kinds}
    sums: dict[str, int] = {}
    for figure in figures:
        if figure.label in labels:
            sums[figure.unit] = sums.get(figure.unit, 0) + figure.value
    return [(currency, minor) for currency, minor in sums.items() if minor]


PANELS = (
    Panel(
        key="payouts",
        title=gettext_lazy("Payouts to you"),
        section=Section.STUDIO,
        scope=Scope.PAYOUTS_READ,
        empty=gettext_lazy(
            "Nothing was paid out, and nothing waits. Open a payout account now, so that your first"
            " sale does not have to wait for it."
        ),
        read=payouts,
        place=30,
    ),
    Panel(
        key="royalties-owed",
        title=gettext_lazy("Royalties"),
        section=Section.STUDIO,
        scope=Scope.ROYALTIES_READ,
        empty=gettext_lazy(
            "Your contributors are owed nothing. With a royalty rule, a collection’s sales are"
            " shared with those who made it."
        ),
        read=royalties,
        place=120,
    ),
)
