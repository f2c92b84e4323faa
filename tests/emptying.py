"""Empties a cloned test database without copying its files again, where only rows were written.

A clone is some 800 files, so making one takes half a second of a processor. Most tests that commit
leave a few rows and nothing else; those are deleted. Whatever else a test changed is noticed, and
answered by a new clone.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg import sql

# More than this is not deleted: the dead rows would slow the tests that follow.
BYTES_MAX = 1_000_000
WAIT_SECONDS = 2.0


class Emptier:
    """What one database looked like before any test, and the way back to it."""

    def __init__(self, inside: psycopg.Connection[Any]) -> None:
        """Look at a database that is as the template; `inside` is a superuser's connection."""
        tables = inside.execute(
            "SELECT oid::regclass::text FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
        ).fetchall()
        self._written = {row[0] for row in tables} - _with_rows(inside, {row[0] for row in tables})
        self._seeded = {row[0] for row in tables} - self._written
        self._catalogs = [
            row[0]
            for row in inside.execute(
                "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r'"
                " AND relnamespace = 'pg_catalog'::regnamespace AND NOT relisshared"
                # Statistics, which autovacuum writes whenever it likes; two are read whole.
                " AND relname NOT IN ('pg_statistic', 'pg_statistic_ext_data', 'pg_trigger',"
                " 'pg_namespace') ORDER BY 1"
            )
        ]
        self._sequences = _sequences(inside)
        self._structure = self._fingerprint(inside)

    def empty(self, inside: psycopg.Connection[Any]) -> bool:
        """Bring the database back to what it was. False, and nothing done: it takes a new clone."""
        if not _end_others(inside) or self._fingerprint(inside) != self._structure:
            return False
        dirty = _with_rows(inside, self._written)
        size = inside.execute(
            "SELECT coalesce(max(pg_relation_size(name::regclass)), 0)"
            " FROM unnest(%s::text[]) AS name",
            [sorted(self._written)],
        ).fetchone()
        if size is None or size[0] > BYTES_MAX:
            return False
        with inside.transaction():
            # Foreign keys need no order then; insert-only tables refuse even so.
            inside.execute("SET LOCAL session_replication_role = replica")
            for table in sorted(dirty):
                _delete(inside, table)
        for name, (last, called) in _sequences(inside).items():
            if self._sequences[name] != (last, called):
                inside.execute("SELECT setval(%s, %s, %s)", [name, *self._sequences[name]])
        return True

    def _fingerprint(self, inside: psycopg.Connection[Any]) -> list[Any]:
        """Differs after any change of structure, rights or the rows that migrations made.

        A new row's xmin is above all earlier ones: equal counts with equal sums are equal rows.
        """
        one = sql.SQL("SELECT {} AS name, count(*), sum(xmin::text::bigint) FROM {}")
        found = inside.execute(
            sql.SQL(" UNION ALL ").join(
                one.format(sql.Literal(name), sql.SQL(name))
                for name in [*self._catalogs, *sorted(self._seeded)]
            )
        ).fetchall()
        # Many tests turn a trigger off and on again: a new row, which says what the old one said.
        found += inside.execute("SELECT pg_trigger::text FROM pg_trigger").fetchall()
        # A session's temporary tables go with it; their empty schema stays for the next one.
        found += inside.execute(
            "SELECT pg_namespace::text FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'"
        ).fetchall()
        found += inside.execute(
            "SELECT setdatabase::text, setrole::text, setconfig::text FROM pg_db_role_setting"
            " WHERE setdatabase IN"
            " (0, (SELECT oid FROM pg_database WHERE datname = current_database()))"
        ).fetchall()
        found += inside.execute(
            "SELECT datacl::text, datdba, datconnlimit FROM pg_database"
            " WHERE datname = current_database()"
        ).fetchall()
        return sorted(found, key=repr)


def _with_rows(inside: psycopg.Connection[Any], tables: set[str]) -> set[str]:
    one = sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})")
    query = sql.SQL(" UNION ALL ").join(
        one.format(sql.Literal(table), sql.SQL(table)) for table in sorted(tables)
    )
    return {row[0] for row in inside.execute(query)}


def _sequences(inside: psycopg.Connection[Any]) -> dict[str, tuple[int, bool]]:
    names = inside.execute(
        "SELECT oid::regclass::text FROM pg_class"
        " WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace"
    ).fetchall()
    one = sql.SQL("SELECT {}, last_value, is_called FROM {}")
    query = sql.SQL(" UNION ALL ").join(
        one.format(sql.Literal(name), sql.SQL(name)) for (name,) in names
    )
    return {name: (last, called) for name, last, called in inside.execute(query)}


def _delete(inside: psycopg.Connection[Any], table: str) -> None:
    """Delete all rows past the triggers that forbid it, and put each trigger back as it was."""
    name = sql.SQL(table)
    always = inside.execute(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND tgenabled = 'A'", [table]
    ).fetchall()
    for (trigger,) in always:
        inside.execute(
            sql.SQL("ALTER TABLE {} DISABLE TRIGGER {}").format(name, sql.Identifier(trigger))
        )
    inside.execute(sql.SQL("DELETE FROM {}").format(name))
    for (trigger,) in always:
        inside.execute(
            sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(name, sql.Identifier(trigger))
        )


def _end_others(inside: psycopg.Connection[Any]) -> bool:
    """End all other sessions, as dropping the database would. False: one did not end in time."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        left = inside.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        ).fetchall()
        if not left:
            return True
        time.sleep(0.002)
    return False
