"""A test database is as its template again after each test: emptied, or else cloned anew."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from tests.database import TestDatabase
from tests.emptying import Emptier

TRIGGERS = "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger ORDER BY 1, 2"
# Of these, the second refuses to have rows deleted.
WRITE = (
    "INSERT INTO licensing_ledgercounter VALUES ('test', gen_random_uuid(), 1)",
    "INSERT INTO licensing_ledgertree VALUES ('test', 1, '\\x00', now())",
    "SELECT nextval('licensing_ledgerentry_id_seq')",
)
LEFT = """
SELECT (SELECT count(*) FROM licensing_ledgercounter), (SELECT count(*) FROM licensing_ledgertree),
    (SELECT is_called FROM licensing_ledgerentry_id_seq)
"""


@pytest.fixture(scope="module")
def database(django_db_blocker: DjangoDbBlocker) -> Iterator[TestDatabase]:
    """A clone of its own, beside the one that this worker's tests run on."""
    with django_db_blocker.unblock():
        made = TestDatabase()
        made.create()
        yield made
        made.destroy()


def write(database: TestDatabase, *statements: str) -> None:
    with database._inside() as opened:
        for statement in statements:
            opened.execute(statement)


def left(database: TestDatabase) -> tuple[int, int, bool] | None:
    with database._inside() as opened:
        return opened.execute(LEFT).fetchone()


def emptier(database: TestDatabase) -> Emptier:
    found = database._emptier
    if found is None:
        pytest.skip("the administrator of this PostgreSQL is no superuser: clones are made anew")
    return found


def test_rows_are_deleted_and_sequences_begin_again(database: TestDatabase) -> None:
    with database._inside() as opened:
        before = opened.execute(TRIGGERS).fetchall()
    for _again in range(2):
        write(database, *WRITE)
        assert left(database) == (1, 1, True)
        with database._inside() as opened:
            assert emptier(database).empty(opened)
        assert left(database) == (0, 0, False)
    with database._inside() as opened:
        # The triggers are as they were, and hold.
        assert opened.execute(TRIGGERS).fetchall() == before
        opened.execute(WRITE[1])
        with pytest.raises(psycopg.Error, match="insert-only"):
            opened.execute("DELETE FROM licensing_ledgertree")
        assert emptier(database).empty(opened)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE licensing_ledgertree DISABLE TRIGGER insert_only",
        "CREATE TABLE extra ()",
        "CREATE INDEX extra ON licensing_ledgertree (root)",
        "GRANT DELETE ON licensing_ledgertree TO licet_app",
        "DROP POLICY tenant ON licensing_ledgercounter",
        "UPDATE django_migrations SET name = name WHERE app = 'licensing'",
        "DELETE FROM django_migrations WHERE id = (SELECT max(id) FROM django_migrations)",
        "ALTER ROLE licet_app IN DATABASE {name} SET work_mem = '5MB'",
        "ALTER DATABASE {name} SET work_mem = '5MB'",
        "REVOKE CONNECT ON DATABASE {name} FROM PUBLIC",
    ],
)
def test_whatever_else_was_changed_takes_a_new_clone(database: TestDatabase, change: str) -> None:
    write(database, *WRITE, change.format(name=database.name))
    with database._inside() as opened:
        assert not emptier(database).empty(opened)
    # Nothing was done to it.
    assert left(database) == (1, 1, True)

    database.remake()

    assert left(database) == (0, 0, False)
    with database._inside() as opened:
        assert emptier(database).empty(opened)


def test_more_than_is_quickly_deleted_takes_a_new_clone(database: TestDatabase) -> None:
    many = "SELECT 'test', n, sha256(n::text::bytea), now() FROM generate_series(1, 20000) n"
    write(database, f"INSERT INTO licensing_ledgertree {many}")
    with database._inside() as opened:
        assert not emptier(database).empty(opened)
    database.remake()
    assert left(database) == (0, 0, False)


def test_who_is_still_connected_is_cut_off(database: TestDatabase) -> None:
    with database._inside() as other:
        other.execute("BEGIN")
        other.execute(WRITE[0])
        with database._inside() as opened:
            assert emptier(database).empty(opened)
        with pytest.raises(psycopg.OperationalError):
            other.execute("COMMIT")
    assert left(database) == (0, 0, False)
