"""Integrates and signs what waits in the logs, without the rest of the worker."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from licensing.ledger import sequencer


class Command(BaseCommand):
    help = (
        "Give waiting ledger entries their places, every 100 ms until stopped, and sign the grown"
        " trees: once a second, or sooner while somebody waits for a receipt. Any number may run:"
        " one at a time works. The worker does this too."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="empty the queue, sign, then end")

    def handle(self, *args: Any, **options: Any) -> None:
        stopped = threading.Event()
        pace = None if options["once"] else sequencer.Pace()
        if not options["once"]:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_arguments: stopped.set())
        try:
            while not stopped.is_set():
                integrated = sequencer.run_once(pace)
                if integrated:
                    self.stdout.write(f"{integrated} entries integrated")
                elif options["once"]:
                    return
                # A full batch may have left more behind.
                if pace is not None and integrated < sequencer.BATCH:
                    stopped.wait(pace.rest())
        except sequencer.STOPS as failure:
            raise CommandError(str(failure)) from failure
