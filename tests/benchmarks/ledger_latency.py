"""How long after its commit a grant has its receipt, and how long at the least it would take."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

from django.utils import timezone

from licensing.ledger import proofs, sequencer
from licensing.models import LedgerEntry
from marketplace import access
from tests.benchmarks.ledger_rows import LOG, Rows, Sequencer, forked, sequencing
from tests.benchmarks.measure import Figure, app, progress

CLIENTS = 8
ROUNDS = 6
SECONDS = 8.0
# Whether there is a receipt, asked at little cost: eight who made one in vain each time would keep
# both cores busy, and the sequencer waiting. The receipt itself is then made as for anybody.
IS_SIGNED = """
SELECT EXISTS (
    SELECT FROM licensing_ledgerleaf leaf
    JOIN licensing_ledgercheckpoint signed ON signed.log = leaf.log AND signed.size > leaf.index
    WHERE leaf.entry_id = %s
)
"""
# Of whoever waits: how often they look, and how long they rest between two grants at most. The
# rest keeps the clients from falling into step with the sequencer's passes.
POLL_SECONDS = 0.01
REST_SECONDS = 0.1
P50_GOAL_MS = 100.0
P99_GOAL_MS = 300.0
ALONE_A_ROUND = 20


def run(quick: bool) -> Iterator[Figure]:
    """By turns: clients that wait for the sequencer's passes, and one that runs them itself."""
    rounds, seconds = (2, SECONDS / 4) if quick else (ROUNDS, SECONDS)
    rows = Rows()
    waited: list[float] = []
    alone: list[float] = []
    with sequencing() as running, forked(CLIENTS, _client, rows) as clients:
        _wait(clients, 1.0)
        for round_ in range(rounds):
            found = _wait(clients, seconds)
            waited += found
            alone += _alone(rows, running)
            progress(
                f"ledger-latency: round {round_ + 1}/{rounds}: {len(found)} receipts,"
                f" p50 {statistics.median(found):.0f} ms, p99 {_percentile(found, 99):.0f} ms"
            )
    for percent, goal in ((50, P50_GOAL_MS), (99, P99_GOAL_MS)):
        value, limit = _percentile(waited, percent), _percentile(alone, percent)
        yield Figure(
            figure=f"commit to receipt, {CLIENTS} clients, p{percent} of {len(waited):,}",
            value=value,
            unit="ms",
            limit=limit,
            ratio=limit / value,
            goal=f"value <= {goal:g} ms",
            holds=value <= goal,
        )


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _alone(rows: Rows, running: Sequencer) -> list[float]:
    """Milliseconds where nobody waits for a pass or for others: a grant, a pass, its receipt."""
    running.stand_still()
    found = []
    with app() as connection:
        for _number in range(ALONE_A_ROUND):
            key = rows.insert(connection, timezone.now(), bare=False)
            committed = time.perf_counter()
            sequencer.run_once()
            assert _receipt(key) is not None, "one pass is all that a receipt needs"
            found.append((time.perf_counter() - committed) * 1000)
    running.go_on()
    return found


def _receipt(key: int) -> bytes | None:
    """As whoever asks for a receipt gets it: entry, opening and receipt in one transaction."""
    with access.system("fetch a receipt"):
        entry = LedgerEntry.objects.select_related("opening").get(pk=key)
        return proofs.receipt(entry, entry.opening)


# --- the clients ------------------------------------------------------------------------------


def _wait(clients: list[Connection], seconds: float) -> list[float]:
    ends = time.monotonic() + seconds
    for client in clients:
        client.send(ends)
    return [milliseconds for client in clients for milliseconds in client.recv()]


def _client(told: Connection, rows: Rows) -> None:
    """Give licenses one after another, each once the receipt of the one before is there.

    As `GET …/receipt?wait=` does: it looks, says that it waits, and looks again.
    """
    with app() as connection:
        while (ends := told.recv()) is not None:
            found = []
            while time.monotonic() < ends:
                key = rows.insert(connection, timezone.now(), bare=False)
                committed = time.perf_counter()
                is_awaited = False
                while connection.execute(IS_SIGNED, [key], prepare=True).fetchone() != (True,):
                    if not is_awaited:
                        connection.execute(sequencer._AWAIT, [key, LOG], prepare=True)
                        is_awaited = True
                    time.sleep(POLL_SECONDS)
                assert _receipt(key) is not None, "what is signed has its receipt"
                found.append((time.perf_counter() - committed) * 1000)
                time.sleep(random.uniform(0, REST_SECONDS))
            told.send(found)
