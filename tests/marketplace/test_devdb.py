"""The embedded PostgreSQL: found, started once, killed, started again, refused in production."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from manage import needs_database
from marketplace import devdb

BASE_DIR = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """A running server of these tests' own: they kill it."""
    # Not pytest's directory, whose long path would move the socket elsewhere.
    place = Path(tempfile.mkdtemp(prefix="licet-devdb-")).resolve()
    data_dir = place / "postgres"
    devdb.ensure(data_dir)
    yield data_dir
    devdb.reset(data_dir)
    shutil.rmtree(place)


def connect(data_dir: Path, role: str = devdb.APP) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(devdb.embedded_url(data_dir), options=f"-c role={role}", autocommit=True)


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postmaster.pid").read_text().splitlines()[0])


def ensure_in_processes(data_dir: Path, count: int) -> list[int]:
    """The exit statuses of `count` processes that all call `ensure` at once."""
    code = (
        "import pathlib, sys; from marketplace import devdb; "
        "devdb.ensure(pathlib.Path(sys.argv[1]))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(data_dir)], cwd=BASE_DIR)
        for _ in range(count)
    ]
    return [process.wait(timeout=120) for process in started]


# Where it is -------------------------------------------------------------------------------------


def test_database_url_wins_over_the_embedded_server(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": "postgresql://licet:secret@db/licet", "LICET_DEBUG": "1"}

    database = devdb.where(environ, tmp_path)

    assert database == devdb.Database(
        url="postgresql://licet:secret@db/licet",
        owner_url="postgresql://licet:secret@db/licet",
        data_dir=None,
    )


def test_migrations_may_have_an_address_of_their_own(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": "postgresql://a@db/x", "DATABASE_OWNER_URL": "postgresql://b@db/x"}

    assert devdb.where(environ, tmp_path).owner_url == "postgresql://b@db/x"


def test_in_debug_mode_the_database_is_below_the_checkout(tmp_path: Path) -> None:
    database = devdb.where({"LICET_DEBUG": "1"}, tmp_path)

    assert database.data_dir == tmp_path.resolve() / ".data" / "postgres"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("said", [{}, {"LICET_DEBUG": ""}, {"LICET_DEBUG": "0"}])
def test_the_embedded_server_is_refused_when_debug_is_off(
    said: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(devdb.DatabaseError) as refusal:
        devdb.where(said, tmp_path)

    assert str(refusal.value) == (
        "No database: set DATABASE_URL=postgresql://USER:PASSWORD@HOST/NAME, or LICET_DEBUG=1 "
        "to develop on an embedded PostgreSQL that needs no set-up."
    )


def test_manage_py_says_what_to_set_when_debug_is_off() -> None:
    hidden = {"LICET_DEBUG", "DATABASE_URL"}
    environ = {key: value for key, value in os.environ.items() if key not in hidden}

    finished = subprocess.run(
        [sys.executable, "manage.py", "migrate"],
        cwd=BASE_DIR,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 1
    assert finished.stdout == ""
    assert finished.stderr == (
        "manage.py: No database: set DATABASE_URL=postgresql://USER:PASSWORD@HOST/NAME, or "
        "LICET_DEBUG=1 to develop on an embedded PostgreSQL that needs no set-up.\n"
    )


# Its life ----------------------------------------------------------------------------------------


def test_the_server_listens_on_no_network_port(data_dir: Path) -> None:
    with connect(data_dir) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
    assert data_dir.stat().st_mode & 0o077 == 0


def test_rows_outlive_a_stop(data_dir: Path) -> None:
    with connect(data_dir, devdb.OWNER) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('still here')")

    assert devdb.stop(data_dir) is True
    assert devdb.stop(data_dir) is False
    assert devdb.status(data_dir).running is False
    assert devdb.status(data_dir).initialized is True
    devdb.ensure(data_dir)

    with connect(data_dir) as connection:
        assert connection.execute("SELECT word FROM kept").fetchall() == [("still here",)]


def test_a_killed_server_comes_back_with_its_rows(data_dir: Path) -> None:
    with connect(data_dir, devdb.OWNER) as connection:
        connection.execute("CREATE TABLE survived (number int)")
        connection.execute("INSERT INTO survived SELECT generate_series(1, 1000)")
        busy = connect(data_dir)
        os.kill(postmaster(data_dir), signal.SIGKILL)

        devdb.ensure(data_dir)
        busy.close()

    with connect(data_dir) as again:
        assert again.execute("SELECT sum(number) FROM survived").fetchone() == (500500,)


def test_an_orphan_that_keeps_computing_does_not_block_the_next_start(data_dir: Path) -> None:
    computing = connect(data_dir)
    with ThreadPoolExecutor(1) as pool:
        # No wait inside: this backend does not notice that its postmaster died.
        future = pool.submit(
            computing.execute, "SELECT count(*) FROM generate_series(1, 2000000000)"
        )
        os.kill(postmaster(data_dir), signal.SIGKILL)

        devdb.ensure(data_dir)

        with pytest.raises(psycopg.OperationalError):
            future.result(timeout=30)
    computing.close()
    assert devdb.status(data_dir).running is True


@pytest.mark.skipif(
    not Path("/proc/self/cwd").exists(), reason="only Linux shows what a process is"
)
def test_a_lock_file_that_names_an_unrelated_process_is_no_obstacle(data_dir: Path) -> None:
    lock_file = data_dir / "postmaster.pid"
    lines = lock_file.read_text().splitlines()
    devdb.stop(data_dir)
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    lock_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")

    devdb.ensure(data_dir)

    assert postmaster(data_dir) != stranger.pid
    assert stranger.poll() is None
    stranger.communicate(b"\n")


@pytest.mark.oracle
def test_eight_processes_at_once_start_one_server(data_dir: Path) -> None:
    devdb.stop(data_dir)

    assert ensure_in_processes(data_dir, 8) == [0] * 8

    pid = postmaster(data_dir)
    assert ensure_in_processes(data_dir, 2) == [0] * 2
    assert postmaster(data_dir) == pid


@pytest.mark.oracle
def test_a_first_start_by_eight_processes_at_once_makes_one_database() -> None:
    with tempfile.TemporaryDirectory(prefix="licet-devdb-") as place:
        data_dir = Path(place).resolve() / "postgres"

        assert ensure_in_processes(data_dir, 8) == [0] * 8

        with connect(data_dir) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (devdb.APP,)
        devdb.reset(data_dir)
        assert sorted(path.name for path in Path(place).iterdir()) == ["postgres.lock"]


@pytest.mark.oracle
def test_a_path_that_is_too_long_for_a_socket_works_all_the_same() -> None:
    with tempfile.TemporaryDirectory(prefix="licet-devdb-") as place:
        data_dir = Path(place).resolve() / ("long path, 'quoted' " * 5) / "postgres"
        devdb.ensure(data_dir)

        socket_dir = Path(str(conninfo_to_dict(devdb.embedded_url(data_dir))["host"]))
        with connect(data_dir) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert socket_dir.parent == Path("/tmp")
        assert socket_dir.stat().st_mode & 0o077 == 0
        devdb.reset(data_dir)
        assert not socket_dir.exists()


def test_data_of_another_major_version_are_refused_by_name(data_dir: Path) -> None:
    version = data_dir / "PG_VERSION"
    made_by = version.read_text()
    devdb.stop(data_dir)
    version.write_text("9\n")

    with pytest.raises(devdb.DatabaseError, match="was made by PostgreSQL 9, and the programs"):
        devdb.ensure(data_dir)

    version.write_text(made_by)
    devdb.ensure(data_dir)


# Its roles ---------------------------------------------------------------------------------------


def test_neither_role_passes_row_level_security_or_logs_in(data_dir: Path) -> None:
    with connect(data_dir) as connection:
        rows = connection.execute(
            "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolcanlogin,"
            " rolinherit FROM pg_roles WHERE rolname LIKE 'licet%' ORDER BY rolname"
        ).fetchall()

    assert rows == [
        ("licet", False, False, False, False, True, False),
        ("licet_app", False, False, False, False, False, True),
        ("licet_owner", False, False, False, False, False, True),
    ]


def test_the_application_may_change_rows_but_no_structure(data_dir: Path) -> None:
    with connect(data_dir, devdb.OWNER) as owner:
        owner.execute("CREATE TABLE things (id bigint GENERATED BY DEFAULT AS IDENTITY)")
    with connect(data_dir) as application:
        application.execute("INSERT INTO things DEFAULT VALUES")
        assert application.execute("SELECT id FROM things").fetchall() == [(1,)]
        for forbidden in (
            "TRUNCATE things",
            "DROP TABLE things",
            "ALTER TABLE things ADD COLUMN more int",
            "CREATE TABLE more ()",
            "CREATE ROLE more",
            "CREATE DATABASE more",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                application.execute(forbidden)


def test_a_connection_that_forgot_its_role_may_read_nothing(data_dir: Path) -> None:
    with connect(data_dir, devdb.OWNER) as owner:
        owner.execute("CREATE TABLE secrets (word text)")
    with (
        psycopg.connect(devdb.embedded_url(data_dir)) as login,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        login.execute("SELECT word FROM secrets")


def test_the_owner_may_create_the_extensions_that_migrations_need(data_dir: Path) -> None:
    with connect(data_dir, devdb.OWNER) as owner:
        for extension in ("btree_gist", "pg_trgm"):
            owner.execute(f"CREATE EXTENSION {extension}")
        assert owner.execute("SELECT 'B' < 'a'").fetchone() == (True,)


def test_bootstrap_can_be_repeated_and_gives_two_logins_one_role_each(data_dir: Path) -> None:
    admin_url = devdb.administrator_url(data_dir)
    url = devdb.embedded_url(data_dir, user="web", database="market")
    owner_url = devdb.embedded_url(data_dir, user="deployer", database="market")

    for _ in range(2):
        devdb.bootstrap(admin_url, url=url, owner_url=owner_url)

    with psycopg.connect(owner_url, options="-c role=licet_owner") as deployer:
        assert deployer.execute("SELECT current_user, session_user").fetchone() == (
            "licet_owner",
            "deployer",
        )
    with psycopg.connect(url, options="-c role=licet_app") as web:
        assert web.execute("SELECT current_user").fetchone() == ("licet_app",)
    with pytest.raises(psycopg.OperationalError, match="permission denied to set role"):
        psycopg.connect(url, options="-c role=licet_owner")


def test_bootstrap_refuses_an_application_role_that_passes_row_level_security(
    data_dir: Path,
) -> None:
    admin_url = devdb.administrator_url(data_dir)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("ALTER ROLE licet_app BYPASSRLS")
        try:
            with pytest.raises(devdb.DatabaseError, match="licet_app is a superuser or passes"):
                devdb.bootstrap(admin_url, url=devdb.embedded_url(data_dir))
        finally:
            admin.execute("ALTER ROLE licet_app NOBYPASSRLS")


# Its commands ------------------------------------------------------------------------------------


def manage(*arguments: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env={**environ, "LICET_DEBUG": "1", "LICET_DATA_DIR": str(data_dir)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_asking_for_help_starts_no_server(tmp_path: Path) -> None:
    finished = manage("migrate", "--help", data_dir=tmp_path)

    assert finished.returncode == 0
    assert finished.stdout.startswith("usage: manage.py migrate")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("migrate", True),
        ("migrate -h", False),
        ("check", False),
        ("check --database default", True),
        ("spectacular --validate", False),
        ("worker", True),
        ("devdb status", False),
        ("help migrate", False),
        ("", False),
    ],
)
def test_only_commands_that_look_into_the_database_start_it(line: str, expected: bool) -> None:
    assert needs_database(["manage.py", *line.split()]) is expected


@pytest.mark.oracle
def test_the_devdb_command_shows_enters_and_deletes_the_server() -> None:
    with tempfile.TemporaryDirectory(prefix="licet-devdb-") as place:
        above = Path(place).resolve()
        assert manage("devdb", "status", data_dir=above).stdout.splitlines()[0] == "not made yet"

        started = manage("devdb", "start", data_dir=above)
        assert started.stdout.splitlines()[0] == (
            f"Making the development database in {above / 'postgres'}"
        )
        entered = manage(
            *("devdb", "psql", "--role", "licet_app", "--", "-Atc", "SELECT current_user"),
            data_dir=above,
        )
        assert entered.stdout == "licet_app\n"

        refused = manage("devdb", "reset", data_dir=above)
        assert refused.returncode == 1
        assert refused.stderr == "CommandError: This deletes the development database: add --yes.\n"
        assert devdb.status(above / "postgres").running is True

        assert manage("devdb", "reset", "--yes", data_dir=above).returncode == 0
        assert manage("devdb", "stop", data_dir=above).stdout == "It was not running.\n"
        assert not (above / "postgres").exists()


def test_bootstrap_database_says_which_address_is_missing(tmp_path: Path) -> None:
    finished = manage("bootstrap_database", data_dir=tmp_path)

    assert finished.returncode == 1
    assert finished.stderr == "CommandError: Set DATABASE_ADMIN_URL.\n"
