"""What the ledger costs whoever records: a grant and its entry, beside the same rows alone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from django.utils import timezone

from licensing.models import Grant
from marketplace.typeid import uuid7
from tests import make
from tests.benchmarks.ledger_rows import (
    Rows,
    Sequencer,
    analyze,
    forked,
    make_copies,
    sequencing,
)
from tests.benchmarks.measure import Figure, app, median, owner, process_cpu_seconds, progress

# How many at once, and the goal of their rate beside the bare rows'.
CLIENTS = {1: 0.85, 8: 0.80, 32: 0.75}
CPU_GOAL = 1.15
WAL_GOAL = 1.5
ROUNDS = 8
SECONDS = 1.2
GRANTS_A_ROUND = 25
# Clients of one licensor.
SHARING = 8


def run(quick: bool) -> Iterator[Figure]:
    """By turns, each client a process: ours with the sequencer running, bare while it stands."""
    rounds = 2 if quick else ROUNDS
    rows = Rows()
    make_copies()
    with sequencing() as sequencer:
        for count, goal in CLIENTS.items():
            with forked(count, _client, rows) as clients:
                pairs = list(_rounds(clients, sequencer, rounds))
            yield from _figures(count, goal, pairs)
        with forked(SHARING, _client_of_one, rows) as clients:
            yield _sharing(list(_rounds(clients, sequencer, rounds)))
        yield _issuing(rows, sequencer, rounds)


@dataclass(frozen=True, slots=True)
class _Turn:
    """What one side did; CPU in seconds and WAL in bytes are of one entry."""

    rate: float
    cpu: float
    wal: float
    # The part of `cpu` that the sequencer and its backend used.
    sequencer: float


def _rounds(
    clients: list[Connection], sequencer: Sequencer, rounds: int
) -> Iterator[tuple[_Turn, _Turn]]:
    for round_ in range(rounds + 1):
        seconds = SECONDS if round_ else 0.3
        turns = {}
        # Each side begins as often: who comes first after a rest finds a faster machine.
        for is_bare in (True, False) if round_ % 2 else (False, True):
            if is_bare:
                sequencer.stand_still()
            turns[is_bare] = _turn(clients, seconds, None if is_bare else sequencer)
            if is_bare:
                sequencer.go_on()
        bare, ours = turns[True], turns[False]
        if round_ == 0:
            # Connections, plans and caches warm up.
            analyze()
            continue
        progress(
            f"ledger-append: {len(clients)} clients, round {round_}/{rounds}:"
            f" {ours.rate:,.0f}/s of {bare.rate:,.0f}/s, CPU {ours.cpu * 1000:.3f} ms of"
            f" {bare.cpu * 1000:.3f} ms (sequencer {ours.sequencer * 1000:.3f} ms),"
            f" WAL {ours.wal:,.0f} of {bare.wal:,.0f} bytes"
        )
        yield ours, bare


def _turn(clients: list[Connection], seconds: float, sequencer: Sequencer | None) -> _Turn:
    """Have all clients write until the time is up; what the sequencer then still does counts."""
    with owner() as watching:
        wal, sequenced = _wal(watching), sequencer.cpu_seconds() if sequencer else 0.0
        begins = time.monotonic() + 0.05
        for client in clients:
            client.send((begins, begins + seconds, sequencer is None))
        answers = [client.recv() for client in clients]
        if sequencer:
            sequencer.drain()
            sequenced = sequencer.cpu_seconds() - sequenced
        wal = _wal(watching) - wal
    written = sum(answer.written for answer in answers)
    return _Turn(
        rate=sum(answer.written / answer.seconds for answer in answers),
        cpu=(sum(answer.cpu for answer in answers) + sequenced) / written,
        wal=wal / written,
        sequencer=sequenced / written,
    )


def _wal(watching: Any) -> int:
    row = watching.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    return int(row[0])


# --- the clients ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Answer:
    written: int
    seconds: float
    cpu: float


def _client(told: Connection, rows: Rows) -> None:
    """A licensor and a licensee of its own."""
    rows.parties = [uuid7() for _party in rows.parties]
    _write(told, rows)


def _client_of_one(told: Connection, rows: Rows) -> None:
    """The same licensor for all clients, whose entries are numbered one after the other."""
    rows.parties = [rows.parties[0], uuid7()]
    rows.number_from(os.getpid() << 32)
    _write(told, rows)


def _write(told: Connection, rows: Rows) -> None:
    """Write as long as it is told to, on a connection of its own."""
    with app() as connection:
        backend = connection.info.backend_pid
        while (task := told.recv()) is not None:
            begins, ends, bare = task
            time.sleep(max(0.0, begins - time.monotonic()))
            cpu = time.process_time() + process_cpu_seconds(backend)
            started, written = time.monotonic(), 0
            while (now := time.monotonic()) < ends:
                rows.insert(connection, timezone.now(), bare=bare)
                written += 1
            cpu = time.process_time() + process_cpu_seconds(backend) - cpu
            told.send(_Answer(written, max(now, ends) - started, cpu))


# --- the figures ------------------------------------------------------------------------------


def _figures(count: int, goal: float, pairs: list[tuple[_Turn, _Turn]]) -> Iterator[Figure]:
    at = f"{count} client{'s' if count > 1 else ''}"
    ratio = median(ours.rate / bare.rate for ours, bare in pairs)
    yield Figure(
        figure=f"grant and entry, {at}",
        value=median(ours.rate for ours, _bare in pairs),
        unit="/s",
        limit=median(bare.rate for _ours, bare in pairs),
        ratio=ratio,
        goal=f"ratio >= {goal:g}",
        holds=ratio >= goal,
    )
    more = median(ours.cpu / bare.cpu for ours, bare in pairs)
    yield Figure(
        figure=f"grant and entry, {at}, CPU of clients, backends and sequencer",
        value=median(ours.cpu for ours, _bare in pairs) * 1000,
        unit="ms/entry",
        limit=median(bare.cpu for _ours, bare in pairs) * 1000,
        ratio=1 / more,
        goal=f"at most {CPU_GOAL:g} times",
        holds=more <= CPU_GOAL,
    )
    more = median(ours.wal / bare.wal for ours, bare in pairs)
    yield Figure(
        figure=f"grant and entry, {at}, WAL",
        value=median(ours.wal for ours, _bare in pairs),
        unit="bytes/entry",
        limit=median(bare.wal for _ours, bare in pairs),
        ratio=1 / more,
        goal=f"at most {WAL_GOAL:g} times",
        holds=more <= WAL_GOAL,
    )


def _sharing(pairs: list[tuple[_Turn, _Turn]]) -> Figure:
    return Figure(
        figure=f"grant and entry, {SHARING} clients of one licensor",
        value=median(ours.rate for ours, _bare in pairs),
        unit="/s",
        limit=median(bare.rate for _ours, bare in pairs),
        ratio=median(ours.rate / bare.rate for ours, bare in pairs),
    )


def _issuing(rows: Rows, sequencer: Sequencer, rounds: int) -> Figure:
    """The whole way of a grant in Django, one after another, beside bare rows by one client."""
    ours, bare = [], []
    with app() as connection:
        for round_ in range(rounds + 1):
            sequencer.stand_still()
            started = time.perf_counter()
            for _grant in range(GRANTS_A_ROUND):
                rows.insert(connection, timezone.now(), bare=True)
            limit = GRANTS_A_ROUND / (time.perf_counter() - started)
            sequencer.go_on()
            started = time.perf_counter()
            for _grant in range(GRANTS_A_ROUND):
                assert make.issue_grant(rows.buyer, rows.offer).status == Grant.Status.ACTIVE
            if round_:
                ours.append(GRANTS_A_ROUND / (time.perf_counter() - started))
                bare.append(limit)
    return Figure(
        figure="grants.issue with the rights held for it, one after another",
        value=median(ours),
        unit="/s",
        limit=median(bare),
        ratio=median(mine / limit for mine, limit in zip(ours, bare, strict=True)),
    )
