"""Which source reads a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from django.utils.translation import gettext as _

from marketplace.errors import InvalidInput
from marketplace.imports.parquet import Parquet
from marketplace.imports.tables import BOM, Csv, Ndjson, Table

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
}
_SOURCES: dict[str, type[Table]] = {"csv": Csv, "ndjson": Ndjson, "parquet": Parquet}
FORMATS = tuple(_SOURCES)


def open_table(
    path: Path,
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, str] | None = None,
    ignored: Iterable[str] = (),
    feed: bool = False,
    name: str = "",
) -> Table:
    """A source that reads a file of works. Raises InvalidInput for a format that is none.

    `columns` says which column stands for which field, `constants` what each row has that no
    column says, and `ignored` which columns stand for nothing.
    """
    if format == "auto":
        format = "ndjson" if feed else format_of(path)
    if format not in _SOURCES:
        raise InvalidInput(
            _("Use one of: %(known)s.") % {"known": ", ".join(FORMATS)}, param="format"
        )
    if feed and format != "ndjson":
        raise InvalidInput(_("An update feed is NDJSON."), param="format")
    return _SOURCES[format](
        path, columns=columns, constants=constants, ignored=ignored, feed=feed, name=name
    )


def format_of(path: Path) -> str:
    """The format that a file's name or first bytes show."""
    known = _SUFFIXES.get(path.suffix.lower())
    if known is not None:
        return known
    try:
        with path.open("rb") as file:
            begin = file.read(4096)
    except OSError:
        return "csv"  # reading it will say why not
    if begin.startswith(b"PAR1"):
        return "parquet"
    return "ndjson" if begin.removeprefix(BOM).lstrip().startswith(b"{") else "csv"
