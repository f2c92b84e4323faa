"""Has witnesses cosign the newest checkpoint of each log."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from licensing.ledger import export, succession, witnessing
from licensing.ledger.log import LOGS, LedgerCorrupted
from licensing.ledger.stores import StoreConflict, StoreUnavailable
from licensing.ledger.witnessing import Result

PAUSE_SECONDS = 10.0

CONFLICT, CANNOT_TELL = 1, 2


class Command(BaseCommand):
    help = (
        "Submit the newest checkpoint of each log to the witnesses in LICET_LEDGER_WITNESSES, and"
        " keep their cosignatures, every 10 seconds until stopped. Any number may run. A witness"
        " that knows another history ends it with exit code 1. With --once, exit code 0: all have"
        " cosigned; 1: one knows another history; 2: one cannot be reached or used."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="ask each witness once, then end")
        parser.add_argument("--log", choices=[*LOGS, "all"], default="all", help="default: all")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            servers = witnessing.servers()
        except witnessing.WitnessesMisconfigured as error:
            raise CommandError(str(error), returncode=CANNOT_TELL) from error
        if not servers:
            raise CommandError(
                _("No witness is named: set LICET_LEDGER_WITNESSES to VKEY URL VKEY URL …"),
                returncode=CANNOT_TELL,
            )
        logs = LOGS if options["log"] == "all" else [options["log"]]
        stopped = threading.Event()
        if not options["once"]:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_arguments: stopped.set())
        self._said: dict[tuple[str, str], str] = {}
        # At the start they are asked of what they cosigned, too: this may be a restored database.
        self._confirm = True
        while not stopped.is_set():
            current = [succession.current(log) for log in logs]
            conflicts, unclear = self._pass(current, servers, stopped)
            if conflicts:
                raise CommandError("\n".join(conflicts), returncode=CONFLICT)
            if options["once"]:
                if unclear:
                    raise CommandError("\n".join(unclear), returncode=CANNOT_TELL)
                return
            self._confirm = False
            stopped.wait(PAUSE_SECONDS)

    def _pass(
        self, logs: Sequence[str], servers: Sequence[witnessing.Server], stopped: threading.Event
    ) -> tuple[list[str], list[str]]:
        """Ask each witness about each log. Gives what contradicts, and what could not be told."""
        conflicts: list[str] = []
        unclear: list[str] = []
        for log in logs:
            for server in servers:
                if stopped.is_set():
                    return conflicts, unclear
                try:
                    outcome = witnessing.witness(log, server, confirm=self._confirm)
                except LedgerCorrupted as error:
                    outcome = witnessing.Outcome(Result.CONFLICT, str(error))
                if outcome.result is Result.CONFLICT:
                    conflicts.append(f"{log}: {outcome.text}")
                elif outcome.result is Result.UNCLEAR:
                    unclear.append(f"{log}: {outcome.text}")
                self._say(log, server.key.name, outcome)
            try:
                export.publish_cosigned(log)
            except (StoreConflict, StoreUnavailable, LedgerCorrupted) as error:
                # They are kept; the sequencer says more of the second place.
                unclear.append(f"{log}: {error}")
        return conflicts, unclear

    def _say(self, log: str, witness: str, outcome: witnessing.Outcome) -> None:
        """Say what has changed since the pass before."""
        if self._said.get((log, witness)) != outcome.text:
            self._said[log, witness] = outcome.text
            stream = self.stdout if outcome.result is Result.WITNESSED else self.stderr
            stream.write(f"{log}: {witness}: {outcome.result.value}: {outcome.text}")
