"""Gives a log another signing key, step by step."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from django.utils.translation import gettext as _

from licensing.ledger import generations, rotation, sequencer, signer, succession
from licensing.ledger.log import LOGS, LedgerCorrupted

BROKEN, CANNOT_TELL = 1, 2


class Command(BaseCommand):
    help = (
        "Give a log another key. Without options: make the next key, to be backed up and copied to"
        " every host that signs. --announce: record it in the log, and have both keys sign."
        " --finish: the next key is the log's, and the former one is listed as retired. Stopped"
        " anywhere, the same command goes on. Exit code 0: done; 1: the log is broken, or this is"
        " not its turn yet; 2: cannot tell."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--log", choices=LOGS, required=True)
        step = parser.add_mutually_exclusive_group()
        step.add_argument("--announce", action="store_true", help="record the next key in the log")
        step.add_argument("--finish", action="store_true", help="let the former key go")
        step.add_argument("--status", action="store_true", help="change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            log = succession.current(options["log"])
            if options["announce"]:
                rotation.announce(log)
                self._sign()
            elif options["finish"]:
                rotation.finish(log)
            elif not options["status"]:
                signer.create_next(log)
            self._show(log, rotation.status(log))
        except (rotation.RotationRefused, LedgerCorrupted) as error:
            raise CommandError(str(error), returncode=BROKEN) from error
        except (signer.KeyUnusable, OSError, Error) as error:
            raise CommandError(str(error), returncode=CANNOT_TELL) from error

    def _sign(self) -> None:
        try:
            while sequencer.run_once():
                pass
        except sequencer.STOPS as error:
            # It may be the other log's; what is reached in this one is shown anyway.
            self.stderr.write(str(error))

    def _show(self, log: str, found: rotation.Status) -> None:
        self.stdout.write(_("key:  %(key)s") % {"key": found.current.vkey()})
        if found.following is not None:
            self.stdout.write(_("next: %(key)s") % {"key": found.following.vkey()})
        self.stdout.write(_said(log, found))


def _said(log: str, found: rotation.Status) -> str:
    said = {
        rotation.Step.NONE: _("No change of the key is under way."),
        rotation.Step.MADE: _(
            "The next key is made, and signs nothing yet. Back up %(file)s.next.key, copy it to"
            " every host that signs, then: manage.py ledger_rotate_key --log %(log)s --announce"
        ),
        rotation.Step.ANNOUNCED: _(
            "The next key is announced, and not signed yet: a worker does so, or manage.py"
            " ledger_sequence --once."
        ),
        rotation.Step.SIGNED: _(
            "Both keys sign, from entry %(index)s on. Tell the witnesses and whoever keeps the"
            " key; once they have the next one: manage.py ledger_rotate_key --log %(log)s --finish"
        ),
    }
    return said[found.step] % {
        "log": generations.log_of(log),
        "file": generations.file_name(log),
        "index": found.index,
    }
