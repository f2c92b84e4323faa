"""Panels for operators: volume and fees, payouts due, mismatches, disputes, and talk with Stripe.

Reports of works, once the market takes them, are one more panel here, at place 70.
"""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from marketplace import panels
from marketplace.panels import Figure, Line, Money, Panel, Question, Section, Series, Stat, Table
from marketplace.typeid import TypeID
from payments import journal
from payments.models import Account, Mismatch

ROWS_MAX = 100
_COUNTED_MAX = 100_000
_KINDS = (journal.SALE, journal.VOIDED, journal.REFUND, journal.DISPUTE_LOST)
# Whatever a sale is split into adds up to what its buyer pays, tax included.
_SHARES = (
    Account.Code.SELLER_PAYABLE,
    Account.Code.ROYALTY_POOL,
    Account.Code.MARKET_FEE,
    Account.Code.TAX_PAYABLE,
)

_VOLUME = """
SELECT width_bucket(journal.occurred_at, %(months)s::timestamptz[]), posting.currency,
    -sum(posting.amount_minor)::bigint,
    -coalesce(sum(posting.amount_minor) FILTER (WHERE account.code = 'market_fee'), 0)::bigint
FROM payments_journal journal
JOIN payments_posting posting ON posting.journal_id = journal.id
JOIN payments_account account ON account.id = posting.account_id
WHERE journal.livemode = %(livemode)s AND journal.kind = ANY (%(kinds)s)
    AND journal.occurred_at >= %(begins_at)s AND journal.occurred_at < %(ends_at)s
    AND account.code = ANY (%(codes)s)
GROUP BY 1, 2
"""
# Of royalties, as many as an operator could look through.
_PAYOUTS = """
SELECT what, currency, sum(minor)::bigint FROM (
    SELECT state AS what, currency,
        CASE state WHEN 'sending' THEN sent_minor ELSE share_minor - withheld_minor END AS minor
    FROM payments_transfer
    WHERE livemode = %(livemode)s AND state IN ('waiting', 'sending', 'refused')
    UNION ALL
    SELECT 'beside', currency, amount_minor FROM payments_remittance
    WHERE livemode = %(livemode)s AND state = 'sending'
    UNION ALL
    (SELECT 'royalties', currency, amount_minor FROM payments_royaltypayment
    WHERE livemode = %(livemode)s AND state = 'due' LIMIT %(counted)s)
) moved GROUP BY 1, 2 HAVING sum(minor) <> 0 ORDER BY 2, 1
"""
_MISMATCHES = """
SELECT kind, order_id, expected_minor, expected_currency, found_minor, found_currency,
    coalesce(since, first_seen_at)
FROM payments_mismatch WHERE livemode = %(livemode)s AND resolved_at IS NULL
ORDER BY first_seen_at, id LIMIT %(limit)s
"""
_DISPUTES = """
SELECT dispute.evidence_due_at, seller.name, dispute.amount_minor, dispute.currency, dispute.reason,
    dispute.status, dispute.evidence_sent_at IS NOT NULL, dispute.order_id
FROM payments_dispute dispute
JOIN marketplace_organization seller ON seller.id = dispute.seller_id
WHERE dispute.livemode = %(livemode)s AND dispute.closed_at IS NULL
ORDER BY dispute.evidence_sent_at IS NOT NULL, dispute.evidence_due_at NULLS LAST, dispute.id
LIMIT %(limit)s
"""
_STRIPE = """
SELECT
    (SELECT count(*) FROM payments_stripeevent
        WHERE next_attempt_at IS NOT NULL AND livemode = %(livemode)s),
    (SELECT count(*) FROM payments_stripeevent
        WHERE next_attempt_at IS NOT NULL AND livemode = %(livemode)s AND last_error <> ''),
    (SELECT min(received_at) FROM payments_stripeevent
        WHERE next_attempt_at IS NOT NULL AND livemode = %(livemode)s),
    (SELECT count(*) FROM payments_command
        WHERE next_attempt_at IS NOT NULL AND livemode = %(livemode)s),
    (SELECT count(*) FROM payments_command
        WHERE next_attempt_at IS NOT NULL AND livemode = %(livemode)s AND attempts > 1),
    (SELECT min(created_at) FROM payments_command
        WHERE next_attempt_at IS NOT NULL AND livemode = %(livemode)s)
"""
_PAYOUT_NAMES = {
    "waiting": gettext_lazy("Shares that wait for an account"),
    "sending": gettext_lazy("Shares being sent"),
    "refused": gettext_lazy("Shares that Stripe refused"),
    "beside": gettext_lazy("Sums beside sales, being sent"),
    "royalties": gettext_lazy("Royalties to be paid"),
}
_KIND_NAMES = dict(Mismatch.Kind.choices)


def volume(question: Question) -> Series:
    """What licenses were sold for, tax included, and what the market kept; less what went back."""
    found = panels.fetch(
        _VOLUME, question, kinds=list(_KINDS), codes=[str(code) for code in _SHARES]
    )
    sold = panels.by_month(question, [(month, unit, sum) for month, unit, sum, _fee in found])
    kept = panels.by_month(question, [(month, unit, fee) for month, unit, _sum, fee in found])
    lines = []
    for unit, values in sold.items():
        lines.append(Line(_("Volume, %(unit)s") % {"unit": unit}, unit, tuple(values)))
        lines.append(Line(_("Fees, %(unit)s") % {"unit": unit}, unit, tuple(kept[unit])))
    sentence = _("Licenses for %(volume)s were sold; the market kept %(fees)s of it.") % {
        "volume": panels.sums_text((unit, sum(values)) for unit, values in sold.items()),
        "fees": panels.sums_text((unit, sum(values)) for unit, values in kept.items()),
    }
    return Series(sentence, question.period.days, tuple(lines))


def payouts(question: Question) -> Stat:
    """What is to be sent to sellers and contributors, and has not been."""
    sums = {
        (currency, what): int(minor)
        for what, currency, minor in panels.fetch(_PAYOUTS, question, counted=_COUNTED_MAX)
    }
    figures = tuple(
        Figure(str(name), sums[currency, what], currency)
        for currency in sorted({currency for currency, _what in sums})
        for what, name in _PAYOUT_NAMES.items()
        if (currency, what) in sums
    )
    due: dict[str, int] = {}
    for figure in figures:
        due[figure.unit] = due.get(figure.unit, 0) + figure.value
    sentence = _("%(sums)s is to be paid out.") % {"sums": panels.sums_text(due.items())}
    return Stat(sentence, _("Payouts due"), figures)


def mismatches(question: Question) -> Table:
    """What does not agree with Stripe, the oldest first."""
    found = panels.fetch(_MISMATCHES, question, limit=ROWS_MAX + 1)
    rows = tuple(
        (
            str(_KIND_NAMES.get(kind, kind)),
            None if order is None else str(TypeID("ord", order)),
            _amount(expected, expected_currency),
            _amount(actual, actual_currency),
            question.now - since,
        )
        for kind, order, expected, expected_currency, actual, actual_currency, since in found[
            :ROWS_MAX
        ]
    )
    sentence = ngettext(
        "%(n)s thing does not agree with Stripe.",
        "%(n)s things do not agree with Stripe.",
        len(rows),
    ) % {"n": panels.count_text(len(rows))}
    columns = (_("What"), _("Order"), _("Expected"), _("Found"), _("Age"))
    return Table(sentence, columns, rows, is_cut=len(found) > ROWS_MAX)


def disputes(question: Question) -> Table:
    """Disputes that are open, first those whose evidence is due next."""
    found = panels.fetch(_DISPUTES, question, limit=ROWS_MAX + 1)
    rows = tuple(
        (
            str(TypeID("ord", order)),
            due_at,
            _("Sent") if is_sent else _("Not sent"),
            seller,
            Money(amount, currency),
            reason,
            status,
        )
        for due_at, seller, amount, currency, reason, status, is_sent, order in found[:ROWS_MAX]
    )
    sentence = ngettext("%(n)s dispute is open.", "%(n)s disputes are open.", len(rows)) % {
        "n": panels.count_text(len(rows))
    }
    columns = (
        _("Order"), _("Evidence due at"), _("Evidence"), _("Seller"), _("Amount"), _("Reason"),
        _("Status at Stripe"),
    )  # fmt: skip
    return Table(sentence, columns, rows, is_cut=len(found) > ROWS_MAX)


def stripe(question: Question) -> Table:
    """Stripe's webhooks that are not handled, and calls to Stripe that are not made."""
    [(events, failed, oldest_at, calls, again, first_at)] = panels.fetch(_STRIPE, question)
    if not events and not calls:
        return Table("", (), ())
    rows = (
        (_("Webhooks that are not handled"), int(events)),
        (_("Of these, failed before"), int(failed)),
        (_("Age of the oldest"), None if oldest_at is None else question.now - oldest_at),
        (_("Calls that are to be made"), int(calls)),
        (_("Of these, tried before"), int(again)),
        (_("Age of the oldest"), None if first_at is None else question.now - first_at),
    )
    sentence = _("%(events)s webhooks are not handled, %(calls)s calls are not made.") % {
        "events": panels.count_text(int(events)),
        "calls": panels.count_text(int(calls)),
    }
    return Table(sentence, (_("Stripe"), _("Now")), rows)


def _amount(minor: int | None, currency: str) -> Money | None:
    return None if minor is None or not currency else Money(int(minor), currency)


PANELS = (
    Panel(
        key="volume",
        title=gettext_lazy("Volume and fees by month"),
        section=Section.OPERATOR,
        scope=None,
        empty=gettext_lazy("Nothing was sold in these months."),
        read=volume,
        place=10,
    ),
    Panel(
        key="payouts-due",
        title=gettext_lazy("Payouts due"),
        section=Section.OPERATOR,
        scope=None,
        empty=gettext_lazy("Nothing is to be paid out: nothing to do."),
        read=payouts,
        place=20,
    ),
    Panel(
        key="mismatches",
        title=gettext_lazy("Mismatches with Stripe"),
        section=Section.OPERATOR,
        scope=None,
        empty=gettext_lazy("Stripe and the journal agree, as far as was looked."),
        read=mismatches,
        place=30,
    ),
    Panel(
        key="disputes",
        title=gettext_lazy("Open disputes"),
        section=Section.OPERATOR,
        scope=None,
        empty=gettext_lazy("No dispute is open: nothing to do."),
        read=disputes,
        place=40,
    ),
    Panel(
        key="stripe",
        title=gettext_lazy("Webhooks and calls that wait"),
        section=Section.OPERATOR,
        scope=None,
        empty=gettext_lazy("Every webhook of Stripe’s was handled, and every call was made."),
        read=stripe,
        place=110,
    ),
)
