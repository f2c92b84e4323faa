"""`manage.py bootstrap_database`: create roles, login and database on a PostgreSQL server."""

from __future__ import annotations

import os
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from marketplace import devdb


class Command(BaseCommand):
    """For an operator, once per server, and again after an upgrade that says so."""

    help = (
        "Create the roles licet_owner and licet_app, and the logins and the database that "
        "DATABASE_URL (and DATABASE_OWNER_URL, if set) name, on the server that "
        "DATABASE_ADMIN_URL reaches as a login that may create roles and databases. Safe to "
        "repeat. The addresses come from the environment: arguments are readable by every process."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        urls = {
            name: os.environ.get(name, "").strip()
            for name in ("DATABASE_ADMIN_URL", "DATABASE_URL", "DATABASE_OWNER_URL")
        }
        for name in ("DATABASE_ADMIN_URL", "DATABASE_URL"):
            if not urls[name]:
                raise CommandError(_("Set %(name)s.") % {"name": name})
        try:
            devdb.bootstrap(
                urls["DATABASE_ADMIN_URL"],
                url=urls["DATABASE_URL"],
                owner_url=urls["DATABASE_OWNER_URL"],
            )
        except (devdb.DatabaseError, psycopg.Error) as error:
            raise CommandError(str(error).strip()) from error
        self.stdout.write(_("The database is ready: run `manage.py migrate` next."))
