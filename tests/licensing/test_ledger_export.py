"""A log's copy is what the server publishes, is whole before it is signed, and never goes back."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from django.core.management import CommandError, call_command
from moto.server import ThreadedMotoServer

from licensing.ledger import export, notes, sequencer, signer, stores, tiles, tree
from licensing.ledger.stores import DirectoryStore, StoreConflict, StoreUnavailable
from licensing.models import LedgerCheckpoint, LedgerLeaf, LedgerTree
from tests.database import TestDatabase
from tests.ledger import append_many, tamper
from tests.logs import MemoryLog, bodies


def ledger_export(dest: str | Path, **options: Any) -> tuple[str, str]:
    out, errors = io.StringIO(), io.StringIO()
    call_command("ledger_export", str(dest), stdout=out, stderr=errors, **options)
    return out.getvalue(), errors.getvalue()


def files_below(root: Path) -> dict[str, bytes]:
    store = stores.open_store(str(root))
    return {path: store.read(path) or b"" for path in store.paths("")}


def grow(count: int, log: str = "test") -> None:
    append_many(count, log)
    sequencer.run_once()


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of four hashes: the same arithmetic, with upper levels in a short log."""
    for module in (tree, tiles, sequencer, export):
        monkeypatch.setattr(module, "TILE_HEIGHT", 2)
    for module in (tree, tiles, export):
        monkeypatch.setattr(module, "TILE_WIDTH", 4)


def served(log: str) -> dict[str, bytes]:
    """Everything that the server serves for the newest checkpoint, asked for as a client does."""
    newest = tiles.newest_checkpoint(log)
    assert newest is not None
    verifier = signer.verifier(log)
    assert verifier is not None
    found = {
        f"{log}/checkpoint": newest.note.encode(),
        f"{log}/vkey": f"{verifier.vkey()}\n".encode(),
    }
    for level in range(tiles.LEVELS_MAX):
        count = newest.size >> tree.TILE_HEIGHT * level
        for index in range(-(-count // tree.TILE_WIDTH)):
            width = min(tree.TILE_WIDTH, count - index * tree.TILE_WIDTH)
            part = "" if width == tree.TILE_WIDTH else f".p/{width}"
            name = f"{tiles.index_path(index)}{part}"
            hashes = tiles.tile(log, level, index, width)
            assert hashes is not None
            found[f"{log}/tile/{level}/{name}"] = hashes
            if level == 0:
                bundle = tiles.entry_bundle(log, index, width)
                assert bundle is not None
                found[f"{log}/tile/entries/{name}"] = bundle
    return found


@pytest.mark.django_db
@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 600])
def test_the_copy_is_what_the_server_publishes(tmp_path: Path, size: int) -> None:
    grow(size)

    out, errors = ledger_export(tmp_path / "copy")

    assert files_below(tmp_path / "copy") == served("test")
    assert out == f"test: {size} entries, and the checkpoint of them, in {tmp_path / 'copy'}\n"
    assert errors == "live: nothing is published yet\n"


@pytest.mark.django_db
@pytest.mark.parametrize("size", [1, 3, 4, 5, 15, 16, 17, 64, 65, 134])
def test_upper_tiles_are_copied_too(tmp_path: Path, narrow: None, size: int) -> None:
    grow(size)

    ledger_export(tmp_path)

    assert files_below(tmp_path) == served("test")


@pytest.mark.django_db
def test_both_logs_are_copied_or_the_one_that_is_named(tmp_path: Path) -> None:
    grow(2)
    grow(1, "live")

    ledger_export(tmp_path / "live", log="live")
    ledger_export(tmp_path / "all")

    assert files_below(tmp_path / "live") == served("live")
    assert files_below(tmp_path / "all") == served("live") | served("test")


@pytest.mark.django_db
def test_running_it_twice_writes_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(300)
    ledger_export(tmp_path)

    def standing() -> dict[Path, tuple[int, int, int]]:
        # Without the time of the last reading: that is what a second run does.
        stats = {path: path.stat() for path in tmp_path.rglob("*")}
        return {path: (each.st_ino, each.st_size, each.st_mtime_ns) for path, each in stats.items()}

    before = standing()

    def refuse(*_given: Any, **_more: Any) -> None:
        pytest.fail("something was written again")

    for verb in ("write_once", "write_all", "replace"):
        monkeypatch.setattr(DirectoryStore, verb, refuse)
    ledger_export(tmp_path)

    assert standing() == before


@pytest.mark.django_db
def test_a_grown_log_adds_what_is_new_and_reads_no_more(
    tmp_path: Path, narrow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every published checkpoint keeps its own partial tiles."""
    expected: dict[str, bytes] = {}
    written: list[str] = []
    write_all = DirectoryStore.write_all

    def watch(self: DirectoryStore, files: dict[str, bytes]) -> None:
        written.extend(files)
        write_all(self, files)

    monkeypatch.setattr(DirectoryStore, "write_all", watch)
    for step in (3, 1, 12, 47, 1, 70):
        grow(step)
        written.clear()
        ledger_export(tmp_path)
        new = {path for path in served("test") if path not in expected}
        # Of what was there, at most the tiles are looked at that had begun to fill.
        assert len(set(written) - new) <= 2 + tree.TILE_HEIGHT
        expected |= served("test")
        assert files_below(tmp_path) == expected


@pytest.mark.django_db
def test_what_was_lost_in_the_copy_is_written_again_from_the_start(tmp_path: Path) -> None:
    grow(600)
    ledger_export(tmp_path)
    whole = files_below(tmp_path)
    (tmp_path / "test/tile/0/000").unlink()
    (tmp_path / "test/tile/entries/001").unlink()

    ledger_export(tmp_path)
    assert files_below(tmp_path) != whole
    ledger_export(tmp_path, from_start=True)
    assert files_below(tmp_path) == whole


@pytest.mark.chaos
@pytest.mark.django_db
def test_stopped_at_any_write_and_run_again_it_is_whole_and_its_checkpoint_came_last(
    tmp_path: Path, narrow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "BATCH_TILES", 2)
    grow(45)
    whole = served("test")
    link = os.link
    for stop in range(len(whole)):
        dest = tmp_path / str(stop)
        count = 0

        def link_or_die(source: Any, target: Any) -> None:
            nonlocal count
            if count == stop:  # noqa: B023
                raise KeyboardInterrupt
            count += 1
            link(source, target)

        monkeypatch.setattr(os, "link", link_or_die)
        try:
            ledger_export(dest)
        except KeyboardInterrupt:
            assert not (dest / "test/checkpoint").exists()
        monkeypatch.setattr(os, "link", link)

        ledger_export(dest)
        assert files_below(dest) == whole, stop


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
def test_killed_in_the_middle_and_run_again_it_is_whole(
    tmp_path: Path, test_database: TestDatabase, ledger_keys: Path
) -> None:
    grow(700)
    dying = (
        "import os, signal, sys, django; django.setup()\n"
        "from django.core.management import call_command\n"
        "link, count = os.link, iter(range(3))\n"
        "def die(*given):\n"
        "    if next(count, None) is None:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    link(*given)\n"
        "os.link = die\n"
        "call_command('ledger_export', sys.argv[1])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", dying, str(tmp_path)],
        env={
            **test_database.environ,
            "DJANGO_SETTINGS_MODULE": "marketplace.settings",
            "LICET_LEDGER_KEY_DIR": str(ledger_keys),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert len(files_below(tmp_path)) == 3

    ledger_export(tmp_path)

    assert files_below(tmp_path) == served("test")


# --- what is refused --------------------------------------------------------------------------


def refused(dest: Path, code: int, match: str) -> None:
    """The command ends with this code and message, and nothing in `dest` has changed."""
    before = files_below(dest)
    with pytest.raises(CommandError, match=match) as refusal:
        ledger_export(dest)
    assert refusal.value.returncode == code
    assert files_below(dest) == before


@pytest.mark.django_db(transaction=True)
def test_a_database_that_was_restored_to_an_earlier_state_overwrites_nothing(
    tmp_path: Path, test_database: TestDatabase
) -> None:
    grow(3)
    grow(2)
    ledger_export(tmp_path)
    for table, column in (("checkpoint", "size"), ("tree", "size")):
        name = f"licensing_ledger{table}"
        tamper(test_database, name, f"DELETE FROM {name} WHERE {column} = 5")

    refused(tmp_path, 1, "up to 5 entries, and this database up to 3")
    with pytest.raises(StoreConflict, match="Sign nothing"):
        export.publish(
            "test", stores.open_store(str(tmp_path)), LedgerCheckpoint.objects.get().note
        )


@pytest.mark.django_db(transaction=True)
def test_an_emptied_database_is_no_log_that_is_not_published_yet(
    tmp_path: Path, test_database: TestDatabase
) -> None:
    ledger_export(tmp_path)
    assert files_below(tmp_path) == {}
    grow(3)
    ledger_export(tmp_path)
    name = "licensing_ledgercheckpoint"
    tamper(test_database, name, f"DELETE FROM {name}")

    refused(tmp_path, 1, "up to 3 entries, and this database up to 0")


@pytest.mark.django_db
def test_a_key_that_the_log_does_not_name_is_found_beside_its_own(tmp_path: Path) -> None:
    grow(3)
    ledger_export(tmp_path)
    own = signer.load("test").verifier.vkey()
    stranger = notes.Signer(signer.origin("test"), b"s" * 32).verifier.vkey()
    for listed in (f"{own}\n{stranger}\n", f"{stranger}\n{own}\n"):
        (tmp_path / "test/vkey").write_text(listed)
        with pytest.raises(CommandError, match="test/vkey: the log names no such key") as found:
            call_command("ledger_fsck", log="test", tiles=str(tmp_path), key=own)
        assert stranger in str(found.value)
        assert found.value.returncode == 1


@pytest.mark.django_db
def test_another_root_at_the_same_size_is_never_published(tmp_path: Path) -> None:
    grow(3)
    ledger_export(tmp_path)
    forked = notes.Checkpoint(signer.origin("test"), 3, tree.leaf_hash(b"another history"))
    place = tmp_path / "test/checkpoint"
    place.write_text(notes.sign(forked.text(), signer.load("test")))

    refused(tmp_path, 1, "holds another history of the log “test”")


@pytest.mark.django_db
def test_another_history_is_not_gone_on_with(tmp_path: Path) -> None:
    grow(3)
    ledger_export(tmp_path)
    forked = notes.Checkpoint(signer.origin("test"), 3, tree.leaf_hash(b"another history"))
    (tmp_path / "test/checkpoint").write_text(notes.sign(forked.text(), signer.load("test")))
    grow(2)

    refused(tmp_path, 1, "the first 3 entries have another root there")


@pytest.mark.django_db
@pytest.mark.parametrize("first", [0, 100, 255, 256, 511, 512, 599])
def test_another_history_is_named_by_its_first_leaf(tmp_path: Path, first: int) -> None:
    """Both are sound in themselves: nothing else tells where they part."""
    grow(600)
    rows = LedgerLeaf.objects.filter(log="test").order_by("index")
    entries = [bytes(body) for body in rows.values_list("entry__body", flat=True)]
    other = MemoryLog([*entries[:first], *bodies(600 - first)])
    other.key = signer.load("test")
    other.export(tmp_path / "test", 600)

    refused(tmp_path, 1, f"Leaf {first} is the first that differs")
    tile = tree.tile_path(0, first // 256, min(256, 600 - first // 256 * 256))
    (tmp_path / "test" / tile).unlink()
    refused(tmp_path, 1, f"{tile} is missing there")


@pytest.mark.django_db
def test_another_log_s_place_is_left_alone(tmp_path: Path) -> None:
    grow(1)
    other = notes.Signer("other.example/ledger/test", bytes(32))
    checkpoint = notes.Checkpoint(other.verifier.name, 1, bytes(32))
    (tmp_path / "test").mkdir()
    (tmp_path / "test/checkpoint").write_text(notes.sign(checkpoint.text(), other))

    refused(tmp_path, 1, "holds the log other.example/ledger/test")


@pytest.mark.django_db
def test_an_unreadable_checkpoint_is_no_empty_place(tmp_path: Path) -> None:
    grow(1)
    (tmp_path / "test").mkdir()
    (tmp_path / "test/checkpoint").write_bytes(b"\xff torn")

    refused(tmp_path, 1, "cannot be read")


@pytest.mark.django_db
def test_a_tile_that_holds_other_bytes_is_never_overwritten(tmp_path: Path) -> None:
    grow(300)
    (tmp_path / "test/tile/0").mkdir(parents=True)
    (tmp_path / "test/tile/0/000").write_bytes(b"other hashes")

    with pytest.raises(CommandError, match="000 holds other bytes"):
        ledger_export(tmp_path)

    assert (tmp_path / "test/tile/0/000").read_bytes() == b"other hashes"
    assert not (tmp_path / "test/checkpoint").exists()


@pytest.mark.django_db
def test_the_other_log_is_copied_all_the_same(tmp_path: Path) -> None:
    grow(1)
    grow(1, "live")
    (tmp_path / "test").mkdir()
    (tmp_path / "test/checkpoint").write_bytes(b"torn")

    with pytest.raises(CommandError) as refusal:
        ledger_export(tmp_path)

    assert refusal.value.returncode == 1
    assert served("live").items() <= files_below(tmp_path).items()


@pytest.mark.django_db
def test_a_place_that_cannot_be_written_exits_2(tmp_path: Path) -> None:
    grow(1)
    for dest in (str(tmp_path / "not" / "mounted"), "gs://bucket"):
        with pytest.raises(CommandError) as refusal:
            ledger_export(dest)
        assert refusal.value.returncode == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("table", "change", "match"),
    [
        ("ledgerentry", "SET body = set_bit(body, 99, 1 - get_bit(body, 99))", "Leaf 0 of the log"),
        ("ledgerleaf", "SET leaf_hash = sha256('x') WHERE index = 299", "Leaf 299 of the log"),
        (
            "ledgertile",
            "SET hashes = overlay(hashes placing '\\x2121' from 9)",
            "Tile 0/0 .*, from leaf 0 on",
        ),
        ("ledgertree", "SET root = sha256('x')", "do not make its root at size 300"),
    ],
    ids=["a body", "a flipped stored leaf hash", "a tile", "a root"],
)
def test_what_is_broken_here_is_not_copied(
    tmp_path: Path, test_database: TestDatabase, table: str, change: str, match: str
) -> None:
    grow(300)
    tamper(test_database, f"licensing_{table}", f"UPDATE licensing_{table} {change}")

    with pytest.raises(CommandError, match=match) as refusal:
        ledger_export(tmp_path)

    assert refusal.value.returncode == 1
    assert set(files_below(tmp_path)) == {"test/vkey"}


# --- in the sequencer's pass ------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, settings: Any) -> Path:
    settings.LEDGER_EXPORT = str(tmp_path / "second")
    return tmp_path / "second"


@pytest.mark.django_db
def test_each_pass_copies_what_it_signs(place: Path) -> None:
    expected: dict[str, bytes] = {}
    for step in (3, 253, 1):
        grow(step)
        expected |= served("test")
        assert files_below(place) == expected


@pytest.mark.django_db
def test_entries_and_tiles_are_there_before_the_signature(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    load = signer.load

    def watch(log: str) -> notes.Signer:
        seen.append(set(files_below(place)))
        return load(log)

    append_many(3)
    sequencer.integrate("test")
    monkeypatch.setattr(signer, "load", watch)
    sequencer.sign("test")

    assert seen[-1] == {"test/vkey", "test/tile/0/000.p/3", "test/tile/entries/000.p/3"}
    assert set(files_below(place)) == seen[-1]


@pytest.mark.django_db
def test_a_place_that_cannot_be_written_stops_signing_and_the_other_log_goes_on(
    place: Path,
) -> None:
    place.mkdir()
    (place / "test").write_text("in the way")
    append_many(2)
    append_many(1, "live")

    with pytest.raises(StoreUnavailable, match="cannot be used"):
        sequencer.run_once()

    assert LedgerLeaf.objects.count() == 3
    assert LedgerCheckpoint.objects.values_list("log", flat=True).get() == "live"

    (place / "test").unlink()
    assert sequencer.run_once() == 0
    assert files_below(place) == served("test") | served("live")


@pytest.mark.django_db
def test_a_checkpoint_that_a_crash_kept_from_the_copy_is_there_after_the_next_pass(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(2)
    append_many(3)

    def die(*_given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(export, "publish", die)
        with pytest.raises(KeyboardInterrupt):
            sequencer.run_once()
    assert (place / "test/checkpoint").read_bytes().split(b"\n")[1] == b"2"

    assert sequencer.run_once() == 0

    assert (place / "test/checkpoint").read_bytes() == served("test")["test/checkpoint"]


@pytest.mark.django_db
def test_a_pass_with_nothing_new_asks_the_place_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(2)
    monkeypatch.setattr(stores, "open_store", lambda _url: pytest.fail("it was opened"))
    sequencer.run_once()


@pytest.mark.django_db
def test_what_was_signed_before_there_was_a_second_place_is_copied_by_the_next_pass(
    tmp_path: Path, settings: Any
) -> None:
    grow(300)
    settings.LEDGER_EXPORT = str(tmp_path)

    assert sequencer.run_once() == 0

    assert files_below(tmp_path) == served("test")


@pytest.mark.django_db
def test_a_tree_that_another_process_grew_meanwhile_is_not_signed_before_it_is_copied(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_many(2)
    sequencer.integrate("test")
    push = export.push

    def push_and_be_overtaken(*given: Any, **more: Any) -> None:
        push(*given, **more)
        monkeypatch.setattr(export, "push", push)
        append_many(3)
        sequencer.integrate("test")

    monkeypatch.setattr(export, "push", push_and_be_overtaken)
    signed = sequencer.sign("test")

    assert signed is not None
    assert signed.size == 2
    assert LedgerTree.objects.count() == 2
    sequencer.run_once()
    assert LedgerCheckpoint.objects.count() == 2
    assert served("test").items() <= files_below(place).items()


@pytest.mark.django_db
def test_a_slow_process_neither_fails_nor_takes_a_newer_checkpoint_back(place: Path) -> None:
    grow(2)
    older = LedgerCheckpoint.objects.get().note
    grow(3)
    store = stores.open_store(str(place))

    export.push("test", store, 2)
    export.publish("test", store, older)

    assert files_below(place)["test/checkpoint"] == served("test")["test/checkpoint"]


@pytest.mark.django_db
def test_outside_development_the_live_log_is_not_signed_without_a_copy(
    settings: Any, tmp_path: Path
) -> None:
    settings.DEVELOPMENT = False
    append_many(1)
    append_many(1, "live")

    with pytest.raises(StoreUnavailable, match="Set LICET_LEDGER_EXPORT"):
        sequencer.run_once()
    assert LedgerCheckpoint.objects.values_list("log", flat=True).get() == "test"

    settings.LEDGER_EXPORT = str(tmp_path)
    sequencer.run_once()
    assert LedgerCheckpoint.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_restored_database_is_not_signed_past_what_the_copy_holds(
    place: Path, test_database: TestDatabase
) -> None:
    grow(3)
    grow(2)
    for table, where in (
        ("checkpoint", "size = 5"),
        ("tree", "size = 5"),
        ("leaf", "index >= 3"),
    ):
        name = f"licensing_ledger{table}"
        tamper(test_database, name, f"DELETE FROM {name} WHERE {where}")
    append_many(4)
    # As if the guard were of then, too: with it, nothing gets a place.
    sequencer.integrate("test")

    with pytest.raises(StoreConflict, match="holds another history"):
        sequencer.sign("test")

    assert list(LedgerCheckpoint.objects.values_list("size", flat=True)) == [3]


# --- a bucket ---------------------------------------------------------------------------------


@pytest.fixture
def bucket(settings: Any) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    access = {"region": "us-east-1", "access_key": "a", "secret_key": "s"}
    settings.LEDGER_BUCKET = {"endpoint": f"http://{host}:{port}", **access}
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="s",
    )
    client.create_bucket(Bucket="second-place")
    yield "s3://second-place/log"
    server.stop()


@pytest.mark.oracle
@pytest.mark.django_db
def test_a_bucket_gets_the_same_copy(bucket: str, settings: Any) -> None:
    settings.LEDGER_EXPORT = bucket
    expected: dict[str, bytes] = {}
    for step in (3, 254, 300):
        grow(step)
        expected |= served("test")
    store = stores.open_store(bucket)

    assert {path: store.read(path) for path in store.paths("")} == expected
    out, _errors = ledger_export(bucket)
    assert out == "test: 557 entries, and the checkpoint of them, in s3://second-place/log/\n"
