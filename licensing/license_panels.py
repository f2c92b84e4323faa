"""Panels of licenses: how many are in force, which end soon, who licensed what for which use."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from marketplace import panels
from marketplace.access import Scope
from marketplace.panels import Figure, Panel, Question, Section, Stat, Table

# A right to fetch, to train or to use that ends within so many days is said beforehand.
SOON_DAYS = 90
ROWS_MAX = 100

# The first of a grant's rights to end from now on: each window counts until its last period's end,
# and what never ends does not count. Reads the periods of one side's grants, once each.
_ENDS = """
SELECT period.grant_id, least({ends}) AS at
FROM licensing_period period
WHERE period.{side}_id = %(organization)s AND period.livemode = %(livemode)s
GROUP BY period.grant_id
"""
_END = """
CASE WHEN NOT bool_or(upper_inf(period.{name}))
    AND max(upper(period.{name})) > %(now)s THEN max(upper(period.{name})) END
"""
_STANDING = """
WITH ends AS ({ends})
SELECT count(*) FILTER (WHERE given.status = 'active'),
    count(*) FILTER (WHERE given.status = 'active' AND ends.at <= %(soon)s),
    count(*) FILTER (WHERE given.status = 'suspended'),
    count(*) FILTER (WHERE given.status = 'suspended' AND (
        SELECT event.cause FROM licensing_grantevent event WHERE event.grant_id = given.id
        ORDER BY event.number DESC LIMIT 1
    ) = 'payment_disputed'),
    count(*) FILTER (WHERE given.status IN ('revoked', 'expired'))
FROM licensing_grant given LEFT JOIN ends ON ends.grant_id = given.id
WHERE given.{side}_id = %(organization)s AND given.livemode = %(livemode)s
"""
# The newest grants, each as it was bought, and the collection that it covers.
_LICENSED = """
WITH newest AS MATERIALIZED (
    SELECT given.id, given.licensee_id, given.status, given.issued_at
    FROM licensing_grant given
    WHERE given.licensor_id = %(organization)s AND given.livemode = %(livemode)s
    ORDER BY given.issued_at DESC, given.id DESC LIMIT %(limit)s
)
SELECT newest.issued_at, licensee.name, covered.name, period.scope, newest.status
FROM newest
JOIN marketplace_organization licensee ON licensee.id = newest.licensee_id
JOIN licensing_period period ON period.grant_id = newest.id AND period.number = 1
LEFT JOIN LATERAL (
    SELECT collection.name FROM licensing_coverage coverage
    JOIN licensing_snapshot snapshot ON snapshot.id = coverage.snapshot_id
    JOIN marketplace_collection collection ON collection.id = snapshot.collection_id
    WHERE coverage.grant_id = newest.id ORDER BY coverage.effective_from, coverage.id LIMIT 1
) covered ON true
ORDER BY newest.issued_at DESC, newest.id DESC
"""
_EXPIRING = """
WITH ends AS ({ends}), next AS MATERIALIZED (
    SELECT given.id, given.licensor_id, ends.at
    FROM ends JOIN licensing_grant given ON given.id = ends.grant_id
    WHERE given.status = 'active' AND ends.at <= %(soon)s
    ORDER BY ends.at, given.id LIMIT %(limit)s
)
SELECT next.at, licensor.name, covered.name
FROM next JOIN marketplace_organization licensor ON licensor.id = next.licensor_id
LEFT JOIN LATERAL (
    SELECT collection.name FROM licensing_coverage coverage
    JOIN licensing_snapshot snapshot ON snapshot.id = coverage.snapshot_id
    JOIN marketplace_collection collection ON collection.id = snapshot.collection_id
    WHERE coverage.grant_id = next.id ORDER BY coverage.effective_from, coverage.id LIMIT 1
) covered ON true
ORDER BY next.at, next.id
"""
_STATES = {
    "active": gettext_lazy("Active"),
    "suspended": gettext_lazy("Suspended"),
    "revoked": gettext_lazy("Revoked"),
    "expired": gettext_lazy("Expired"),
}


def _ends(side: str) -> str:
    names = ("access_window", "training_window", "use_window")
    return _ENDS.format(side=side, ends=", ".join(_END.format(name=name) for name in names))


def _standing(question: Question, side: str) -> Stat:
    soon = question.now + timedelta(days=SOON_DAYS)
    sql = _STANDING.format(side=side, ends=_ends(side))
    [(active, ending, suspended, disputed, ended)] = panels.fetch(sql, question, soon=soon)
    sentence = (
        ngettext(
            "%(n)s license is active; a right of %(ending)s ends within %(days)s days.",
            "%(n)s licenses are active; a right of %(ending)s ends within %(days)s days.",
            active,
        )
        if ending
        else ngettext(
            "%(n)s license is active; none ends within %(days)s days.",
            "%(n)s licenses are active; none ends within %(days)s days.",
            active,
        )
    ) % {
        "n": panels.count_text(active),
        "ending": panels.count_text(ending),
        "days": SOON_DAYS,
    }
    return Stat(
        sentence,
        _("Licenses"),
        (
            Figure(_("Active"), active),
            Figure(_("Active, with a right that ends within 90 days"), ending),
            Figure(_("Suspended"), suspended),
            Figure(_("Suspended because the payment is disputed"), disputed),
            Figure(_("Ended"), ended),
        ),
    )


def given(question: Question) -> Stat:
    """How the licenses stand that the caller's organization gave."""
    return _standing(question, "licensor")


def held(question: Question) -> Stat:
    """How the licenses stand that the caller's organization holds."""
    return _standing(question, "licensee")


def licensed(question: Question) -> Table:
    """Who licensed what of the caller's organization, for which model and use: the newest."""
    found = panels.fetch(_LICENSED, question, limit=ROWS_MAX + 1)
    rows = tuple(
        (
            at,
            licensee,
            collection,
            ", ".join(scope["uses"]),
            _model(scope),
            ", ".join(scope["territories"]),
            str(_STATES.get(status, status)),
        )
        for at, licensee, collection, bought, status in found[:ROWS_MAX]
        for scope in (json.loads(bought),)
    )
    sentence = ""
    if rows:
        _at, licensee, collection, *_rest = rows[0]
        sentence = _("The newest license: %(licensee)s licensed “%(collection)s”.") % {
            "licensee": licensee,
            "collection": collection,
        }
    return Table(
        sentence,
        (
            _("Licensed at"), _("Licensee"), _("Collection"), _("Uses"), _("Model"),
            _("Territories"), _("State"),
        ),
        rows,
        is_cut=len(found) > ROWS_MAX,
    )  # fmt: skip


def expiring(question: Question) -> Table:
    """Licenses that the caller's organization holds, a right of which ends soon; the next first."""
    soon = question.now + timedelta(days=SOON_DAYS)
    found = panels.fetch(
        _EXPIRING.format(ends=_ends("licensee")), question, soon=soon, limit=ROWS_MAX + 1
    )
    rows = tuple(found[:ROWS_MAX])
    sentence = ""
    if rows:
        sentence = _("The next right ends on %(at)s: “%(collection)s” of %(licensor)s.") % {
            "at": panels.cell_text(rows[0][0]),
            "licensor": rows[0][1],
            "collection": rows[0][2],
        }
    columns = (_("A right ends at"), _("Licensor"), _("Collection"))
    return Table(sentence, columns, rows, is_cut=len(found) > ROWS_MAX)


def _model(scope: dict[str, Any]) -> str:
    model = scope.get("model")
    if model is None:
        return _("Any model of the licensee")
    return " ".join(filter(None, (model["name"], model.get("version"))))


PANELS = (
    Panel(
        key="licenses-given",
        title=gettext_lazy("Licenses that you gave"),
        section=Section.STUDIO,
        scope=Scope.GRANTS_READ,
        empty=gettext_lazy(
            "Nobody holds a license of yours yet. List an offer, and buyers find it."
        ),
        read=given,
        place=20,
    ),
    Panel(
        key="licensed",
        title=gettext_lazy("Who licensed what"),
        section=Section.STUDIO,
        scope=Scope.GRANTS_READ,
        empty=gettext_lazy("Here will stand who licensed what, for which model and which use."),
        read=licensed,
        place=50,
    ),
    Panel(
        key="licenses-held",
        title=gettext_lazy("Licenses that you hold"),
        section=Section.LICENSES,
        scope=Scope.GRANTS_READ,
        empty=gettext_lazy("You hold no license yet. Search the market, and ask for a quote."),
        read=held,
        place=10,
    ),
    Panel(
        key="licenses-expiring",
        title=gettext_lazy("Rights that end within 90 days"),
        section=Section.LICENSES,
        scope=Scope.GRANTS_READ,
        empty=gettext_lazy("No right to fetch, train or use ends within 90 days: nothing to do."),
        read=expiring,
        place=20,
    ),
)
