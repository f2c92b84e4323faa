"""`manage.py reindex_listings`: what the market's search knows, brought up to date."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand
from django.utils.translation import gettext as _

from licensing import search_documents

SAY_EVERY_SECONDS = 2.0


class Command(BaseCommand):
    help = (
        "Let the search find every listed offer: write what it lacks, and anew what an older "
        "version of this program wrote. Once after an upgrade; the same command goes on after a "
        "stop. The market stays open meanwhile."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        said = time.monotonic()

        def say(written: int, total: int) -> None:
            nonlocal said
            if time.monotonic() - said >= SAY_EVERY_SECONDS:
                said = time.monotonic()
                self.stderr.write(
                    _("%(written)s of %(total)s") % {"written": written, "total": total}
                )

        written = search_documents.reindex(say)
        self.stdout.write(_("%(written)s listings were indexed.") % {"written": written})
