"""What all tests share."""

from __future__ import annotations

from tests.database import django_db_setup, owner_connection, test_database
from tests.ledger import ledger_guard, ledger_keys
from tests.people import archive, client_for, lab, quick_passwords, stranger

__all__ = [
    "archive",
    "client_for",
    "django_db_setup",
    "lab",
    "ledger_guard",
    "ledger_keys",
    "owner_connection",
    "quick_passwords",
    "stranger",
    "test_database",
]
