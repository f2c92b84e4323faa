"""Writes the whole database into one file, while the market goes on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from django.utils.translation import gettext as _

from licensing.ledger import ends
from licensing.management.progress import EVERY_SECONDS
from marketplace import backups

FAILED, CANNOT_TELL = 1, 2


class Command(BaseCommand):
    help = (
        "Write every row of the database, as it is at one moment, into FILE, and what restore"
        " checks them by; the market may go on meanwhile. FILE gets its name when it is whole and"
        " durable; nothing is ever replaced. It needs no program of PostgreSQL's. Exit code 0:"
        " written; 1: not written, and why; 2: the database did not answer. The ledger's keys,"
        " its guards and the list of erasures are never in it: the end of the output says where"
        " they are."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path, help="such as 2027-01-31.licet.zip")
        parser.add_argument(
            "--works", action="store_true", help="the hosted works of LICET_STORAGE_DIR, too"
        )

    def handle(self, *args: Any, file: Path, works: bool, **options: Any) -> None:
        if works and settings.STORAGE_BUCKET["name"]:
            raise CommandError(
                _("Hosted works are in the bucket %(bucket)s: back that up by its own means.")
                % {"bucket": settings.STORAGE_BUCKET["name"]},
                returncode=FAILED,
            )
        started = time.monotonic()
        try:
            made = backups.make(
                file.absolute(),
                logs=ends.stand,
                works=Path(settings.STORAGE_DIR) if works else None,
                tell=Ticker(self.stderr, "backup").show,
            )
        except backups.BackupFailed as error:
            raise CommandError(str(error), returncode=FAILED) from error
        except Error as error:
            raise CommandError(str(error).strip(), returncode=CANNOT_TELL) from error
        self.stdout.write(
            _("%(file)s: %(rows)s rows of %(tables)s tables, %(bytes)s bytes, in %(seconds).1f s")
            % {
                "file": file,
                "rows": f"{made.rows:,}",
                "tables": len(made.tables),
                "bytes": f"{file.stat().st_size:,}",
                "seconds": time.monotonic() - started,
            }
        )
        if made.works is not None:
            self.stdout.write(_("%(count)s hosted works") % made.works)
        for each in made.logs:
            self.stdout.write(_("log %(log)s: %(size)s entries, root %(root)s") % each)
        for line in elsewhere():
            self.stdout.write(line)


def elsewhere() -> list[str]:
    """What is in no backup, where it is, and what to do with it."""
    return [
        _("Not in it: the ledger's keys (%(place)s). Back them up apart.")
        % {"place": settings.LEDGER_KEY_DIR},
        _("Not in it: the logs' guards (%(place)s). Never restore them.")
        % {"place": settings.LEDGER_GUARD or settings.LEDGER_KEY_DIR},
        _("Not in it: the list of erasures (%(place)s). Never restore it.")
        % {"place": settings.ERASURES},
    ]


class Ticker:
    """Says every two seconds, on standard error, which part is at which row."""

    def __init__(self, output: Any, name: str) -> None:
        self._output, self._name = output, name
        self._next = time.monotonic() + EVERY_SECONDS

    def show(self, part: str, done: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + EVERY_SECONDS
            self._output.write(f"{self._name}: {part}: {done:,}")
