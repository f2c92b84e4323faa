"""Integrates and signs what waits in the logs, without the rest of the worker."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from licensing.ledger import sequencer

PAUSE_SECONDS = 0.1


class Command(BaseCommand):
    help = (
        "Give waiting ledger entries their places, every 100 ms until stopped, and sign the grown"
        " trees: once a second, or as soon as somebody waits for a receipt. Any number may run:"
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
                started = time.monotonic()
                integrated = sequencer.run_once(pace)
                if integrated:
                    self.stdout.write(f"{integrated} entries integrated")
                elif options["once"]:
                    return
                # A full batch may have left more behind.
                if not options["once"] and integrated < sequencer.BATCH:
                    stopped.wait(max(0.0, started + PAUSE_SECONDS - time.monotonic()))
        except sequencer.STOPS as failure:
            raise CommandError(str(failure)) from failure
