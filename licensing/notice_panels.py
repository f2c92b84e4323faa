"""Panels of opt-outs: what was taken out, who has acknowledged it, and who is late."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from marketplace import panels
from marketplace.access import Scope
from marketplace.panels import Figure, Panel, Question, Section, Stat, Table

ROWS_MAX = 100

# Notices that nobody acknowledged yet, and by when their terms want it: only terms of version 2
# say within how many hours. Each version of terms is read once, however many notices there are.
_OPEN = """
open AS MATERIALIZED (
    SELECT notice.id, notice.licensor_id, notice.size, notice.queued_at, notice.grant_id
    FROM licensing_notice notice
    WHERE notice.{side}_id = %(organization)s AND notice.livemode = %(livemode)s AND NOT EXISTS (
        SELECT FROM licensing_acknowledgement done WHERE done.notice_id = notice.id
    )
), under AS MATERIALIZED (
    SELECT DISTINCT ON (period.grant_id) period.grant_id, period.terms_id
    FROM licensing_period period WHERE period.grant_id IN (SELECT grant_id FROM open)
    ORDER BY period.grant_id, period.number DESC
), within AS MATERIALIZED (
    SELECT terms.id, (terms.typed::jsonb #>> '{{withdrawal,acknowledge_hours}}')::int AS hours
    FROM licensing_terms terms WHERE terms.id IN (SELECT terms_id FROM under)
), due AS (
    SELECT open.*, open.queued_at + make_interval(hours => within.hours) AS at
    FROM open JOIN under ON under.grant_id = open.grant_id
    JOIN within ON within.id = under.terms_id
)
"""
_TOLD = (
    "WITH "
    + _OPEN.format(side="licensor")
    + """
SELECT
    (SELECT count(*) FROM licensing_optout optout WHERE optout.organization_id = %(organization)s
        AND optout.recorded_at >= %(begins_at)s AND optout.recorded_at < %(ends_at)s),
    (SELECT count(*) FROM licensing_acknowledgement done
        WHERE done.licensor_id = %(organization)s AND done.livemode = %(livemode)s),
    (SELECT count(*) FROM due),
    (SELECT count(*) FROM due WHERE due.at < %(now)s)
"""
)
_TO_ANSWER = (
    "WITH "
    + _OPEN.format(side="licensee")
    + """
SELECT licensor.name, due.size, due.queued_at, due.at, due.at < %(now)s
FROM due JOIN marketplace_organization licensor ON licensor.id = due.licensor_id
ORDER BY due.at NULLS LAST, due.queued_at, due.id LIMIT %(limit)s
"""
)


def told(question: Question) -> Stat:
    """The caller's opt-outs of the period, and how it stands with the notices of all of them."""
    [(recorded, done, waiting, late)] = panels.fetch(_TOLD, question)
    sentence = ngettext(
        "%(n)s notice waits for its licensee; of these, %(late)s are past their deadline.",
        "%(n)s notices wait for their licensees; of these, %(late)s are past their deadline.",
        waiting,
    ) % {"n": panels.count_text(waiting), "late": panels.count_text(late)}
    return Stat(
        sentence,
        _("Opt-outs and notices"),
        (
            Figure(_("Opt-outs recorded in this period"), recorded),
            Figure(_("Notices acknowledged"), done),
            Figure(_("Notices open"), waiting),
            Figure(_("Notices open past their deadline"), late),
        ),
    )


def to_answer(question: Question) -> Table:
    """Notices that the caller's organization has to acknowledge, the most urgent first."""
    found = panels.fetch(_TO_ANSWER, question, limit=ROWS_MAX + 1)
    rows = tuple(
        (
            licensor,
            int(size),
            queued_at,
            due_at if due_at is not None else _("The terms name none"),
            _("Late") if is_late else _("Open"),
        )
        for licensor, size, queued_at, due_at, is_late in found[:ROWS_MAX]
    )
    sentence = ngettext(
        "%(n)s notice is open: stop using the works that it names, and acknowledge it.",
        "%(n)s notices are open: stop using the works that they name, and acknowledge them.",
        len(rows),
    ) % {"n": panels.count_text(len(rows))}
    columns = (_("Licensor"), _("Works"), _("Told at"), _("Acknowledge by"), _("State"))
    return Table(sentence, columns, rows, is_cut=len(found) > ROWS_MAX)


PANELS = (
    Panel(
        key="opt-outs",
        title=gettext_lazy("Opt-outs, and who acknowledged them"),
        section=Section.STUDIO,
        scope=Scope.OPT_OUTS_READ,
        empty=gettext_lazy(
            "Nothing was taken out. When an owner or a contributor opts a work out, each licensee"
            " is told, and here stands who has answered."
        ),
        read=told,
        place=60,
    ),
    Panel(
        key="notices-open",
        title=gettext_lazy("Notices to acknowledge"),
        section=Section.LICENSES,
        scope=Scope.OPT_OUTS_READ,
        empty=gettext_lazy("No notice is open: nothing to do."),
        read=to_answer,
        place=30,
    ),
)
