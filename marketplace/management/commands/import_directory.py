"""`manage.py import_directory`: a folder of this machine into a collection."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Count
from django.utils.translation import gettext as _

from marketplace import imports, organizations
from marketplace.access import Caller, acting
from marketplace.errors import DomainError, printable
from marketplace.models import ImportJob, ImportRejection, Organization

SAY_EVERY_SECONDS = 1.0
NAMES_SHOWN = 3


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
        caller = organizations.operator(_organization(options["organization"]))
        source = imports.Directory(
            folder.expanduser(), prefix=options["prefix"], exclude=options["exclude"]
        )
        progress = Progress(source)
        try:
            with self._saying(progress):
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
            self.stdout.write(json.dumps(_as_json(caller, job)))
        else:
            self._sum_up(caller, job, progress)
        if job.imported + job.repeated == 0:
            raise CommandError(_("Nothing could be imported."))

    @contextmanager
    def _saying(self, progress: Progress) -> Iterator[None]:
        """Print a line of progress every so often, also while one file takes long."""
        done = threading.Event()

        def say() -> None:
            while not done.wait(SAY_EVERY_SECONDS):
                self.stderr.write(progress.line())

        thread = threading.Thread(target=say, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _sum_up(self, caller: Caller, job: ImportJob, progress: Progress) -> None:
        self.stdout.write(progress.line())
        for code, count, names in _left_out(caller, job):
            more = " …" if count > len(names) else ""
            shown = printable(", ".join(names)).replace("\n", "\\n")
            self.stdout.write(f"{code} ({count}): {imports.REASONS[code]} {shown}{more}")
        if job.rejected + job.repeated > 0:
            self.stdout.write(_("Each one: GET /v1/imports/%(job)s/rejections") % {"job": job.pk})


class Progress:
    """What an import has done so far, from its start or its resumption on."""

    def __init__(self, source: imports.Directory) -> None:
        self._source = source
        self._begin = time.monotonic()
        self._job: ImportJob | None = None

    def note(self, job: ImportJob) -> None:
        self._job = job

    def line(self) -> str:
        job = self._job or ImportJob()
        return _(
            "%(seconds)5.1f s  %(imported)s imported, %(repeated)s repeated,"
            " %(rejected)s rejected, %(megabytes).1f MB read"
        ) % {
            "seconds": time.monotonic() - self._begin,
            "imported": job.imported,
            "repeated": job.repeated,
            "rejected": job.rejected,
            "megabytes": self._source.bytes_read / 1e6,
        }


def _organization(id: str) -> Organization:
    try:
        return Organization.objects.get(pk=id)
    except (Organization.DoesNotExist, ValidationError):
        raise CommandError(_("There is no organization “%(id)s”.") % {"id": id}) from None


def _left_out(caller: Caller, job: ImportJob) -> list[tuple[str, int, list[str]]]:
    """Each reason with how many entries it left out, and the first names."""
    with acting(caller, writing=False):
        rejections = ImportRejection.objects.visible_to(caller).filter(job=job)
        counts = rejections.order_by("code").values_list("code").annotate(count=Count("id"))
        return [
            (
                code,
                count,
                list(
                    rejections.filter(code=code)
                    .order_by("id")
                    .values_list("name", flat=True)[:NAMES_SHOWN]
                ),
            )
            for code, count in counts
        ]


def _as_json(caller: Caller, job: ImportJob) -> dict[str, Any]:
    return {
        "import": str(job.pk),
        "status": job.status,
        "imported": job.imported,
        "repeated": job.repeated,
        "rejected": job.rejected,
        "bytes_read": job.bytes_read,
        "reasons": {code: count for code, count, _names in _left_out(caller, job)},
    }
