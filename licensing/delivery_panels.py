"""The panel of deliveries: what left under the licenses that an organization holds, day by day."""

from __future__ import annotations

import json
from datetime import date

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from licensing import delivery_summaries, packing
from marketplace import panels
from marketplace.access import Scope
from marketplace.panels import Panel, Question, Section, Table

ROWS_MAX = 100
# So many of the newest ledger entries of the organization are looked through.
_ENTRIES_MAX = 2_000

# What opens the entries: the counts themselves are of no tenant.
_SUMMARIES = """
SELECT opening.packed, opening."values"
FROM (
    SELECT party.entry_id FROM licensing_ledgerparty party
    WHERE party.log = %(log)s AND party.organization_id = %(organization)s
    ORDER BY party.sequence DESC LIMIT %(entries)s
) recent
JOIN licensing_ledgerentry entry ON entry.id = recent.entry_id AND entry.kind = %(kind)s
JOIN licensing_ledgeropening opening ON opening.entry_id = entry.id
ORDER BY entry.id DESC
"""


def deliveries(question: Question) -> Table:
    """What the caller's organization fetched, as the ledger says it once a day (UTC) is over."""
    assert question.caller is not None, "A tenant's panel."
    own = str(question.caller.organization.pk)
    found = panels.fetch(_SUMMARIES, question, kind=delivery_summaries.KIND, entries=_ENTRIES_MAX)
    rows = []
    for packed, plain in found:
        said = json.loads(plain if packed is None else packing.unpack(bytes(packed)))
        if said["licensee"]["id"] != own:
            continue
        counted = said["delivered"].values()
        rows.append(
            (
                date.fromisoformat(said["day"]),
                str(said["licensor"]["legal_name"]),
                str(said["grant"]["id"]),
                sum(int(one["answers"]) for one in counted),
                sum(int(one["bytes"]) for one in counted),
            )
        )
    sentence = ""
    if rows:
        sentence = _("You last fetched on %(day)s: %(n)s answers, %(bytes)s bytes.") % {
            "day": panels.cell_text(rows[0][0]),
            "n": panels.count_text(rows[0][3]),
            "bytes": panels.count_text(rows[0][4]),
        }
    columns = (_("Day (UTC)"), _("Licensor"), _("License"), _("Answers"), _("Bytes"))
    return Table(sentence, columns, tuple(rows[:ROWS_MAX]), is_cut=len(rows) > ROWS_MAX)


PANELS = (
    Panel(
        key="deliveries",
        title=gettext_lazy("What you fetched"),
        section=Section.LICENSES,
        scope=Scope.DELIVERY_READ,
        empty=gettext_lazy(
            "Nothing is recorded yet. What you fetch of a license stands here once its day is over."
        ),
        read=deliveries,
        place=60,
    ),
)
