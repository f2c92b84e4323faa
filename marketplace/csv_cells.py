"""Cells of the CSV files that we write: no spreadsheet runs one of them as a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any, Protocol

# What spreadsheets take for the beginning of a formula, in full width as well. A tab or the end of
# a line counts because what follows may move into a cell of its own.
# https://owasp.org/www-community/attacks/CSV_Injection
FORMULA = (*"=+-@", *"\uff1d\uff0b\uff0d\uff20", "\t", "\r", "\n")


class Target(Protocol):
    """Where lines go: a file, or a StringIO."""

    def write(self, text: str, /) -> Any: ...


def escaped(value: Any) -> str:
    """A cell that no spreadsheet runs: an apostrophe stands before what it would."""
    text = "" if value is None else str(value)
    # What begins with an apostrophe gets one too, so that `unescaped` gives back what it was.
    return f"'{text}" if text.startswith((*FORMULA, "'")) else text


def unescaped(text: str) -> str:
    return text[1:] if text.startswith("'") else text


class Writer:
    """Writes lines as RFC 4180 has them. The only writer of CSV here: each text is escaped."""

    def __init__(self, target: Target) -> None:
        self._csv = csv.writer(target)

    def row(self, cells: Iterable[Any]) -> None:
        """One line. An int or a Number stays the number that it is, also below 0."""
        self._csv.writerow(
            [cell if isinstance(cell, int | Number) else escaped(cell) for cell in cells]
        )

    def rows(self, rows: Iterable[Iterable[Any]]) -> None:
        for row in rows:
            self.row(row)


class Number(str):
    """A number that we wrote ourselves, such as -12.50."""

    __slots__ = ()
