"""`manage.py import_croissant`: Croissant documents, each a collection of works by reference."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from marketplace import croissant, imports, organizations
from marketplace.access import acting
from marketplace.errors import DomainError, printable


class Command(BaseCommand):
    help = (
        "Import Croissant documents (MLCommons, JSON-LD). Each makes a draft collection; each of "
        "its files with a real SHA-256 becomes a work by reference, and each without one is a "
        "rejected row with its reason. Importing a document again adds what is new."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, nargs="+")
        parser.add_argument("--organization", required=True, metavar="org_…")

    def handle(self, *args: Any, file: list[Path], **options: Any) -> None:
        try:
            caller = organizations.operator(organizations.find(options["organization"]))
        except DomainError as error:
            raise CommandError(f"organization: {error.detail}") from None
        failed = 0
        for path in file:
            try:
                imported = croissant.run(caller, path)
            except DomainError as error:
                failed += 1
                param = error.data.get("param", "file")
                self.stderr.write(f"{path.name}: {param}: {error.detail}")
                continue
            job = imported.job
            self.stdout.write(
                _(
                    "%(file)s: %(works)s works, %(repeated)s known before, %(rejected)s rejected,"
                    " %(sets)s file sets left aside; collection %(collection)s"
                )
                % {
                    "file": path.name,
                    "works": job.imported,
                    "repeated": job.repeated,
                    "rejected": job.rejected,
                    "sets": imported.document.file_sets,
                    "collection": job.collection_id,
                }
            )
            with acting(caller, writing=False):
                left_out = list(imports.rejections(caller, str(job.pk)).order_by("id")[:1000])
            for code, count in sorted(Counter(row.code for row in left_out).items()):
                first = next(row for row in left_out if row.code == code)
                self.stdout.write(
                    f"  {code} ({count}): {printable(first.name)}: {printable(first.detail)}"
                )
        if failed == len(file):
            raise CommandError(_("None of these could be imported."))
