"""Erases a natural person."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from django.utils.translation import gettext as _

from licensing.ledger import stores
from marketplace.errors import DomainError
from payments import erasures

REFUSED, CANNOT_TELL = 1, 2


class Command(BaseCommand):
    help = (
        "Erase a natural person: what nothing obliges us to keep is deleted or blanked, with the"
        " openings of the ledger entries that name them; the log and all receipts still verify."
        " Says what would go, and what stays by which legal basis (api_docs/retention.md); --apply"
        " does it, and puts it on the list that after_restore reads. Exit code 0: done, or it can"
        " be done; 1: there is no such person, or the call does not say who; 2: cannot tell."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        who = parser.add_mutually_exclusive_group(required=True)
        who.add_argument("--contributor", default="", metavar="ctr_…")
        who.add_argument(
            "--email", default="", help="of an account, of invitations, of contributors"
        )
        who.add_argument("--name", default="", help="exactly as given; with --organization")
        parser.add_argument("--organization", default="", metavar="org_…")
        parser.add_argument("--apply", action="store_true", help="do it")
        parser.add_argument("--json", action="store_true", help="write one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        person = erasures.Person(
            contributor=options["contributor"],
            email=options["email"],
            name=options["name"],
            organization=options["organization"],
        )
        try:
            act = erasures.erase if options["apply"] else erasures.look
            report = act(person)
        except DomainError as error:
            raise CommandError(str(error.detail), returncode=REFUSED) from error
        except (stores.StoreUnavailable, stores.StoreConflict, Error) as error:
            raise CommandError(str(error), returncode=CANNOT_TELL) from error
        if options["json"]:
            self.stdout.write(json.dumps(_document(report, applied=options["apply"]), indent=2))
            return
        for line in _lines(report, applied=options["apply"]):
            self.stdout.write(line)


def _lines(report: erasures.Report, *, applied: bool) -> list[str]:
    lines = []
    if not report.counts:
        lines.append(_("Nothing is left to erase."))
    else:
        lines.append(_("Erased:") if applied else _("Would erase:"))
        lines += [f"  {count:>8}  {kind}" for kind, count in report.counts.items()]
    if report.kept:
        lines.append(_("Stays, by api_docs/retention.md (namesakes included):"))
        lines += [
            f"  {count:>8}  {place}  {erasures.KEPT[place]}" for place, count in report.kept.items()
        ]
    if report.orphaned:
        lines.append(
            _("Nobody else owns: %(organizations)s") % {"organizations": ", ".join(report.orphaned)}
        )
    if not applied:
        lines.append(_("Nothing was changed. Run this again with --apply."))
    elif report.erasure is not None:
        lines.append(_("On the list as %(id)s.") % {"id": report.erasure.pk})
    return lines


def _document(report: erasures.Report, *, applied: bool) -> dict[str, Any]:
    return {
        "applied": applied,
        "erased": report.counts,
        "kept": {
            place: {"rows": count, "basis": erasures.KEPT[place]}
            for place, count in report.kept.items()
        },
        "orphaned": report.orphaned,
        "erasure": None if report.erasure is None else str(report.erasure.pk),
    }
