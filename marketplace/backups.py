"""Backups: the whole database as one file, and that file read again (api_docs/backup_format.md)."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self

from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from psycopg import sql

from marketplace import access, schema_guard

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
README: Final = "README.txt"
WORKS: Final = "works/"
# Not a table of the market's: it says that a restore goes on.
NOT_SAVED: Final = frozenset({schema_guard.RESTORE_TABLE})
_CHUNK: Final = 1 << 20
_LEVEL: Final = 1  # Twice as fast as the usual one, for a tenth more bytes.

# Is told which part is being written or read, and how many rows or bytes of it are done.
Tell = Callable[[str, int], None]

_README = """\
A backup of a Licet market: every row of its database at one moment.

manifest.json   what is in here: migrations, tables, rows, SHA-256 of each part, sequences, logs
tables/*.copy   each table's rows, as PostgreSQL's COPY in its text format writes them (UTF-8)
works/*         hosted works by their SHA-256, where they were asked for

Restore it with `manage.py restore`. It holds secrets and people: keep it as you keep the database.
"""

# Text that reads the same on every server, whatever its settings.
_SPELLING = """
SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL timezone = 'UTC';
SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1;
SET LOCAL client_encoding = 'UTF8'; SET LOCAL synchronize_seqscans = off
"""

_TABLES = """
SELECT relname, array_agg(attname::text ORDER BY attnum)
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
GROUP BY relname ORDER BY relname
"""
_SEQUENCES = """
SELECT relname FROM pg_class
WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace ORDER BY relname
"""
# What a copy of the tables of `public` would miss.
_BEYOND = """
SELECT relnamespace::regnamespace || '.' || relname FROM pg_class
WHERE (relkind IN ('p', 'm', 'f')
        OR relkind IN ('r', 'S') AND relnamespace <> 'public'::regnamespace)
    AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
UNION ALL SELECT 'large object ' || oid FROM pg_largeobject_metadata
ORDER BY 1 LIMIT 1
"""
# A table whose walls would hide rows from us: nothing else would say that rows are missing.
_HIDING = """
SELECT relname FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relrowsecurity AND (
    NOT EXISTS (
        SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polpermissive
            AND polroles = '{0}' AND polcmd IN ('*', 'r')
            AND (pg_get_expr(polqual, polrelid) = 'true'
                OR pg_get_expr(polqual, polrelid) ~ '^\\(? ?SELECT licet_system'
                OR pg_get_expr(polqual, polrelid) ~ ' OR \\( SELECT licet_system\\(\\)')
    ) OR EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND NOT polpermissive)
)
ORDER BY 1 LIMIT 1
"""


class BackupFailed(Exception):
    """No backup was written: what stood under its name stands there still. Says why."""


class BackupUnreadable(Exception):
    """This file is no whole backup that this Licet can read. Says why."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table's part: its rows in COPY's text format, and what they must hash to."""

    name: str
    columns: tuple[str, ...]
    rows: int
    bytes: int
    sha256: str

    @property
    def part(self) -> str:
        return f"tables/{self.name}.copy"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself."""

    format: int
    licet: str
    postgresql: str
    made_at: str
    # Every applied one, as “app.name”.
    migrations: tuple[str, ...]
    tables: tuple[Table, ...]
    # Name -> last value, and whether it was given already.
    sequences: dict[str, tuple[int, bool]]
    # Each {"log", "size", "root"}, at the same moment as the rows.
    logs: tuple[dict[str, Any], ...]
    # Null where they were not asked for.
    works: dict[str, int] | None

    def dump(self) -> bytes:
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)

    @property
    def digest(self) -> str:
        """Names this backup: all that is in it hangs on this."""
        return hashlib.sha256(self.dump()).hexdigest()


class Sink(Protocol):
    """Where a part's bytes go."""

    def write(self, data: bytes, /) -> Any: ...


# --- making one -------------------------------------------------------------------------------


def make(
    place: Path,
    *,
    logs: Callable[[], Iterable[dict[str, Any]]],
    works: Path | None = None,
    tell: Tell = lambda _part, _done: None,
) -> Manifest:
    """Write the whole database, as it is at one moment, to `place`; while the market goes on.

    All or nothing: it is written beside `place`, made durable, and gets the name last. `logs` is
    asked within the same snapshot. To be run as the owner of the tables. Raises BackupFailed.
    """
    if place.exists():
        raise BackupFailed(_("%(place)s is there already: name another file.") % {"place": place})
    beside = place.with_name(place.name + ".part")
    with _drafted(beside) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
            archive.writestr(_info(README), _README)
            with _snapshot():
                manifest = _tables(archive, logs, tell)
            if works is not None:
                manifest = _with_works(archive, manifest, works, tell)
            archive.writestr(_info(MANIFEST), manifest.dump())
        file.flush()
        os.fsync(file.fileno())
        try:
            # A link, unlike a rename, never replaces what came there meanwhile.
            os.link(beside, place)
        except FileExistsError:
            raise BackupFailed(_("%(place)s came up meanwhile.") % {"place": place}) from None
        beside.unlink()
        _sync(place.parent)
    return manifest


@contextlib.contextmanager
def _drafted(beside: Path) -> Iterator[Any]:
    """Open the draft, alone; remove it where it did not become a backup."""
    try:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise BackupFailed(str(error)) from error
    with os.fdopen(descriptor, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BackupFailed(_("Another process writes %(place)s.") % {"place": beside}) from None
        try:
            # What a killed process left of another one.
            file.truncate()
            yield file
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise BackupFailed(str(error)) from error
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _snapshot() -> Iterator[None]:
    """Show every tenant's rows as they are now, whatever is committed meanwhile; write nothing."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        with access.system("back up the whole database"):
            yield


def _tables(
    archive: zipfile.ZipFile, logs: Callable[[], Iterable[dict[str, Any]]], tell: Tell
) -> Manifest:
    with connection.cursor() as cursor:
        spell(cursor)
        made_at, version = _one(cursor, "SELECT now(), current_setting('server_version')")
        _check_covered(cursor)
        tables = []
        for name, columns in catalog_tables(cursor):
            with archive.open(_info(f"tables/{name}.copy"), "w", force_zip64=True) as part:
                tables.append(copy_out(cursor, name, columns, part, tell))
        cursor.execute("SELECT app || '.' || name FROM django_migrations ORDER BY 1")
        migrations = tuple(name for (name,) in cursor.fetchall())
        # Last: a number given meanwhile is not given again, which is all that a sequence promises.
        sequences = _sequences(cursor)
    return Manifest(
        format=FORMAT,
        licet=schema_guard.VERSION,
        postgresql=version,
        made_at=made_at.isoformat(),
        migrations=migrations,
        tables=tuple(tables),
        sequences=sequences,
        logs=tuple(logs()),
        works=None,
    )


def spell(cursor: Any) -> None:
    """Have this transaction write values as a backup spells them."""
    cursor.execute(_SPELLING)


def catalog_tables(cursor: Any) -> list[tuple[str, tuple[str, ...]]]:
    """Every table of the market's, with the columns that hold something of its own."""
    cursor.execute(_TABLES)
    return [(name, tuple(columns)) for name, columns in cursor.fetchall() if name not in NOT_SAVED]


def copy_out(cursor: Any, name: str, columns: tuple[str, ...], sink: Sink, tell: Tell) -> Table:
    """Stream a table's rows into `sink`, and say what they were."""
    digest, rows, length = hashlib.sha256(), 0, 0
    waiting: list[bytes] = []
    size = 0
    statement = sql.SQL("COPY {} ({}) TO STDOUT").format(
        sql.Identifier(name), sql.SQL(", ").join(map(sql.Identifier, columns))
    )

    def pass_on() -> None:
        """Hand on what has come, a good deal of it at once."""
        nonlocal rows, length, size
        chunk = b"".join(waiting)
        waiting.clear()
        size = 0
        digest.update(chunk)
        sink.write(chunk)
        # Within a value a line's end is written as \\n: each of these ends a row.
        rows += chunk.count(b"\n")
        length += len(chunk)
        tell(name, rows)

    with cursor.copy(statement) as copy:
        for block in copy:
            waiting.append(bytes(block))
            size += len(block)
            if size >= _CHUNK:
                pass_on()
    pass_on()
    return Table(name, columns, rows, length, digest.hexdigest())


def _check_covered(cursor: Any) -> None:
    """Refuse what would be missing: better no backup than one that lacks something."""
    cursor.execute(f"SELECT to_regclass('public.{schema_guard.RESTORE_TABLE}') IS NOT NULL")
    if cursor.fetchone() == (True,):
        raise BackupFailed(
            _("The restore of this database was not finished: people who were erased may be in it.")
        )
    cursor.execute(_BEYOND)
    if row := cursor.fetchone():
        raise BackupFailed(
            _("%(name)s would not be in the backup: only plain tables of “public” are.")
            % {"name": row[0]}
        )
    cursor.execute(_HIDING)
    if row := cursor.fetchone():
        raise BackupFailed(
            _("The walls of %(table)s would hide rows from the backup.") % {"table": row[0]}
        )


def _sequences(cursor: Any) -> dict[str, tuple[int, bool]]:
    cursor.execute(_SEQUENCES)
    found = {}
    for (name,) in cursor.fetchall():
        cursor.execute(sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(name)))
        last, is_called = cursor.fetchone()
        found[name] = (last, is_called)
    return found


def _with_works(archive: zipfile.ZipFile, manifest: Manifest, works: Path, tell: Tell) -> Manifest:
    """Add every hosted work that is there now: a work is written once, and never changed."""
    count = length = 0
    for folder in sorted((works / "sha256").glob("*/*")):
        for file in sorted(folder.iterdir()):
            # What is taken out meanwhile is not in it. Nothing else of that directory ever is.
            with contextlib.suppress(FileNotFoundError), file.open("rb") as source:
                info = _info(WORKS + file.name)
                # Pictures and sound do not shrink.
                info.compress_type = zipfile.ZIP_STORED
                with archive.open(info, "w", force_zip64=True) as part:
                    while chunk := source.read(_CHUNK):
                        part.write(chunk)
                        length += len(chunk)
                count += 1
                tell("works", count)
    return Manifest(**{**_fields(manifest), "works": {"count": count, "bytes": length}})


def _fields(manifest: Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in Manifest.__slots__}


def _info(name: str) -> zipfile.ZipInfo:
    now = timezone.now()
    info = zipfile.ZipInfo(name, (now.year, now.month, now.day, now.hour, now.minute, now.second))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    return info


def _one(cursor: Any, statement: str) -> Any:
    cursor.execute(statement)
    return cursor.fetchone()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- reading one ------------------------------------------------------------------------------


class Backup:
    """A backup file, open for reading: whole, and of a format that is known here."""

    def __init__(self, place: Path) -> None:
        """Raises BackupUnreadable."""
        self.place = place
        try:
            # The list of parts stands at the end: a file that was cut off has none.
            self._archive = zipfile.ZipFile(place)
            data = self._archive.read(MANIFEST)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise BackupUnreadable(
                _("%(place)s is no whole backup: %(error)s") % {"place": place, "error": error}
            ) from error
        self.manifest = _parse(place, data)
        parts = set(self._archive.namelist())
        for table in self.manifest.tables:
            if table.part not in parts:
                raise BackupUnreadable(
                    _("%(place)s lacks %(part)s.") % {"place": place, "part": table.part}
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._archive.close()

    def read(self, table: Table) -> Iterator[bytes]:
        """Give a table's rows, piece by piece. Raises BackupUnreadable where they are others."""
        digest, length = hashlib.sha256(), 0
        try:
            with self._archive.open(table.part) as part:
                while chunk := part.read(_CHUNK):
                    digest.update(chunk)
                    length += len(chunk)
                    yield chunk
        except (OSError, EOFError, zipfile.BadZipFile, ValueError, zlib.error) as error:
            raise BackupUnreadable(f"{self.place}: {table.part}: {error}") from error
        if (digest.hexdigest(), length) != (table.sha256, table.bytes):
            raise BackupUnreadable(
                _("%(place)s: %(part)s is not what was backed up: its SHA-256 is another.")
                % {"place": self.place, "part": table.part}
            )

    @property
    def works(self) -> list[str]:
        """The SHA-256 of every hosted work in it, as hexadecimal text."""
        return [name[len(WORKS) :] for name in self._archive.namelist() if name.startswith(WORKS)]

    def open_work(self, digest: str) -> Any:
        """One hosted work, to be read. Unverified: whoever keeps it hashes it."""
        return self._archive.open(WORKS + digest)


def _parse(place: Path, data: bytes) -> Manifest:
    try:
        found = json.loads(data)
        if found["format"] != FORMAT:
            raise BackupUnreadable(
                _("%(place)s has the format %(theirs)s; this Licet (%(version)s) reads %(ours)s.")
                % {
                    "place": place,
                    "theirs": found["format"],
                    "ours": FORMAT,
                    "version": schema_guard.VERSION,
                }
            )
        return Manifest(
            **{
                **found,
                "migrations": tuple(found["migrations"]),
                "tables": tuple(
                    Table(**{**each, "columns": tuple(each["columns"])}) for each in found["tables"]
                ),
                "sequences": {
                    name: (last, called) for name, (last, called) in found["sequences"].items()
                },
                "logs": tuple(found["logs"]),
            }
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BackupUnreadable(f"{place}: {MANIFEST}: {error}") from error
