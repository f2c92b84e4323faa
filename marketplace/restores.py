"""Restores: a backup's rows put into an empty database, all of them or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils.translation import gettext as _
from psycopg import sql

from marketplace import access, schema_guard, storage
from marketplace.backups import (
    Backup,
    Manifest,
    Table,
    Tell,
    catalog_tables,
    copy_out,
    spell,
)

# Filled by migrations: a database is empty with these.
_SEEDED: Final = frozenset({"auth_permission", "django_content_type", "django_migrations"})
# Below this, to check each row as it comes costs less than taking the indexes off.
_MANY_ROWS: Final = 10_000
# Works that are made durable together.
_WORKS: Final = 500

# Takes the name of a step that begins.
Say = Callable[[str], None]

_MARK = f"""
CREATE TABLE IF NOT EXISTS {schema_guard.RESTORE_TABLE} (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), backup text NOT NULL,
    is_loaded boolean NOT NULL, begun_at timestamptz NOT NULL DEFAULT now()
)
"""


class RestoreRefused(Exception):
    """Nothing was restored: this file, or this database, is not the right one. Says what to do."""


class RestoreFailed(Exception):
    """What is in the database now is not what was backed up. Nothing of it was kept."""


# --- one after another ------------------------------------------------------------------------


@contextmanager
def alone() -> Iterator[None]:
    """Keep other restores off this database. Raises RestoreRefused."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended('licet restore', 0))")
        if cursor.fetchone() != (True,):
            raise RestoreRefused(_("Another process restores this database."))
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended('licet restore', 0))")


def begin(manifest: Manifest, *, into_empty: bool = False) -> bool:
    """Check that this backup may be restored here, and mark the database until `finish`.

    True where it was loaded before, and only what follows is left. With `into_empty`, tables
    without rows that a newer migration made are removed first. Raises RestoreRefused, having
    changed nothing.
    """
    unknown = set(manifest.migrations) - schema_guard.known()
    if unknown:
        # Of the file here; the sentence is the same.
        raise RestoreRefused(
            _("The backup is of a newer Licet (%(theirs)s). %(why)s")
            % {
                "theirs": manifest.licet,
                "why": schema_guard.unknown(unknown).replace(_("The database has"), _("It has"), 1),
            }
        )
    found = schema_guard.look()
    loaded = _marked() if found.is_restoring else None
    if loaded is not None:
        if loaded != manifest.digest:
            raise RestoreRefused(
                _("Another backup was restored here, and not to its end: use that file once more.")
            )
        return True
    _check_empty()
    further = sorted(_applied() - set(manifest.migrations))
    if further and not into_empty:
        raise RestoreRefused(
            _(
                "The database is empty, but was migrated further than the backup (%(migration)s):"
                " add --into-empty to have its tables removed first."
            )
            % {"migration": further[-1]}
        )
    with transaction.atomic(), connection.cursor() as cursor:
        if further:
            _remove_tables(cursor)
        cursor.execute(_MARK)
        cursor.execute(f"DELETE FROM {schema_guard.RESTORE_TABLE}")
        cursor.execute(
            f"INSERT INTO {schema_guard.RESTORE_TABLE} (backup, is_loaded) VALUES (%s, false)",
            [manifest.digest],
        )
    return False


def migrate(manifest: Manifest, say: Say) -> None:
    """Make exactly the tables of the backup: its migrations, and no later one."""
    wanted = {(app, name) for app, _dot, name in (m.partition(".") for m in manifest.migrations)}
    executor = MigrationExecutor(connection)
    graph = executor.loader.graph
    missing = sorted(wanted - set(graph.nodes))
    if missing:
        raise RestoreRefused(schema_guard.unknown(".".join(each) for each in missing))
    # Those on which no other one of the backup depends.
    ends = [
        key
        for key in sorted(wanted)
        if not any(
            child.key in wanted and child.key[0] == key[0] for child in graph.node_map[key].children
        )
    ]
    plan = executor.migration_plan(ends)
    if plan:
        say(_("%(count)s migrations") % {"count": len(plan)})
        executor.migrate(ends, plan)
    applied = _applied()
    if applied != set(manifest.migrations):
        other = min(applied ^ set(manifest.migrations))
        raise RestoreRefused(
            _("The tables cannot be made as they were: %(migration)s stands apart.")
            % {"migration": other}
        )


def load(backup: Backup, say: Say, tell: Tell = lambda _part, _done: None) -> None:
    """Put all rows in, in one transaction: interrupted, the database is as empty as before.

    Triggers, foreign keys, and the indexes of large tables are taken off by what the catalog says
    of them and put back the same way, which checks every row. Each table is then read again and
    compared with what was backed up. Raises RestoreFailed, BackupUnreadable.
    """
    manifest = backup.manifest
    with transaction.atomic(), connection.cursor() as cursor:
        spell(cursor)
        cursor.execute("SET LOCAL maintenance_work_mem = '256MB'")
        _check_same_tables(cursor, manifest)
        say(_("rows of %(count)s tables") % {"count": len(manifest.tables)})
        many = [table.name for table in manifest.tables if table.rows >= _MANY_ROWS]
        structure = Structure.read(cursor, [table.name for table in manifest.tables], many)
        structure.take_off(cursor)
        names = sql.SQL(", ").join(sql.Identifier(table.name) for table in manifest.tables)
        cursor.execute(sql.SQL("TRUNCATE {}").format(names))
        for table in manifest.tables:
            _copy_in(cursor, backup, table, tell)
        for name, (last, is_called) in manifest.sequences.items():
            cursor.execute("SELECT setval(%s, %s, %s)", [f"public.{name}", last, is_called])
        say(_("comparing every row with the backup"))
        for table in manifest.tables:
            _compare(cursor, table, tell)
        say(_("indexes, foreign keys and triggers"))
        structure.put_back(cursor, tell)
        now = Structure.read(cursor, [table.name for table in manifest.tables], many)
        if now.outline() != structure.outline():
            raise RestoreFailed(_("The structure of the tables is not what it was."))
        cursor.execute(f"UPDATE {schema_guard.RESTORE_TABLE} SET is_loaded = true")
    with connection.cursor() as cursor:
        # Plans made without statistics read whole tables.
        say(_("statistics"))
        cursor.execute("ANALYZE")


def keep_works(backup: Backup, tell: Tell = lambda _part, _done: None) -> int:
    """Put hosted works where they belong; those that are there stay. How many the backup has.

    Raises RestoreFailed where one is not what its name says.
    """
    intake = storage.Intake()
    names = backup.works
    for number, name in enumerate(names, 1):
        with backup.open_work(name) as stream:
            kept = intake.put(stream)
        if kept.digest.hex() != name:
            intake.discard()
            raise RestoreFailed(_("The work %(name)s is not what it was.") % {"name": name})
        if number % _WORKS == 0 or number == len(names):
            intake.settle()
            tell("works", number)
    return len(names)


def finish() -> None:
    """Take the mark off: from now on the market may be served."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {schema_guard.RESTORE_TABLE}")


# --- what is taken off and put back -----------------------------------------------------------

_CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND (
    contype = 'f'
    OR contype IN ('p', 'u', 'x') AND conrelid = ANY(%(many)s::regclass[])
    -- It may not hold for old rows, which would then be refused one by one.
    OR contype = 'c' AND NOT convalidated
) AND conrelid = ANY(%(tables)s::regclass[])
ORDER BY contype = 'f', 1, 2
"""
_INDEXES = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = ANY(%(many)s::regclass[])
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype <> 'f')
ORDER BY 1
"""
_TRIGGERS = """
SELECT tgrelid::regclass::text, tgname, tgenabled::text FROM pg_trigger
WHERE NOT tgisinternal AND tgrelid = ANY(%(tables)s::regclass[]) ORDER BY 1, 2
"""
_WALLS = """
SELECT oid::regclass::text FROM pg_class
WHERE relforcerowsecurity AND oid = ANY(%(tables)s::regclass[]) ORDER BY 1
"""
_ENABLE: Final = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA", "D": "DISABLE"}


@dataclass(frozen=True, slots=True)
class Structure:
    """What checks single rows, as the catalog defines it. Checks that hold stay on."""

    # (table, name, type, definition), foreign keys last: they need the keys of others.
    constraints: tuple[tuple[str, str, str, str], ...]
    # (name, the statement that makes it)
    indexes: tuple[tuple[str, str], ...]
    # (table, name, whether and when it fires)
    triggers: tuple[tuple[str, str, str], ...]
    # Tables whose rows are walled off from their owner, too.
    walls: tuple[str, ...]

    @classmethod
    def read(cls, cursor: Any, tables: Sequence[str], many: Sequence[str]) -> Structure:
        names = {"tables": [_quoted(table) for table in tables], "many": [_quoted(t) for t in many]}

        def rows(statement: str) -> tuple[tuple[Any, ...], ...]:
            cursor.execute(statement, names)
            return tuple(tuple(row) for row in cursor.fetchall())

        return cls(
            constraints=rows(_CONSTRAINTS),
            indexes=rows(_INDEXES),
            triggers=rows(_TRIGGERS),
            walls=tuple(table for (table,) in rows(_WALLS)),
        )

    def outline(self) -> tuple[Any, ...]:
        """What must be there again. PostgreSQL may write the same condition in other words."""
        constraints = [
            (table, name, kind, definition.endswith("NOT VALID"))
            for table, name, kind, definition in self.constraints
        ]
        return constraints, [name for name, _ in self.indexes], self.triggers, self.walls

    def take_off(self, cursor: Any) -> None:
        for table in sorted({table for table, _name, _state in self.triggers}):
            # Not those of foreign keys, which only a superuser could.
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        for table in self.walls:
            # COPY reads nothing in through a wall, not even as the owner.
            cursor.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        for table, name, _type, _definition in reversed(self.constraints):
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {_quoted(name)}")
        for name, _statement in self.indexes:
            cursor.execute(f"DROP INDEX {name}")

    def put_back(self, cursor: Any, tell: Tell) -> None:
        # Before the foreign keys: one may need a unique index.
        steps = [(table, name, definition) for table, name, _, definition in self._of("f", False)]
        steps += [("", name, statement) for name, statement in self.indexes]
        steps += [(table, name, definition) for table, name, _, definition in self._of("f", True)]
        for done, (table, name, definition) in enumerate(steps, 1):
            if table:
                added = f"ALTER TABLE {table} ADD CONSTRAINT {_quoted(name)} {definition}"
                cursor.execute(added)
            else:
                cursor.execute(definition)
            tell(name, done)
        for table in self.walls:
            cursor.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        for table, name, state in self.triggers:
            cursor.execute(f"ALTER TABLE {table} {_ENABLE[state]} TRIGGER {_quoted(name)}")

    def _of(self, kind: str, is_so: bool) -> list[tuple[str, str, str, str]]:
        return [each for each in self.constraints if (each[2] == kind) is is_so]


# --- private ----------------------------------------------------------------------------------


def _copy_in(cursor: Any, backup: Backup, table: Table, tell: Tell) -> None:
    # Frozen: nobody else sees these rows before all of them are there, and none is vacuumed later.
    statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FREEZE)").format(
        sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, table.columns))
    )
    rows = 0
    with cursor.copy(statement) as copy:
        for chunk in backup.read(table):
            copy.write(chunk)
            rows += chunk.count(b"\n")
            tell(table.name, rows)
    if cursor.rowcount != table.rows:
        raise RestoreFailed(
            _("%(table)s has %(found)s rows, and had %(expected)s.")
            % {"table": table.name, "found": cursor.rowcount, "expected": table.rows}
        )


def _compare(cursor: Any, table: Table, tell: Tell) -> None:
    """Read a table again: its rows stand in the order in which they came."""
    if copy_out(cursor, table.name, table.columns, _Nothing(), tell) != table:
        raise RestoreFailed(
            _("What stands in %(table)s now is not what was backed up.") % {"table": table.name}
        )


class _Nothing:
    def write(self, data: bytes, /) -> None:
        pass


def _check_same_tables(cursor: Any, manifest: Manifest) -> None:
    here = dict(catalog_tables(cursor))
    there = {table.name: table.columns for table in manifest.tables}
    for name in sorted(here.keys() | there.keys()):
        # By name: what stood in another order may stand so again.
        if set(here.get(name, ())) != set(there.get(name, ())):
            raise RestoreRefused(
                _("The table %(table)s of the backup is not the one that its migrations make.")
                % {"table": name}
            )


def _marked() -> str | None:
    """The backup whose rows are in the database, where its restore has come so far."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT backup FROM {schema_guard.RESTORE_TABLE} WHERE is_loaded")
        row = cursor.fetchone()
    return None if row is None else str(row[0])


def _applied() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('public.django_migrations') IS NOT NULL")
        if cursor.fetchone() != (True,):
            return set()
        cursor.execute("SELECT app || '.' || name FROM django_migrations")
        return {name for (name,) in cursor.fetchall()}


def _check_empty() -> None:
    # Walls would hide rows.
    with access.system("look whether a database is empty"), connection.cursor() as cursor:
        for name, _columns in catalog_tables(cursor):
            if name in _SEEDED:
                continue
            cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(name)))
            if cursor.fetchone() == (True,):
                raise RestoreRefused(
                    _(
                        "The database is not empty: %(table)s has rows. Restore into a new one:"
                        " manage.py bootstrap_database makes it."
                    )
                    % {"table": name}
                )


def _remove_tables(cursor: Any) -> None:
    """Remove what migrations made, all of it without rows: none of them leads back."""
    for statement in (
        "SELECT format('DROP TABLE IF EXISTS %I CASCADE', relname) FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
        "SELECT format('DROP SEQUENCE IF EXISTS %I CASCADE', relname) FROM pg_class"
        " WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace",
        "SELECT format('DROP EXTENSION IF EXISTS %I CASCADE', extname) FROM pg_extension"
        " WHERE extnamespace = 'public'::regnamespace AND pg_has_role(extowner, 'MEMBER')",
        "SELECT format('DROP ROUTINE IF EXISTS %s CASCADE', oid::regprocedure) FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS"
        " (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')",
    ):
        cursor.execute(statement)
        for (drop,) in cursor.fetchall():
            cursor.execute(drop)


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)
