"""What all tests share."""

from __future__ import annotations

import pytest

from marketplace import garbage
from tests.database import django_db_setup, owner_connection, test_database
from tests.ledger import ledger_guard, ledger_keys
from tests.people import archive, client_for, lab, quick_passwords, stranger
from tests.shares import pytest_collection_modifyitems, pytest_report_header

__all__ = [
    "archive",
    "client_for",
    "django_db_setup",
    "lab",
    "ledger_guard",
    "ledger_keys",
    "owner_connection",
    "pytest_collection_modifyitems",
    "pytest_report_header",
    "quick_passwords",
    "stranger",
    "test_database",
]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of tests are objects for as long as the run lasts."""
    garbage.spare_what_is_loaded()
