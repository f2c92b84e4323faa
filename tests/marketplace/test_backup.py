"""A backup is one whole file; restored, it is the same market, with nobody back who was erased."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from licensing.ledger import ends, sequencer
from marketplace import (
    backups,
    contributors,
    devdb,
    organizations,
    restores,
    schema_guard,
    storage,
)
from marketplace.access import system
from marketplace.models import Contributor, Organization
from payments import erasures
from tests.database import TestDatabase
from tests.ledger import append_many
from tests.make import issue_grant, make_offer
from tests.people import caller_for

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parents[2]
NAME = "Zyxwvanna Quill"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the backup goes; the list of erasures and the works of this test are beside it."""
    for setting, folder in (("ERASURES", "list"), ("STORAGE_DIR", "works")):
        monkeypatch.setattr(settings, setting, str(tmp_path / folder))
    return tmp_path / "market.licet.zip"


def run(command: str, *words: str) -> str:
    out = io.StringIO()
    call_command(command, *words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def refused(command: str, *words: str, match: str, code: int) -> None:
    with pytest.raises(CommandError, match=match) as refusal:
        run(command, *words)
    assert refusal.value.returncode == code


def rows_of(place: Path, table: str) -> str:
    with zipfile.ZipFile(place) as archive:
        return archive.read(f"tables/{table}.copy").decode()


def changed(place: Path, change: Callable[[dict[str, Any]], object], **parts: bytes) -> Path:
    """A copy of a backup with another manifest, and other parts."""
    other = place.with_name("changed.zip")
    with zipfile.ZipFile(place) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            data = parts.get(name.rpartition("/")[2].removesuffix(".copy"), old.read(name))
            if name == "manifest.json":
                document = json.loads(data)
                change(document)
                data = json.dumps(document).encode()
            new.writestr(name, data)
    return other


# --- the file ---------------------------------------------------------------------------------


def test_a_backup_holds_every_tenants_rows_and_says_what_it_must_restore_to(
    archive: Organization, lab: Organization, place: Path
) -> None:
    contributors.add(
        caller_for(archive),
        external_id="c\t1\n",
        name=NAME,
        email="q@example.org",
        consent="granted",
    )
    contributors.add(caller_for(lab), external_id="c-2", name=NAME, email="", consent="granted")
    append_many(3)
    sequencer.run_once()

    said = run("backup", str(place))

    with backups.Backup(place) as backup:
        manifest = backup.manifest
        tables = {table.name: table for table in manifest.tables}
        assert tables["marketplace_contributoridentity"].rows == 2
        assert b"".join(backup.read(tables["marketplace_contributor"])).count(b"c\\t1\\n") == 1
    assert set(manifest.migrations) == schema_guard.known()
    assert list(manifest.logs) == ends.stand()
    assert [(each["log"], each["size"]) for each in manifest.logs] == [("test", 3)]
    assert manifest.licet == schema_guard.VERSION
    assert place.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in place.parent.glob("*.licet*")] == [place.name]
    # It says what it holds and, for good reasons, does not.
    assert "log test: 3 entries" in said
    for kept_out in (settings.LEDGER_KEY_DIR, settings.LEDGER_GUARD, settings.ERASURES):
        assert str(kept_out) in said
    assert not any(b"PRIVATE" in part for part in parts_of(place))


def parts_of(place: Path) -> Iterator[bytes]:
    with zipfile.ZipFile(place) as archive:
        yield from (archive.read(name) for name in archive.namelist())


def test_a_backup_is_of_one_moment_whatever_is_committed_meanwhile(
    archive: Organization, place: Path
) -> None:
    def meanwhile(part: str, _rows: int) -> None:
        if part == "auth_group":
            with ThreadPoolExecutor(1) as other:
                other.submit(add_another, archive).result()

    manifest = backups.make(place, logs=ends.stand, tell=meanwhile)

    [table] = [each for each in manifest.tables if each.name == "marketplace_contributor"]
    assert table.rows == 0
    with system("count in a test"):
        assert Contributor.objects.count() == 1


def add_another(seller: Organization) -> None:
    """Committed by a connection of its own."""
    try:
        contributors.add(
            caller_for(seller), external_id="late", name=NAME, email="", consent="granted"
        )
    finally:
        connection.close()


def test_a_backup_that_fails_leaves_nothing_and_replaces_nothing(
    archive: Organization, place: Path
) -> None:
    class Stop(Exception):
        pass

    def stop(part: str, _rows: int) -> None:
        if part == "marketplace_organization":
            raise Stop

    with pytest.raises(Stop):
        backups.make(place, logs=ends.stand, tell=stop)
    assert list(place.parent.iterdir()) == []

    place.write_bytes(b"mine")
    refused("backup", str(place), match="is there already", code=1)
    assert place.read_bytes() == b"mine"
    refused("backup", str(place / "in" / "it"), match="Not a directory", code=1)


def test_what_a_killed_backup_left_is_written_over_and_a_running_one_is_not(place: Path) -> None:
    beside = place.with_name(place.name + ".part")
    beside.write_bytes(b"half of a backup" * 100_000)
    with beside.open("rb") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        refused("backup", str(place), match="Another process writes", code=1)
        assert beside.read_bytes() == b"half of a backup" * 100_000

    run("backup", str(place))

    assert not beside.exists()
    with backups.Backup(place) as backup:
        assert backup.manifest.rows > 0


def test_rows_that_a_wall_would_hide_stop_the_backup(
    place: Path, owner_connection: psycopg.Connection[Any]
) -> None:
    owner_connection.execute("DROP POLICY tenant ON marketplace_membership")
    owner_connection.execute(
        "CREATE POLICY tenant ON marketplace_membership"
        " USING (organization_id = (SELECT licet_tenant()))"
    )
    refused("backup", str(place), match="The walls of marketplace_membership", code=1)

    owner_connection.execute("DROP POLICY tenant ON marketplace_membership")
    owner_connection.execute("CREATE POLICY tenant ON marketplace_membership USING (true)")
    owner_connection.execute("CREATE SCHEMA aside CREATE TABLE aside.more (n int)")
    refused("backup", str(place), match=r"aside\.more would not be in the backup", code=1)

    owner_connection.execute("DROP SCHEMA aside CASCADE")
    owner_connection.execute("CREATE TABLE licet_restore (one boolean)")
    refused("backup", str(place), match="The restore of this database was not finished", code=1)
    assert not place.exists()


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda data: data[: len(data) // 2], "is no whole backup"),
        (lambda data: b"", "is no whole backup"),
        (lambda data: b"PK\x03\x04" + data[4:-100], "is no whole backup"),
    ],
    ids=["cut", "empty", "endless"],
)
def test_half_a_file_is_no_backup(place: Path, spoil: Callable[[bytes], bytes], match: str) -> None:
    run("backup", str(place))
    place.write_bytes(spoil(place.read_bytes()))

    refused("restore", str(place), match=match, code=1)
    assert not schema_guard.look().is_restoring


def test_other_rows_than_were_backed_up_are_noticed(archive: Organization, place: Path) -> None:
    run("backup", str(place))
    rows = rows_of(place, "marketplace_organization")
    other = changed(
        place, lambda _manifest: None, marketplace_organization=rows.replace("A", "B").encode()
    )

    with backups.Backup(other) as backup:
        [table] = [t for t in backup.manifest.tables if t.name == "marketplace_organization"]
        with pytest.raises(backups.BackupUnreadable, match="its SHA-256 is another"):
            list(backup.read(table))


# --- refused ----------------------------------------------------------------------------------


def test_a_database_with_rows_is_not_restored_into(archive: Organization, place: Path) -> None:
    run("backup", str(place))

    refused("restore", str(place), match="not empty: marketplace_organization has rows", code=1)
    assert not schema_guard.look().is_restoring


def test_a_backup_of_a_newer_licet_is_refused_by_name(place: Path) -> None:
    run("backup", str(place))
    newer = changed(place, lambda manifest: manifest["migrations"].append("marketplace.9999_x"))

    refused(
        "restore",
        str(newer),
        match=r"It has marketplace\.9999_x, which this Licet \(0\.1\.0\) does not know",
        code=1,
    )
    later = changed(place, lambda manifest: manifest.update(format=2))
    refused(
        "restore", str(later), match=r"has the format 2; this Licet \(0\.1\.0\) reads 1", code=1
    )
    assert not schema_guard.look().is_restoring


def test_an_empty_database_that_was_migrated_further_is_refused_unless_told_so(place: Path) -> None:
    run("backup", str(place))
    earlier = changed(place, lambda manifest: manifest["migrations"].remove(_last_migration()))

    refused("restore", str(earlier), match="add --into-empty", code=1)
    assert not schema_guard.look().is_restoring


def _last_migration() -> str:
    return max(name for name in schema_guard.known() if name.startswith("payments."))


# --- whole restores ---------------------------------------------------------------------------


class Target:
    """An empty database of its own, and the commands that run on it."""

    def __init__(self, database: TestDatabase, *, migrated: bool) -> None:
        self.database = database
        self.name = database.name + "_target"
        # Whose lock is free, that database was left behind, and is removed by whoever comes next.
        database._admin.execute("SELECT pg_advisory_lock(hashtext(%s))", [self.name])
        database._drop(self.name)
        if migrated:
            database._clone(database._admin, self.name)
        else:
            devdb.create_database(database._admin, self.name)
            with psycopg.connect(database._admin_url, dbname=self.name, autocommit=True) as inside:
                devdb.grant_defaults(inside)
        self.url = urlunsplit(urlsplit(database.url)._replace(path="/" + self.name))
        self.environ = {
            **database.environ,
            "DATABASE_URL": self.url,
            "LICET_ERASURES": str(settings.ERASURES),
            "LICET_STORAGE_DIR": str(settings.STORAGE_DIR),
            "LICET_LEDGER_KEY_DIR": str(settings.LEDGER_KEY_DIR),
            "LICET_LEDGER_GUARD": str(settings.LEDGER_GUARD),
        }

    def remove(self) -> None:
        self.database._drop(self.name)
        self.database._admin.execute("SELECT pg_advisory_unlock(hashtext(%s))", [self.name])

    def command(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.command(*words)
        out, err = process.communicate(timeout=600)
        return process.returncode, out, err

    def query(self, statement: str) -> list[Any]:
        with self._connect() as opened:
            return opened.execute(statement).fetchall()  # type: ignore[arg-type]

    def change(self, statement: str) -> None:
        with self._connect() as opened:
            opened.execute(statement)  # type: ignore[arg-type]

    def _connect(self) -> psycopg.Connection[Any]:
        options = "-c role=licet_owner -c licet.system=test"
        return psycopg.connect(self.url, options=options, autocommit=True)


@pytest.fixture
def target(test_database: TestDatabase, place: Path) -> Iterator[Target]:
    made = Target(test_database, migrated=True)
    yield made
    made.remove()


@pytest.fixture
def unmigrated(test_database: TestDatabase, place: Path) -> Iterator[Target]:
    made = Target(test_database, migrated=False)
    yield made
    made.remove()


STRUCTURE = """
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'index', indrelid::regclass::text, '', pg_get_indexdef(indexrelid)
    FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
    WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgenabled::text, pg_get_triggerdef(oid)
    FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'wall', relname, relrowsecurity::text, relforcerowsecurity::text FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
UNION ALL SELECT 'policy', polrelid::regclass::text, polname, pg_get_expr(polqual, polrelid)
    FROM pg_policy
UNION ALL SELECT 'rights', relname, '', relacl::text FROM pg_class
    WHERE relkind IN ('r', 'S') AND relnamespace = 'public'::regnamespace
ORDER BY 1, 2, 3, 4
"""


def erased_since(archive: Organization, lab: Organization, place: Path) -> None:
    """A market with a grant and a person, its backup, and then the person's erasure."""
    organizations.admit(
        lab, email="zyx@example.org", name=NAME, password="correct horse battery", role="owner"
    )
    contributors.add(
        caller_for(archive),
        external_id="c-1",
        name=NAME,
        email="zyx@example.org",
        consent="granted",
    )
    issue_grant(lab, make_offer(archive, price_minor=0))
    storage.put(io.BytesIO(b"a hosted work"))
    sequencer.run_once()
    run("backup", str(place), "--works")
    erasures.erase(erasures.Person(email="zyx@example.org"))


@pytest.mark.oracle
def test_a_restored_market_is_the_same_and_erased_people_stay_erased(
    archive: Organization, lab: Organization, place: Path, target: Target
) -> None:
    erased_since(archive, lab, place)
    structure = target.query(STRUCTURE)
    # Not a day later, but as if: the works are lost with the database.
    shutil.rmtree(settings.STORAGE_DIR)
    assert NAME in rows_of(place, "marketplace_user")

    code, out, err = target.run("restore", str(place), "--works")

    assert code == 0, err
    assert "1 erasures on the list, 1 of them new to this database" in out
    assert "1 hosted works" in out
    assert target.query(STRUCTURE) == structure
    assert storage.length(storage.put(io.BytesIO(b"a hosted work")).digest) == 13
    with backups.Backup(place) as backup:
        for table in backup.manifest.tables:
            if table.name.startswith("licensing_ledger") and "opening" not in table.name:
                assert target.query(f"SELECT count(*) FROM {table.name}") == [(table.rows,)]
        for name, (last, called) in backup.manifest.sequences.items():
            [(now, was_called)] = target.query(f'SELECT last_value, is_called FROM "{name}"')
            assert now >= last
            assert was_called or not called
    everything = json.dumps(
        [
            target.query(f"SELECT t::text FROM {table} t")
            for table in ("marketplace_user", "marketplace_contributoridentity")
        ]
    )
    assert NAME not in everything
    assert target.run("ledger_fsck", "--log", "test")[0] == 0
    # Nothing marks it any more, and it is not restored into twice.
    assert target.query("SELECT to_regclass('licet_restore')") == [(None,)]
    assert target.run("worker", "--once")[0] == 0
    again = target.run("restore", str(place))
    assert again[0] == 1
    assert "The database is not empty" in again[2]


@pytest.mark.oracle
def test_an_unmigrated_database_gets_the_tables_of_the_backup_first(
    archive: Organization,
    lab: Organization,
    place: Path,
    test_database: TestDatabase,
    unmigrated: Target,
) -> None:
    erased_since(archive, lab, place)

    code, out, err = unmigrated.run("restore", str(place))

    assert code == 0, err
    assert "migrations" in out
    with test_database.connect("licet_owner") as opened:
        assert unmigrated.query(STRUCTURE) == opened.execute(STRUCTURE).fetchall()
    assert unmigrated.query("SELECT obj_description('django_migrations'::regclass)")[0][0]


@pytest.mark.oracle
def test_an_older_backup_gets_its_own_tables_and_is_then_migrated_on(
    archive: Organization, lab: Organization, place: Path, target: Target
) -> None:
    erased_since(archive, lab, place)
    last = _last_migration()
    rows = rows_of(place, "django_migrations").splitlines(keepends=True)
    kept = "".join(row for row in rows if f"\t{last.partition('.')[2]}\t" not in row).encode()

    def before_it(manifest: dict[str, Any]) -> None:
        manifest["migrations"].remove(last)
        [table] = [each for each in manifest["tables"] if each["name"] == "django_migrations"]
        digest = hashlib.sha256(kept).hexdigest()
        table.update(rows=len(rows) - 1, bytes=len(kept), sha256=digest)

    older = changed(place, before_it, django_migrations=kept)
    structure = target.query(STRUCTURE)

    code, out, err = target.run("restore", str(older), "--into-empty")

    assert code == 0, err
    assert "migrating on" in out
    # A check that was not valid yet was made anew, and is written in other words.
    assert [row[:3] for row in target.query(STRUCTURE)] == [row[:3] for row in structure]
    assert target.query("SELECT count(*) FROM django_migrations") == [(len(rows),)]


@pytest.mark.oracle
def test_a_restore_that_is_killed_leaves_nothing_that_serves_and_goes_on(
    archive: Organization, lab: Organization, place: Path, target: Target
) -> None:
    erased_since(archive, lab, place)
    # While it loads: another transaction holds what it needs.
    with psycopg.connect(target.url, options="-c role=licet_owner") as holder:
        holder.execute("LOCK TABLE payments_quote IN ACCESS SHARE MODE")
        process = target.command("restore", str(place))
        while target.query("SELECT to_regclass('licet_restore')") == [(None,)]:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert target.query("SELECT count(*) FROM marketplace_organization") == [(0,)]
    code, _out, err = target.run("worker", "--once")
    assert code == 1
    assert "The restore of this database was not finished" in err

    assert target.run("restore", str(place))[0] == 0

    # Loaded, and killed before those who were erased are erased again.
    target.change("CREATE TABLE licet_restore (one boolean, backup text, is_loaded boolean)")
    target.change("INSERT INTO licet_restore VALUES (true, 'another', true)")
    code, _out, err = target.run("restore", str(place))
    assert code == 1
    assert "use that file once more" in err
    with backups.Backup(place) as backup:
        digest = backup.manifest.digest
    target.change(f"UPDATE licet_restore SET backup = '{digest}'")
    code, out, _err = target.run("restore", str(place))
    assert code == 0
    assert "Its rows are here already: going on." in out


@pytest.mark.oracle
def test_a_lost_tail_is_named_and_an_unreachable_list_keeps_the_market_closed(
    archive: Organization, lab: Organization, place: Path, target: Target
) -> None:
    append_many(1)
    sequencer.run_once()
    run("backup", str(place))
    append_many(1)
    sequencer.run_once()

    code, out, err = target.run("restore", str(place))

    # Nobody is on the list, and nobody said that it is so.
    assert code == 2
    assert "--nobody-erased" in err
    assert target.run("worker", "--once")[0] == 1

    code, out, err = target.run("restore", str(place), "--nobody-erased")

    assert code == 3
    assert "Its rows are here already: going on." in out
    assert "signed size 2" in err
    assert "ledger_recover --log test" in err
    assert target.query("SELECT to_regclass('licet_restore')") == [(None,)]


def test_a_restore_holds_off_another(place: Path) -> None:
    run("backup", str(place))
    with psycopg.connect(_url()) as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended('licet restore', 0))")
        refused("restore", str(place), match="Another process restores", code=1)
        other.execute("SELECT pg_advisory_unlock_all()")  # a server ends a session in its own time
    with restores.alone():
        pass


def _url() -> str:
    parameters = connection.get_connection_params()
    return psycopg.conninfo.make_conninfo(
        host=parameters["host"],
        dbname=parameters["dbname"],
        user=parameters["user"],
        port=parameters["port"],
    )
