"""`manage.py grant`: suspend, reinstate or revoke a license, as an operator of the market."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from licensing import lifecycle
from licensing.models import GrantEvent
from marketplace import organizations
from marketplace.errors import DomainError


class Command(BaseCommand):
    help = (
        "Suspend, reinstate or revoke a grant. It is recorded in the ledger for both parties; "
        "deliveries and decisions refuse from --effective-at on, which is now unless it is said. "
        "Repeating it changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("step", choices=["suspend", "reinstate", "revoke"])
        parser.add_argument("id", metavar="grt_…")
        parser.add_argument("--operator", metavar="EMAIL", required=True, help="who does it")
        parser.add_argument(
            "--by",
            choices=GrantEvent.By.values,
            default=GrantEvent.By.OPERATOR.value,
            help="whose act it is (operator)",
        )
        parser.add_argument("--cause", choices=GrantEvent.Cause.values, required=True)
        parser.add_argument("--reason", required=True, help="in words, for both parties")
        parser.add_argument("--reference", default="", help="what shows it, such as an order's id")
        parser.add_argument(
            "--effective-at", metavar="TIME", help="such as 2027-01-31T12:00:00Z (now)"
        )
        parser.add_argument(
            "--void-from-start", action="store_true", help="revoke as if it had never been given"
        )
        parser.add_argument(
            "--duty",
            action="append",
            default=[],
            metavar="WORD:DAYS",
            help=f"what the licensee has to do: {', '.join(sorted(lifecycle.DUTIES))}",
        )

    def handle(self, *args: Any, step: str, id: str, **options: Any) -> None:
        if options["void_from_start"] and step != "revoke":
            raise CommandError(_("Only a revocation can be --void-from-start."))
        act = lifecycle.Act(
            by=options["by"],
            cause=options["cause"],
            reason=options["reason"],
            reference=options["reference"],
            effective_at=_instant(options["effective_at"]),
            duties=[_duty(text) for text in options["duty"]],
        )
        try:
            operator = organizations.find_operator(options["operator"])
            caller = lifecycle.for_operator(operator, id)
            if step == "revoke":
                effects = lifecycle.Effect
                effect = (
                    effects.VOID_FROM_START if options["void_from_start"] else effects.PROSPECTIVE
                )
                event = lifecycle.revoke(caller, id, act, effect=effect)
            elif step == "suspend":
                event = lifecycle.suspend(caller, id, act)
            else:
                event = lifecycle.reinstate(caller, id, act)
        except DomainError as error:
            raise CommandError(f"{error.data.get('param', '')} {error.detail}".strip()) from None
        self.stdout.write(f"{id} {event.kind} from {event.effective_at.isoformat()}")


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = parse_datetime(text)
    except ValueError:
        at = None
    if at is None:
        raise CommandError(_("--effective-at: give a time such as 2027-01-31T12:00:00Z."))
    return at


def _duty(text: str) -> dict[str, Any]:
    word, _colon, days = text.partition(":")
    if not days.isdecimal():
        raise CommandError(_("--duty: give a word and days, such as purge_copies:30."))
    return {"do": word, "within_days": int(days)}
