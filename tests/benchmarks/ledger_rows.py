"""A grant and its entry as rows: what ours and bare SQL write, and the sequencer beside them."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection as django_connection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from licensing import packing
from licensing.ledger import commitments, log, tree
from marketplace.typeid import TypeID, uuid7
from tests import make
from tests.benchmarks.measure import owner, process_cpu_seconds
from tests.people import found

LOG = "test"
KIND = "grant.issued"
COPY_PREFIX = "raw_"
# What is written, in the order of the foreign keys. The queue has no copy.
COPIED = (
    "licensing_ledgerentry",
    "licensing_ledgeropening",
    "licensing_ledgerparty",
    "licensing_agreement",
    "licensing_grant",
)
# The columns of a grant that are its own.
OWN = {
    "licensing_agreement": {"id": "agreement", "made_by": "made_by"},
    "licensing_grant": {
        "id": "grant",
        "agreement_id": "agreement",
        "grant_ref": "grant_ref",
        "issued_entry_id": "entry",
    },
}
# `log._APPEND` without its queue; its numbers come from no counter.
BARE_APPEND = """
WITH entry AS (
    INSERT INTO raw_licensing_ledgerentry
        (log, kind, subject_ref, seq, body, leaf_hash, created_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id
), opening AS (
    INSERT INTO raw_licensing_ledgeropening (entry_id, parties, seed, packed)
    SELECT id, %s::uuid[], %s, %s FROM entry
), party AS (
    INSERT INTO raw_licensing_ledgerparty (log, organization_id, sequence, entry_id)
    SELECT %s, organization_id, sequence, id
    FROM entry, unnest(%s::uuid[], %s::bigint[]) AS each (organization_id, sequence)
)
SELECT id FROM entry
"""
ACTING = "SELECT set_config('licet.system', 'issue a grant', true)"


class Rows:
    """One issued grant's rows, and statements that write others like it.

    `insert` is one transaction of prepared statements: entry, opening, numbers and queue as `log`
    writes them, contract, grant. Bare, it is the same rows but the queue's and the counters', into
    copies of the tables.
    """

    def __init__(self) -> None:
        seller, self.buyer = found("Archive", "platform"), found("Lab", "lab")
        self.offer = make.make_offer(seller, price_minor=0)
        grant = make.issue_grant(self.buyer, self.offer)
        with owner() as opened, opened.transaction():
            opened.execute("SELECT set_config('licet.system', 'read a grant', true)")
            keys = {
                "licensing_ledgerentry": ("id", grant.issued_entry_id),
                "licensing_ledgeropening": ("entry_id", grant.issued_entry_id),
                "licensing_agreement": ("id", grant.agreement_id),
                "licensing_grant": ("id", grant.pk),
            }
            rows = {table: _row(opened, table, *key) for table, key in keys.items()}
        entry, opening = rows["licensing_ledgerentry"], rows["licensing_ledgeropening"]
        self.body = packing.unpack_body(bytes(entry["body"]))
        self._ref = bytes(entry["subject_ref"])
        self._ref_text = self._ref.hex().encode()
        assert self.body.count(self._ref_text) == 1, "the body names its subject once"
        (self._committed,) = re.findall(rb'"parties":\[([^]]*)\]', self.body)
        committed = [bytes.fromhex(each) for each in json.loads(f"[{self._committed.decode()}]")]
        self._committed_bytes = b"".join(committed)
        # Packing is Python's work, and no statement's.
        around = self.body.split(self._committed)
        self._packed = packing.pack_body_around(around[0], around[1], len(committed))
        # Whose entries these are.
        self.parties: list[UUID] = opening["parties"]
        # Of the bare rows, the last number given to all parties alike.
        self._last = 0
        self.opened = bytes(opening["packed"])
        # With these, other entries with this body are sound ones.
        self.at: datetime = entry["created_at"]
        self.seed = bytes(opening["seed"])
        self._ours, self._bare = ([*_insertions(rows, prefix)] for prefix in ("", COPY_PREFIX))

    def insert(self, connection: psycopg.Connection[Any], at: datetime, *, bare: bool) -> int:
        """Write one grant and its entry, and commit. Gives the entry's key."""
        ref = os.urandom(16)
        agreement = uuid7()
        own: dict[str, Any] = {
            "agreement": agreement,
            "made_by": f"ord_{agreement.hex}",
            "grant": uuid7(),
            "grant_ref": ref,
        }
        execute = connection.execute
        with connection.transaction():
            execute(ACTING, prepare=True)
            own["entry"] = self.append(connection, ref, os.urandom(32), at, bare=bare)
            for statement, values in self._bare if bare else self._ours:
                execute(statement, values | own, prepare=True)
        return int(own["entry"])

    def number_from(self, last: int) -> None:
        """Have bare rows of the same parties be numbered apart from another process's."""
        self._last = last

    def append(
        self,
        connection: psycopg.Connection[Any],
        ref: bytes,
        seed: bytes,
        at: datetime,
        *,
        bare: bool = False,
    ) -> int:
        """Write one entry, its opening, numbers and place in the queue. Gives its key.

        It commits to its numbers with `self.seed`: making another's keys is Python's work, and no
        statement's.
        """
        parties = log._array(party.hex for party in self.parties)
        body = self.body_of(ref)
        before, after = body.split(self._committed)
        head, tail = (part.replace(self._ref, ref) for part in self._packed)
        if bare:
            self._last += 1
            numbers = log._array([str(self._last)] * len(self.parties))
            packed = head + self._committed_bytes + tail
            parameters = (
                *(LOG, KIND, ref, 0, packed, tree.leaf_hash(body), at, parties, seed),
                *(self.opened, LOG, parties, numbers),
            )
        else:
            ones = log._array(["1"] * len(self.parties))
            parameters = (
                *(log._array([LOG] * len(self.parties)), parties, ones, parties),
                *_keys(self.seed, tuple(self.parties)),
                *(LOG, KIND, ref, 0, head, tail, b"\x00" + before, after, at),
                *(parties, seed, self.opened, LOG, LOG, None),
            )
        append = BARE_APPEND if bare else log._APPEND
        row = connection.execute(append, parameters, prepare=True).fetchone()
        assert row is not None
        return int(row[0])

    def body_of(self, ref: bytes) -> bytes:
        return self.body.replace(self._ref_text, ref.hex().encode())


@cache
def _keys(seed: bytes, parties: tuple[UUID, ...]) -> tuple[str, str]:
    keys = [commitments.party_key(seed, str(TypeID("org", party))) for party in parties]
    return log._bytes(key[0] for key in keys), log._bytes(key[1] for key in keys)


def make_copies() -> None:
    """Copies of the tables: same columns, keys, indexes and walls; no triggers but foreign keys'.

    The walls are the tenants', not the ledger's: both sides stand behind them.
    """
    with owner() as opened:
        for table in COPIED:
            opened.execute(f"CREATE TABLE {COPY_PREFIX}{table} (LIKE {table} INCLUDING ALL)")
        for table in COPIED:
            _copy_keys_and_walls(opened, table)


def analyze() -> None:
    """Count the rows of both sides anew, as autovacuum would, and have all statements planned anew.

    A plan that was made while a table was empty may look a foreign key up by the licensor alone,
    and reads all rows of it: the bare rows took twice as long.
    """
    with owner() as opened:
        for table in COPIED:
            opened.execute(f"ANALYZE {table}, {COPY_PREFIX}{table}")


def _copy_keys_and_walls(opened: psycopg.Connection[Any], table: str) -> None:
    copy = COPY_PREFIX + table
    copied = "|".join(COPIED)
    keys = opened.execute(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = %s::regclass AND contype = 'f'",
        [table],
    ).fetchall()
    for (definition,) in keys:
        there = re.sub(rf"REFERENCES ({copied})\b", rf"REFERENCES {COPY_PREFIX}\1", definition)
        opened.execute(f"ALTER TABLE {copy} ADD {there}")
    walls = opened.execute(
        "SELECT policyname, cmd, qual, with_check FROM pg_policies WHERE tablename = %s", [table]
    ).fetchall()
    for name, command, using, checked in walls:
        conditions = f"USING ({using})" if using else f"WITH CHECK ({checked})"
        opened.execute(f"CREATE POLICY {name} ON {copy} FOR {command} {conditions}")
        opened.execute(f"ALTER TABLE {copy} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")


def _row(opened: psycopg.Connection[Any], table: str, column: str, key: Any) -> dict[str, Any]:
    cursor = opened.cursor(row_factory=dict_row)
    row = cursor.execute(f"SELECT * FROM {table} WHERE {column} = %s", [key]).fetchone()
    assert row is not None
    return row


def _insertions(rows: dict[str, dict[str, Any]], prefix: str) -> Iterator[tuple[str, Any]]:
    """The statements for contract and grant; their own keys are named parameters."""
    for table, own in OWN.items():
        values = {
            name: Jsonb(value) if isinstance(value, dict) else value
            for name, value in rows[table].items()
            if name not in own
        }
        columns = [*own, *values]
        places = ", ".join(f"%({own.get(name, name)})s" for name in columns)
        yield f"INSERT INTO {prefix}{table} ({', '.join(columns)}) VALUES ({places})", values


# --- the clients ------------------------------------------------------------------------------


@contextmanager
def forked(
    count: int, client: Callable[[Connection, Rows], None], rows: Rows
) -> Iterator[list[Connection]]:
    """Processes that run `client` until it is told None: what is loaded here is loaded there."""
    # Not the connections, which nobody may share.
    django_connection.close()
    django_connection.close_pool()  # type: ignore[attr-defined]
    context = multiprocessing.get_context("fork")
    ends, running = [], []
    for _number in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(target=client, args=(theirs, rows), daemon=True)
        process.start()
        theirs.close()
        ends.append(ours)
        running.append(process)
    try:
        yield ends
    finally:
        for end in ends:
            end.send(None)
        for process in running:
            process.join(20)


# --- the sequencer ----------------------------------------------------------------------------

# As production runs it, with debug mode off.
_COMMAND = (
    "from tests.benchmarks.measure import set_up; set_up();"
    " from django.core.management import call_command; call_command('ledger_sequence')"
)
NAME = "sequencer of a benchmark"


class Sequencer:
    """`manage.py ledger_sequence` in a process of its own, which can be made to stand still."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND],
            env={**os.environ, "PGAPPNAME": NAME},
            cwd=Path(__file__).resolve().parents[2],
            stdout=subprocess.DEVNULL,
        )
        self._watching = owner()
        deadline = time.monotonic() + 60
        while (backend := self._find()) is None:
            assert time.monotonic() < deadline, "the sequencer does not start"
            time.sleep(0.1)
        self._backend = backend

    def _find(self) -> int | None:
        assert self._process.poll() is None, "the sequencer ended"
        row = self._watching.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
            " AND datname = current_database()",
            [NAME],
        ).fetchone()
        return None if row is None else int(row[0])

    def cpu_seconds(self) -> float:
        """Of the process and its backend."""
        assert self._find() == self._backend, "the sequencer changed its connection"
        return process_cpu_seconds(self._process.pid) + process_cpu_seconds(self._backend)

    def drain(self) -> None:
        """Wait until everything that is recorded is integrated and signed."""
        deadline = time.monotonic() + 120
        while not self._is_done():
            assert self._process.poll() is None, "the sequencer ended"
            assert time.monotonic() < deadline, "the sequencer does not catch up"
            time.sleep(0.02)

    def _is_done(self) -> bool:
        row = self._watching.execute(
            "SELECT NOT EXISTS (SELECT FROM licensing_ledgerpending)"
            " AND (SELECT max(size) FROM licensing_ledgertree)"
            "  IS NOT DISTINCT FROM (SELECT max(size) FROM licensing_ledgercheckpoint)"
            " AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s AND xact_start < now())",
            [self._backend],
        ).fetchone()
        return bool(row and row[0])

    def stand_still(self) -> None:
        self.drain()
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def end(self) -> None:
        self.go_on()
        self._process.terminate()
        self._process.wait(20)
        self._watching.close()


@contextmanager
def sequencing() -> Iterator[Sequencer]:
    running = Sequencer()
    try:
        yield running
    finally:
        running.end()
