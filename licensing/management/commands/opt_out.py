"""`manage.py opt_out`: take works out of licensing, as the market's operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from licensing import optouts
from licensing.models import Notice, OptOut
from marketplace import organizations
from marketplace.access import acting
from marketplace.errors import DomainError


class Command(BaseCommand):
    help = (
        "Take works out of licensing, at once: the next quote, delivery and decision refuse, and "
        "every licensee that holds one is told. Repeating it changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", required=True, help="why; recorded for the parties")
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument("--organization", metavar="org_…", help="whose works")
        where.add_argument(
            "--everywhere",
            action="store_true",
            help="at every organization, also before they bring the works (SHA-256 only)",
        )
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--digests", type=Path, metavar="FILE", help="a SHA-256 in hex a line")
        what.add_argument("--external-ids", type=Path, metavar="FILE", help="an id a line")
        what.add_argument("--collection", metavar="col_…")
        what.add_argument("--contributor", metavar="ctr_…")

    def handle(self, *args: Any, reason: str, **options: Any) -> None:
        try:
            chosen = _chosen(options)
            if options["everywhere"]:
                if set(chosen) != {"digests"}:
                    raise CommandError("Everywhere, works are named by their --digests.")
                made = optouts.record_everywhere(chosen["digests"], reason=reason)
                self.stdout.write(f"reserved everywhere; {len(made)} organizations had such works")
                for opt_out in made:
                    self.stdout.write(_line(opt_out))
                return
            caller = organizations.operator(
                organizations.find(options["organization"]), livemode=True
            )
            opt_out, is_new = optouts.record_once(
                caller, by=OptOut.By.OPERATOR, reason=reason, **chosen
            )
        except DomainError as error:
            raise CommandError(f"{error.data.get('param', '')} {error.detail}".strip()) from None
        self.stdout.write(_line(opt_out) + ("" if is_new else " (recorded before)"))


def _line(opt_out: OptOut) -> str:
    with acting(organizations.operator(opt_out.organization), writing=False):
        told = Notice.objects.filter(opt_out=opt_out).count()
    return f"{opt_out.pk}: {opt_out.size:,} works out, {told:,} notices queued"


def _chosen(options: dict[str, Any]) -> dict[str, Any]:
    for name in ("collection", "contributor"):
        if options[name]:
            return {name: options[name]}
    if options["external_ids"]:
        return {"external_ids": _lines(options["external_ids"])}
    found = []
    for number, line in enumerate(_lines(options["digests"]), start=1):
        try:
            found.append(bytes.fromhex(line))
        except ValueError:
            raise CommandError(f"line {number}: “{line[:80]}” is no hex") from None
    return {"digests": found}


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}") from None
