"""`manage.py import_works`: a table of works by reference into a collection."""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from licensing import optouts
from marketplace import imports, organizations
from marketplace.errors import DomainError
from marketplace.management.importing import Progress, as_json, organization, saying, sum_up

EPILOG = """\
The file names works by reference, one a row: external_id, sha256 (64 hexadecimal digits) and
length (bytes) are required; media_type, title, source_url, language (BCP 47), revision,
contributor, contributor_name, contributor_email, consent (granted, refused, withdrawn, unknown),
text_nfc_lf_v1, iscc, identifier_url, isbn and isrc are kept where they are there.

  manage.py import_works posts.csv --organization org_… --collection col_… \\
      --column sha256=hash --column length=size

Stop it at any time: the same command goes on where it stopped. A bad row costs no good one;
--rejections FILE lists each with its line, field and reason.

exit codes: 0 all rows are in (or were before); 3 finished, and some rows were rejected;
1 refused, or stopped before the end (the same command goes on); 2 the command line is wrong
"""
EXIT_SOME_REJECTED = 3


class Command(BaseCommand):
    help = "Import works by reference from CSV, NDJSON or Parquet, or apply an update feed."

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(
            *args, formatter_class=RawDescriptionHelpFormatter, epilog=EPILOG, **kwargs
        )
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--organization", required=True, metavar="org_…")
        parser.add_argument("--collection", required=True, metavar="col_…")
        parser.add_argument(
            "--format",
            choices=["auto", *imports.FORMATS],
            default="auto",
            help="default: what the file's name or beginning shows",
        )
        parser.add_argument(
            "--column",
            action="append",
            default=[],
            metavar="FIELD=NAME",
            help="the column NAME stands for FIELD (may be given more than once)",
        )
        parser.add_argument(
            "--feed",
            action="store_true",
            help='NDJSON of changes: each line has "op": "upsert" or "delete"',
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="check and report everything, write nothing"
        )
        parser.add_argument(
            "--anew", action="store_true", help="begin again where an earlier run stopped"
        )
        parser.add_argument(
            "--rejections", type=Path, metavar="FILE", help="write the rejected rows there, as CSV"
        )
        parser.add_argument(
            "--json", action="store_true", help="print one JSON object instead of the summary"
        )

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        caller = organizations.operator(organization(options["organization"]))
        try:
            source = imports.open_table(
                file.expanduser(),
                format=options["format"],
                columns=_columns(options["column"]),
                feed=options["feed"],
            )
            progress = Progress(source)
            with saying(self.stderr, progress):
                job = imports.run(
                    caller,
                    options["collection"],
                    source,
                    report=progress.note,
                    taken=optouts.of_feed,
                    dry_run=options["dry_run"],
                    anew=options["anew"],
                )
        except DomainError as error:
            raise CommandError(f"{error.data.get('param', 'import')}: {error.detail}") from None
        except OSError as error:
            raise CommandError(
                _("The file cannot be read: %(why)s. The same command goes on.")
                % {"why": error.strerror}
            ) from None
        except KeyboardInterrupt:
            raise CommandError(_("Stopped. The same command goes on where it stopped.")) from None
        if options["rejections"] is not None:
            with options["rejections"].open("w", encoding="utf-8", newline="") as report:
                report.writelines(imports.rejections_csv(caller, str(job.pk)))
        if options["json"]:
            self.stdout.write(as_json(caller, job))
        else:
            sum_up(self.stdout, caller, job, progress)
        if job.status == job.Status.CANCELED:
            raise CommandError(_("The import was canceled. What it had imported stays."))
        if job.rejected:
            raise CommandError(
                _("%(count)s rows were rejected.") % {"count": job.rejected},
                returncode=EXIT_SOME_REJECTED,
            )


def _columns(said: list[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for text in said:
        field, equals, name = text.partition("=")
        if not equals or not field or not name or field in columns:
            raise CommandError(
                _("--column takes FIELD=NAME, once a field, such as sha256=hash."), returncode=2
            )
        columns[field] = name
    return columns
