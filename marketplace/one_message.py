"""A statement and the tenant that it is for, in one message to PostgreSQL.

Most reads, and half of what a POST writes, are one statement. A transaction around it would be four
messages; psycopg's own pipeline is one, and takes three times as long as what PostgreSQL does with
it. This speaks libpq's pipeline itself (PostgreSQL's documentation, “Pipeline Mode”): the
statements stand prepared, are sent at once, and are one transaction that ends with the message.
"""

from __future__ import annotations

import itertools
from typing import Any, Final
from weakref import WeakKeyDictionary

from psycopg import Connection, OperationalError
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer
from psycopg.errors import FeatureNotSupported, InvalidSqlStatementName, error_from_result
from psycopg.generators import fetch, send
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult

# A statement as PostgreSQL reads it, and the types of its parameters.
_Statement = tuple[bytes, tuple[int, ...]]

_TEXT: Final = 25
_SET: Final[_Statement] = (
    b"SELECT set_config('licet.tenant', $1, true), set_config('licet.system', '', true)",
    (_TEXT,),
)

# What each connection has prepared, and under which name.
_prepared: WeakKeyDictionary[Connection[Any], dict[_Statement, bytes]] = WeakKeyDictionary()
_numbers = itertools.count()


def run(
    connection: Connection[Any], tenant: str, statement: str, values: Any
) -> tuple[list[tuple[Any, ...]], int]:
    """The rows of one statement, run as a tenant, and how many it found or changed.

    The connection is outside of a transaction. Raises psycopg's errors; then nothing was done.
    """
    transformer = Transformer.from_context(connection)
    query = PostgresQuery(transformer)
    query.convert(statement, values)
    try:
        result = _result(connection, tenant, query)
    except (InvalidSqlStatementName, FeatureNotSupported):
        # psycopg gives up all that is prepared where a transaction is rolled back, ours too; and
        # what was prepared before its table changed says that its result would.
        _prepared.pop(connection, None)
        result = _result(connection, tenant, query)
    if result.status != ExecStatus.TUPLES_OK:
        return [], result.command_tuples or 0
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, tuple), result.ntuples


def _result(connection: Connection[Any], tenant: str, query: PostgresQuery) -> PGresult:
    pgconn = connection.pgconn
    known = _prepared.setdefault(connection, {})
    new: dict[_Statement, bytes] = {}
    asked = (query.query, query.types)
    pgconn.enter_pipeline_mode()
    try:
        for kind, params, formats in (
            (_SET, [tenant.encode()], None),
            (asked, query.params, query.formats),
        ):
            name = known.get(kind)
            if name is None:
                name = new[kind] = b"licet_%d" % next(_numbers)
                pgconn.send_prepare(name, *kind)
            pgconn.send_query_prepared(name, params, formats)
        pgconn.pipeline_sync()
        if pgconn.flush():
            connection.wait(send(pgconn))
        results = _received(connection)
        pgconn.exit_pipeline_mode()
    except BaseException:
        # Nobody knows what is still to come of it.
        pgconn.finish()
        raise
    for result in results:
        if result.status == ExecStatus.FATAL_ERROR:
            raise error_from_result(result, encoding=connection.info.encoding)
    known.update(new)
    return results[-1]


def _received(connection: Connection[Any]) -> list[PGresult]:
    """What PostgreSQL says to a message, up to the end of its transaction."""
    pgconn = connection.pgconn
    results: list[PGresult] = []
    while True:
        # Waiting lets other threads work, and costs as much as reading a row.
        result = connection.wait(fetch(pgconn)) if pgconn.is_busy() else pgconn.get_result()
        if result is None:
            if pgconn.status == ConnStatus.BAD:
                raise OperationalError("The connection was lost.")
        elif result.status == ExecStatus.PIPELINE_SYNC:
            return results
        else:
            results.append(result)
