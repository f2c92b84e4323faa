"""Acts to commit to, and ways to look at them and to spoil them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command

from licensing import audit_roots
from licensing.ledger import tree
from licensing.models import AuditLeaf, AuditRoot, LedgerEntry
from marketplace import audit
from marketplace.access import acting, system
from marketplace.models import Audit, Organization
from tests.database import TestDatabase
from tests.ledger import append_many, enable_triggers, superuser_connection
from tests.people import caller_for

TABLES = ("marketplace_audit", "licensing_auditleaf", "licensing_auditroot")


def begin(organization: Organization) -> Organization:
    """Three acts, and a log that is in use."""
    append_many(1)
    for number in range(3):
        act(organization, number=number)
    return organization


def act(organization: Organization, **data: Any) -> None:
    caller = caller_for(organization)
    with acting(caller):
        audit.record(caller, "test.done", subject=organization, **data)


def recorded() -> AuditRoot:
    [root] = audit_roots.record_due()
    return root


def ids() -> list[Any]:
    """The acts, by their places."""
    with system("look in a test"):
        return list(AuditLeaf.objects.order_by("position").values_list("audit_id", flat=True))


def counted() -> tuple[int, int, int]:
    with system("look in a test"):
        return AuditLeaf.objects.count(), AuditRoot.objects.count(), LedgerEntry.objects.count()


def expected_leaf(id: Any) -> bytes:
    """A leaf as api_docs/ledger_format.md says it, by code of its own."""
    with system("look in a test"):
        row = Audit.objects.get(pk=id)
    said = {
        "action": row.action,
        "actor": row.actor,
        "at": row.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "data": row.data,
        "id": str(row.pk),
        "organization": None if row.organization_id is None else str(row.organization_id),
        "subject": row.subject,
    }
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return tree.leaf_hash(text.encode())


def check() -> str:
    out = io.StringIO()
    call_command("audit_check", stdout=out, stderr=io.StringIO())
    return out.getvalue()


def found(match: str, code: int = 1) -> None:
    with pytest.raises(CommandError, match=match) as said:
        check()
    assert said.value.returncode == code


@contextmanager
def untriggered(database: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    """Whoever is superuser turns off what refuses him, foreign keys and checks included."""
    check = "audit_leaf_positions_begin_at_0"
    with superuser_connection(database) as opened:
        for table in TABLES:
            opened.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        opened.execute(f"ALTER TABLE licensing_auditleaf DROP CONSTRAINT {check}")
        yield opened
        opened.execute(
            f"ALTER TABLE licensing_auditleaf ADD CONSTRAINT {check} CHECK (position >= 0)"
        )
        for table in TABLES:
            opened.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")
            enable_triggers(opened, table)


@contextmanager
def spoiled(opened: psycopg.Connection[Any], *statements: str, **given: Any) -> Iterator[None]:
    """Run statements, and put back what was there."""
    for table in TABLES:
        opened.execute(f"CREATE TEMPORARY TABLE kept_{table} AS TABLE {table}")
    for statement in statements:
        opened.execute(statement, given)
    yield
    for table in TABLES:
        opened.execute(f"DELETE FROM {table}")
        opened.execute(f"INSERT INTO {table} TABLE kept_{table}")
        opened.execute(f"DROP TABLE kept_{table}")
