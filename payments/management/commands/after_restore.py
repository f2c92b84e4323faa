"""Erases again, in a restored database, everybody who was erased since the backup."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from django.utils.translation import gettext as _

from licensing.ledger import stores
from marketplace.erasures import ErasureUnreadable
from payments import erasures

BROKEN, CANNOT_TELL = 1, 2


class Command(BaseCommand):
    help = (
        "Erase again, in a database that was restored from a backup, everybody on the list of"
        " erasures (LICET_ERASURES), before anybody sees it. Stopped in the middle, the same"
        " command goes on; run twice, it changes nothing. Exit code 0: done; 1: a file of the"
        " list was changed or is missing, and is named; 2: cannot tell, or the list is empty."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--empty", action="store_true", help="nobody was ever erased here")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            again = erasures.replay(may_be_empty=options["empty"])
        except (ErasureUnreadable, stores.StoreConflict) as error:
            raise CommandError(str(error), returncode=BROKEN) from error
        except (erasures.ListMissing, stores.StoreUnavailable, Error) as error:
            raise CommandError(str(error), returncode=CANNOT_TELL) from error
        said = {"known": again.known, "returned": again.returned}
        self.stdout.write(
            _("%(known)s erasures on the list, %(returned)s of them new to this database") % said
        )
        if not again.counts:
            self.stdout.write(_("Nothing was left to erase."))
        for kind, count in again.counts.items():
            self.stdout.write(f"  {count:>8}  {kind}")
