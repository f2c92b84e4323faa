"""A Licet works only on tables that it knows, or that say of themselves that it may."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db.migrations.loader import MigrationLoader

from manage import (
    COMMANDS_OF_ANY_SCHEMA,
    COMMANDS_THAT_SERVE,
    COMMANDS_WITHOUT_DATABASE,
    OWNER_COMMANDS,
    refused,
)
from marketplace import schema_guard
from tests.database import TestDatabase

ROOT = Path(__file__).parents[2]
NEWER = "marketplace.9999_of_a_newer_release"
SAID = '{"serves_from": "%s", "version": "%s"}'

LAST = max(name for name in schema_guard.known() if name.startswith("payments."))

Owner = psycopg.Connection[Any]


def ahead(owner: Owner, comment: str | None = None) -> None:
    owner.execute(
        "INSERT INTO django_migrations (app, name, applied)"
        " VALUES ('marketplace', '9999_of_a_newer_release', now())"
    )
    say(owner, comment)


def say(owner: Owner, comment: str | None) -> None:
    text = "NULL" if comment is None else f"'{comment}'"
    owner.execute(f"COMMENT ON TABLE django_migrations IS {text}")


def lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this code be of a release before the newest migration of payments."""
    ours = schema_guard.known() - {LAST}
    monkeypatch.setattr(schema_guard, "known", lambda: ours)


@pytest.mark.django_db
def test_the_tables_of_this_code_are_served_after_two_queries(
    django_assert_num_queries: Any,
) -> None:
    with django_assert_num_queries(2):
        found = schema_guard.check(serves=True)

    assert (found.ahead, found.behind, found.is_restoring) == ((), (), False)


def test_known_migrations_are_those_that_django_finds() -> None:
    loaded = MigrationLoader(None).disk_migrations

    assert schema_guard.known() == {f"{app}.{name}" for app, name in loaded}


def test_one_version_stands_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] == schema_guard.VERSION
    assert schema_guard._numbers(schema_guard.SERVES_FROM) <= schema_guard._numbers(
        schema_guard.VERSION
    )


@pytest.mark.parametrize(
    ("comment", "runs"),
    [
        (None, False),
        ("not ours", False),
        ("[1]", False),
        (SAID % ("0.2.0", "0.2.0"), False),
        # Two sets of migrations under one version are no releases.
        (SAID % ("0.1.0", "0.1.0"), False),
        (SAID % ("0.1.0", "next"), False),
        (SAID % ("0.0.1", "0.0.9"), False),
        # Words that are no number would come before every release.
        (SAID % ("next", "0.2.0"), False),
        (SAID % ("0.1.0rc1", "0.2.0"), False),
        (SAID % ("0.1.0", "0.2.0"), True),
        (SAID % ("0.0.9", "0.2.0"), True),
        (SAID % ("0.1.0", "0.10.0"), True),
    ],
)
def test_only_a_newer_release_says_who_runs_on_its_tables(comment: str | None, runs: bool) -> None:
    stand = schema_guard.Stand((NEWER,), (), schema_guard._said(comment), False)

    assert stand.runs_older is runs


@pytest.mark.django_db
def test_a_newer_schema_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    lacks(monkeypatch)

    with pytest.raises(schema_guard.SchemaRefused) as refusal:
        schema_guard.check()
    assert str(refusal.value) == (
        f"The database has {LAST}, which this Licet (0.1.0) does not know:"
        " start the newer one, or restore a backup made before it."
    )
    assert refused(["manage.py", "worker"]) == str(refusal.value)
    assert refused(["manage.py", "erase_person", "--email", "x"]) == str(refusal.value)
    for line in ("backup x", "doctor", "migrate", "restore x", "ledger_fsck --tiles=copy", "check"):
        assert refused(["manage.py", *line.split()]) is None


@pytest.mark.django_db
def test_the_release_before_runs_on_tables_that_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    lacks(monkeypatch)
    said = {"version": "0.2.0", "serves_from": "0.1.0"}
    monkeypatch.setattr(schema_guard, "_said", lambda _text: said)

    found = schema_guard.check(serves=True)

    assert (found.ahead, found.runs_older) == ((LAST,), True)
    assert refused(["manage.py", "worker"]) is None


@pytest.mark.django_db
def test_an_older_schema_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = schema_guard.known()
    monkeypatch.setattr(schema_guard, "known", lambda: ours | {NEWER, "payments.9999_x"})

    with pytest.raises(schema_guard.SchemaRefused) as refusal:
        schema_guard.check()
    assert str(refusal.value) == (
        f"The database lacks {NEWER} (and 1 more), which this Licet (0.1.0) needs:"
        " run manage.py migrate."
    )


@pytest.mark.django_db(transaction=True)
def test_an_unfinished_restore_is_served_by_nobody_and_may_be_worked_on(
    owner_connection: Owner,
) -> None:
    owner_connection.execute("CREATE TABLE licet_restore (one boolean)")

    for command in sorted(COMMANDS_THAT_SERVE):
        assert "The restore of this database was not finished" in str(
            refused(["manage.py", command])
        )
    assert refused(["manage.py", "after_restore"]) is None


@pytest.mark.django_db(transaction=True)
def test_an_older_migrate_leaves_the_newer_ones_word_alone(owner_connection: Owner) -> None:
    newer = SAID % ("0.2.0", "0.3.0")
    ahead(owner_connection, newer)
    schema_guard.note_version()
    assert schema_guard.look().said == {"serves_from": "0.2.0", "version": "0.3.0"}


@pytest.fixture
def newer(owner_connection: Owner) -> None:
    ahead(owner_connection)


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "program",
    [
        ["manage.py", "worker", "--once"],
        ["-c", "import marketplace.wsgi"],
    ],
    ids=["worker", "wsgi"],
)
@pytest.mark.parametrize("process", ["web", "delivery"])
def test_each_process_ends_with_the_reason(
    newer: None, test_database: TestDatabase, program: list[str], process: str
) -> None:
    done = subprocess.run(
        [sys.executable, *program],
        cwd=ROOT,
        env={
            **test_database.environ,
            "DJANGO_SETTINGS_MODULE": "marketplace.settings",
            "LICET_PROCESS": process,
            "PATH": os.environ["PATH"],
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 1
    assert f"The database has {NEWER}, which this Licet (0.1.0) does not know" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_exempt_command_is_there() -> None:
    from django.core.management import get_commands

    named = COMMANDS_OF_ANY_SCHEMA | COMMANDS_THAT_SERVE
    assert named <= set(get_commands())
    assert not COMMANDS_THAT_SERVE & (COMMANDS_OF_ANY_SCHEMA | OWNER_COMMANDS)
    assert not COMMANDS_THAT_SERVE & COMMANDS_WITHOUT_DATABASE
