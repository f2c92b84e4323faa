"""`manage.py devdb`: look at, enter, stop or delete the embedded PostgreSQL of development."""

from __future__ import annotations

import os
import sys
from argparse import REMAINDER
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from marketplace import devdb


class Command(BaseCommand):
    """The embedded server is started by whatever needs it; this is for the rest of its life."""

    help = "The embedded PostgreSQL of development and tests."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        verbs.add_parser("status", help="say whether it runs, where, and how large it is")
        verbs.add_parser("start", help="start it, making it on first use")
        verbs.add_parser("stop", help="stop it; whatever needs it next starts it again")
        psql = verbs.add_parser("psql", help="open psql on it, as its superuser")
        psql.add_argument(
            "--role", default="", help=f"act as this role ({devdb.APP}, {devdb.OWNER}) instead"
        )
        psql.add_argument("arguments", nargs=REMAINDER, help="handed to psql, after --")
        reset = verbs.add_parser("reset", help="stop it and delete all of its data")
        reset.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        data_dir = devdb.data_directory(os.environ, settings.BASE_DIR)
        verb: str = options["verb"]
        if verb == "status":
            self._status(devdb.status(data_dir))
        elif verb == "start":
            devdb.ensure(data_dir, report=self.stdout.write)
            self._status(devdb.status(data_dir))
        elif verb == "stop":
            stopped = devdb.stop(data_dir)
            self.stdout.write(_("Stopped.") if stopped else _("It was not running."))
        elif verb == "psql":
            devdb.ensure(data_dir)
            words = [word for word in options["arguments"] if word != "--"]
            devdb.psql(data_dir, words, role=options["role"])
        else:
            self._reset(sure=options["yes"])

    def _status(self, status: devdb.Status) -> None:
        if status.running:
            state = _("running, PostgreSQL %(version)s, %(size).1f MB") % {
                "version": status.version,
                "size": status.size_bytes / 1e6,
            }
        elif status.initialized:
            state = _("stopped")
        else:
            state = _("not made yet")
        self.stdout.write(f"{state}\n{_('data')}: {status.data_dir}\n{_('url')}: {status.url}")

    def _reset(self, *, sure: bool) -> None:
        data_dir = devdb.data_directory(os.environ, settings.BASE_DIR)
        if not sure:
            if not sys.stdin.isatty():
                raise CommandError(_("This deletes the development database: add --yes."))
            question = _("Delete the development database in %(place)s? [y/N] ")
            if input(question % {"place": data_dir}).strip().lower() not in {"y", "yes"}:
                raise CommandError(_("Nothing was deleted."))
        devdb.reset(data_dir)
        self.stdout.write(_("Deleted. `manage.py migrate` makes an empty one."))
