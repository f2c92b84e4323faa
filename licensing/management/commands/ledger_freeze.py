"""Freezes a log whose signed tail is lost for good, and begins the log that continues it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from django.utils.translation import gettext as _

from licensing.ledger import export, freezing, generations, guard, notes, signer, stores
from licensing.ledger.log import LOGS, LedgerCorrupted
from licensing.ledger.recovery import RecoveryBusy, RecoveryRefused

BROKEN, CANNOT_TELL = 1, 2

# More than any checkpoint, and little enough to read.
_LENGTH_MAX = 1 << 16


class Command(BaseCommand):
    help = (
        "The last resort, when what a log has signed is lost here and no copy can bring it back"
        " (try ledger_recover first): end the log for good, and begin another that continues it."
        " The frozen log signs nothing any more; its receipts stay true and its files stay served."
        " The successor has the log's origin and address with the next number (/ledger/live/2/) and"
        " a key of its own; its first entry says in public what was frozen, at which checkpoint,"
        " and how many entries are lost. Entries without a signed place follow it."
        " Stop server and worker first. Says what it would do; --apply ORIGIN does it, and cannot"
        " be undone. Stopped in the middle, the same command goes on. Exit code 0: done, or it can"
        " be done; 1: nothing is lost, a copy can bring it back, or this is not the last"
        " checkpoint; 2: cannot tell."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--log", choices=LOGS, required=True)
        parser.add_argument(
            "--checkpoint",
            metavar="FILE",
            required=True,
            help="the last checkpoint of the log that is known anywhere: here, in a copy, at a"
            " customer's (in a receipt, from the empty line on) or a witness's; - reads stdin",
        )
        parser.add_argument(
            "--from",
            dest="source",
            metavar="COPY",
            default="",
            help="a directory, or s3://bucket/prefix; default: LICET_LEDGER_EXPORT",
        )
        parser.add_argument(
            "--without-copy", action="store_true", help="there is no copy that could be asked"
        )
        parser.add_argument(
            "--apply",
            metavar="ORIGIN",
            default="",
            help="freeze the log of this origin, for good: written out, so that nobody does it by"
            " chance",
        )
        parser.add_argument("--json", action="store_true", help="write one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            note = _read(options["checkpoint"])
            plan = _plan(options["log"], note, _store(options))
            if options["apply"]:
                _check_confirmed(plan, options["apply"])
                freezing.apply(plan)
                export.publish_newest(plan.successor)
        except (OSError, notes.NoteError, UnicodeDecodeError) as error:
            raise CommandError(
                _("This is no checkpoint that the key of the log “%(log)s” signed: %(error)s")
                % {"log": options["log"], "error": error},
                returncode=CANNOT_TELL,
            ) from error
        except (
            guard.GuardUnreadable,
            RecoveryBusy,
            signer.KeyUnusable,
            stores.StoreUnavailable,
            Error,
        ) as error:
            raise CommandError(str(error), returncode=CANNOT_TELL) from error
        except (
            RecoveryRefused,
            guard.GuardRefused,
            LedgerCorrupted,
            stores.StoreConflict,
        ) as error:
            raise CommandError(str(error), returncode=BROKEN) from error
        if options["json"]:
            self.stdout.write(json.dumps(_document(plan, bool(options["apply"])), indent=2))
        else:
            for line in _lines(plan, bool(options["apply"])):
                self.stdout.write(line)


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


def _plan(log: str, note: str, store: stores.Store | None) -> freezing.Plan:
    try:
        return freezing.plan(log, note, store)
    except stores.StoreUnavailable as error:
        raise CommandError(
            _("%(error)s If that copy is gone for good, say --without-copy.") % {"error": error},
            returncode=CANNOT_TELL,
        ) from error


def _store(options: dict[str, Any]) -> stores.Store | None:
    source = options["source"] or settings.LEDGER_EXPORT
    if options["without_copy"]:
        if options["source"]:
            raise CommandError(
                _("Give --from or --without-copy, not both."), returncode=CANNOT_TELL
            )
        return None
    if not source:
        raise CommandError(
            _(
                "A copy may have what is lost: name one with --from. If there is none, say"
                " --without-copy."
            ),
            returncode=CANNOT_TELL,
        )
    return stores.open_store(source)


def _check_confirmed(plan: freezing.Plan, given: str) -> None:
    if given != plan.trusted.origin:
        raise CommandError(
            _("The log to be frozen is %(origin)s, and not %(given)s. Nothing was changed.")
            % {"origin": plan.trusted.origin, "given": given},
            returncode=CANNOT_TELL,
        )


def _lines(plan: freezing.Plan, applied: bool) -> list[str]:
    said = {
        "log": plan.name,
        "next": plan.successor,
        "origin": plan.trusted.origin,
        "size": plan.trusted.size,
        "known": plan.known,
        "signed": plan.signed,
        "lost": plan.lost,
        "unseen": plan.signed - plan.trusted.size,
        "follow": plan.unsigned + plan.waiting,
        "key": f"{generations.file_name(plan.successor)}.key",
        "copy": plan.copy,
    }
    lines = [
        _(
            "%(log)s: %(known)s entries in signed places here, %(size)s in the last known"
            " checkpoint, %(signed)s signed: %(lost)s are lost"
        )
    ]
    if plan.signed > plan.trusted.size:
        lines.append(
            _(
                "The guard knows of %(unseen)s more entries than this checkpoint. Has anybody a"
                " newer one? Ask parties, mirrors and witnesses first."
            )
        )
    if plan.copy:
        lines.append(_("No help from the copy: %(copy)s"))
    if plan.is_begun:
        lines.append(_("%(log)s was frozen before, and %(next)s continues it."))
    elif applied:
        lines.append(
            _(
                "Froze %(origin)s. %(next)s continues it: %(follow)s entries without a signed place"
                " follow its first."
            )
        )
    else:
        lines.append(
            _(
                "Would freeze %(origin)s for good, and begin %(next)s: %(follow)s entries without a"
                " signed place would follow its first."
            )
        )
    if applied:
        lines.append(
            _(
                "Back up the key %(key)s now, and copy it to every host that signs. Then start the"
                " worker, and publish the new address /ledger/%(next)s/ beside the old one."
            )
        )
    elif not plan.is_begun:
        lines.append(
            _("Nothing was changed. Run this again with --apply %(origin)s if nothing else helps.")
        )
    return [line % said for line in lines]


def _document(plan: freezing.Plan, applied: bool) -> dict[str, Any]:
    return {
        "log": plan.name,
        "successor": plan.successor,
        "origin": plan.trusted.origin,
        "size": plan.trusted.size,
        "root": plan.trusted.root.hex(),
        "known": plan.known,
        "signed": plan.signed,
        "lost": plan.lost,
        "follow": plan.unsigned + plan.waiting,
        "frozen": plan.is_frozen or applied,
        "begun": plan.is_begun or applied,
        "copy": plan.copy,
    }
