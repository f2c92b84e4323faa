"""Tables as sources of works by reference: CSV and NDJSON, row by row in bounded memory."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, NoReturn

from django.utils.translation import gettext as _

from marketplace import csv_cells
from marketplace.errors import InvalidInput, printable
from marketplace.imports import rows
from marketplace.imports.engine import Entry, Rejected, Source

# No row is longer; what is longer is skipped without being kept.
ROW_LENGTH_MAX = 1 << 20
_PREFIX = 1 << 20
_CHUNK = 1 << 20
BOM = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t|"
# The first column of a file of rejected rows (`corrections`).
CORRECTED = "licet_line"


class Table(Source):
    """A file of rows. The mark is the place after a row, as `line:offset` (bytes)."""

    can_read_ahead = True

    def __init__(
        self,
        path: Path,
        *,
        name: str = "",
        columns: Mapping[str, str] | None = None,
        constants: Mapping[str, str] | None = None,
        ignored: Iterable[str] = (),
        feed: bool = False,
    ) -> None:
        self.path = path
        self.feed = feed
        self.columns = dict(columns or {})
        self.constants = dict(constants or {})
        self.ignored = tuple(ignored)
        self._line, self._offset = 0, 0
        self.name = self._named(name or path.name)

    def check(self) -> None:
        try:
            found = self.path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise InvalidInput(_("This is not a regular file."), param="file")
            self.length = found.st_size
            with self.path.open("rb") as file:
                begin = file.read(_PREFIX)
                self.fingerprint = f"{hashlib.sha256(begin).hexdigest()}:{found.st_size}"
                file.seek(0)
                self.check_content(begin, file)
        except OSError as error:
            raise InvalidInput(
                _("The file cannot be read: %(why)s.") % {"why": error.strerror}, param="file"
            ) from None

    def check_content(self, begin: bytes, file: IO[bytes]) -> None:
        """Raise InvalidInput where this is no file of the format, or lacks a column."""
        raise NotImplementedError

    def mark(self) -> str:
        return f"{self._line}:{self._offset}"

    def read_so_far(self) -> int:
        return self._offset

    def _named(self, shown: str) -> str:
        """The file's own name, and a mark of all that decides what its rows mean."""
        decides: list[Any] = [
            os.fspath(self.path.absolute()),
            self.format,
            self.feed,
            self.columns,
        ]
        if self.constants or self.ignored:
            # Only then: what stopped before there were any is found again.
            decides += [self.constants, self.ignored]
        said = json.dumps(decides)
        mark = hashlib.sha256(said.encode(errors="surrogateescape")).hexdigest()[:8]
        return f"file {printable(shown)[:200]} ({mark})"

    def _go_to(self, after: str) -> bool:
        """Set the place to begin from; True where it is not the beginning."""
        line, _colon, offset = after.partition(":")
        self._line, self._offset = (int(line), int(offset)) if after else (0, 0)
        return bool(after)


class Csv(Table):
    """Comma-separated values with a header (RFC 4180), in UTF-8; `;`, tab and `|` separate too."""

    format = "csv"
    _places: list[int]
    # What is put after each row, so that constants, too, have a place in it.
    _tail: list[str]
    # A file of rejected rows that came back: its cells were escaped for spreadsheets.
    is_correction: bool
    _width: int
    _delimiter: str
    # Where the first row begins.
    _begin: tuple[int, int]

    def check_content(self, begin: bytes, file: IO[bytes]) -> None:
        check_encoding(begin)
        lines = _Lines(file)
        if begin.startswith(BOM):
            lines.go_to(0, len(BOM))
        place = lines.place
        refusal = None
        for delimiter in _DELIMITERS:
            lines.go_to(*place)
            header = _header(lines, delimiter)
            try:
                places = rows.place(
                    header,
                    self.columns,
                    feed=self.feed,
                    constants=self.constants,
                    ignored=self.ignored,
                )
            except InvalidInput as error:
                # What the comma says is what is told.
                refusal = refusal or error
                continue
            self._set_places(places)
            self.is_correction = header[0].strip() == CORRECTED
            self._width, self._delimiter, self._begin = len(header), delimiter, lines.place
            return
        assert refusal is not None
        raise refusal

    def entries(self, after: str) -> Iterator[Entry]:
        if not self._go_to(after):
            self._line, self._offset = self._begin
        with self.path.open("rb") as file:
            lines = _Lines(file)
            lines.go_to(self._line, self._offset)
            for line, row in _rows(lines, self._delimiter):
                found = self._entry(line, row)
                self._line, self._offset = lines.place
                if found is not None:
                    yield found

    def _entry(self, line: int, row: list[str] | Rejected) -> Entry | None:
        if isinstance(row, Rejected):
            return row
        if not row:
            return None
        if len(row) != self._width:
            name = row[self._places[0]] if self._places[0] < len(row) else ""
            return Rejected(
                printable(name[:1000]),
                "wrong_column_count",
                f"{len(row)} != {self._width}",
                line=line,
            )
        if self.is_correction:
            row = [csv_cells.unescaped(text) for text in row]
        row += self._tail
        return rows.entry(line, [row[place] for place in self._places], feed=self.feed)

    def begin(self, most: int) -> tuple[str, list[str], list[list[str]]]:
        """What separates, the header, and its first rows. Raises InvalidInput for no header.

        The separator is the one that makes the most columns.
        """
        with self.path.open("rb") as file:
            bom = file.read(len(BOM)) == BOM
            lines = _Lines(file)
            found: tuple[str, list[str], tuple[int, int]] | None = None
            for delimiter in _DELIMITERS:
                lines.go_to(0, len(BOM) if bom else 0)
                header = _header(lines, delimiter)
                if found is None or len(header) > len(found[1]):
                    found = delimiter, header, lines.place
            assert found is not None
            delimiter, header, place = found
            lines.go_to(*place)
            read = (row for _line, row in _rows(lines, delimiter) if isinstance(row, list) and row)
            return delimiter, header, list(islice(read, most))

    def rows_at(self, wanted: Iterable[int]) -> Iterator[tuple[int, list[str]]]:
        """The header (as line 0) and the rows that begin on the wanted lines, which ascend.

        A line that cannot be read as a row comes as one cell.
        """
        with self.path.open("rb") as file:
            lines = _Lines(file)
            lines.go_to(0, len(BOM) if file.read(len(BOM)) == BOM else 0)
            yield 0, _header(lines, self._delimiter)
            sought = iter(wanted)
            due = next(sought, None)
            for line, row in _rows(lines, self._delimiter):
                while due is not None and due < line:
                    due = next(sought, None)
                if due is None:
                    return
                if line == due:
                    yield line, row if isinstance(row, list) else []

    def _set_places(self, places: list[int]) -> None:
        # From the row's end: at -1 is what nobody says.
        self._tail = [*self.constants.values(), ""]
        for n, name in enumerate(self.constants):
            places[rows.NAMES.index(name)] = n - len(self._tail)
        self._places = places


class Ndjson(Table):
    """One JSON object a line, in UTF-8."""

    format = "ndjson"

    def check_content(self, begin: bytes, file: IO[bytes]) -> None:
        check_encoding(begin)
        known = rows.known_columns(self.columns, self.constants)
        self._fields = {key: known[key] for key in known if key not in self.ignored}
        self._nothing = [self.constants.get(name, "") for name in rows.NAMES]
        if not begin.strip():
            raise InvalidInput(_("The file is empty."), param="file")
        self._begin = len(BOM) if begin.startswith(BOM) else 0

    def entries(self, after: str) -> Iterator[Entry]:
        if not self._go_to(after):
            self._offset = self._begin
        with self.path.open("rb") as file:
            file.seek(self._offset)
            while text := file.readline(ROW_LENGTH_MAX + 1):
                length, ended = len(text), text.endswith(b"\n")
                if not ended and length > ROW_LENGTH_MAX:
                    length += _rest_of_line(file)
                    ended, text = True, b""
                self._line, self._offset = self._line + 1, self._offset + length
                if not text:
                    yield _too_long(self._line)
                elif not text.isspace():
                    yield self._entry(self._line, text, ended)

    def begin(self, most: int) -> Iterator[dict[str, Any]]:
        """The first objects of the file; what is none is passed over."""
        with self.path.open("rb") as file:
            if file.read(len(BOM)) != BOM:
                file.seek(0)
            for text in islice(iter(partial(file.readline, ROW_LENGTH_MAX + 1), b""), most):
                with suppress(rows.Refused):
                    yield _object(text)

    def _entry(self, line: int, text: bytes, ended: bool) -> Entry:
        try:
            said = _object(text)
        except rows.Refused as refused:
            code = refused.code if ended or refused.code != "malformed" else "cut_off"
            return Rejected("", code, refused.detail, line=line)
        values = self._nothing.copy()
        try:
            self._take(said, values)
        except rows.Refused as refused:
            return Rejected(
                printable(values[0][:1000]), refused.code, refused.detail, refused.field, line
            )
        return rows.entry(line, values, feed=self.feed)

    def _take(self, said: dict[str, Any], values: list[str]) -> None:
        """Put what the object says into the order of the fields, as text."""
        names = self._fields
        exact: set[str] = set()
        for key, value in said.items():
            field = names.get(key)
            if field is None or value is None or field in exact:
                continue
            n = rows.NAMES.index(field)
            if type(value) is str:
                values[n] = value
            elif (type(value) is int and field in rows.WHOLE_NUMBERS) or (
                type(value) is float and field in rows.COUNTED
            ):
                values[n] = str(value)
            else:
                raise rows.Refused(field, "wrong_type", type(value).__name__)
            if key == field or field in self.columns:
                # The field's own name comes before its aliases.
                exact.add(field)


def check_encoding(begin: bytes) -> None:
    """Raise InvalidInput for what is plainly no UTF-8 text."""
    if begin.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in begin[:2]:
        raise InvalidInput(_("The file is UTF-16. Save it as UTF-8."), param="file")
    if begin.startswith((b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"BZh")):
        raise InvalidInput(_("The file is packed. Unpack it first."), param="file")
    if begin.startswith(b"PAR1"):
        raise InvalidInput(_("The file is Parquet. Use --format parquet."), param="file")


# --- CSV --------------------------------------------------------------------------------------


class _TooLong(Exception):
    """A row grew past what is kept."""


class _Lines:
    """A file's lines as text, with their places, for a csv.reader. `begin_row` starts counting."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.line, self.offset = 0, 0
        self._row_length = 0
        # The place after the row's first line: where to go on if the row is broken.
        self.second = (0, 0)

    @property
    def place(self) -> tuple[int, int]:
        return self.line, self.offset

    def go_to(self, line: int, offset: int) -> None:
        self._file.seek(offset)
        self.line, self.offset = line, offset
        self.begin_row()

    def begin_row(self) -> None:
        self._row_length = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        text = self._file.readline(ROW_LENGTH_MAX + 1)
        if not text:
            raise StopIteration
        self.line += 1
        self.offset += len(text)
        if not self._row_length:
            self.second = self.line, self.offset
        self._row_length += len(text)
        if self._row_length > ROW_LENGTH_MAX:
            raise _TooLong
        # Bytes that are no UTF-8 cost the field that holds them, if it is one of ours.
        return text.decode("utf-8", "surrogateescape")

    def skip_row(self, begin: tuple[int, int], delimiter: str) -> bool:
        """Go past a row that is too long, keeping nothing. False where its quote never closes."""
        self.go_to(*begin)
        field = delimiter.encode()
        opens = re.compile(b"\n|" + re.escape(field) + b'"')
        is_quoted = has_closed = False
        is_first = True
        while chunk := self._file.read(_CHUNK):
            at = 0
            if not is_quoted and chunk.startswith(b'"') and (is_first or has_closed):
                is_quoted, at = True, 1
            while at < len(chunk):
                if is_quoted:
                    at = chunk.find(b'"', at) + 1
                    if not at:
                        break
                    # A second one is a quote of the text: the field goes on.
                    is_quoted = chunk[at : at + 1] == b'"'
                    at += is_quoted
                    continue
                found = opens.search(chunk, at)
                if found is None:
                    break
                at = found.end()
                if found.group() == b"\n":
                    self.line += chunk.count(b"\n", 0, at)
                    self.offset += at
                    self._file.seek(self.offset)
                    self.begin_row()
                    return True
                is_quoted = True
            self.line += chunk.count(b"\n")
            self.offset += len(chunk)
            has_closed = not is_quoted and chunk.endswith(b'"')
            is_first = not is_quoted and chunk.endswith(field)
        self.begin_row()
        return not is_quoted

    def skip_line(self, begin: tuple[int, int]) -> None:
        """Go past one line, however long."""
        self.go_to(*begin)
        self.offset += _rest_of_line(self._file)
        self.line += 1


def _header(lines: _Lines, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(lines, delimiter=delimiter, strict=True))
    except StopIteration:
        raise InvalidInput(_("The file is empty."), param="file") from None
    except (_TooLong, csv.Error):
        raise InvalidInput(
            _("The first line is no header: it must name the columns."), param="file"
        ) from None


def _rows(lines: _Lines, delimiter: str) -> Iterator[tuple[int, list[str] | Rejected]]:
    """Rows with the line they begin on. A broken row costs its first line, and no other row."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        begin = lines.place
        number = begin[0] + 1
        lines.begin_row()
        try:
            yield number, next(reader)
        except StopIteration:
            return
        except (_TooLong, csv.Error) as error:
            if isinstance(error, _TooLong) or "field limit" in str(error):
                yield number, _skip(lines, begin, number, delimiter)
                continue
            lines.go_to(*lines.second)
            is_open = "unexpected end" in str(error)
            yield number, Rejected("", "unclosed_quote" if is_open else "malformed", line=number)


def _skip(lines: _Lines, begin: tuple[int, int], number: int, delimiter: str) -> Rejected:
    if lines.skip_row(begin, delimiter):
        return _too_long(number)
    lines.skip_line(begin)
    return Rejected("", "unclosed_quote", line=number)


def _too_long(line: int) -> Rejected:
    return Rejected(
        "", "field_too_long", f"the row is longer than {ROW_LENGTH_MAX} bytes", line=line
    )


def _rest_of_line(file: IO[bytes]) -> int:
    """Read to the line's end, keeping nothing; returns how many bytes that was."""
    length = 0
    while text := file.readline(ROW_LENGTH_MAX):
        length += len(text)
        if text.endswith(b"\n"):
            break
    return length


# --- NDJSON -----------------------------------------------------------------------------------


class _Twice(ValueError):
    """A key that an object says twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for key, _value in pairs:
            if key in seen:
                raise _Twice(printable(key[:100]))
            seen.add(key)
    return made


def _refuse(_text: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


_decode = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse).decode


def _object(text: bytes) -> dict[str, Any]:
    """A line's object. Raises Refused."""
    try:
        said = _decode(text.decode())
    except UnicodeDecodeError:
        raise rows.Refused("", "not_utf8") from None
    except _Twice as twice:
        raise rows.Refused("", "duplicate_key", str(twice)) from None
    except RecursionError:
        raise rows.Refused("", "nested_too_deeply") from None
    except ValueError as error:
        raise rows.Refused("", "malformed", str(error).partition(": line")[0]) from None
    if not isinstance(said, dict):
        raise rows.Refused("", "not_an_object", type(said).__name__)
    return said
