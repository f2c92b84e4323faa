"""`manage.py import_directory`: a folder of this machine into a collection."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from marketplace import imports, organizations
from marketplace.access import acting
from marketplace.errors import DomainError
from marketplace.models import ImportJob, ImportRejection, Organization

SHOWN_MAX = 20


class Command(BaseCommand):
    help = (
        "Import every file below a folder. Stop it at any time: the same command goes on where "
        "it stopped. Files that cannot be imported are listed, each with its reason."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--organization", required=True, metavar="org_…")
        parser.add_argument("--collection", required=True, metavar="col_…")
        parser.add_argument(
            "--prefix",
            help="begins each work's external id (default: the folder's name)",
        )
        parser.add_argument("--json", action="store_true", help="end with one JSON object")

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        try:
            organization = Organization.objects.get(pk=options["organization"])
        except (Organization.DoesNotExist, ValidationError):
            raise CommandError(f"There is no organization {options['organization']}.") from None
        caller = organizations.operator(organization)
        root = folder.expanduser().resolve()
        prefix = root.name if options["prefix"] is None else options["prefix"]
        source = imports.Directory(root, prefix=prefix)
        self._begin = self._said = time.monotonic()
        try:
            job = imports.run(caller, options["collection"], source, report=self._report)
        except DomainError as error:
            raise CommandError(f"{error.data.get('param', 'import')}: {error.detail}") from None
        except KeyboardInterrupt:
            raise CommandError("Stopped. The same command goes on where it stopped.") from None
        with acting(caller, writing=False):
            self._sum_up(job, as_json=options["json"])

    def _report(self, job: ImportJob) -> None:
        if time.monotonic() - self._said >= 1:
            self._said = time.monotonic()
            self.stderr.write(self._line(job))

    def _line(self, job: ImportJob) -> str:
        return (
            f"{time.monotonic() - self._begin:5.1f} s  {job.imported} imported,"
            f" {job.repeated} repeated, {job.rejected} rejected,"
            f" {job.bytes_read / 1e6:.1f} MB read"
        )

    def _sum_up(self, job: ImportJob, *, as_json: bool) -> None:
        if as_json:
            summary = {
                name: getattr(job, name)
                for name in ("imported", "repeated", "rejected", "bytes_read", "status")
            }
            json.dump({"job": str(job.pk), **summary}, sys.stdout)
            self.stdout.write("")
            return
        self.stdout.write(self._line(job))
        rejections = ImportRejection.objects.filter(job=job).order_by("id")
        for code in sorted(set(rejections.values_list("code", flat=True))):
            names = list(rejections.filter(code=code).values_list("name", flat=True)[: SHOWN_MAX + 1])
            more = f" … all of them: GET /v1/imports/{job.pk}/rejections" * (len(names) > SHOWN_MAX)
            shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
            self.stdout.write(f"{code}: {imports.REASONS[code]} {shown}{more}")
