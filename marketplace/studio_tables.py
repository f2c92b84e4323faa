"""A table that a creator uploads in the studio, as works of a collection."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from marketplace import imports
from marketplace.access import Caller
from marketplace.errors import InvalidInput
from marketplace.models import ImportJob

# Read while the browser waits: some 70,000 works. More go through the API.
FILE_LENGTH_MAX = 10 * 1024 * 1024
_NAME_LENGTH_MAX = 100
_HEAD_LENGTH_MAX = 10_000


def bring_in(caller: Caller, collection_id: str, file: Any, *, dry_run: bool = False) -> ImportJob:
    """Import an uploaded CSV file. Raises NotFound, and InvalidInput for what is no such table."""
    if file.size > FILE_LENGTH_MAX:
        raise InvalidInput(
            _("The file is larger than %(max)s MiB. Bring it in through the API instead.")
            % {"max": FILE_LENGTH_MAX // 1024 // 1024},
            param="file",
        )
    name = "".join(one for one in file.name if one.isprintable())[:_NAME_LENGTH_MAX] or "works.csv"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "works.csv")
        with path.open("wb") as copy:
            for chunk in file.chunks():
                copy.write(chunk)
        return _run(caller, collection_id, path, name)


def _run(caller: Caller, collection_id: str, path: Path, name: str) -> ImportJob:
    return imports.run(caller, collection_id, _Table(path, name))


class _Table(imports.Records):
    """The rows of a small CSV file."""

    COLUMNS = ("external_id", "sha256", "length")

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        super().__init__([], name=name)

    def check(self) -> None:
        try:
            with self.path.open("rb") as file:
                head = file.readline(_HEAD_LENGTH_MAX).decode("utf-8-sig")
            columns = next(csv.reader([head.rstrip("\r\n")]), [])
        except (UnicodeDecodeError, csv.Error):
            raise InvalidInput(_("This is no CSV file in UTF-8."), param="file") from None
        for name in self.COLUMNS:
            if name not in columns:
                raise InvalidInput(
                    _("The first line names no column “%(name)s”.") % {"name": name}, param="file"
                )

    def entries(self, after: str) -> Iterator[imports.Record | imports.Rejected]:
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = csv.DictReader(file)
            try:
                for row in rows:
                    yield _entry(row)
            except csv.Error as error:
                raise InvalidInput(
                    _("Line %(line)s cannot be read: %(why)s.")
                    % {"line": rows.line_num + 1, "why": error},
                    param="file",
                ) from None


def _entry(row: dict[str, str]) -> imports.Record | imports.Rejected:
    name = row["external_id"] or "?"
    try:
        digest, length = bytes.fromhex(row["sha256"]), int(row["length"])
    except (ValueError, TypeError):
        return imports.Rejected(name, "digest_invalid")
    kept = {field: row.get(field) or "" for field in ("title", "source_url", "language")}
    return imports.Record(
        external_id=name,
        digest=digest,
        length=length,
        media_type=row.get("media_type") or "application/octet-stream",
        custody="reference",
        contributor=row.get("contributor") or "",
        **kept,
    )
