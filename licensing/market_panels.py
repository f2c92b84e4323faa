"""Panels for operators: listings that wait for review, and how the ledger is."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from licensing.ledger import succession
from marketplace import panels
from marketplace.panels import Panel, Question, Section, Table

ROWS_MAX = 100
_COUNTED_MAX = 100_000

_IN_REVIEW = """
SELECT seller.name, collection.name, offer.price_minor, offer.currency, offer.submitted_at
FROM licensing_offer offer
JOIN marketplace_organization seller ON seller.id = offer.organization_id
JOIN marketplace_collection collection ON collection.id = offer.collection_id
WHERE offer.state = 'in_review'
ORDER BY offer.submitted_at, offer.id LIMIT %(limit)s
"""
_LEDGER = """
SELECT
    (SELECT signed_at FROM licensing_ledgercheckpoint WHERE log = %(generation)s
        ORDER BY size DESC LIMIT 1),
    (SELECT size FROM licensing_ledgercheckpoint WHERE log = %(generation)s
        ORDER BY size DESC LIMIT 1),
    (SELECT size FROM licensing_ledgertree WHERE log = %(generation)s ORDER BY size DESC LIMIT 1),
    (SELECT count(*) FROM (
        SELECT FROM licensing_ledgerpending WHERE log = %(log)s LIMIT %(counted)s
    ) waiting),
    (SELECT created_at FROM licensing_ledgerentry WHERE id = (
        SELECT min(entry_id) FROM licensing_ledgerpending WHERE log = %(log)s
            AND (not_before IS NULL OR not_before <= %(now)s)
    )),
    (SELECT as_of FROM licensing_statusroot WHERE log = %(log)s ORDER BY number DESC LIMIT 1),
    (SELECT count(*) FROM (
        SELECT FROM licensing_statuschange WHERE log = %(log)s LIMIT %(counted)s
    ) changed)
"""


def in_review(question: Question) -> Table:
    """Offers that an operator has to look at, the longest-waiting first. Of both modes."""
    found = panels.fetch(_IN_REVIEW, question, limit=ROWS_MAX + 1)
    rows = tuple(
        (collection, seller, panels.Money(price, currency), question.now - submitted_at)
        for seller, collection, price, currency, submitted_at in found[:ROWS_MAX]
    )
    sentence = ngettext(
        "%(n)s listing waits for review.", "%(n)s listings wait for review.", len(rows)
    ) % {"n": panels.count_text(len(rows))}
    columns = (_("Collection"), _("Seller"), _("Price"), _("Waits for"))
    return Table(sentence, columns, rows, is_cut=len(found) > ROWS_MAX)


def ledger(question: Question) -> Table:
    """How old what the ledger signed last is, and what waits for it."""
    generation = succession.current("live" if question.livemode else "test")
    [(signed_at, signed, placed, waiting, oldest_at, as_of, changed)] = panels.fetch(
        _LEDGER, question, generation=generation, counted=_COUNTED_MAX
    )
    if signed_at is None and not waiting:
        return Table("", (), ())
    rows = (
        (_("Log"), generation),
        (
            _("Age of the newest checkpoint"),
            None if signed_at is None else question.now - signed_at,
        ),
        (_("Entries that it signs"), int(signed or 0)),
        (_("Entries placed and not signed"), int(placed or 0) - int(signed or 0)),
        (_("Entries that wait for their place"), int(waiting)),
        (
            _("Age of the oldest that could have one"),
            None if oldest_at is None else question.now - oldest_at,
        ),
        (_("Age of the newest status root"), None if as_of is None else question.now - as_of),
        (_("Changes of status that no root has"), int(changed)),
    )
    if oldest_at is None:
        sentence = _("Every entry has its place; the newest checkpoint is %(age)s old.") % {
            "age": panels.cell_text(rows[1][1])
        }
    else:
        sentence = _("%(n)s entries wait for their place, the oldest for %(age)s.") % {
            "n": panels.count_text(int(waiting)),
            "age": panels.age_text(question.now - oldest_at),
        }
    return Table(sentence, (_("Ledger"), _("Now")), rows)


PANELS = (
    Panel(
        key="in-review",
        title=gettext_lazy("Listings in review"),
        section=Section.OPERATOR,
        scope=None,
        empty=gettext_lazy("No listing waits for review: nothing to do."),
        read=in_review,
        place=50,
    ),
    Panel(
        key="ledger",
        title=gettext_lazy("The ledger"),
        section=Section.OPERATOR,
        scope=None,
        empty=gettext_lazy(
            "Nothing is recorded in this mode’s log yet. Its first entry comes with the first"
            " snapshot, terms or license; the worker gives it a place and signs."
        ),
        read=ledger,
        place=60,
    ),
)
