"""Makes the guard of a log again, from a checkpoint that a person trusts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from django.utils.translation import gettext as _

from licensing.ledger import guard, notes, signer, succession
from licensing.ledger.log import LOGS

# More than any checkpoint, and little enough to read.
_LENGTH_MAX = 1 << 16


class Command(BaseCommand):
    help = (
        "Set the guard of a log to the newest signed state that this database holds, after the"
        " guard was lost. Name a checkpoint that you trust because it was kept elsewhere, by you,"
        " a customer or a witness: the log here must continue it. A guard never goes back."
        " Ends with 0 when done; with 1 when the log does not continue what was signed; with 2 when"
        " that cannot be told. Only 0 changes anything."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--log", choices=LOGS, required=True)
        parser.add_argument(
            "--checkpoint",
            metavar="FILE",
            required=True,
            help="the signed checkpoint, as served at /ledger/LOG/checkpoint; - reads stdin",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        log: str = options["log"]
        try:
            done = guard.adopt(succession.current(log), _read(options["checkpoint"]))
        except (OSError, notes.NoteError, UnicodeDecodeError) as error:
            raise CommandError(
                _("This is no checkpoint of the log “%(log)s”: %(error)s")
                % {"log": log, "error": error},
                returncode=2,
            ) from error
        except (signer.KeyUnusable, guard.GuardUnreadable, Error) as error:
            raise CommandError(str(error), returncode=2) from error
        except guard.GuardRefused as error:
            raise CommandError(str(error), returncode=1) from error
        self.stdout.write(_("guard:   %(guard)s") % {"guard": done.guard})
        self.stdout.write(_("trusted: %(state)s") % {"state": _shown(done.trusted)})
        self.stdout.write(_("before:  %(state)s") % {"state": _shown(done.before)})
        self.stdout.write(_("now:     %(state)s") % {"state": _shown(done.after)})


def _read(path: str) -> str:
    # Bytes: Python would change the ends of lines, and a note with others is another note.
    if path == "-":
        data = sys.stdin.buffer.read(_LENGTH_MAX + 1)
    else:
        with Path(path).open("rb") as file:
            data = file.read(_LENGTH_MAX + 1)
    if len(data) > _LENGTH_MAX:
        raise notes.NoteError("it is too long")
    return data.decode()


def _shown(state: notes.Checkpoint | None) -> str:
    if state is None:
        return _("no guard")
    return f"{state.origin} {state.size} {notes.encode_base64(state.root)}"
