"""`manage.py import_catalogue`: a list of data sets, each a draft collection."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from marketplace import catalogues, csv_cells, organizations
from marketplace.catalogues import Outcome
from marketplace.errors import DomainError

SAY_EVERY_SECONDS = 2.0
SHOWN = 5


class Command(BaseCommand):
    help = (
        "Make a draft collection, without works, of each data set in an NDJSON file (a JSON object "
        "a line, with id and name). Data sets that are known already stay as they are, so the same "
        "command goes on after a stop."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--organization", required=True, metavar="org_…")
        parser.add_argument("--dry-run", action="store_true", help="look, and write nothing")
        parser.add_argument(
            "--rejected", type=Path, metavar="CSV", help="write the lines that were refused here"
        )

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        said = time.monotonic()

        def say(outcome: Outcome) -> None:
            nonlocal said
            if time.monotonic() - said >= SAY_EVERY_SECONDS:
                said = time.monotonic()
                self.stderr.write(_line(outcome))

        try:
            caller = organizations.operator(organizations.find(options["organization"]))
            outcome = catalogues.run(caller, file, dry_run=options["dry_run"], report=say)
        except DomainError as error:
            raise CommandError(f"{error.data.get('param', 'file')}: {error.detail}") from None
        self.stdout.write(_line(outcome))
        for refused in outcome.refused[:SHOWN]:
            self.stdout.write(f"  line {refused.line}, {refused.field}: {refused.reason}")
        if options["rejected"] is not None:
            _write(options["rejected"], outcome)


def _line(outcome: Outcome) -> str:
    return _("%(made)s draft collections, %(known)s known before, %(refused)s lines refused") % {
        "made": outcome.made,
        "known": outcome.known,
        "refused": len(outcome.refused),
    }


def _write(path: Path, outcome: Outcome) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv_cells.Writer(file)
        writer.row(["line", "field", "reason"])
        writer.rows((one.line, one.field, one.reason) for one in outcome.refused)
