"""The log grows without gaps, forks or losses, and stops rather than sign what is wrong."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection

from licensing.ledger import guard, notes, sequencer, signer, tiles, tree
from licensing.ledger.log import LedgerCorrupted
from licensing.models import (
    LedgerAwaited,
    LedgerCheckpoint,
    LedgerEntry,
    LedgerLeaf,
    LedgerPending,
    LedgerTile,
    LedgerTree,
)
from marketplace import access
from tests.database import TestDatabase
from tests.ledger import append, append_many, naive_root, signed_sizes, superuser_connection, tamper


def leaves_of(log: str) -> list[bytes]:
    rows = LedgerLeaf.objects.filter(log=log).order_by("index")
    return [bytes(row) for row in rows.values_list("leaf_hash", flat=True)]


def check_whole(log: str) -> int:
    """Check everything that is stored of a log against the definitions; give its size."""
    rows = list(LedgerLeaf.objects.filter(log=log).order_by("index").select_related("entry"))
    assert [row.index for row in rows] == list(range(len(rows)))
    assert len({row.entry_id for row in rows}) == len(rows)
    assert all(tree.leaf_hash(bytes(row.entry.body)) == bytes(row.leaf_hash) for row in rows)
    leaves = [bytes(row.leaf_hash) for row in rows]
    for stored in LedgerTree.objects.filter(log=log):
        assert bytes(stored.root) == naive_root(leaves[: stored.size])
    for checkpoint in LedgerCheckpoint.objects.filter(log=log):
        signed, _note = notes.open_checkpoint(checkpoint.note, [signer.load(log).verifier])
        assert (signed.size, signed.root) == (checkpoint.size, naive_root(leaves[: signed.size]))
    for tile in LedgerTile.objects.filter(log=log):
        width = tree.TILE_WIDTH**tile.level
        nodes = [
            naive_root(leaves[start : start + width])
            for start in range(tile.index * 256 * width, (tile.index + 1) * 256 * width, width)
        ]
        assert bytes(tile.hashes) == b"".join(nodes)
        assert bytes(tile.root) == naive_root(nodes)
    return len(rows)


@pytest.mark.django_db
def test_entries_get_their_places_in_the_order_of_their_ids() -> None:
    entries = append_many(3)

    assert sequencer.integrate("test") == 3

    rows = LedgerLeaf.objects.order_by("index").values_list("index", "entry_id")
    assert list(rows) == list(enumerate(entry.pk for entry in entries))
    assert LedgerPending.objects.count() == 0
    assert LedgerTree.objects.values_list("size", flat=True).get() == 3
    assert check_whole("test") == 3


@pytest.mark.django_db
def test_integrating_again_changes_nothing() -> None:
    append_many(2)
    sequencer.run_once()

    assert sequencer.run_once() == 0

    assert LedgerLeaf.objects.count() == 2
    assert LedgerTree.objects.count() == 1
    assert LedgerCheckpoint.objects.count() == 1


@pytest.mark.django_db
def test_the_command_empties_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencer, "BATCH", 2)
    append_many(3)
    output = io.StringIO()

    call_command("ledger_sequence", once=True, stdout=output)

    assert output.getvalue() == "2 entries integrated\n1 entries integrated\n"
    assert LedgerCheckpoint.objects.order_by("-size").values_list("size", flat=True)[0] == 3


@pytest.mark.django_db
def test_signing_again_signs_nothing() -> None:
    append_many(1)
    sequencer.integrate("test")
    assert sequencer.sign("test") is not None

    assert sequencer.sign("test") is None


@pytest.mark.django_db
def test_growing_in_any_steps_gives_the_same_tiles_and_roots() -> None:
    """Steps that end before, at and after the end of a tile."""
    for step in (1, 254, 1, 1, 255, 300):
        append_many(step)
        sequencer.run_once()

    assert check_whole("test") == 812
    assert list(LedgerTree.objects.order_by("size").values_list("size", flat=True)) == [
        1,
        255,
        256,
        257,
        512,
        812,
    ]
    assert sorted(LedgerTile.objects.values_list("level", "index")) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.django_db
def test_a_long_queue_is_taken_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencer, "BATCH", 4)
    append_many(10)

    assert [sequencer.run_once() for _pass in range(4)] == [4, 4, 2, 0]

    assert check_whole("test") == 10


@pytest.mark.django_db
def test_the_two_logs_share_nothing() -> None:
    append_many(2)
    append_many(1, "live")

    assert sequencer.run_once() == 3

    assert (check_whole("test"), check_whole("live")) == (2, 1)
    origins = {row.log: row.note.split("\n")[0] for row in LedgerCheckpoint.objects.order_by("log")}
    assert origins == {"live": "licet.example/ledger/live", "test": "licet.example/ledger/test"}


@pytest.mark.django_db
def test_upper_tiles_come_from_the_roots_of_lower_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree of 65,536 leaves is too long a test; tiles of four hashes have the same arithmetic."""
    for module in (tree, tiles, sequencer):
        monkeypatch.setattr(module, "TILE_HEIGHT", 2)
    for module in (tree, tiles):
        monkeypatch.setattr(module, "TILE_WIDTH", 4)
    for step in (3, 1, 12, 47, 1, 70):
        append_many(step)
        sequencer.run_once()

    leaves = leaves_of("test")
    assert len(leaves) == 134
    stored = tiles.StoredTree("test", 134)
    assert stored.root() == naive_root(leaves) == bytes(tiles.newest_tree("test").root)  # type: ignore[union-attr]
    for index in range(134):
        proof = tree.inclusion_proof(index, 134, stored.node)
        tree.verify_inclusion(index, 134, leaves[index], proof, naive_root(leaves))
    counts = {level: LedgerTile.objects.filter(level=level).count() for level in range(4)}
    assert counts == {0: 33, 1: 8, 2: 2, 3: 0}


# --- when it signs ----------------------------------------------------------------------------


class Clock:
    """Stands in for `time` in the sequencer."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(sequencer, "time", found)
    return found


def awaiting(entry: LedgerEntry) -> None:
    with access.system("a test waits for a receipt"):
        sequencer.await_receipt(entry)


@pytest.mark.django_db
def test_a_pass_integrates_and_signs_once_a_second(clock: Clock) -> None:
    pace = sequencer.Pace()
    signed = []
    for _pass in range(25):
        append_many(1)
        assert sequencer.run_once(pace) == 1
        signed.append(signed_sizes()[-1])
        clock.now += 0.1

    # The first pass of a process at once, then not sooner than a second after the last note.
    assert sorted(set(signed)) == [1, 12, 23]
    assert LedgerTree.objects.count() == 25
    assert check_whole("test") == 25


@pytest.mark.django_db
def test_who_waits_has_the_log_signed_by_the_next_pass(clock: Clock) -> None:
    pace = sequencer.Pace()
    append_many(1)
    sequencer.run_once(pace)
    entries = append_many(2)
    sequencer.run_once(pace)
    assert signed_sizes() == [1]

    for _twice in range(2):
        awaiting(entries[1])
    sequencer.run_once(pace)

    assert signed_sizes() == [1, 3]
    assert LedgerAwaited.objects.count() == 0
    append_many(1)
    sequencer.run_once(pace)
    assert signed_sizes() == [1, 3]


@pytest.mark.django_db
def test_while_somebody_waits_the_next_pass_comes_sooner(clock: Clock) -> None:
    pace = sequencer.Pace()
    append_many(1)
    sequencer.run_once(pace)
    assert pace.rest() == pytest.approx(sequencer.PASS_SECONDS)

    (entry,) = append_many(1)
    awaiting(entry)
    sequencer.run_once(pace)
    assert pace.rest() == pytest.approx(sequencer.HURRIED_SECONDS)
    clock.now += 0.02
    assert pace.rest() == pytest.approx(sequencer.HURRIED_SECONDS - 0.02)

    sequencer.run_once(pace)
    assert pace.rest() == pytest.approx(sequencer.PASS_SECONDS)
    clock.now += 5
    assert pace.rest() == 0


@pytest.mark.django_db
def test_who_asks_after_the_signing_has_nothing_signed(clock: Clock) -> None:
    """It looked before the note was there, and said so after. Its row goes with the next note."""
    pace = sequencer.Pace()
    (entry,) = append_many(1)
    sequencer.run_once(pace)
    awaiting(entry)
    append_many(1)
    sequencer.run_once(pace)
    assert (signed_sizes(), LedgerAwaited.objects.count()) == ([1], 1)

    clock.now += 2
    sequencer.run_once(pace)
    sequencer.run_once(pace)

    assert (signed_sizes(), LedgerAwaited.objects.count()) == ([1, 2], 0)


@pytest.mark.django_db
def test_another_process_signing_counts_as_ones_own(clock: Clock) -> None:
    pace = sequencer.Pace()
    append_many(1)
    sequencer.run_once(pace)
    clock.now += 5
    append_many(1)
    sequencer.run_once()
    append_many(1)

    sequencer.run_once(pace)
    assert signed_sizes() == [1, 2]
    clock.now += 1
    sequencer.run_once(pace)

    assert signed_sizes() == [1, 2, 3]


@pytest.mark.django_db(transaction=True)
def test_who_comes_while_the_note_is_made_is_not_lost(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with a signing that deletes every row of its log."""
    pace = sequencer.Pace()
    (first,) = append_many(1)
    sequencer.run_once(pace)
    (early,) = append_many(1)
    awaiting(early)
    failures: list[BaseException] = []
    advance, came = guard.advance, []

    def come_meanwhile(*given: Any) -> None:
        if not came:
            came.append(append_elsewhere(failures))
        advance(*given)

    monkeypatch.setattr(guard, "advance", come_meanwhile)

    sequencer.run_once(pace)

    assert failures == []
    assert signed_sizes() == [1, 2]
    assert list(LedgerAwaited.objects.values_list("entry", flat=True)) == came
    sequencer.run_once(pace)
    assert signed_sizes() == [1, 2, 3]
    assert LedgerAwaited.objects.count() == 0
    assert first.pk < came[0]


def append_elsewhere(failures: list[BaseException]) -> int:
    """Commit an entry, and that its receipt is awaited, from another connection."""
    made: list[int] = []

    def work() -> None:
        (entry,) = append_many(1)
        awaiting(entry)
        made.append(entry.pk)

    in_thread(work, failures).join()
    return made[0]


@pytest.mark.django_db(transaction=True)
def test_whoever_waits_is_answered_by_a_pace_that_alone_would_sleep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waiters and two sequencers race; no second is ever over."""
    monkeypatch.setattr(sequencer, "NOTE_SECONDS", 1e9)
    failures: list[BaseException] = []
    done = threading.Event()

    def sequence() -> None:
        pace = sequencer.Pace()
        while not done.is_set():
            sequencer.run_once(pace)

    def wait() -> None:
        for _number in range(10):
            (entry,) = append_many(1)
            awaiting(entry)
            deadline = time.monotonic() + 20
            while not is_signed(entry):
                assert time.monotonic() < deadline, f"entry {entry.pk} is not signed"
                time.sleep(0.01)

    sequencers = [in_thread(sequence, failures) for _number in range(SEQUENCERS)]
    waiters = [in_thread(wait, failures) for _number in range(4)]
    for thread in waiters:
        thread.join()
    done.set()
    for thread in sequencers:
        thread.join()

    assert failures == []
    assert check_whole("test") == 40


def is_signed(entry: LedgerEntry) -> bool:
    newest = tiles.newest_checkpoint("test")
    size = 0 if newest is None else newest.size
    return LedgerLeaf.objects.filter(entry=entry, index__lt=size).exists()


# --- what is wrong stops it -------------------------------------------------------------------


def stored_state() -> list[int]:
    models = (LedgerLeaf, LedgerTile, LedgerTree, LedgerCheckpoint, LedgerPending)
    return [model.objects.count() for model in models]  # type: ignore[attr-defined]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "change",
    [
        "body = set_bit(body, 99, 1 - get_bit(body, 99))",
        "leaf_hash = overlay(leaf_hash placing (CASE substr(leaf_hash, 1, 1) WHEN '\\x00'::bytea"
        " THEN '\\x01'::bytea ELSE '\\x00'::bytea END) from 1)",
    ],
    ids=["body", "leaf hash"],
)
def test_a_changed_entry_stops_its_log_by_name(test_database: TestDatabase, change: str) -> None:
    append_many(2)
    sequencer.run_once()
    entry = append_many(3)[1]
    append_many(1, "live")
    before = stored_state()
    tamper(
        test_database,
        "licensing_ledgerentry",
        f"UPDATE licensing_ledgerentry SET {change} WHERE id = {entry.pk}",
    )

    with pytest.raises(LedgerCorrupted, match=f"Entry {entry.pk} of the log “test”"):
        sequencer.integrate("test")
    assert stored_state() == before

    with pytest.raises(LedgerCorrupted, match=f"Entry {entry.pk} of the log “test”"):
        sequencer.run_once()
    # The other log goes on.
    assert LedgerCheckpoint.objects.filter(log="live").count() == 1
    assert LedgerLeaf.objects.filter(log="test").count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_changed_leaf_stops_the_log_before_it_grows(test_database: TestDatabase) -> None:
    append_many(3)
    sequencer.run_once()
    append_many(1)
    before = stored_state()
    tamper(
        test_database,
        "licensing_ledgerleaf",
        "UPDATE licensing_ledgerleaf SET leaf_hash = sha256('x') WHERE index = 1",
    )

    with pytest.raises(LedgerCorrupted, match="do not make its root at size 3"):
        sequencer.integrate("test")

    assert stored_state() == before


@pytest.mark.django_db(transaction=True)
def test_a_removed_leaf_stops_the_log(test_database: TestDatabase) -> None:
    append_many(3)
    sequencer.run_once()
    append_many(1)
    tamper(
        test_database,
        "licensing_ledgerleaf",
        "DELETE FROM licensing_ledgerleaf WHERE index = 2",
    )

    with pytest.raises(LedgerCorrupted, match="tile 0/0 of the log test is not whole"):
        sequencer.integrate("test")


@pytest.mark.django_db(transaction=True)
def test_a_rewritten_history_is_not_signed(test_database: TestDatabase) -> None:
    """All of it made consistent again: leaf, tree root. Only the signed checkpoint remembers."""
    append_many(3)
    sequencer.run_once()
    append_many(1)
    sequencer.integrate("test")
    leaves = leaves_of("test")
    leaves[1] = tree.leaf_hash(b"another fact")
    tamper(
        test_database,
        "licensing_ledgerleaf",
        f"UPDATE licensing_ledgerleaf SET leaf_hash = '\\x{leaves[1].hex()}' WHERE index = 1",
    )
    tamper(
        test_database,
        "licensing_ledgertree",
        f"UPDATE licensing_ledgertree SET root = '\\x{naive_root(leaves).hex()}' WHERE size = 4",
    )

    with pytest.raises(LedgerCorrupted, match="does not continue what was signed"):
        sequencer.sign("test")

    assert LedgerCheckpoint.objects.values_list("size", flat=True).get() == 3


@pytest.mark.django_db
def test_a_log_without_key_waits_unsigned(tmp_path: Path, settings: Any) -> None:
    append_many(1, "live")
    settings.LEDGER_KEY_DIR = tmp_path

    with pytest.raises(signer.KeyUnusable, match=r"manage\.py ledger_key --log live"):
        sequencer.run_once()

    assert LedgerTree.objects.count() == 1
    assert LedgerCheckpoint.objects.count() == 0


# --- crashes and races ------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_note_that_a_crash_prevented_is_signed_on_the_next_pass(
    test_database: TestDatabase, ledger_keys: Path
) -> None:
    append_many(5)
    dying = (
        "import os, signal, django; django.setup()\n"
        "from licensing.ledger import sequencer\n"
        "sequencer.sign = lambda log: os.kill(os.getpid(), signal.SIGKILL)\n"
        "sequencer.run_once()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", dying],
        env={
            **os.environ,
            "LICET_DEBUG": "1",
            "DJANGO_SETTINGS_MODULE": "marketplace.settings",
            "DATABASE_URL": test_database.url,
            "LICET_LEDGER_KEY_DIR": str(ledger_keys),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert stored_state() == [5, 0, 1, 0, 0]

    assert sequencer.run_once() == 0

    assert LedgerCheckpoint.objects.values_list("size", flat=True).get() == 5
    assert check_whole("test") == 5


@pytest.mark.django_db(transaction=True)
def test_a_crash_before_commit_leaves_the_queue_as_it_was() -> None:
    append_many(3)
    before = stored_state()

    def die(execute: Any, statement: str, *more: Any) -> Any:
        if "DELETE FROM licensing_ledgerpending" in statement:
            raise KeyboardInterrupt
        return execute(statement, *more)

    with pytest.raises(KeyboardInterrupt), connection.execute_wrapper(die):
        sequencer.integrate("test")

    assert stored_state() == before
    assert sequencer.run_once() == 3


WRITERS, SEQUENCERS, ENTRIES_EACH = 8, 2, 40


class Undone(Exception):
    """Rolls a writer's transaction back."""


def write(seed: int, kept: list[int]) -> None:
    """Commit ENTRIES_EACH entries or so; roll 15 % of them back."""
    chance = random.Random(seed)
    for _number in range(ENTRIES_EACH):
        try:
            with access.system("a test writes to the ledger"):
                entry = append()
                if chance.random() < 0.15:
                    raise Undone
            kept.append(entry.pk)
        except Undone:
            pass


def in_thread(work: Callable[[], None], failures: list[BaseException]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        except BaseException as failure:
            failures.append(failure)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def race() -> tuple[list[int], list[BaseException]]:
    """Let writers and sequencers run at once until all is integrated."""
    kept: list[int] = []
    failures: list[BaseException] = []
    done = threading.Event()

    def sequence() -> None:
        while not done.is_set():
            sequencer.run_once()

    sequencers = [in_thread(sequence, failures) for _number in range(SEQUENCERS)]
    writers = [
        in_thread(lambda seed=seed: write(seed, kept), failures)  # type: ignore[misc]
        for seed in range(WRITERS)
    ]
    for thread in writers:
        thread.join()
    done.set()
    for thread in sequencers:
        thread.join()
    return kept, failures


@pytest.mark.django_db(transaction=True)
def test_racing_writers_and_sequencers_lose_repeat_and_fork_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen to fail with `elected` always true: the second sequencer then meets the first one's
    leaves (`licensing_ledgerleaf_pkey`), which the next test repeats on purpose."""
    monkeypatch.setattr(sequencer, "BATCH", 16)

    kept, failures = race()
    while sequencer.run_once():
        pass

    assert failures == []
    integrated = LedgerLeaf.objects.values_list("entry_id", flat=True)
    assert sorted(integrated) == sorted(kept)
    assert LedgerEntry.objects.count() == len(kept)
    assert LedgerPending.objects.count() == 0
    assert check_whole("test") == len(kept) > 200


@pytest.mark.django_db(transaction=True)
def test_without_the_election_two_sequencers_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even then a leaf's primary key or the guard refuses the fork: the lock is there before."""
    monkeypatch.setattr(sequencer, "BATCH", 16)
    monkeypatch.setattr(sequencer, "elected", lambda log: True)

    failures: list[BaseException] = []
    for _attempt in range(10):
        failures += race()[1]
        if failures:
            break

    assert {type(failure) for failure in failures} <= {
        IntegrityError,
        AssertionError,
        LedgerCorrupted,
        # Who is overtaken between reading the tree and signing it.
        guard.GuardRefused,
    }
    assert failures


@pytest.mark.django_db(transaction=True)
def test_an_entry_that_commits_late_is_not_skipped() -> None:
    """Its id is lower than one that is already integrated: a watermark would pass it by."""
    started, finish = threading.Event(), threading.Event()
    failures: list[BaseException] = []
    late: list[int] = []

    def write_slowly() -> None:
        with access.system("a test writes to the ledger"):
            late.append(append().pk)
            started.set()
            assert finish.wait(10)

    thread = in_thread(write_slowly, failures)
    assert started.wait(10)
    early = append_many(1)[0].pk
    sequencer.run_once()
    finish.set()
    thread.join()

    assert sequencer.run_once() == 1

    assert failures == []
    assert late[0] < early
    order = LedgerLeaf.objects.order_by("index").values_list("entry_id", flat=True)
    assert list(order) == [early, late[0]]


@pytest.mark.django_db(transaction=True)
def test_a_superuser_who_edits_the_log_is_found_out(test_database: TestDatabase) -> None:
    """Nothing in the database can stop one; the signed checkpoint outside of it tells."""
    append_many(4)
    sequencer.run_once()
    with superuser_connection(test_database) as superuser:
        superuser.execute("ALTER TABLE licensing_ledgerleaf DISABLE TRIGGER USER")
        superuser.execute("UPDATE licensing_ledgerleaf SET leaf_hash = sha256('x') WHERE index = 0")
    append_many(1)

    with pytest.raises(LedgerCorrupted):
        sequencer.run_once()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "statement",
    [
        "licensing_ledgerpending (entry_id, log)"
        " SELECT entry_id, log FROM licensing_ledgerleaf WHERE index = 2",
        "licensing_ledgertile (log, level, index, hashes, root) VALUES ('test', 0, 0, 'x', 'x')",
    ],
    ids=["an entry that has its place waits again", "a tile stands where one is to fill"],
)
def test_what_somebody_put_in_the_way_stops_its_log_alone(
    test_database: TestDatabase, statement: str
) -> None:
    """It used to end the whole pass by an error of the database's: the live log stood still."""
    append_many(4)
    sequencer.run_once()
    with superuser_connection(test_database) as superuser:
        superuser.execute(f"INSERT INTO {statement}")
    append_many(256)
    append_many(1, "live")

    with pytest.raises(LedgerCorrupted, match="of size 4 cannot grow by its waiting entries"):
        sequencer.run_once()

    assert LedgerLeaf.objects.filter(log="test").count() == 4
    assert LedgerCheckpoint.objects.get(log="live").size == 1


def test_sequencing_notifies_nobody(test_database: TestDatabase) -> None:
    """NOTIFY takes a lock on the whole server at commit."""
    with test_database.connect("licet_owner") as owner:
        rows = owner.execute(
            "SELECT proname FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace"
            " WHERE nspname = 'public' AND prosrc ~* '\\mnotify\\M'"
        ).fetchall()
    assert rows == []
