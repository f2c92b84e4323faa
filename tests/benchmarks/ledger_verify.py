"""How fast a whole log is verified, offline and in the database, beside SHA-256 alone."""

from __future__ import annotations

import gc
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from licensing.ledger import fsck, fsck_tiles, notes, sequencer, signer, stores, tiles, tree
from licensing.ledger.export import CHECKPOINT, VKEY, bundle_path, tile_path
from licensing.ledger.tree import TILE_HEIGHT, TILE_WIDTH
from licensing.models import LedgerLeaf
from tests.benchmarks.ledger_rows import LOG, Rows
from tests.benchmarks.measure import Figure, app, median, owner, progress

ENTRIES = 1_000_000
ROUNDS = 5
RATIO_GOAL = 0.45
SECONDS_GOAL = 5.0
STORED = 20_000
TOGETHER = 1_000
# Of an entry in a bundle.
LENGTH = 2


def run(quick: bool) -> Iterator[Figure]:
    """By turns, in this process: the check of an exported log, and SHA-256 of the same entries."""
    rows = Rows()
    entries = ENTRIES // 10 if quick else ENTRIES
    with tempfile.TemporaryDirectory(prefix="licet-log-") as directory:
        _export(rows, Path(directory), entries)
        yield from _offline(rows, Path(directory), entries)
    yield _stored(rows, STORED // 10 if quick else STORED)


@dataclass(frozen=True, slots=True)
class _Cost:
    """In seconds, of one core."""

    cpu: float
    wall: float


def _offline(rows: Rows, directory: Path, entries: int) -> Iterator[Figure]:
    ours, each, whole = [], [], []
    for round_ in range(ROUNDS):
        ours.append(_timed(lambda: _check_tiles(directory, entries)))
        each.append(_timed(lambda: _hash_each(directory, len(rows.body), entries)))
        whole.append(_timed(lambda: _hash_whole(directory)))
        progress(
            f"ledger-verify: round {round_ + 1}/{ROUNDS}: {ours[-1].cpu:.2f} s of CPU,"
            f" SHA-256 of each entry {each[-1].cpu:.2f} s, of whole files {whole[-1].cpu:.2f} s"
        )
    ratio = median(limit.cpu / mine.cpu for mine, limit in zip(ours, each, strict=True))
    yield Figure(
        figure=f"exported log of {entries:,} entries verified, beside SHA-256 of each entry",
        value=entries / median(cost.cpu for cost in ours),
        unit="entries/core-second",
        limit=entries / median(cost.cpu for cost in each),
        ratio=ratio,
        goal=f"ratio >= {RATIO_GOAL:g}",
        holds=ratio >= RATIO_GOAL,
    )
    yield Figure(
        figure="the same beside SHA-256 of whole files, their tiles not read",
        value=median(cost.cpu for cost in ours),
        unit="core-seconds",
        limit=median(cost.cpu for cost in whole),
        ratio=median(limit.cpu / mine.cpu for mine, limit in zip(ours, whole, strict=True)),
    )
    seconds, goal = median(cost.wall for cost in ours), SECONDS_GOAL * entries / ENTRIES
    limit = median(cost.wall for cost in each)
    yield Figure(
        figure=f"exported log of {entries:,} entries verified, its time",
        value=seconds,
        unit="s",
        limit=limit,
        ratio=limit / seconds,
        goal=f"value <= {goal:g} s",
        holds=seconds <= goal,
    )


def _timed(work: Callable[[], None]) -> _Cost:
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return _Cost(time.process_time() - cpu, time.perf_counter() - wall)


def _check_tiles(directory: Path, entries: int) -> None:
    sound = fsck_tiles.check_tiles(stores.open_store(str(directory)), LOG)
    assert (sound.size, sound.checkpoints, sound.ahead) == (entries, 1, 0)


def _bundles(directory: Path) -> Iterator[bytes]:
    for place in sorted((directory / LOG / "tile" / "entries").rglob("*")):
        if place.is_file():
            yield place.read_bytes()


def _hash_each(directory: Path, length: int, entries: int) -> None:
    """The limit: the same files read, every entry hashed once, and nothing compared."""
    hashed, sha256 = 0, hashlib.sha256
    for bundle in _bundles(directory):
        for start in range(LENGTH, len(bundle), LENGTH + length):
            sha256(bundle[start : start + length]).digest()
            hashed += 1
    assert hashed == entries


def _hash_whole(directory: Path) -> None:
    for bundle in _bundles(directory):
        hashlib.sha256(bundle).digest()


def _stored(rows: Rows, entries: int) -> Figure:
    """The check of the database; the time of its backend is not this process's."""
    _record(rows, entries)
    ours, bare = [], []
    bodies = [rows.body_of(os.urandom(16)) for _entry in range(entries)]
    for _round in range(ROUNDS):
        ours.append(_timed(lambda: _check_database(entries)).cpu)
        bare.append(_timed(lambda: [hashlib.sha256(body).digest() for body in bodies] and None).cpu)
    return Figure(
        figure=f"log of {entries:,} entries verified in the database, with openings and chains",
        value=entries / median(ours),
        unit="entries/core-second",
        limit=entries / median(bare),
        ratio=median(limit / mine for mine, limit in zip(ours, bare, strict=True)),
    )


def _check_database(entries: int) -> None:
    # The grant that the rows were learned from is an entry, too, and what it is of.
    size = fsck.check_database(LOG).size
    assert size == LedgerLeaf.objects.filter(log=LOG).count() > entries


# --- the logs ---------------------------------------------------------------------------------


def _export(rows: Rows, directory: Path, entries: int) -> None:
    """Write a log of such entries as `ledger_export` would, without recording them first."""
    started = time.monotonic()
    frontier = tree.Frontier()
    edge: list[list[bytes]] = [[] for _level in range(tiles.LEVELS_MAX)]
    bundle: list[bytes] = []
    for _entry in range(entries):
        body = rows.body_of(os.urandom(16))
        bundle.append(len(body).to_bytes(LENGTH) + body)
        leaf = tree.leaf_hash(body)
        edge[0].append(leaf)
        for level, index, root in frontier.push(leaf):
            tile_level, within = divmod(level, TILE_HEIGHT)
            if within == 0:
                _write(directory, tile_path(tile_level - 1, index), edge[tile_level - 1])
                edge[tile_level - 1].clear()
                edge[tile_level].append(root)
        if len(bundle) == TILE_WIDTH:
            _write(directory, bundle_path(frontier.size // TILE_WIDTH - 1), bundle)
            bundle.clear()
    if bundle:
        _write(directory, bundle_path(entries // TILE_WIDTH, len(bundle)), bundle)
    for level, hashes in enumerate(edge):
        if hashes:
            index = entries >> TILE_HEIGHT * (level + 1)
            _write(directory, tile_path(level, index, len(hashes)), hashes)
    key = signer.load(LOG)
    signed = notes.Checkpoint(key.verifier.name, entries, frontier.root())
    _write(directory, CHECKPOINT, [notes.sign(signed.text(), key).encode()])
    _write(directory, VKEY, [f"{key.verifier.vkey()}\n".encode()])
    progress(f"ledger-verify: {entries:,} entries written in {time.monotonic() - started:.0f} s")


def _write(directory: Path, path: str, parts: list[bytes]) -> None:
    place = directory / LOG / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"".join(parts))


def _record(rows: Rows, entries: int) -> None:
    with owner() as opened:
        # The grants themselves are not what is checked.
        opened.execute(
            "ALTER TABLE licensing_ledgerentry DISABLE TRIGGER ledger_entry_has_its_subject"
        )
    with app() as connection:
        for _transaction in range(entries // TOGETHER):
            with connection.transaction():
                connection.execute("SELECT set_config('licet.system', 'record', true)")
                for _entry in range(TOGETHER):
                    rows.append(connection, os.urandom(16), rows.seed, rows.at)
            sequencer.run_once()
