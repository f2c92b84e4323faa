"""What the database keeps of a grant's entry beyond its body, at a high rate and at a low one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from django.utils import timezone

from licensing.ledger import sequencer
from tests.benchmarks.ledger_rows import Rows
from tests.benchmarks.measure import Figure, app, owner, progress

ENTRIES = 20_000
# At 1,000 entries a second, a pass takes 25 ms or more, and the next one follows at once.
ENTRIES_A_PASS = 25
AT_ONCE_GOAL = 600.0
ENTRIES_ALONE = 3_000
ALONE_GOAL = 1_500.0
TABLES = ("entry", "opening", "party", "counter", "pending", "leaf", "tile", "tree", "checkpoint")


def run(quick: bool) -> Iterator[Figure]:
    """As many entries a tree as come at a high rate; then each in a tree of its own."""
    rows = Rows()
    with owner() as opened:
        # The grants themselves are not what is weighed.
        opened.execute(
            "ALTER TABLE licensing_ledgerentry DISABLE TRIGGER ledger_entry_has_its_subject"
        )
    sequencer.run_once()
    before = _Weight.now()
    _append(rows, ENTRIES // 10 if quick else ENTRIES, ENTRIES_A_PASS)
    after = _Weight.now()
    yield _figure("at 1,000 entries/s", len(rows.body), before, after, AT_ONCE_GOAL)
    _append(rows, ENTRIES_ALONE // 10 if quick else ENTRIES_ALONE, 1)
    yield _figure("one entry a minute", len(rows.body), after, _Weight.now(), ALONE_GOAL)


def _append(rows: Rows, count: int, a_pass: int) -> None:
    started = time.monotonic()
    with app() as connection:
        for _pass in range(count // a_pass):
            for _entry in range(a_pass):
                with connection.transaction():
                    connection.execute("SELECT set_config('licet.system', 'weigh', true)")
                    rows.append(connection, os.urandom(16), os.urandom(32), timezone.now())
            assert sequencer.run_once() == a_pass
    progress(f"ledger-bytes: {count:,} entries in {time.monotonic() - started:.0f} s")


class _Weight:
    """How much the ledger holds: entries, the stored bytes of their bodies, and of each table."""

    def __init__(self, entries: int, bodies: int, tables: dict[str, int], checkpoints: int) -> None:
        self.entries = entries
        self.bodies = bodies
        self.tables = tables
        self.checkpoints = checkpoints

    @classmethod
    def now(cls) -> _Weight:
        with owner() as opened:
            # As autovacuum would have done: the queue's dead rows do not grow with the log.
            for table in TABLES:
                opened.execute(f"VACUUM licensing_ledger{table}")
            entries, bodies, checkpoints = opened.execute(
                "SELECT count(*), sum(octet_length(body))::bigint,"
                " (SELECT count(*) FROM licensing_ledgercheckpoint) FROM licensing_ledgerentry"
            ).fetchone() or (0, 0, 0)
            tables = {}
            for table in TABLES:
                (tables[table],) = opened.execute(
                    "SELECT pg_total_relation_size(%s)", [f"licensing_ledger{table}"]
                ).fetchone() or (0,)
        return cls(entries, bodies, tables, checkpoints)


def _figure(at: str, body: int, before: _Weight, after: _Weight, goal: float) -> Figure:
    """All that is stored of an entry, beyond the bytes of its body as it is published."""
    entries = after.entries - before.entries
    stored = (after.bodies - before.bodies) / entries
    each = {table: (after.tables[table] - before.tables[table]) / entries for table in TABLES}
    beyond = sum(each.values()) - body
    parts = ", ".join(f"{table} {size:,.0f}" for table, size in each.items())
    progress(
        f"ledger-bytes {at}: {entries:,} entries,"
        f" {after.checkpoints - before.checkpoints:,} checkpoints; bytes an entry: {parts};"
        f" of which body {stored:,.0f}, {body:,} as it is published"
    )
    return Figure(
        figure=f"bytes of an entry beyond its body, openings and checkpoints included, {at}",
        value=beyond,
        unit="bytes/entry",
        limit=float(body),
        ratio=body / beyond,
        goal=f"value <= {goal:g}",
        holds=beyond <= goal,
    )
