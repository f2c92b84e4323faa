"""The downloadable report of what an import left out: CSV, streamed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from marketplace import csv_cells
from marketplace.access import Caller, acting
from marketplace.imports.engine import rejections

COLUMNS = ("line", "field", "code", "detail", "external_id")
_PAGE = 5_000


def rejections_csv(caller: Caller, id: str) -> Iterator[str]:
    """The rejections of one of the caller's imports, a page at a time. Raises NotFound at once."""
    with acting(caller, writing=False):
        rejections(caller, id)
    return _pages(caller, id)


def _pages(caller: Caller, id: str) -> Iterator[str]:
    yield _text([COLUMNS])
    last = 0
    while True:
        # Short transactions: a slow reader must not hold one open.
        with acting(caller, writing=False):
            page = list(
                rejections(caller, id)
                .filter(pk__gt=last)
                .order_by("pk")
                .values_list("pk", "line", "field", "code", "detail", "name")[:_PAGE]
            )
        if not page:
            return
        last = page[-1][0]
        yield _text(row[1:] for row in page)


def _text(rows: Any) -> str:
    out = io.StringIO()
    csv_cells.Writer(out).rows(rows)
    return out.getvalue()
