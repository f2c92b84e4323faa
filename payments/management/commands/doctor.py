"""Says whether the market is well, and what to do where it is not."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from payments import checkup
from payments.checkup import Level

NOT_WELL = 1


class Command(BaseCommand):
    help = (
        "Check the database, its walls and migrations, the ledger, the worker, Stripe, disks, mail"
        " and secrets, and say in words what is wrong and what to do. It changes nothing, and may"
        " run at any time, on each host. Exit code 0: no check failed (warnings may be there); 1:"
        " one did."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON array on standard output")
        parser.add_argument(
            "--fix-nothing",
            action="store_true",
            help="only look; it never does anything else: for scripts that want to have said it",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        results = []
        for result in checkup.examine():
            results.append(result)
            if not options["json"]:
                self._show(result)
        if options["json"]:
            self.stdout.write(json.dumps([asdict(each) for each in results], indent=2))
        failed = sum(each.level == Level.FAIL for each in results)
        if failed:
            raise CommandError(
                ngettext("%(count)s check failed.", "%(count)s checks failed.", failed)
                % {"count": failed},
                returncode=NOT_WELL,
            )
        if not options["json"]:
            self.stdout.write(_("No check failed."))

    def _show(self, result: checkup.Result) -> None:
        mark = f"{result.level:<5}"
        if result.level != Level.OK:
            style = self.style.WARNING if result.level == Level.WARN else self.style.ERROR
            mark = style(mark)
        self.stdout.write(f"{mark} {result.title}: {result.text}")
        if result.way_out:
            self.stdout.write(f"      → {result.way_out}")
