"""`manage.py import_directory`: a folder of this machine into a collection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from marketplace import imports, organizations
from marketplace.errors import DomainError
from marketplace.management.importing import Progress, as_json, organization, saying, sum_up


class Command(BaseCommand):
    help = (
        "Import every file below a folder. Stop it at any time: the same command goes on where "
        "it stopped. What cannot be imported is listed with its reasons, and costs nothing else."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--organization", required=True, metavar="org_…")
        parser.add_argument("--collection", required=True, metavar="col_…")
        parser.add_argument(
            "--prefix",
            help="begins each work's external id (default: the folder's name)",
        )
        parser.add_argument(
            "--exclude",
            action="append",
            default=[],
            metavar="NAME",
            help="leave folders of this name out (may be given more than once)",
        )
        parser.add_argument(
            "--json", action="store_true", help="print one JSON object instead of the summary"
        )

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        caller = organizations.operator(organization(options["organization"]))
        source = imports.Directory(
            folder.expanduser(), prefix=options["prefix"], exclude=options["exclude"]
        )
        progress = Progress(source)
        try:
            with saying(self.stderr, progress):
                job = imports.run(caller, options["collection"], source, report=progress.note)
        except DomainError as error:
            raise CommandError(f"{error.data.get('param', 'import')}: {error.detail}") from None
        except OSError as error:
            raise CommandError(
                _("The store of works cannot be written: %(why)s. The same command goes on.")
                % {"why": error.strerror}
            ) from None
        except KeyboardInterrupt:
            raise CommandError(_("Stopped. The same command goes on where it stopped.")) from None
        if options["json"]:
            self.stdout.write(as_json(caller, job))
        else:
            sum_up(self.stdout, caller, job, progress)
        if job.imported + job.repeated == 0:
            raise CommandError(_("Nothing could be imported."))
