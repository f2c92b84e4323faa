"""Query sets that are compiled once: later ones run the statement with values of their own.

To say a row's SELECT anew takes Python longer than PostgreSQL takes to find the row. What is kept
is compiled with stand-ins for who asks and for what; nothing else of a request may be in it.
Django makes the statement, and reads its rows, as ever.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, Self, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import connection, models
from django.db.models.query import QuerySet, get_related_populators

M = TypeVar("M", bound=models.Model)

# Made anew by each process: they are no data.
TENANT: Final = uuid.uuid4()
PERSON: Final = uuid.uuid4()
ROW: Final = uuid.uuid4()
_SLOTS: Final = {TENANT: "organization", PERSON: "user", ROW: "pk"}


class Inexpressible(Exception):
    """Something that a kept statement does not say. Its text says what."""


@contextmanager
def nothing_asked() -> Iterator[None]:
    """Refuse every statement: what the database says to a stand-in must not be kept."""

    def refuse(execute: Any, sql: str, *_rest: Any) -> Any:
        raise Inexpressible("its rows depend on an earlier question")

    with connection.execute_wrapper(refuse):
        yield


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement, and where the values of a question stand among its parameters."""

    sql: str
    # A slot's name, or a constant.
    params: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, sql: str, params: Sequence[Any]) -> Self:
        """Raises Inexpressible where a parameter is a time: it would be that of the first use."""
        return cls(sql, tuple(_named(param) for param in params))

    def given(self, values: Mapping[str, Any]) -> list[Any]:
        """The parameters, with these values in the slots."""
        return [values[slot] if slot else constant for slot, constant in self.params]


def _named(param: Any) -> tuple[str, Any]:
    if param == [ROW]:
        return "pks", None
    if isinstance(param, uuid.UUID) and param in _SLOTS:
        return _SLOTS[param], None
    if isinstance(param, datetime.date):
        raise Inexpressible("its rows depend on the time")
    return "", param


class Rows(Generic[M]):
    """The rows of a query set without annotations and prefetches, with what it selects beside."""

    def __init__(self, rows: QuerySet[M]) -> None:
        """Compile it. Raises Inexpressible."""
        compiler = rows.query.get_compiler(rows.db)
        try:
            with nothing_asked():
                self.statement = Statement.of(*compiler.as_sql())
        except EmptyResultSet:
            raise Inexpressible("it has no rows") from None
        if compiler.annotation_col_map:
            raise Inexpressible("it brings more than its columns")
        # As `django.db.models.query.ModelIterable` has it.
        selected, of = compiler.select, compiler.klass_info
        self._model: type[M] = of["model"]
        self._own = slice(of["select_fields"][0], of["select_fields"][-1] + 1)
        self._names = [column.target.attname for column, *_ in selected[self._own]]
        self._beside = get_related_populators(of, selected, rows.db)  # type: ignore[call-arg]
        columns = (column for column, *_ in selected)
        self._converters = list(compiler.get_converters(columns).items())

    def one(self, values: Mapping[str, Any]) -> M | None:
        """The row that a question finds, in the caller's transaction; None where there is none."""
        with connection.cursor() as cursor:
            cursor.execute(self.statement.sql, self.statement.given(values))
            found = cursor.fetchone()
        if found is None:
            return None
        columns = list(found)
        for place, (converters, column) in self._converters:
            for converter in converters:
                columns[place] = converter(columns[place], column, connection)
        row = self._model.from_db(connection.alias, self._names, columns[self._own])
        for each in self._beside:
            each.populate(columns, row)
        return row
