"""The test database: one migrated template, cloned for each worker and each committing test."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import django
import psycopg
import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, connections
from django.db.backends.signals import connection_created
from psycopg import sql
from psycopg._preparing import PrepareManager
from psycopg.conninfo import conninfo_to_dict
from pytest_django import DjangoDbBlocker

from marketplace import devdb
from tests.emptying import Emptier

BASE_DIR = Path(__file__).resolve().parent.parent
TEMPLATES_KEPT = 3
# In the names of databases, so that what a killed run left can be recognized and removed.
TEMPLATE_PREFIX = "licet_template_"
CLONE_PREFIX = "licet_test_"
# A worker's next clone, made while its tests run on the present one.
NEXT = "_next"
# Serializes template building, cloning and clean-up between workers and between runs.
LOCK = "SELECT pg_advisory_lock(hashtext('licet test databases'))"
UNLOCK = "SELECT pg_advisory_unlock(hashtext('licet test databases'))"


class TestDatabase:
    """One worker's own database on the server of `DATABASE_URL`, or on the embedded one."""

    __test__ = False

    def __init__(self) -> None:
        place = devdb.where(os.environ, BASE_DIR)
        if place.data_dir is not None:
            devdb.ensure(place.data_dir)
            admin_url = devdb.administrator_url(place.data_dir)
        else:
            # Tests make roles and databases, so this login must be allowed to.
            admin_url = os.environ.get("DATABASE_ADMIN_URL") or place.url
        self._url = place.url
        self._admin_url = admin_url
        self._admin = psycopg.connect(admin_url, autocommit=True)
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        self.name = f"{CLONE_PREFIX}{worker}_{secrets.token_hex(4)}"
        self._template = TEMPLATE_PREFIX + _migrations_digest()
        self._beside = ThreadPoolExecutor(1, "next test database")
        self._spare: Future[None] | None = None
        self._emptier: Emptier | None = None

    @property
    def url(self) -> str:
        """The address of this database, for processes that a test starts."""
        parts = urlsplit(self._url)
        return urlunsplit(parts._replace(path="/" + quote(self.name)))

    @property
    def admin_url(self) -> str:
        """The address of whoever may make databases on this server."""
        return self._admin_url

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a process that a test starts on this database."""
        hidden = {"DATABASE_OWNER_URL", "LICET_DATABASE_ROLE", "DJANGO_SETTINGS_MODULE"}
        ours = {key: value for key, value in os.environ.items() if key not in hidden}
        return {**ours, "LICET_DEBUG": "1", "DATABASE_URL": self.url}

    def connect(self, role: str) -> psycopg.Connection[Any]:
        """A connection of its own, acting as `role`; every statement commits."""
        return psycopg.connect(self.url, options=f"-c role={role}", autocommit=True)

    def create(self) -> None:
        """Make the template unless an earlier run did, and this worker's clone of it."""
        # Held as long as the clone lives: whose lock is free, that clone was left behind.
        self._admin.execute("SELECT pg_advisory_lock(hashtext(%s))", [self.name])
        with self._alone():
            self._prepare_roles()
            self._remove_leftovers()
            if not self._exists(self._template):
                self._build_template()
        self._clone(self._admin, self.name)
        self._look()

    def remake(self) -> None:
        """Bring the database back to what the template is: rows, sequences and triggers.

        A test that wrote only rows has them deleted. After any other, the template is cloned
        again. From the first such time on the next clone is made meanwhile: it takes the disk most
        of a second.
        """
        connections.close_all()
        if self._emptied():
            return
        self._drop(self.name)
        (self._spare or self._beside.submit(self._make_spare)).result()
        self._admin.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                sql.Identifier(self.name + NEXT), sql.Identifier(self.name)
            )
        )
        self._spare = self._beside.submit(self._make_spare)
        self._look()

    def destroy(self) -> None:
        """Remove this worker's clone. The template stays for the next run."""
        connections.close_all()
        if self._spare is not None:
            self._spare.result()
            self._drop(self.name + NEXT)
        self._drop(self.name)
        self._admin.close()

    def _inside(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._admin_url, dbname=self.name, autocommit=True)

    def _look(self) -> None:
        """Remember the new clone. Only a superuser can delete past the walls and triggers."""
        with self._inside() as inside:
            row = inside.execute(
                "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
            self._emptier = Emptier(inside) if row == (True,) else None

    def _emptied(self) -> bool:
        if self._emptier is None:
            return False
        try:
            with self._inside() as inside:
                return self._emptier.empty(inside)
        except psycopg.Error:
            # Whatever a test did to the database, a new clone has it no more.
            return False

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self._admin.execute(LOCK)
        try:
            yield
        finally:
            self._admin.execute(UNLOCK)

    def _prepare_roles(self) -> None:
        devdb.create_roles(self._admin)
        for url in (self._url, self._admin_url):
            login = conninfo_to_dict(url)
            devdb.allow(self._admin, login, [devdb.APP, devdb.OWNER])
        row = self._admin.execute(
            "SELECT NOT rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        if row == (True,) and self._admin.info.server_version >= 160000:
            # To drop and clone the owner's databases without being a superuser.
            self._admin.execute(f"GRANT {devdb.OWNER} TO CURRENT_USER WITH INHERIT TRUE")

    def _remove_leftovers(self) -> None:
        for name in self._names(CLONE_PREFIX):
            owner = name.removesuffix(NEXT)
            if owner == self.name:
                continue
            row = self._admin.execute(
                "SELECT pg_try_advisory_lock(hashtext(%s))", [owner]
            ).fetchone()
            if row == (True,):
                self._drop(name)
                self._admin.execute("SELECT pg_advisory_unlock(hashtext(%s))", [owner])
        others = [name for name in self._names(TEMPLATE_PREFIX) if name != self._template]
        for name in others[TEMPLATES_KEPT:]:
            self._drop(name)

    def _build_template(self) -> None:
        """Migrate a new database as the owner; it gets its name only when it is complete."""
        building = f"{self._template}_building"
        self._drop(building)
        devdb.create_database(self._admin, building)
        with psycopg.connect(self._admin_url, dbname=building, autocommit=True) as inside:
            devdb.grant_defaults(inside)
        with _pointed_at(building, devdb.OWNER):
            call_command("migrate", verbosity=0, interactive=False)
        self._admin.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                sql.Identifier(building), sql.Identifier(self._template)
            )
        )

    def _make_spare(self) -> None:
        with psycopg.connect(self._admin_url, autocommit=True) as admin:
            self._clone(admin, self.name + NEXT)

    def _clone(self, admin: psycopg.Connection[Any], name: str) -> None:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                sql.Identifier(name), sql.Identifier(self._template), sql.Identifier(devdb.OWNER)
            )
        )
        # Nobody needs these rows after a power cut, and each commit is spared a flush.
        admin.execute(
            sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(name))
        )

    def _drop(self, name: str) -> None:
        self._admin.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )

    def _exists(self, name: str) -> bool:
        return name in self._names(TEMPLATE_PREFIX)

    def _names(self, prefix: str) -> list[str]:
        """The databases with this prefix, the newest first."""
        rows = self._admin.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY oid DESC",
            [prefix],
        ).fetchall()
        return [row[0] for row in rows]


def _migrations_digest() -> str:
    """A name for what a migrated database looks like: a hash over all that makes it."""
    digest = hashlib.sha256(django.__version__.encode())
    files = [Path(devdb.__file__)]
    for config in apps.get_app_configs():
        files += sorted(Path(config.path, "migrations").rglob("*.py"))
        files += sorted(Path(config.path, "migrations").rglob("*.sql"))
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def _pointed_at(name: str, role: str) -> Iterator[None]:
    """Have Django's connections reach another database, as another role, for a while."""
    settings = connection.settings_dict
    before = {"NAME": settings["NAME"], "OPTIONS": settings["OPTIONS"]}
    _point_at(name, role)
    try:
        yield
    finally:
        connections.close_all()
        settings.update(before)


def _point_at(name: str, role: str) -> None:
    connections.close_all()
    # In place: the connections that threads open later are made from the same settings.
    settings = connection.settings_dict
    # Without the pool: its spare connections would not survive a remade database.
    options = {key: value for key, value in settings["OPTIONS"].items() if key != "pool"}
    options["options"] = re.sub(r"role=\w+", f"role={role}", options["options"])
    settings.update(NAME=name, OPTIONS=options)


class KeptPrepared(PrepareManager):
    """Keeps statements prepared where psycopg gives all of them up: at a ROLLBACK.

    Each test ends with one. Nothing that tests roll back changes a table's structure, so what was
    prepared stays right, and PostgreSQL need not plan thousands of statements again for each test:
    that was half of its time. More of them than psycopg's 100, too.
    """

    prepared_max = 2_000

    def clear(self) -> bool:
        return False


def _keep_prepared(connection: Any, **_signal: Any) -> None:
    connection.connection._prepared = KeptPrepared()


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[TestDatabase]:
    """Replaces pytest-django's: Django's own test runner would migrate and flush as one role."""
    patch = pytest.MonkeyPatch()
    with django_db_blocker.unblock():
        database = TestDatabase()
        database.create()
        _point_at(database.name, devdb.APP)

    def remake(_test_case: object) -> None:
        database.remake()

    patch.setattr("django.test.TransactionTestCase._fixture_teardown", remake)
    connection_created.connect(_keep_prepared)
    yield database
    connection_created.disconnect(_keep_prepared)
    patch.undo()
    with django_db_blocker.unblock():
        database.destroy()


@pytest.fixture(scope="session")
def test_database(django_db_setup: TestDatabase) -> TestDatabase:
    """This worker's database, for its address and for connections as another role."""
    return django_db_setup


@pytest.fixture
def owner_connection(
    test_database: TestDatabase, transactional_db: None
) -> Iterator[psycopg.Connection[Any]]:
    """A connection as `licet_owner`, who may change structure: triggers, policies, tables.

    In transactional tests only: others keep their rows to their own uncommitted transaction.
    """
    with test_database.connect(devdb.OWNER) as opened:
        yield opened


def wait_for_the_dead() -> None:
    """Return once PostgreSQL noticed that a killed process is gone: no lock is held elsewhere."""
    for _try in range(200):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE locktype = 'advisory' AND datname = current_database()"
                " AND pid <> pg_backend_pid()"
            )
            if cursor.fetchone() == (0,):
                return
        time.sleep(0.05)
    raise AssertionError("A lock is still held.")


def wait_for_a_waiter() -> None:
    """Return once another session of this database waits for a lock."""
    for _try in range(200):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE NOT granted AND datname = current_database()"
            )
            if cursor.fetchone() != (0,):
                return
        time.sleep(0.05)
    raise AssertionError("Nobody waits.")
