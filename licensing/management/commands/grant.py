"""`manage.py grant`: what an operator of the market does to a license."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from licensing import coverage, lifecycle, periods
from licensing.models import GrantEvent
from marketplace import operators
from marketplace.access import Caller
from marketplace.errors import DomainError

# Which words go with which steps; what is not named here goes with all of them.
_OF = {
    "cause": {"suspend", "reinstate", "revoke"},
    "reason": {"suspend", "reinstate", "revoke"},
    "duty": {"suspend", "reinstate", "revoke"},
    "void_from_start": {"revoke"},
    "effective_at": {"suspend", "reinstate", "revoke", "amend", "cover"},
    "snapshot": {"cover"},
    "terms": {"renew", "amend"},
    "document": {"renew", "amend"},
    "accepted_by": {"renew", "amend"},
    "accepted_title": {"renew", "amend"},
    "accepted_at": {"renew", "amend"},
}
_NEEDED = {
    "suspend": ("cause", "reason"),
    "reinstate": ("cause", "reason"),
    "revoke": ("cause", "reason"),
    "renew": ("reference",),
    "amend": ("reference", "terms", "document"),
    "cover": ("snapshot",),
}
_AGREED = ("document", "accepted_by", "accepted_title", "accepted_at")


class Command(BaseCommand):
    help = (
        "Suspend, reinstate, revoke, renew or amend a grant, or have it cover another snapshot. "
        "It is recorded in the ledger for both parties; deliveries and decisions heed it from "
        "--effective-at on, which is now unless it is said. Repeating it changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("step", choices=list(_NEEDED))
        parser.add_argument("id", metavar="grt_…")
        parser.add_argument("--operator", metavar="EMAIL", required=True, help="who does it")
        parser.add_argument(
            "--by",
            choices=GrantEvent.By.values,
            default=GrantEvent.By.OPERATOR.value,
            help="whose act it is (operator)",
        )
        parser.add_argument(
            "--reference",
            default="",
            help="what shows it, such as an order's id; a renewal and an amendment are made once "
            "for each",
        )
        parser.add_argument(
            "--effective-at", metavar="TIME", help="such as 2027-01-31T12:00:00Z (now)"
        )
        ended = parser.add_argument_group("suspend, reinstate, revoke")
        ended.add_argument("--cause", choices=GrantEvent.Cause.values)
        ended.add_argument("--reason", help="in words, for both parties")
        ended.add_argument(
            "--void-from-start", action="store_true", help="revoke as if it had never been given"
        )
        ended.add_argument(
            "--duty",
            action="append",
            default=[],
            metavar="WORD:DAYS",
            help=f"what the licensee has to do: {', '.join(sorted(lifecycle.DUTIES))}",
        )
        changed = parser.add_argument_group("renew, amend")
        changed.add_argument(
            "--terms", metavar="trm_…", help="a newer version, or what it is amended to"
        )
        changed.add_argument("--document", metavar="FILE", help="the text that was accepted")
        changed.add_argument("--accepted-by", metavar="NAME", help="for the licensee")
        changed.add_argument("--accepted-title", metavar="TITLE")
        changed.add_argument("--accepted-at", metavar="TIME", help="such as 2027-01-31T12:00:00Z")
        grown = parser.add_argument_group("cover")
        grown.add_argument("--snapshot", metavar="snp_…", help="of the grant's own collection")

    def handle(self, *args: Any, step: str, id: str, **options: Any) -> None:
        _check(step, options)
        do = _ended if step in _OF["cause"] else _changed if step in _OF["terms"] else _covered
        # All of it is read before anybody is looked up.
        act = do(step, id, options)
        try:
            operator = operators.find(options["operator"])
            said = act(lifecycle.for_operator(operator, id))
        except DomainError as error:
            raise CommandError(f"{error.data.get('param', '')} {error.detail}".strip()) from None
        self.stdout.write(f"{id} {said}")


# What a step does for its caller, and says that it did.
_Act = Callable[[Caller], str]


def _check(step: str, options: dict[str, Any]) -> None:
    if options["void_from_start"] and step != "revoke":
        raise CommandError(_("Only a revocation can be --void-from-start."))
    for name, steps in _OF.items():
        if options[name] and step not in steps:
            raise CommandError(
                _("%(option)s does not go with “%(step)s”.")
                % {"option": _option(name), "step": step}
            )
    for name in _NEEDED[step]:
        if not options[name]:
            raise CommandError(
                _("“%(step)s” needs %(option)s.") % {"option": _option(name), "step": step}
            )


def _ended(step: str, id: str, options: dict[str, Any]) -> _Act:
    act = lifecycle.Act(
        by=options["by"],
        cause=options["cause"],
        reason=options["reason"],
        reference=options["reference"],
        effective_at=_instant("effective_at", options),
        duties=[_duty(text) for text in options["duty"]],
    )

    def do(caller: Caller) -> str:
        if step == "revoke":
            effects = lifecycle.Effect
            effect = effects.VOID_FROM_START if options["void_from_start"] else effects.PROSPECTIVE
            event = lifecycle.revoke(caller, id, act, effect=effect)
        elif step == "suspend":
            event = lifecycle.suspend(caller, id, act)
        else:
            event = lifecycle.reinstate(caller, id, act)
        return f"{event.kind} from {event.effective_at.isoformat()}"

    return do


def _changed(step: str, id: str, options: dict[str, Any]) -> _Act:
    agreed, at = _agreed(options), _instant("effective_at", options)

    def do(caller: Caller) -> str:
        given = {"reference": options["reference"], "by": options["by"], "terms": options["terms"]}
        if step == "renew":
            period = periods.renew(caller, id, agreed=agreed, **given)
        else:
            assert agreed is not None
            period = periods.amend(caller, id, agreed=agreed, effective_at=at, **given)
        return f"{period.kind}: period {period.number} ({period.pk})"

    return do


def _covered(_step: str, id: str, options: dict[str, Any]) -> _Act:
    at = _instant("effective_at", options)

    def do(caller: Caller) -> str:
        added = coverage.add(
            caller,
            id,
            snapshot=options["snapshot"],
            effective_from=at,
            by=options["by"],
            reference=options["reference"],
        )
        return f"covers {options['snapshot']} from {added.effective_from.isoformat()}"

    return do


def _agreed(options: dict[str, Any]) -> periods.Agreed | None:
    given = [name for name in _AGREED if options[name]]
    if not given:
        return None
    for name in _AGREED:
        if name not in given:
            raise CommandError(
                _("Say all of what was accepted: %(option)s is missing.")
                % {"option": _option(name)}
            )
    try:
        document = Path(options["document"]).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--document: {error}") from None
    at = _instant("accepted_at", options)
    assert at is not None
    return periods.Agreed(document, options["accepted_by"], options["accepted_title"], at)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _instant(name: str, options: dict[str, Any]) -> datetime | None:
    text = options[name]
    if text is None:
        return None
    try:
        at = parse_datetime(text)
    except ValueError:
        at = None
    if at is None:
        raise CommandError(
            _("%(option)s: give a time such as 2027-01-31T12:00:00Z.") % {"option": _option(name)}
        )
    return at


def _duty(text: str) -> dict[str, Any]:
    word, _colon, days = text.partition(":")
    if not days.isdecimal():
        raise CommandError(_("--duty: give a word and days, such as purge_copies:30."))
    return {"do": word, "within_days": int(days)}
