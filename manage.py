#!/usr/bin/env python
"""Runs Licet's commands. Those that need the database start the embedded server first."""

from __future__ import annotations

import os
import sys
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent

# These change, compare or copy the structure, which belongs to the owner. All else runs as the
# application, walled off by row-level security.
OWNER_COMMANDS = frozenset(
    {
        "backup",
        "flush",
        "makemigrations",
        "migrate",
        "optimizemigration",
        "restore",
        "showmigrations",
        "sqlflush",
        "sqlmigrate",
        "sqlsequencereset",
        "squashmigrations",
    }
)

# These never look into the database. A command that is missing here gets one: an idle server
# is harmless, and a missing one is not.
COMMANDS_WITHOUT_DATABASE = frozenset(
    {
        "bootstrap_database",
        "check",
        "collectstatic",
        "compilemessages",
        "devdb",
        "diffsettings",
        "findstatic",
        "help",
        "makemessages",
        "sendtestemail",
        "readplan",
        "spectacular",
        "startapp",
        "startproject",
        "test",
        "version",
    }
)
# These bring the tables to where they belong, save or look at them as they are, or say what is
# wrong: they work on a database of another Licet. All else is refused there, by name.
COMMANDS_OF_ANY_SCHEMA = frozenset(
    {"backup", "dbshell", "demo", "doctor", "inspectdb", "restore", "run"}
)
# These act for others, and so not on a database whose restore was not finished.
COMMANDS_THAT_SERVE = frozenset({"ledger_sequence", "ledger_witness", "runserver", "worker"})
WORDS_THAT_ONLY_ASK = frozenset({"-h", "--help", "--version"})


def main(argv: list[str]) -> int:
    """Set the role, have the database running where one is needed, then hand over to Django."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
    try:
        from marketplace import devdb
    except ImportError as error:
        print(
            f"manage.py: {error}. Use .venv/bin/python, which `make test` makes.", file=sys.stderr
        )
        return 1
    command = argv[1] if len(argv) > 1 else "help"
    if command in OWNER_COMMANDS:
        # Not a default: a shell that exports the application's role must still be able to migrate.
        os.environ["LICET_DATABASE_ROLE"] = devdb.OWNER
    if command not in COMMANDS_THAT_SERVE:
        # What a command says is read by people and programs: the log goes beside it.
        os.environ.setdefault("LICET_LOG_STREAM", "stderr")
    try:
        if needs_database(argv):
            database = devdb.where(os.environ, BASE_DIR)
            if database.data_dir is not None:
                devdb.ensure(database.data_dir, report=lambda line: print(line, file=sys.stderr))
        from django.core.management import execute_from_command_line

        if (refusal := refused(argv)) is not None:
            print(f"manage.py: {refusal}", file=sys.stderr)
            return 1
        execute_from_command_line(argv)
    except devdb.DatabaseError as error:
        print(f"manage.py: {error}", file=sys.stderr)
        return 1
    return 0


def needs_database(argv: list[str]) -> bool:
    """Whether this command line looks into the database."""
    if len(argv) < 2 or WORDS_THAT_ONLY_ASK & set(argv[1:]):
        return False
    if argv[1] == "check":
        return "--database" in argv
    return argv[1] not in COMMANDS_WITHOUT_DATABASE


def refused(argv: list[str]) -> str | None:
    """Why this command may not work on this database; None where it may."""
    command = argv[1] if len(argv) > 1 else "help"
    if command in OWNER_COMMANDS | COMMANDS_OF_ANY_SCHEMA or not needs_database(argv):
        return None
    if command == "ledger_fsck" and any(word.startswith("--tiles") for word in argv):
        return None  # Of a copy, for which there may be no database any more.
    import django

    django.setup()
    from django.db import OperationalError

    from marketplace import schema_guard

    try:
        schema_guard.check(serves=command in COMMANDS_THAT_SERVE)
    except schema_guard.SchemaRefused as error:
        return str(error)
    except OperationalError as error:
        return f"The database cannot be reached: {str(error).strip()}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv))
