"""The rows that an import rejected, as they stood in its file: to correct, and to import again."""

from __future__ import annotations

import io
from collections.abc import Iterator

from django.utils.translation import gettext as _

from marketplace import csv_cells, uploads
from marketplace.access import Caller, acting
from marketplace.errors import InvalidInput
from marketplace.imports.engine import REASONS, rejections
from marketplace.imports.opening import open_table
from marketplace.imports.tables import CORRECTED, Csv
from marketplace.models import ImportJob
from marketplace.works import REPEATED

# What stands before the file's own columns. An import of the corrected file reads none of it.
ADDED = (CORRECTED, "licet_field", "licet_code", "licet_reason")
_PAGE = 5_000


def rejected_rows(caller: Caller, id: str) -> Iterator[str]:
    """CSV of the rows that an import of an uploaded CSV rejected, each with its reason before it.

    What was only repeated is not among them. Cells that a spreadsheet would run have an apostrophe
    before them, which an import of this file takes off again. Raises NotFound, InvalidInput for
    an import of something else, UploadWrongState where the upload is gone.
    """
    with acting(caller, writing=False):
        job = ImportJob.objects.get_visible(caller, id)
    if job.format != "csv" or not job.upload:
        raise InvalidInput(
            _("Only rows of an uploaded CSV file can be downloaded. Take the report instead."),
            param="import",
        )
    source = open_table(
        uploads.path(caller, job.upload),
        format="csv",
        columns=job.columns,
        constants=job.constants,
        ignored=job.ignored,
    )
    source.check()
    assert isinstance(source, Csv)
    return _lines(caller, id, source)


def _lines(caller: Caller, id: str, source: Csv) -> Iterator[str]:
    reasons = _rejected(caller, id)
    # Lines ascend in the rejections, as they do in the file: each is read once.
    told: dict[int, tuple[str, str, str]] = {}

    def wanted() -> Iterator[int]:
        for line, *reason in reasons:
            told[line] = (reason[0], reason[1], reason[2])
            yield line

    out = io.StringIO()
    writer = csv_cells.Writer(out)
    for n, (line, row) in enumerate(source.rows_at(wanted())):
        if line == 0:
            if row[: len(ADDED)] == list(ADDED):
                row = row[len(ADDED) :]
            writer.row([*ADDED, *row])
        else:
            # Of a corrected file: the apostrophes that it came with go before they come anew. What
            # somebody wrote there without one gets one, too.
            own = map(csv_cells.unescaped, row[len(ADDED) :]) if source.is_correction else row
            writer.row([line, *told.pop(line), *own])
        if n % 1_000 == 0:
            yield _taken(out)
    yield _taken(out)


def _taken(out: io.StringIO) -> str:
    text = out.getvalue()
    out.seek(0)
    out.truncate()
    return text


def _rejected(caller: Caller, id: str) -> Iterator[tuple[int, str, str, str]]:
    last = 0
    while True:
        # Short transactions: a slow reader must not hold one open.
        with acting(caller, writing=False):
            rows = rejections(caller, id).filter(pk__gt=last, line__isnull=False)
            page = list(
                rows.exclude(code=REPEATED)
                .order_by("pk")
                .values_list("pk", "line", "field", "code")[:_PAGE]
            )
        if not page:
            return
        last = page[-1][0]
        for _pk, line, field, code in page:
            yield int(line or 0), field, code, str(REASONS.get(code, code))
