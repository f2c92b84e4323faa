"""A first look at a file: what it is, its columns, and some of what they hold. Reads its begin."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from marketplace.errors import InvalidInput, printable
from marketplace.imports import tables
from marketplace.imports.opening import format_of
from marketplace.imports.parquet import Parquet

ROWS = 20
SAMPLES = 3
COLUMNS_MAX = 500
_SAMPLE_LENGTH_MAX = 80
_BEGIN = 1 << 20
_PACKED = {
    b"PK\x03\x04": "zip",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
}
# Bytes that are no UTF-8 and have no mark: what Windows in western languages writes.
_LIKELY_ELSE = "windows-1252"


@dataclass(frozen=True)
class Look:
    """What a file is. `refusal` says why it cannot be imported as it is, and what to do."""

    # "csv", "ndjson", "parquet", "json", "zip", "gzip", …; "unknown".
    kind: str
    encoding: str = ""
    delimiter: str = ""
    header: Sequence[str] = ()
    # Some values of each column that is named once.
    samples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # Of a Parquet file; None where they were not counted.
    rows: int | None = None
    refusal: str = ""


def look(path: Path) -> Look:
    """Look at a file's beginning. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        begin = file.read(_BEGIN)
    kind = _kind(path, begin)
    encoding = _encoding(begin) if kind in {"csv", "ndjson", "json"} else ""
    if not begin.strip():
        return Look(kind, encoding, refusal=_("The file is empty."))
    if kind in _PACKED.values():
        return Look(
            kind,
            refusal=_("The file is packed (%(kind)s). Unpack it, and choose what was in it.")
            % {"kind": kind},
        )
    if encoding.startswith("utf-16"):
        return Look(kind, encoding, refusal=_("The file is UTF-16. Save it as UTF-8."))
    if kind == "unknown":
        return Look(
            kind, refusal=_("This is no table. Choose a CSV, NDJSON, Parquet or Croissant file.")
        )
    if kind == "json":
        return Look(kind, encoding)
    try:
        return _looked(kind, path, encoding)
    except InvalidInput as error:
        return Look(kind, encoding, refusal=str(error.detail))


def _looked(kind: str, path: Path, encoding: str) -> Look:
    if kind == "parquet":
        names, rows, count = _of_parquet(path)
        return Look(kind, "", "", names, _samples(names, rows), count)
    if kind == "ndjson":
        names, rows = _of_ndjson(path)
        return Look(kind, encoding, "", names, _samples(names, rows))
    delimiter, names, cells = tables.Csv(path).begin(ROWS)
    return Look(kind, encoding, delimiter, names, _samples(names, cells))


def _kind(path: Path, begin: bytes) -> str:
    for mark, kind in _PACKED.items():
        if begin.startswith(mark):
            return kind
    found = format_of(path)
    is_utf16 = begin.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in begin[:2]
    if found == "csv" and b"\x00" in begin[:4096] and not is_utf16:
        return "unknown"
    if begin.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"%PDF", b"RIFF")):
        return "unknown"
    if found == "ndjson" and _is_one_object(begin):
        return "json"
    return found


def _is_one_object(begin: bytes) -> bool:
    """One JSON object over several lines, as Croissant documents are; or a line that is one."""
    first = begin.removeprefix(tables.BOM).lstrip().split(b"\n", 1)[0].strip()
    return first == b"{" or not first.endswith(b"}") or b'"@context"' in first


def _encoding(begin: bytes) -> str:
    if begin.startswith(tables.BOM):
        return "utf-8-sig"
    if begin.startswith(b"\xff\xfe") or begin[1:2] == b"\x00":
        return "utf-16-le"
    if begin.startswith(b"\xfe\xff") or begin[:1] == b"\x00":
        return "utf-16-be"
    try:
        # Its last character may be cut off.
        codecs.getincrementaldecoder("utf-8")().decode(begin)
    except UnicodeDecodeError:
        return _LIKELY_ELSE
    return "utf-8"


def _of_ndjson(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    names: dict[str, None] = {}
    rows = []
    for said in tables.Ndjson(path).begin(ROWS):
        names.update(dict.fromkeys(list(said)[:COLUMNS_MAX]))
        rows.append({key: _text(value) for key, value in said.items()})
    return list(names)[:COLUMNS_MAX], rows


def _of_parquet(path: Path) -> tuple[list[str], list[dict[str, str]], int]:
    names, rows, count = Parquet(path).begin(ROWS)
    return names, [{key: _text(value) for key, value in row.items()} for row in rows], count


def _samples(
    names: Sequence[str], rows: Iterable[Mapping[str, str] | Sequence[str]]
) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in names}
    for row in rows:
        said = row if isinstance(row, Mapping) else dict(zip(names, row, strict=False))
        for name in found:
            value = said.get(name, "")
            if value and len(found[name]) < ROWS:
                found[name].append(value)
    return found


def shown(value: str) -> str:
    """A sample as a page shows it."""
    text = printable(value[: _SAMPLE_LENGTH_MAX + 1])
    return text if len(text) <= _SAMPLE_LENGTH_MAX else f"{text[:_SAMPLE_LENGTH_MAX]}…"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.hex() if isinstance(value, bytes) else str(value)
