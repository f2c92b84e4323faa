"""The simulated account: its objects, answers and deliveries, in one SQLite file or in memory."""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
import string
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from payments.simulator.errors import missing

Resource = dict[str, Any]

_ALPHABET = string.ascii_letters + string.digits
_PAGE = 200
_TABLES = """
CREATE TABLE IF NOT EXISTS object (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    private TEXT NOT NULL,
    due_at INTEGER
);
CREATE INDEX IF NOT EXISTS object_by_kind ON object (kind, seq);
-- What was transferred from a charge; what is to become available.
CREATE INDEX IF NOT EXISTS transfer_by_source
    ON object (json_extract(body, '$.source_transaction')) WHERE kind = 'transfer';
CREATE INDEX IF NOT EXISTS balance_transaction_pending
    ON object (json_extract(body, '$.available_on'))
    WHERE kind = 'balance_transaction' AND json_extract(body, '$.status') = 'pending';
-- Lists of what belongs to a payment, or was not delivered, among very many others.
CREATE INDEX IF NOT EXISTS object_by_payment_intent
    ON object (kind, json_extract(body, '$.payment_intent'), seq)
    WHERE json_extract(body, '$.payment_intent') IS NOT NULL;
CREATE INDEX IF NOT EXISTS object_by_charge
    ON object (kind, json_extract(body, '$.charge'), seq)
    WHERE json_extract(body, '$.charge') IS NOT NULL;
CREATE INDEX IF NOT EXISTS object_by_source
    ON object (kind, json_extract(body, '$.source'), seq)
    WHERE json_extract(body, '$.source') IS NOT NULL;
CREATE INDEX IF NOT EXISTS object_by_transfer_group
    ON object (kind, json_extract(body, '$.transfer_group'), seq)
    WHERE json_extract(body, '$.transfer_group') IS NOT NULL;
CREATE INDEX IF NOT EXISTS object_by_pending_webhooks
    ON object (kind, json_extract(body, '$.pending_webhooks'), seq)
    WHERE json_extract(body, '$.pending_webhooks') IS NOT NULL;
CREATE INDEX IF NOT EXISTS object_due ON object (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS answer (
    key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    request TEXT NOT NULL,
    at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS delivery (
    seq INTEGER PRIMARY KEY,
    event TEXT NOT NULL UNIQUE,
    attempts INTEGER NOT NULL,
    -- By the machine's clock; NULL once nothing more is tried.
    next_at REAL,
    -- Of the last answer; 0 where there was none.
    status INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS delivery_due ON delivery (next_at, seq) WHERE next_at IS NOT NULL;
-- Movements on the balances of connected accounts. Stripe shows those to the account itself.
CREATE TABLE IF NOT EXISTS account_line (
    seq INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    currency TEXT NOT NULL,
    available_on INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    -- The transfer, reversal or payout.
    source TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS account_line_sum
    ON account_line (account, currency, available_on, amount);
CREATE TABLE IF NOT EXISTS clock (ahead_seconds INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Cause:
    """The API request behind a change; empty for what happens on the pay page or by time."""

    request: str | None = None
    idempotency_key: str | None = None


class World:
    """Everything in the account. One change at a time; each is whole or never was."""

    def __init__(self, directory: Path | None = None) -> None:
        # Where the simulator itself is reached: pay pages live there.
        self.base_url = ""
        # Where events are delivered, and what signs them.
        self.webhook_url = ""
        self.webhook_secret = ""
        # Where the platform is: its region decides where transfers may go.
        self.country = "US"
        # What is delivered, unless a control says otherwise: snapshot, thin or both.
        self.first_event_style = "snapshot"
        self.cause = Cause()
        # Set after each change: somebody may have to deliver events.
        self.changed = threading.Event()
        self.lock = threading.RLock()
        self._is_changing = False
        self.database = _connected(directory)
        self.database.executescript(_TABLES)
        row = self.database.execute("SELECT ahead_seconds FROM clock").fetchone()
        self._ahead_seconds: int = row[0] if row else 0

    def close(self) -> None:
        with self.lock:
            self.database.close()

    @contextlib.contextmanager
    def change(self, cause: Cause | None = None) -> Iterator[None]:
        """Everything inside commits together, or none of it does."""
        with self.lock:
            assert not self._is_changing, "A change has no part that could fail by itself."
            self._is_changing, self.cause = True, cause or Cause()
            self.database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.database.execute("ROLLBACK")
                raise
            else:
                self.database.execute("COMMIT")
            finally:
                self._is_changing = False
        self.changed.set()

    def now(self) -> int:
        """The account's clock, which tests set forward."""
        return int(time.time()) + self._ahead_seconds

    def advance(self, seconds: int) -> None:
        """Set the clock forward, for good."""
        self._ahead_seconds += seconds
        self.database.execute("DELETE FROM clock")
        self.database.execute("INSERT INTO clock VALUES (?)", (self._ahead_seconds,))

    def forget(self) -> None:
        """Empty the account, and put its clock right."""
        with self.change():
            for table in ("object", "answer", "delivery", "account_line", "clock", "setting"):
                self.database.execute(f"DELETE FROM {table}")
            self._ahead_seconds = 0

    def setting(self, name: str, default: Any = None) -> Any:
        """What a control set, until the account is emptied."""
        row = self._row("SELECT value FROM setting WHERE name = ?", name)
        return default if row is None else json.loads(row[0])

    def set(self, name: str, value: Any) -> None:
        self.database.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, _text(value)))

    @property
    def event_style(self) -> str:
        """Whether events are delivered with the object (snapshot), without it (thin), or both."""
        return str(self.setting("event_style", self.first_event_style))

    def add(self, body: Resource, *, private: Any = None, due_at: int | None = None) -> None:
        """Keep a new object; `private` is what the API never shows of it."""
        self.database.execute(
            "INSERT INTO object (id, kind, body, private, due_at) VALUES (?, ?, ?, ?, ?)",
            (body["id"], body["object"], _text(body), _text(private), due_at),
        )

    def put(self, body: Resource, *, due_at: int | None = None) -> None:
        """Keep a changed object. What was due is due no more, unless said again."""
        self.database.execute(
            "UPDATE object SET body = ?, due_at = ? WHERE id = ?",
            (_text(body), due_at, body["id"]),
        )

    def find(self, kind: str, id: str) -> Resource | None:
        row = self._row("SELECT body FROM object WHERE id = ? AND kind = ?", id, kind)
        return None if row is None else json.loads(row[0])

    def get(self, kind: str, id: str, *, param: str = "id", status: int = 404) -> Resource:
        """An object, or what Stripe answers where there is none."""
        found = self.find(kind, id)
        if found is None:
            raise missing(kind, id, param=param, status=status)
        return found

    def private(self, id: str) -> Any:
        row = self._row("SELECT private FROM object WHERE id = ?", id)
        return None if row is None else json.loads(row[0])

    def newest(
        self,
        kind: str,
        *,
        before: str | None = None,
        after: str | None = None,
        match: Mapping[str, Any] | None = None,
    ) -> Iterator[Resource]:
        """Objects of a kind, newest first; those after one come nearest to it first.

        `match` names fields, by words of our own, and what stands in them.
        """
        fields = match or {}
        matches = "".join(f" AND json_extract(body, '$.{name}') = ?" for name in fields)
        if after is not None:
            bound, order, compare = self._seq(after), "ASC", ">"
        else:
            bound = (1 << 62) if before is None else self._seq(before)
            order, compare = "DESC", "<"
        while True:
            rows = self.database.execute(
                f"SELECT seq, body FROM object WHERE kind = ?{matches} AND seq {compare} ?"
                f" ORDER BY seq {order} LIMIT {_PAGE}",
                (kind, *fields.values(), bound),
            ).fetchall()
            for _seq, body in rows:
                yield json.loads(body)
            if len(rows) < _PAGE:
                return
            bound = rows[-1][0]

    def due(self, kind: str) -> list[Resource]:
        """Objects whose time has come, earliest first."""
        rows = self.database.execute(
            "SELECT body FROM object WHERE due_at <= ? AND kind = ? ORDER BY due_at, seq",
            (self.now(), kind),
        ).fetchall()
        return [json.loads(body) for (body,) in rows]

    def _seq(self, id: str) -> int:
        row = self._row("SELECT seq FROM object WHERE id = ?", id)
        assert row is not None, "Only a known object is a cursor."
        return int(row[0])

    def _row(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self.database.execute(query, values).fetchone()
        return row


def new_id(prefix: str, length: int = 24) -> str:
    """An id that nobody can take for one of Stripe's: `pi_dev_…`."""
    return f"{prefix}_dev_" + "".join(secrets.choice(_ALPHABET) for _each in range(length))


def _connected(directory: Path | None) -> sqlite3.Connection:
    if directory is None:
        name = ":memory:"
    else:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = str(directory / "simulator.sqlite3")
    # The world's lock keeps threads apart.
    database = sqlite3.connect(name, check_same_thread=False, isolation_level=None)
    if directory is not None:
        # Survives the end of the process, which is all that a simulator must survive.
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")
    return database


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
