"""What sellers and reporters are mailed about moderation, each in their own language.

A mail that fails undoes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypedDict

from django.conf import settings
from django.utils.translation import gettext as _

from licensing.models import Appeal, ModerationDecision, Report
from marketplace import invitations, preferences
from marketplace.errors import MailUnavailable

logger = logging.getLogger(__name__)


class Told(TypedDict):
    """Whom to tell: a seller's addresses, a new link of its page if there is one, and reporters."""

    seller: list[str]
    token: str
    reports: list[Report]


def decided(
    decision: ModerationDecision,
    *,
    until: datetime,
    seller: list[str],
    token: str,
    reports: list[Report],
) -> None:
    """Give everybody the statement of reasons, and say how to appeal: `until` when, and where."""
    url = f"{settings.BASE_URL}/moderation/{token}"

    def to_seller() -> tuple[str, ...]:
        way = _("It stands here too, with the way to appeal:\n%(url)s") % {"url": url}
        subject = _("A decision about what you sell: %(id)s")
        return subject, _statement(decision), way, _redress(until)

    def to_reporter(report: Report) -> tuple[str, ...]:
        return (
            _("The decision about your report: %(id)s"),
            _("Your report %(id)s was decided.") % {"id": report.pk},
            _statement(decision),
            _("The link of your receipt shows it, and the way to appeal."),
            _redress(until),
        )

    _send(seller, decision, to_seller)
    for report in reports:
        _send([report.reporter_email], decision, partial(to_reporter, report))


def ended(
    decision: ModerationDecision,
    *,
    until: datetime | None,
    seller: list[str],
    token: str,
    reports: list[Report],
) -> None:
    """Say that a decision no longer holds, and why; reporters, until when they can object."""

    def said() -> tuple[str, ...]:
        state = str(decision.get_state_display())
        return _("A decision has ended: %(id)s"), state, decision.end_reason

    _send(seller, decision, said)
    reporters = [report.reporter_email for report in reports]
    _send(reporters, decision, lambda: (*said(), _redress(until)))


def answered(
    found: Appeal,
    decision: ModerationDecision,
    *,
    seller: list[str],
    token: str,
    reports: list[Report],
) -> None:
    """Give the answer of an appeal to who made it, and to the other side where it changed."""

    def said() -> tuple[str, ...]:
        subject = _("The answer to an appeal: %(id)s")
        # Article 20(5): with the other ways that there are.
        return subject, str(found.get_state_display()), found.answer, _redress()

    reporters = [report.reporter_email for report in reports]
    if found.report is not None and found.report.reporter_email:
        reporters.append(found.report.reporter_email)
    told = seller if found.by == Appeal.By.SELLER else []
    if found.by == Appeal.By.REPORTER or found.state == Appeal.State.REVERSED:
        told = [*told, *reporters]
    _send(list(dict.fromkeys(told)), decision, said)


def _redress(until: datetime | None = None) -> str:
    """Articles 17(3)(f) and 20(5): the appeal, as long as there is one, and what else there is."""
    others = _(
        "You can also turn to a certified out-of-court dispute settlement body, or to a court."
    )
    if until is None:
        return others
    appeal = _(
        "Until %(until)s you can object, free of charge. Another person than who decided"
        " answers you."
    ) % {"until": preferences.moment(until)}
    return f"{appeal} {others}"


def _statement(decision: ModerationDecision) -> str:
    """The statement of reasons, in plain text."""
    until = _("until it is lifted")
    if decision.until is not None:
        until = _("until %(until)s") % {"until": preferences.moment(decision.until)}
    lines = [
        (_("Decision"), str(decision.get_measure_display())),
        (_("About"), _about(decision)),
        (_("For how long"), until),
        (_("Where"), _("everywhere")),
        (_("What led to it"), decision.origin),
        (_("Facts"), decision.facts),
        (_("Ground"), str(decision.get_ground_display())),
        (_("Law or clause"), decision.reference),
        (_("Automated means"), str(decision.get_automation_display())),
    ]
    if decision.measure == ModerationDecision.Measure.NONE:
        del lines[2:4]
    return "\n".join(f"{name}: {value}" for name, value in lines if value)


def _about(decision: ModerationDecision) -> str:
    return ", ".join([*filter(None, [str(decision.offer_id or "")]), *decision.digests[:20]])


def _send(
    addresses: list[str], decision: ModerationDecision, said: Callable[[], tuple[str, ...]]
) -> None:
    """Mail what is `said`, its subject first: in English to whom we do not know.

    An operator causes these mails, whose language is not the recipient's.
    """
    for address in addresses:
        try:
            with preferences.viewing(preferences.NOBODY), preferences.writing_to(address):
                subject, *parts = said()
                invitations.send_mail(subject % {"id": decision.pk}, "\n\n".join(parts), address)
        except MailUnavailable:
            logger.warning("a statement of %s was not mailed", decision.pk)
