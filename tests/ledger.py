"""Keys of the logs for tests, entries to put into them, and ways to spoil them."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.conf import settings
from django.utils import timezone

from licensing import packing
from licensing.ledger import log, notes, sequencer, signer, tree
from licensing.models import LedgerCheckpoint, LedgerEntry
from marketplace import access
from tests.database import TestDatabase


@pytest.fixture(scope="session", autouse=True)
def ledger_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Fresh keys of both logs, away from those of whoever runs the tests."""
    directory = tmp_path_factory.mktemp("ledger")
    patch = pytest.MonkeyPatch()
    patch.setattr(settings, "LEDGER_KEY_DIR", directory)
    for name in log.LOGS:
        signer.create(name)
    yield directory
    patch.undo()


_GUARDS = itertools.count()


@pytest.fixture(autouse=True)
def ledger_guard(ledger_keys: Path) -> Iterator[Path]:
    """Where this test's guards are: they must not outlive its database, or what it rolls back.

    Processes that a test starts find it in their environment.
    """
    directory = ledger_keys / f"guard-{next(_GUARDS)}"
    patch = pytest.MonkeyPatch()
    patch.setattr(settings, "LEDGER_GUARD", str(directory))
    patch.setenv("LICET_LEDGER_GUARD", str(directory))
    yield directory
    patch.undo()


def append(name: str = "test", **fields: Any) -> LedgerEntry:
    """Record something that is about no row of ours, in the current transaction."""
    return log.append(
        log=name,
        kind=fields.pop("kind", "note.made"),
        subject_ref=fields.pop("subject_ref", os.urandom(16)),
        seq=fields.pop("seq", 0),
        prev=fields.pop("prev", None),
        values=fields.pop("values", {"text": "noted"}),
        parties=fields.pop("parties", []),
        at=fields.pop("at", timezone.now()),
        **fields,
    )


def append_many(count: int, name: str = "test", parties: Sequence[UUID] = ()) -> list[LedgerEntry]:
    at, values = timezone.now(), {"text": "noted"}
    with access.system("a test writes to the ledger"):
        return log.append_many(
            [
                log.Fact(name, "note.made", os.urandom(16), 0, None, values, parties, at)
                for _number in range(count)
            ]
        )


def superuser_connection(database: TestDatabase) -> psycopg.Connection[Any]:
    """Someone who may do anything to the test database. Skips where there is no such login."""
    opened = psycopg.connect(database._admin_url, dbname=database.name, autocommit=True)
    row = opened.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    if row != (True,):
        opened.close()
        pytest.skip("the administrator of this PostgreSQL is no superuser")
    return opened


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not leaves:
        return tree.EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return tree.node_hash(naive_root(leaves[:split]), naive_root(leaves[split:]))


def tamper(database: TestDatabase, table: str, statement: str) -> None:
    """Change a ledger table as only its owner can: after disabling its triggers."""
    with database.connect("licet_owner") as owner:
        owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        owner.execute(statement)
        enable_triggers(owner, table)


def store_plainly(owner: psycopg.Connection[Any]) -> None:
    """Have bodies stand as text, as a release before the packing stored them: SQL can edit that."""
    owner.execute("ALTER TABLE licensing_ledgerentry DISABLE TRIGGER USER")
    rows = owner.execute("SELECT id, body FROM licensing_ledgerentry").fetchall()
    for key, body in rows:
        plain = packing.unpack_body(bytes(body))
        owner.execute("UPDATE licensing_ledgerentry SET body = %s WHERE id = %s", [plain, key])
    enable_triggers(owner, "licensing_ledgerentry")


def signed_sizes(log: str = "test") -> list[int]:
    rows = LedgerCheckpoint.objects.filter(log=log).order_by("size")
    return list(rows.values_list("size", flat=True))


def signed_text(size: int, log: str = "test") -> str:
    """What was signed at a size: the note without its signature."""
    note = LedgerCheckpoint.objects.get(log=log, size=size).note
    return notes.split_note(note)[0]


def grow(*steps: int, parties: Sequence[UUID] = ()) -> None:
    for step in steps:
        append_many(step, parties=parties)
        sequencer.run_once()


def guards_in(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.glob("*.guard")}


def restore_backup(database: TestDatabase, size: int) -> None:
    """Have the database be as it was when the log had `size` entries."""
    for table, late in (
        ("licensing_ledgercheckpoint", "size >"),
        ("licensing_ledgertree", "size >"),
        ("licensing_ledgerleaf", "index >="),
    ):
        tamper(database, table, f"DELETE FROM {table} WHERE log = 'test' AND {late} {size}")


# What the backup that `lose_tail` plays does not have, in an order that foreign keys allow.
_LOST = """
CREATE TEMPORARY TABLE lost ON COMMIT DROP AS
    SELECT entry_id AS id FROM licensing_ledgerleaf
    WHERE log = '{log}' AND (index >= {size} + {waiting} OR index >= {size} AND entry_id IN (
        SELECT entry_id FROM licensing_ledgercontinuation
    ));
CREATE TEMPORARY TABLE lost_grant ON COMMIT DROP AS
    SELECT id, agreement_id FROM licensing_grant WHERE issued_entry_id IN (SELECT id FROM lost);
INSERT INTO licensing_ledgerpending (entry_id, log)
    SELECT entry_id, split_part(log, '/', 1) FROM licensing_ledgerleaf
    WHERE log = '{log}' AND index >= {size} AND index < {size} + {waiting}
        AND entry_id NOT IN (SELECT id FROM lost);
DELETE FROM licensing_ledgercosignature WHERE log = '{log}' AND size > {size};
DELETE FROM licensing_ledgercheckpoint WHERE log = '{log}' AND size > {size};
DELETE FROM licensing_ledgertree WHERE log = '{log}' AND size > {size};
DELETE FROM licensing_ledgertile
    WHERE log = '{log}' AND ((index + 1)::numeric * 256 ^ (level + 1)) > {size};
DELETE FROM licensing_ledgerleaf WHERE log = '{log}' AND index >= {size};
DELETE FROM licensing_grantevent WHERE grant_id IN (SELECT id FROM lost_grant)
    OR entry_id IN (SELECT id FROM lost);
DELETE FROM licensing_deliverycount WHERE coverage_id IN (
    SELECT id FROM licensing_coverage WHERE grant_id IN (SELECT id FROM lost_grant)
);
DELETE FROM licensing_deliverysummary WHERE entry_id IN (SELECT id FROM lost);
DELETE FROM licensing_coverage WHERE grant_id IN (SELECT id FROM lost_grant);
DELETE FROM licensing_period WHERE grant_id IN (SELECT id FROM lost_grant);
DELETE FROM licensing_scopeclaim WHERE grant_id IN (SELECT id FROM lost_grant);
DELETE FROM licensing_grant WHERE id IN (SELECT id FROM lost_grant);
DELETE FROM licensing_agreement WHERE id IN (SELECT agreement_id FROM lost_grant);
DELETE FROM licensing_ledgerawaited WHERE entry_id IN (SELECT id FROM lost);
DELETE FROM licensing_ledgeropening WHERE entry_id IN (SELECT id FROM lost);
DELETE FROM licensing_ledgerparty WHERE entry_id IN (SELECT id FROM lost);
UPDATE licensing_ledgercounter counter SET last = (
    SELECT count(*) FROM licensing_ledgerparty party
    WHERE party.log = counter.log AND party.organization_id = counter.organization_id
);
DELETE FROM licensing_ledgercontinuation WHERE entry_id IN (SELECT id FROM lost);
DELETE FROM licensing_ledgerrecovered WHERE entry_id IN (SELECT id FROM lost);
CREATE TEMPORARY TABLE lost_offer ON COMMIT DROP AS
    SELECT offer.id FROM licensing_offer offer
    JOIN licensing_snapshot snapshot ON snapshot.id = offer.snapshot_id
    JOIN licensing_terms terms ON terms.id = offer.terms_id
    WHERE snapshot.entry_id IN (SELECT id FROM lost) OR terms.entry_id IN (SELECT id FROM lost);
DELETE FROM licensing_searchdocument WHERE offer_id IN (SELECT id FROM lost_offer);
DELETE FROM licensing_offer WHERE id IN (SELECT id FROM lost_offer);
DELETE FROM licensing_snapshot WHERE entry_id IN (SELECT id FROM lost);
DELETE FROM licensing_terms WHERE entry_id IN (SELECT id FROM lost);
DELETE FROM licensing_ledgerentry WHERE id IN (SELECT id FROM lost);
"""


def lose_tail(database: TestDatabase, size: int, *, waiting: int = 0, log: str = "test") -> None:
    """Have the database be a backup: of when `size` entries had places, and the next waited."""
    tables = re.findall(r"DELETE FROM (\w+)", _LOST)
    with superuser_connection(database) as superuser:
        for table in tables:
            superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        with superuser.transaction():
            superuser.execute(_LOST.format(size=size, waiting=waiting, log=log))
        for table in tables:
            enable_triggers(superuser, table)


def enable_triggers(owner: psycopg.Connection[Any], table: str) -> None:
    """End what `DISABLE TRIGGER USER` began: every trigger of ours fires always."""
    triggers = owner.execute(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal",
        [table],
    ).fetchall()
    for (trigger,) in triggers:
        owner.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")
