"""Copies the logs to a directory or a bucket, as anybody may serve and check them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from licensing.ledger import export, stores, succession, tiles, witnessing
from licensing.ledger.log import LOGS, LedgerCorrupted
from licensing.ledger.signer import KeyUnusable
from licensing.ledger.stores import Store, StoreConflict, StoreUnavailable
from licensing.management.progress import Meter

BROKEN, CANNOT_TELL = 1, 2


class Command(BaseCommand):
    help = (
        "Copy the newest published checkpoint of each log, with all that it vouches for, to"
        " DEST/<log>/: C2SP tlog-tiles and the verifier key. Only what is missing there is"
        " written, the checkpoint last; stopped in the middle, the same command goes on. Exit"
        " code 0: copied; 1: DEST holds something else, or this log is broken; 2: DEST cannot be"
        " written, or there is no key."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dest", metavar="DEST", help="a directory, or s3://bucket/prefix")
        parser.add_argument("--log", choices=[*LOGS, "all"], default="all", help="default: all")
        parser.add_argument(
            "--from-start",
            action="store_true",
            help="look at every file, and write again what was lost there",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        code, failure = 0, ""
        logs = LOGS if options["log"] == "all" else [options["log"]]
        names = [name for log in logs for name in succession.names(log)]
        for log in names:
            try:
                self._copy(log, stores.open_store(options["dest"]), options["from_start"])
            except (StoreConflict, LedgerCorrupted) as error:
                failure, code = self._told(failure, error), BROKEN
            except (StoreUnavailable, KeyUnusable) as error:
                failure, code = self._told(failure, error), code or CANNOT_TELL
        if failure:
            raise CommandError(failure, returncode=code)

    def _copy(self, log: str, store: Store, from_start: bool) -> None:
        newest = tiles.newest_checkpoint(log)
        if newest is None:
            export.check_empty(log, store)
            self.stderr.write(f"{log}: nothing is published yet")
            return
        frozen = succession.next_of(log)
        there = None if frozen is None else export.checkpoint_in(log, store)
        if there is not None and there.size > newest.size:
            # What was signed before the log was frozen, and lost here.
            self.stdout.write(
                f"{log}: frozen; {store} has {there.size} entries of it, more than are left here,"
                " and keeps them as they are"
            )
            return
        with Meter(self.stderr, log, "entries") as meter:
            export.push(log, store, newest.size, from_start=from_start, progress=meter.show)
        export.publish(log, store, witnessing.cosigned_note(newest))
        self.stdout.write(f"{log}: {newest.size} entries, and the checkpoint of them, in {store}")

    def _told(self, before: str, error: Exception) -> str:
        return f"{before}\n{error}".strip()
