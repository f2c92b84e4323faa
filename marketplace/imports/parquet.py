"""Parquet files as sources of works by reference. Needs the extra `parquet` (pyarrow)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from marketplace.errors import InvalidInput, printable
from marketplace.imports import rows
from marketplace.imports.engine import Entry, Rejected
from marketplace.imports.tables import Table

if TYPE_CHECKING:
    import pyarrow.parquet

# What is decoded at once. Dictionaries stay dictionaries until a row is read: a long value that a
# million rows share is held once.
_BATCH_BYTES = 16 << 20
_BATCH_ROWS_MAX = 4096
# Of our columns, unpacked. Writers cut at 128 MiB or a million rows.
_ROW_GROUP_BYTES_MAX = 1 << 30


class Parquet(Table):
    """A Parquet file whose columns are text, whole numbers, or (for SHA-256) 32 bytes.

    A row's line is its number, from 1. What a damaged row group holds is rejected as a whole.
    """

    format = "parquet"
    # For each of rows.FIELDS, its column's name; "" where no column says it.
    _names: list[str]

    def check_content(self, begin: bytes, file: IO[bytes]) -> None:
        if not begin.startswith(b"PAR1"):
            raise InvalidInput(_("This is no Parquet file."), param="file")
        with self._open() as found:
            schema = found.schema_arrow
            places = rows.place(
                schema.names,
                self.columns,
                feed=self.feed,
                constants=self.constants,
                ignored=self.ignored,
            )
            self._names = [schema.names[place] if place >= 0 else "" for place in places]
            for name, field in zip(self._names, rows.FIELDS, strict=True):
                if name:
                    _check_type(field.name, name, schema.field(name).type)
            self._check_row_groups(found)

    def begin(self, most: int) -> tuple[list[str], list[dict[str, Any]], int]:
        """The columns' names, the first rows, and how many there are. Raises InvalidInput."""
        with self._open() as found:
            names, count = list(found.schema_arrow.names), int(found.metadata.num_rows)
            # Looking must not unpack what an import would refuse.
            if not count or _bytes_of(found, 0, names) > _ROW_GROUP_BYTES_MAX:
                return names, [], count
            try:
                batch = next(found.iter_batches(batch_size=most, row_groups=[0], use_threads=False))
                return names, batch.to_pylist(), count
            except (OSError, ValueError, NotImplementedError, StopIteration) as error:
                if getattr(error, "errno", None) is not None:
                    raise
                return names, [], count

    def entries(self, after: str) -> Iterator[Entry]:
        self._go_to(after)
        with self._open() as found:
            total, first = found.metadata.num_rows, 0
            for group in range(found.num_row_groups):
                count = found.metadata.row_group(group).num_rows
                if first + count > self._line:
                    for entry in self._of_group(found, group, first, first + count):
                        self._offset = (self.length or 0) * self._line // max(total, 1)
                        yield entry
                first += count

    def _of_group(
        self, found: pyarrow.parquet.ParquetFile, group: int, first: int, end: int
    ) -> Iterator[Entry]:
        skip = self._line - first
        try:
            for batch in self._batches(found, group):
                values = self._values(batch)[max(skip, 0) :]
                skip -= batch.num_rows
                for row in values:
                    self._line += 1
                    yield rows.entry(self._line, row, feed=self.feed)
        except (OSError, ValueError, NotImplementedError) as error:
            # One that has a number is the disk's, and not the file's fault.
            if getattr(error, "errno", None) is not None:
                raise
            begin, self._line = self._line + 1, end
            yield Rejected("", "rows_damaged", f"rows {begin} to {end}", line=begin)

    def _batches(self, found: pyarrow.parquet.ParquetFile, group: int) -> Iterator[Any]:
        size = _bytes_of(found, group, self._sought())
        count = found.metadata.row_group(group).num_rows
        rows_of_batch = min(_BATCH_ROWS_MAX, max(1, _BATCH_BYTES * count // max(size, 1)))
        return iter(
            found.iter_batches(
                batch_size=rows_of_batch,
                row_groups=[group],
                columns=self._sought(),
                use_threads=False,
            )
        )

    def _values(self, batch: Any) -> list[list[str]]:
        """The batch's rows, each as text in the order of the fields."""
        columns = [
            _text(batch.column(batch.schema.get_field_index(name)))
            if name
            else [self.constants.get(field.name, "")] * batch.num_rows
            for name, field in zip(self._names, rows.FIELDS, strict=True)
        ]
        return [list(row) for row in zip(*columns, strict=True)]

    def _sought(self) -> list[str]:
        return sorted({name for name in self._names if name})

    def _check_row_groups(self, found: pyarrow.parquet.ParquetFile) -> None:
        for group in range(found.num_row_groups):
            if _bytes_of(found, group, self._sought()) > _ROW_GROUP_BYTES_MAX:
                raise InvalidInput(
                    _("Row group %(number)s is too large. Write smaller row groups.")
                    % {"number": group + 1},
                    param="file",
                )

    def _open(self) -> pyarrow.parquet.ParquetFile:
        try:
            from pyarrow import parquet
        except ImportError:
            raise InvalidInput(
                _("This server reads no Parquet: its extra “parquet” is not installed."),
                param="format",
            ) from None
        dictionaries = self._sought() if hasattr(self, "_names") else None
        try:
            return parquet.ParquetFile(
                self.path, read_dictionary=dictionaries, memory_map=False, buffer_size=1 << 20
            )
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise InvalidInput(
                _("This is no Parquet file, or a damaged one."), param="file"
            ) from None


def _bytes_of(found: pyarrow.parquet.ParquetFile, group: int, names: Sequence[str]) -> int:
    """Unpacked bytes of some columns of a row group."""
    group_ = found.metadata.row_group(group)
    chunks = (group_.column(n) for n in range(group_.num_columns))
    return sum(
        max(chunk.total_uncompressed_size, 0) for chunk in chunks if chunk.path_in_schema in names
    )


def _check_type(field: str, name: str, found: Any) -> None:
    from pyarrow import types

    if types.is_dictionary(found):
        found = found.value_type
    is_text = types.is_string(found) or types.is_large_string(found) or types.is_null(found)
    is_digest = field == "sha256" and (
        types.is_binary(found)
        or types.is_large_binary(found)
        or (types.is_fixed_size_binary(found) and found.byte_width == 32)
    )
    # Of whole numbers with gaps, some writers make floating ones.
    is_number = (field in rows.WHOLE_NUMBERS and types.is_integer(found)) or (
        field in rows.COUNTED and types.is_floating(found)
    )
    if is_text or is_digest or is_number:
        return
    raise InvalidInput(
        _("The column “%(name)s” is of the type %(type)s, and cannot stand for “%(field)s”.")
        % {"name": printable(name[:100]), "type": printable(str(found)[:100]), "field": field},
        param="columns",
        wrong=field,
    )


def _text(column: Any) -> list[str]:
    """A column's values as text; "" for null. Bytes that are no UTF-8 are kept as they are."""
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        # Each value is made once, and shared by its rows.
        made = _text(column.dictionary)
        return ["" if n is None else made[n] for n in column.indices.to_pylist()]
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        values = [
            None if value is None else value.decode("utf-8", "surrogateescape")
            for value in column.cast(pyarrow.binary()).to_pylist()
        ]
    return [value if type(value) is str else _as_text(value) for value in values]


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value.hex() if isinstance(value, bytes) else str(value)
