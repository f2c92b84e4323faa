"""Rebuilds the tail of a log that a restored database has lost."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from django.utils.translation import gettext as _

from licensing.ledger import commitments, guard, recovery, signer, stores
from licensing.ledger.log import LOGS, LedgerCorrupted
from licensing.management.progress import Meter

BROKEN, CANNOT_TELL = 1, 2


class Command(BaseCommand):
    help = (
        "Bring back the entries that a restored database lost, from the log's copy (LEDGER_EXPORT),"
        " once server and worker are stopped. Says what it would do; --apply does it. Lists the"
        " entries whose grants and other subjects are to be created again from the parties'"
        " receipts: the copy does not hold them. Stopped in the middle, the same command goes on."
        " Exit code 0: done, or nothing is missing; 1: this copy cannot rebuild the log, or this"
        " database is in the way; 2: cannot tell."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--log", choices=LOGS, required=True)
        parser.add_argument("--apply", action="store_true", help="do it")
        parser.add_argument(
            "--from",
            dest="source",
            metavar="COPY",
            default="",
            help="a directory, or s3://bucket/prefix; default: LICET_LEDGER_EXPORT",
        )
        parser.add_argument("--json", action="store_true", help="write one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        source = options["source"] or settings.LEDGER_EXPORT
        if not source:
            raise CommandError(
                _("The log has no copy: set LICET_LEDGER_EXPORT, or name one with --from."),
                returncode=CANNOT_TELL,
            )
        try:
            log = recovery.generation(options["log"])
            self._recover(log, source, apply=options["apply"], as_json=options["json"])
        except (recovery.RecoveryRefused, guard.GuardRefused, LedgerCorrupted) as error:
            unreadable = isinstance(error, guard.GuardUnreadable)
            raise CommandError(
                str(error), returncode=CANNOT_TELL if unreadable else BROKEN
            ) from error
        except (
            recovery.RecoveryBusy,
            signer.KeyUnusable,
            stores.StoreUnavailable,
            Error,
        ) as error:
            raise CommandError(str(error), returncode=CANNOT_TELL) from error

    def _recover(self, log: str, source: str, *, apply: bool, as_json: bool) -> None:
        store = stores.open_store(source)
        with Meter(self.stderr, f"{log}: checking", "entries") as meter:
            plan = recovery.plan(log, store, meter.show)
        if apply and plan.is_needed:
            with Meter(self.stderr, f"{log}: recovering", "entries") as meter:
                recovery.apply(plan, meter.show)
        orphans = recovery.orphans(log)
        if not apply:
            orphans += plan.lost
        if as_json:
            self.stdout.write(json.dumps(_document(plan, orphans, applied=apply), indent=2))
        else:
            for line in _lines(plan, orphans, applied=apply):
                self.stdout.write(line)


def _lines(plan: recovery.Plan, orphans: list[recovery.Orphan], *, applied: bool) -> list[str]:
    said = {
        "log": plan.log,
        "store": plan.store,
        "size": plan.size,
        "target": plan.target.size,
        "lost": max(0, plan.target.size - plan.size),
        "held": plan.held,
        "waiting": plan.waiting,
    }
    lines = [_("%(log)s: %(size)s entries here, %(target)s signed") % said]
    if not plan.is_needed:
        lines.append(_("Nothing is missing."))
    elif not applied:
        lines.append(
            _("Would give %(lost)s entries their places again, %(held)s of them waiting here.")
            % said
        )
    else:
        lines.append(
            _("Gave %(lost)s entries their places again, %(held)s of them had waited here.") % said
        )
    if plan.waiting:
        lines.append(_("%(waiting)s newer entries wait here and follow them.") % said)
    if plan.is_needed and not applied:
        lines.append(_("Nothing was changed. Run this again with --apply."))
    if orphans and not applied:
        lines.append(_("To be created again afterwards, from the parties' receipts:"))
    elif orphans:
        lines.append(_("Create again, from the parties' receipts:"))
    for each in orphans:
        ref = f"{commitments.ref_name(each.body.kind)} {each.body.subject_ref.hex()}"
        at = commitments.timestamp(each.body.at)
        lines.append(f"  {each.index}  {each.body.kind}  {ref}  seq {each.body.seq}  {at}")
    return lines


def _document(
    plan: recovery.Plan, orphans: list[recovery.Orphan], *, applied: bool
) -> dict[str, Any]:
    return {
        "log": plan.log,
        "copy": str(plan.store),
        "size_before": plan.size,
        "size_signed": plan.target.size,
        "held": plan.held,
        "waiting": plan.waiting,
        "needed": plan.is_needed,
        "applied": applied and plan.is_needed,
        "without_subject": [
            {
                "index": each.index,
                "kind": each.body.kind,
                commitments.ref_name(each.body.kind): each.body.subject_ref.hex(),
                "seq": each.body.seq,
                "at": commitments.timestamp(each.body.at),
            }
            for each in orphans
        ],
    }
