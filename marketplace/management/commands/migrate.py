"""Django's `migrate`, which then writes into the database whose tables these are."""

from __future__ import annotations

import gc
from typing import Any

from django.core.management.commands import migrate

from marketplace import schema_guard


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        # A first migration makes twenty thousand classes, which Python would count again and again
        # for garbage: a fifth of its time.
        usual = gc.get_threshold()
        gc.set_threshold(50_000, 20, 100)
        try:
            super().handle(*args, **options)
        finally:
            gc.set_threshold(*usual)
        if not (options["plan"] or options["check_unapplied"]):
            schema_guard.note_version()
