"""Django's `migrate`, which then writes into the database whose tables these are."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate

from marketplace import schema_guard


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        super().handle(*args, **options)
        if not (options["plan"] or options["check_unapplied"]):
            schema_guard.note_version()
