"""Puts a backup into an empty database, and makes it fit to be served."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from django.utils.translation import gettext as _

from licensing.ledger import ends, guard, stores, succession
from licensing.ledger.log import LOGS
from marketplace import backups, restores, schema_guard
from marketplace.erasures import ErasureUnreadable
from payments import erasures
from payments.management.commands.backup import Ticker, elsewhere

FAILED, CANNOT_TELL, TAIL_IS_LOST = 1, 2, 3


class Command(BaseCommand):
    help = (
        "Put the backup FILE into an empty database: make the tables of that time, put every row"
        " in, compare all of it with the file, bring the tables up to date, erase again who was"
        " erased since (LICET_ERASURES), and ask the logs' guards what is lost. Stop all other"
        " processes first; none of them serves this database before it is done. Stopped at any"
        " point, the same command goes on, or begins anew where nothing was kept. Exit code 0:"
        " done; 1: refused or failed, and why; 2: cannot tell; 3: done, but a log has lost what"
        " was signed after the backup: bring it back before you start the market."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path)
        parser.add_argument(
            "--into-empty",
            action="store_true",
            help="the database was migrated further than the backup, and holds nothing: remove"
            " its tables first",
        )
        parser.add_argument(
            "--nobody-erased",
            action="store_true",
            help="the list of erasures is empty, since nobody was ever erased here",
        )
        parser.add_argument(
            "--works", action="store_true", help="put the hosted works of FILE back, too"
        )

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        self._started = time.monotonic()
        try:
            with backups.Backup(file) as backup, restores.alone():
                lost = self._restore(backup, options)
        except (
            backups.BackupUnreadable,
            restores.RestoreRefused,
            restores.RestoreFailed,
            ends.EndBroken,
            ErasureUnreadable,
            stores.StoreConflict,
        ) as error:
            raise CommandError(str(error), returncode=FAILED) from error
        except (erasures.ListMissing, stores.StoreUnavailable, Error) as error:
            raise CommandError(str(error).strip(), returncode=CANNOT_TELL) from error
        self._say(_("Done."))
        for line in elsewhere():
            self.stdout.write(line)
        if lost:
            raise CommandError("\n".join(lost), returncode=TAIL_IS_LOST)

    def _restore(self, backup: backups.Backup, options: dict[str, Any]) -> list[str]:
        manifest = backup.manifest
        self._say(
            _("Backup of %(made_at)s: %(rows)s rows")
            % {"made_at": manifest.made_at, "rows": f"{manifest.rows:,}"}
        )
        if options["works"] and manifest.works is None:
            raise restores.RestoreRefused(_("This backup was made without hosted works."))
        is_loaded = restores.begin(manifest, into_empty=options["into_empty"])
        ticker = Ticker(self.stderr, "restore")
        if is_loaded:
            self._say(_("Its rows are here already: going on."))
        else:
            restores.migrate(manifest, self._say)
            restores.load(backup, self._say, ticker.show)
        # Before anything that follows writes.
        for each in manifest.logs:
            found = ends.check(**each)
            self._say(
                _("log %(log)s: ends as it did, at %(size)s; %(found)s leaves hashed again")
                % {**each, "found": found}
            )
        if schema_guard.look().behind:
            self._say(_("migrating on"))
            call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
        else:
            schema_guard.note_version()
        if options["works"]:
            count = restores.keep_works(backup, ticker.show)
            self._say(_("%(count)s hosted works") % {"count": count})
        self._erase_again(may_be_empty=options["nobody_erased"])
        lost = _lost()
        restores.finish()
        return lost

    def _erase_again(self, *, may_be_empty: bool) -> None:
        try:
            again = erasures.replay(may_be_empty=may_be_empty)
        except erasures.ListMissing as error:
            # The words are of `after_restore`, whose option has another name.
            raise erasures.ListMissing(str(error).replace("--empty", "--nobody-erased")) from error
        self._say(
            _("%(known)s erasures on the list, %(returned)s of them new to this database")
            % {"known": again.known, "returned": again.returned}
        )
        for kind, count in again.counts.items():
            self.stdout.write(f"  {count:>8}  {kind}")

    def _say(self, text: str) -> None:
        self.stdout.write(f"{time.monotonic() - self._started:8.1f} s  {text}")
        self.stdout.flush()


def _lost() -> list[str]:
    """What each log's guard knows of that this database lacks, in words."""
    said = []
    for log in LOGS:
        try:
            guard.check(succession.current(log))
        except guard.GuardRefused as error:
            said.append(str(error))
    return said
