"""Parquet as a source of works by reference: row groups in turn, rows in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from django.utils.translation import gettext as _

from marketplace.errors import InvalidInput, printable
from marketplace.imports import rows
from marketplace.imports.engine import Entry
from marketplace.imports.tables import Table

_AT_ONCE = 2_000
# Beside text: what a column of such a field may hold.
_WHOLE_NUMBERS = frozenset({"external_id", "length", "revision"})


class Parquet(Table):
    """Columns by the names of the fields. The mark is the number of rows that are done with."""

    format = "parquet"
    _places: list[int]
    _names: list[str]
    _total: int

    def check_content(self, begin: bytes, file: IO[bytes]) -> None:
        arrow, parquet = _pyarrow()
        try:
            found = parquet.ParquetFile(file)
        except (arrow.ArrowException, OSError):
            raise InvalidInput(
                _("This is no Parquet file, or it is cut off."), param="file"
            ) from None
        self._names, self._total = list(found.schema_arrow.names), found.metadata.num_rows
        self._places = rows.place(self._names, self.columns, feed=False)
        for field, place in zip(rows.NAMES, self._places, strict=True):
            if place >= 0 and not _fits(arrow, field, found.schema_arrow.field(place).type):
                raise InvalidInput(
                    _("The column “%(column)s” is of type %(type)s, which is no %(field)s.")
                    % {
                        "column": printable(self._names[place][:100]),
                        "type": found.schema_arrow.field(place).type,
                        "field": field,
                    },
                    param="columns",
                )

    def entries(self, after: str) -> Iterator[Entry]:
        self._go_to(after)
        _arrow, parquet = _pyarrow()
        with parquet.ParquetFile(self.path) as file:
            done = 0
            for group in range(file.num_row_groups):
                length = file.metadata.row_group(group).num_rows
                if done + length <= self._line:
                    done += length
                    continue
                for values in self._values(file, group):
                    done += 1
                    if done > self._line:
                        self._line = done
                        yield rows.entry(done, values, feed=False)

    def read_so_far(self) -> int:
        return (self.length or 0) * self._line // max(self._total, 1)

    def _values(self, file: Any, group: int) -> Iterator[list[str]]:
        wanted = [self._names[place] for place in self._places if place >= 0]
        for batch in file.iter_batches(_AT_ONCE, row_groups=[group], columns=wanted):
            columns = batch.to_pydict()
            empty = [None] * batch.num_rows
            taken = [columns[self._names[place]] if place >= 0 else empty for place in self._places]
            for values in zip(*taken, strict=True):
                yield [_text(value) for value in values]


def _fits(arrow: Any, field: str, kind: Any) -> bool:
    types = arrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind):
        return True
    if types.is_integer(kind):
        return field in _WHOLE_NUMBERS
    return field == "sha256" and (
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.hex() if isinstance(value, bytes) else str(value)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError:
        raise InvalidInput(
            _("This server reads no Parquet: its operator installs the extra “parquet”."),
            param="format",
        ) from None
    return pyarrow, pyarrow.parquet
