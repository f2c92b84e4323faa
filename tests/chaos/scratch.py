"""A database of a program's own, outside pytest: made for it, and removed after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from marketplace import devdb
from tests.database import TestDatabase, _pointed_at


@contextmanager
def scratch_database() -> Iterator[TestDatabase]:
    """Have Django work in a migrated, empty database, as the application's role."""
    PBKDF2PasswordHasher.iterations = 1
    database = TestDatabase()
    database.create()
    try:
        with _pointed_at(database.name, devdb.APP):
            yield database
    finally:
        database.destroy()
