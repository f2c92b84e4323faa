"""How long an inclusion proof takes in logs of one and of ten million leaves."""

from __future__ import annotations

import hashlib
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from licensing.ledger import tiles, tree
from licensing.ledger.tree import TILE_HEIGHT, TILE_WIDTH
from tests.benchmarks.measure import Figure, app, owner, progress

LEAVES = 1_000_000
# The log that holds each size: both are measured in one run, by turns.
SIZES = {"test": LEAVES, "live": 10 * LEAVES}
ROUNDS = 20
PROOFS_A_ROUND = 100
P50_GOAL_MS = 3.0
P99_GOAL_MS = 10.0
TIMES_GOAL = 2.0

TILE = "SELECT hashes FROM licensing_ledgertile WHERE log = %s AND level = %s AND index = %s"
HASHES = {
    0: "SELECT leaf_hash FROM licensing_ledgerleaf"
    " WHERE log = %s AND index >= %s AND index < %s ORDER BY index",
    1: "SELECT root FROM licensing_ledgertile"
    " WHERE log = %s AND level = %s AND index >= %s AND index < %s ORDER BY index",
}


@dataclass(frozen=True, slots=True)
class _Log:
    name: str
    size: int
    root: bytes


def run(quick: bool) -> Iterator[Figure]:
    """By turns: proofs from both logs, made and verified, and bare reads of the same tiles."""
    logs = [_load(name, size // 10 if quick else size) for name, size in SIZES.items()]
    with owner() as opened:
        opened.execute("VACUUM ANALYZE licensing_ledgertile, licensing_ledgerleaf")
    ours: dict[str, list[float]] = {log.name: [] for log in logs}
    bare: dict[str, list[float]] = {log.name: [] for log in logs}
    chosen = random.Random(4)
    with app() as connection:
        for round_ in range(ROUNDS // 4 if quick else ROUNDS):
            for log in logs:
                for _proof in range(PROOFS_A_ROUND):
                    index = chosen.randrange(log.size)
                    milliseconds, read = _prove(log, index)
                    limit = _read(connection, log, read)
                    if round_:
                        ours[log.name].append(milliseconds)
                        bare[log.name].append(limit)
    small, large = logs
    for log in logs:
        yield from _figures(log, ours[log.name], bare[log.name], has_goal=log is small)
    for percent in (50, 99):
        value = _percentile(ours[large.name], percent)
        limit = _percentile(ours[small.name], percent)
        yield Figure(
            figure=f"inclusion proof at {large.size:,} leaves, p{percent}, beside {small.size:,}",
            value=value,
            unit="ms",
            limit=limit,
            ratio=limit / value,
            goal=f"at most {TIMES_GOAL:g} times",
            holds=value <= TIMES_GOAL * limit,
        )


def _figures(
    log: _Log, ours: list[float], bare: list[float], *, has_goal: bool
) -> Iterator[Figure]:
    for percent, goal in ((50, P50_GOAL_MS), (99, P99_GOAL_MS)):
        value, limit = _percentile(ours, percent), _percentile(bare, percent)
        yield Figure(
            figure=f"inclusion proof at {log.size:,} leaves, p{percent} of {len(ours):,}",
            value=value,
            unit="ms",
            limit=limit,
            ratio=limit / value,
            goal=f"value <= {goal:g} ms" if has_goal else None,
            holds=value <= goal if has_goal else None,
        )


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _prove(log: _Log, index: int) -> tuple[float, list[tuple[int, int]]]:
    """Milliseconds for one proof, verified as the server does it, and the tiles that it read."""
    leaf = _leaf(index)
    started = time.perf_counter()
    stored = tiles.StoredTree(log.name, log.size)
    proof = tree.inclusion_proof(index, log.size, stored.node)
    tree.verify_inclusion(index, log.size, leaf, proof, log.root)
    return (time.perf_counter() - started) * 1000, list(stored._read)


def _read(connection: psycopg.Connection[Any], log: _Log, read: list[tuple[int, int]]) -> float:
    """The limit: the same tiles by prepared statements, and nothing made of them."""
    started = time.perf_counter()
    for level, index in read:
        first, end = index * TILE_WIDTH, log.size >> TILE_HEIGHT * level
        if first + TILE_WIDTH <= end:
            rows = connection.execute(TILE, (log.name, level, index), prepare=True, binary=True)
        elif level == 0:
            rows = connection.execute(HASHES[0], (log.name, first, end), prepare=True, binary=True)
        else:
            place = (log.name, level - 1, first, end)
            rows = connection.execute(HASHES[1], place, prepare=True, binary=True)
        assert rows.fetchall()
    return (time.perf_counter() - started) * 1000


# --- the logs ---------------------------------------------------------------------------------


def _leaf(index: int) -> bytes:
    return hashlib.sha256(b"\x00%d" % index).digest()


def _load(name: str, size: int) -> _Log:
    """Make a log's tiles and its right edge: all that proofs read. Its entries are nobody's."""
    started = time.monotonic()
    frontier = tree.Frontier()
    edge: list[list[bytes]] = [[] for _level in range(tiles.LEVELS_MAX)]
    with owner() as opened, opened.cursor() as cursor:
        with cursor.copy(
            "COPY licensing_ledgertile (log, level, index, hashes, root) FROM STDIN (FORMAT BINARY)"
        ) as copy:
            copy.set_types(["varchar", "int2", "int8", "bytea", "bytea"])
            for number in range(size):
                leaf = _leaf(number)
                edge[0].append(leaf)
                for level, index, root in frontier.push(leaf):
                    tile_level, within = divmod(level, TILE_HEIGHT)
                    if within == 0:
                        hashes = b"".join(edge[tile_level - 1])
                        copy.write_row((name, tile_level - 1, index, hashes, root))
                        edge[tile_level - 1].clear()
                        edge[tile_level].append(root)
        _load_edge(opened, name, size, edge[0])
    progress(f"ledger-proofs: {size:,} leaves loaded in {time.monotonic() - started:.0f} s")
    return _Log(name, size, frontier.root())


def _load_edge(opened: psycopg.Connection[Any], name: str, size: int, leaves: list[bytes]) -> None:
    for index, leaf in enumerate(leaves, size - len(leaves)):
        opened.execute(
            "WITH entry AS (INSERT INTO licensing_ledgerentry"
            " (log, kind, subject_ref, seq, body, leaf_hash, created_at)"
            " VALUES (%(log)s, 'note.made', substr(%(leaf)s, 1, 16), 0, %(body)s, %(leaf)s, now())"
            " RETURNING id) INSERT INTO licensing_ledgerleaf (log, index, entry_id, leaf_hash)"
            " SELECT %(log)s, %(index)s, id, %(leaf)s FROM entry",
            {"log": name, "index": index, "leaf": leaf, "body": b"%d" % index},
        )
