"""Writes a directory that verifies every receipt without this server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from licensing.ledger import handover
from licensing.ledger.log import LedgerCorrupted
from licensing.ledger.signer import KeyUnusable
from licensing.ledger.stores import StoreConflict, StoreUnavailable
from licensing.ledger.witnessing import WitnessesMisconfigured
from licensing.management.progress import Meter

BROKEN, CANNOT_TELL = 1, 2


class Command(BaseCommand):
    help = (
        "Write to DIR all that verifies receipts once this server is gone: both logs, their keys"
        " and cosignatures, the formats, the offline tool, instructions, and a list of SHA-256."
        " It holds nothing private. Run again on the same DIR, it adds what is new. Exit code 0:"
        " written; 1: DIR holds another history, or the log here is broken; 2: DIR cannot be"
        " written or is not one to write to, or a key is missing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", metavar="DIR", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        directory: Path = options["directory"]
        meters: dict[str, Meter] = {}

        def progress(log: str, done: int, size: int) -> None:
            meters.setdefault(log, Meter(self.stderr, log, "entries")).show(done, size)

        try:
            written = handover.write(directory, progress)
        except (StoreConflict, LedgerCorrupted) as error:
            raise CommandError(str(error), returncode=BROKEN) from error
        except (
            handover.HandoverRefused,
            WitnessesMisconfigured,
            StoreUnavailable,
            KeyUnusable,
            OSError,
        ) as error:
            raise CommandError(str(error), returncode=CANNOT_TELL) from error
        for each in written:
            self.stdout.write(
                _("%(log)s: %(size)s entries, %(cosigned)s cosigned checkpoints")
                % {"log": each.log, "size": each.checkpoint.size, "cosigned": each.cosigned}
            )
            if each.waiting:
                self.stderr.write(
                    _("%(log)s: %(waiting)s entries have no place yet and are not there")
                    % {"log": each.log, "waiting": each.waiting}
                )
        self.stdout.write(
            _("%(directory)s: keep copies at other people's. Begin with README.md")
            % {"directory": directory}
        )
