"""Checks the audit against what the ledger has of it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from licensing import audit_check
from licensing.ledger.fsck import Broken, CannotTell
from licensing.management.progress import Meter

BROKEN, CANNOT_TELL = 1, 2


class Command(BaseCommand):
    help = (
        "Recompute every leaf and root of the audit from its rows, and compare them with what the"
        " ledger has. Exit code 0: sound; 1: broken, and the first bad act or root is named; 2:"
        " cannot tell (no root yet, no worker, acts lost with a restored backup). The ledger"
        " itself is checked by ledger_fsck."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with Meter(self.stderr, "audit", "acts") as meter:
                checked = audit_check.check(meter.show)
        except Broken as error:
            raise CommandError(f"audit: BROKEN: {error}", returncode=BROKEN) from error
        except (CannotTell, DatabaseError) as error:
            raise CommandError(f"audit: cannot tell: {error}", returncode=CANNOT_TELL) from error
        self.stdout.write(
            f"audit: sound: {checked.acts:,} acts, {checked.roots:,} roots;"
            f" {checked.since:,} acts since, for which no root vouches yet"
        )
