"""Whatever is changed in a stored or copied log is found, by name, and the exit code says so."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from licensing.ledger import export, fsck, notes, regrowth, sequencer, stores, tiles, tree
from licensing.models import LedgerEntry, LedgerLeaf, LedgerOpening
from marketplace import access
from tests.database import TestDatabase
from tests.ledger import (
    append,
    append_many,
    naive_root,
    store_plainly,
    superuser_connection,
    tamper,
)
from tests.licensing.ledger_tampering import OTHER_HASH, REMOVED, TAMPERED


def ledger_fsck(**options: Any) -> tuple[int, list[dict[str, Any]]]:
    """Run the command; give its exit code and what it says in JSON."""
    output = io.StringIO()
    try:
        call_command("ledger_fsck", json=True, stdout=output, stderr=io.StringIO(), **options)
    except CommandError as error:
        return error.returncode, json.loads(output.getvalue() or "[]")
    return 0, json.loads(output.getvalue())


# --- the tree grown anew ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 600])
def test_a_tree_grown_by_tiles_has_the_roots_of_the_definition(size: int) -> None:
    leaves = [tree.leaf_hash(b"%d" % number) for number in range(size)]
    grown = regrowth.Regrowth()
    wanted = {1, 2, 100, 255, 256, 257, 258, 511, 512, 513, size}
    roots: dict[int, bytes] = {}
    for start in range(0, size, 256):
        part = leaves[start : start + 256]
        end = start + len(part)
        sizes = {each for each in wanted if start < each <= end}
        if end == size:
            assert grown.root_with(part) == naive_root(leaves)
        for tile in grown.grow(part, sizes):
            assert tile == regrowth.FullTile(0, start // 256, b"".join(part), naive_root(part))
        roots |= grown.roots
    assert roots == {each: naive_root(leaves[:each]) for each in wanted if each <= size}
    assert grown.size == size


def test_folding_a_text_of_hashes_is_folding_the_hashes() -> None:
    hashes = [os.urandom(32) for _number in range(256)]
    for count in (1, 2, 4, 128, 256):
        assert regrowth.fold(b"".join(hashes[:count])) == tree.fold(hashes[:count])


# --- a copied log -----------------------------------------------------------------------------

KEY = notes.Signer("licet.example/ledger/test", bytes(range(32)))


def written(root: Path, size: int, *partial: int) -> Path:
    """Write a log as the specification says, by no code of the exporter's; `partial`: older
    sizes whose partial tiles are kept."""
    bodies = [b'{"entry":%d,"padding":"%s"}' % (each, b"x" * (each % 7)) for each in range(size)]
    levels = [[tree.leaf_hash(body) for body in bodies]]
    while len(levels[-1]) >= 256:
        full = len(levels[-1]) // 256
        levels.append([tree.fold(levels[-1][at * 256 : at * 256 + 256]) for at in range(full)])
    for end in (*partial, size):
        for level, hashes in enumerate(levels):
            part = hashes[: end >> 8 * level]
            for index in range(0 if end == size else len(part) // 256, -(-len(part) // 256)):
                within = part[index * 256 : index * 256 + 256]
                name = tiles.index_path(index) + ("" if len(within) == 256 else f".p/{len(within)}")
                put(root / f"tile/{level}/{name}", b"".join(within))
                if level == 0:
                    there = bodies[index * 256 : index * 256 + len(within)]
                    bundle = b"".join(len(body).to_bytes(2) + body for body in there)
                    put(root / f"tile/entries/{name}", bundle)
    put(root / "vkey", f"{KEY.verifier.vkey()}\n".encode())
    signed(root, size, tree_root(levels[0]))
    return root


def tree_root(leaves: list[bytes]) -> bytes:
    frontier = tree.Frontier()
    for leaf in leaves:
        frontier.push(leaf)
    return frontier.root()


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def signed(root: Path, size: int, over: bytes, key: notes.Signer = KEY) -> None:
    text = notes.Checkpoint(key.verifier.name, size, over).text()
    put(root / "checkpoint", notes.sign(text, key).encode())


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 entries, with the partial tiles of the checkpoints at 100, 300 and 590."""
    return written(tmp_path_factory.mktemp("original") / "test", 600, 100, 300, 590)


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "copy/test")
    return tmp_path / "copy/test"


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 65_537])
def test_a_sound_copy_is_sound(tmp_path: Path, size: int) -> None:
    written(tmp_path / "test", size)

    code, [result] = ledger_fsck(tiles=str(tmp_path))

    assert (code, result["sound"], result["size"], result["ahead"]) == (0, True, size, 0)


def test_older_partial_tiles_belong_to_a_copy(copy: Path) -> None:
    assert (copy / "tile/0/000.p/100").exists()
    assert (copy / "tile/entries/002.p/78").exists()
    assert ledger_fsck(tiles=str(copy.parent))[0] == 0


def test_a_copy_of_one_log_is_checked_where_it_stands(copy: Path) -> None:
    code, [result] = ledger_fsck(tiles=str(copy), key=KEY.verifier.vkey())
    assert (code, result["log"], result["sound"]) == (0, "", True)


def flip(path: str, at: int = 9) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        data = bytearray((root / path).read_bytes())
        data[at] ^= 1
        (root / path).write_bytes(data)

    return change


def edit(path: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda root: put(root / path, change((root / path).read_bytes()))


def remove(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).unlink()


def add(path: str, data: bytes = b"") -> Callable[[Path], None]:
    return lambda root: put(root / path, data)


def swap(one: str, other: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        first, second = (root / one).read_bytes(), (root / other).read_bytes()
        put(root / one, second)
        put(root / other, first)

    return change


def checkpoint_line(number: int, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def changed(data: bytes) -> bytes:
        lines = data.split(b"\n")
        lines[number] = change(lines[number])
        return b"\n".join(lines)

    return edit("checkpoint", changed)


def resigned(size: int, over: bytes = bytes(32)) -> Callable[[Path], None]:
    return lambda root: signed(root, size, over)


def entry_and_hash(root: Path) -> None:
    """An entry changed, and its hash with it: only the tree above remembers."""
    flip("tile/entries/001", 30)(root)
    leaves = regrowth.bundle_leaves((root / "tile/entries/001").read_bytes(), 256)
    put(root / "tile/0/001", b"".join(leaves))


def another_log(root: Path) -> None:
    key = notes.Signer("licet.example/ledger/live", bytes(32))
    put(root / "vkey", f"{key.verifier.vkey()}\n".encode())
    signed(root, 600, bytes(32), key)


other_key = notes.Signer(KEY.verifier.name, bytes(32))

# What is changed: where it is found, and from which leaf on (None: no leaf is wrong).
MUTATIONS: dict[str, tuple[Callable[[Path], None], str, int | None]] = {
    "a bit in a tile": (flip("tile/0/001", 3 * 32 + 5), "tile/0/001", 259),
    "a bit in the last tile": (flip("tile/0/002.p/88", 32), "tile/0/002.p/88", 513),
    "a bit in an upper tile": (flip("tile/1/000.p/2", 40), "tile/1/000.p/2", 256),
    "a bit in an entry": (flip("tile/entries/000", 20), "tile/entries/000", 0),
    "a bit in an entry of the last bundle": (
        flip("tile/entries/002.p/88", 20),
        "tile/entries/002.p/88",
        512,
    ),
    "a bit in an entry's length": (flip("tile/entries/001", 0), "tile/entries/001", 256),
    "a bit in an older partial tile": (flip("tile/0/001.p/44"), "tile/0/001.p/44", None),
    "a bit in an older partial bundle": (
        flip("tile/entries/000.p/100"),
        "tile/entries/000.p/100",
        None,
    ),
    "an entry together with its hash": (entry_and_hash, "tile/1/000.p/2", 256),
    "a bit of the checkpoint's root": (checkpoint_line(2, bytes.swapcase), "checkpoint", None),
    "the checkpoint's size": (checkpoint_line(1, lambda _size: b"599"), "checkpoint", None),
    "the checkpoint's signature": (
        checkpoint_line(4, lambda line: line[:-10] + line[-10:].swapcase()),
        "checkpoint",
        None,
    ),
    "the checkpoint cut off": (edit("checkpoint", lambda data: data[:-1]), "checkpoint", None),
    "a checkpoint that is no text": (add("checkpoint", b"\xff"), "checkpoint", None),
    "another root, signed": (resigned(600), "checkpoint", None),
    "a size too large, signed": (resigned(601), "tile/entries/002.p/89", 512),
    "a size too small, signed": (resigned(512), "checkpoint", None),
    "the checkpoint of another log": (another_log, "checkpoint", None),
    "another's key": (
        edit("vkey", lambda _data: f"{other_key.verifier.vkey()}\n".encode()),
        "checkpoint",
        None,
    ),
    "a key that is none": (edit("vkey", lambda data: data[:-5]), "vkey", None),
    "the checkpoint removed": (remove("checkpoint"), "checkpoint", None),
    "a tile cut off": (edit("tile/0/000", lambda data: data[:-1]), "tile/0/000", 0),
    "a tile cut off by one hash": (edit("tile/0/000", lambda data: data[:-32]), "tile/0/000", 0),
    "a byte after a tile": (edit("tile/0/001", lambda data: data + b"\0"), "tile/0/001", 256),
    "a byte after an upper tile": (
        edit("tile/1/000.p/2", lambda data: data + b"\0"),
        "tile/1/000.p/2",
        0,
    ),
    "a bundle cut off": (edit("tile/entries/001", lambda data: data[:-1]), "tile/entries/001", 511),
    "a byte after a bundle": (
        edit("tile/entries/000", lambda data: data + b"\0"),
        "tile/entries/000",
        255,
    ),
    "an entry after a bundle": (
        edit("tile/entries/000", lambda data: data + b"\0\0"),
        "tile/entries/000",
        255,
    ),
    "an empty tile": (add("tile/0/000"), "tile/0/000", 0),
    "a tile removed": (remove("tile/0/001"), "tile/0/001", 256),
    "the last tile removed": (remove("tile/0/002.p/88"), "tile/0/002.p/88", 512),
    "an upper tile removed": (remove("tile/1/000.p/2"), "tile/1/000.p/2", 0),
    "a bundle removed": (remove("tile/entries/001"), "tile/entries/001", 256),
    "two bundles swapped": (swap("tile/entries/000", "tile/entries/001"), "tile/entries/000", 0),
    "two tiles swapped": (swap("tile/0/000", "tile/0/001"), "tile/0/000", 0),
    "an unknown file": (add("README"), "README", None),
    "an unknown file among tiles": (add("tile/0/000.bak"), "tile/0/000.bak", None),
    "a hidden file": (add("tile/.DS_Store"), "tile/.DS_Store", None),
    "an index in another spelling": (add("tile/0/x000/001"), "tile/0/x000/001", None),
    "a partial tile as wide as a whole one": (add("tile/0/000.p/256"), "tile/0/000.p/256", None),
    "a width in another spelling": (add("tile/0/000.p/007"), "tile/0/000.p/007", None),
    "a partial tile of the wrong width": (
        lambda root: put(root / "tile/0/000.p/99", (root / "tile/0/000.p/100").read_bytes()),
        "tile/0/000.p/99",
        None,
    ),
    "a partial bundle with trailing bytes": (
        edit("tile/entries/000.p/100", lambda data: data + b"\0\0"),
        "tile/entries/000.p/100",
        None,
    ),
    "a tile beyond the log": (add("tile/0/009", bytes(8192)), "tile/0/009", 2304),
    "an upper tile beyond the log": (
        lambda root: put(
            root / "tile/1/000.p/3", (root / "tile/1/000.p/2").read_bytes() + bytes(32)
        ),
        "tile/1/000.p/3",
        0,
    ),
    "a partial tile that does not go on": (
        add("tile/0/002.p/99", bytes(99 * 32)),
        "tile/0/002.p/99",
        None,
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_verifier_that_exits_0_on_a_corrupt_tile_is_not_this_one(name: str, copy: Path) -> None:
    """Seen elsewhere: a flipped bit, a cut bundle and a missing file, each with exit code 0."""
    change, where, leaf = MUTATIONS[name]
    change(copy)

    code, [result] = ledger_fsck(tiles=str(copy.parent))

    assert (code, result["sound"]) == (1, False)
    assert result["where"] == f"test/{where}", result["reason"]
    if leaf is not None:
        assert result["leaf"] == leaf, result["reason"]


def test_any_flipped_bit_of_any_file_is_found(copy: Path) -> None:
    chance = random.Random(4)
    for path in sorted(path for path in copy.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for _number in range(12):
            at, bit = chance.randrange(len(data)), 1 << chance.randrange(8)
            path.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
            code, [result] = ledger_fsck(tiles=str(copy.parent))
            assert code == 1, (path, at, bit)
            if path.name not in {"vkey", "checkpoint"}:
                assert result["where"] == path.relative_to(copy.parent).as_posix()
        path.write_bytes(data)
    assert ledger_fsck(tiles=str(copy.parent))[0] == 0


def test_a_flipped_bit_below_the_second_level_is_found_there(tmp_path: Path) -> None:
    root = written(tmp_path / "test", 65_600)
    flip("tile/1/000", 200 * 32)(root)
    code, [result] = ledger_fsck(tiles=str(tmp_path))
    assert (code, result["where"], result["leaf"]) == (1, "test/tile/1/000", 200 * 256)
    flip("tile/1/000", 200 * 32)(root)
    flip("tile/2/000.p/1", 0)(root)
    code, [result] = ledger_fsck(tiles=str(tmp_path))
    assert (code, result["where"]) == (1, "test/tile/2/000.p/1")


def test_the_key_is_the_one_that_is_trusted(copy: Path, tmp_path: Path) -> None:
    """Whoever can rewrite a copy can put a key of its own beside it."""
    (tmp_path / "trusted").write_text(f"{other_key.verifier.vkey()}\n")

    code, [result] = ledger_fsck(tiles=str(copy.parent), key=str(tmp_path / "trusted"))

    assert (code, result["where"]) == (1, "test/vkey")


def test_without_a_key_it_cannot_tell_unless_one_is_given(copy: Path) -> None:
    (copy / "vkey").unlink()

    code, [result] = ledger_fsck(tiles=str(copy.parent))
    assert (code, result["sound"]) == (2, None)
    assert "--key" in result["reason"]

    assert ledger_fsck(tiles=str(copy.parent), key=KEY.verifier.vkey())[0] == 0


@pytest.mark.parametrize(
    "options",
    [
        {"tiles": "none"},
        {"tiles": "gs://bucket"},
        {"tiles": "copy", "log": "live"},
        {"tiles": "copy", "key": "no key"},
        {"key": "k+00000000+AQ=="},
    ],
)
def test_called_wrongly_it_exits_2(copy: Path, options: dict[str, str]) -> None:
    if "tiles" in options and "://" not in options["tiles"]:
        options = options | {"tiles": str(copy.parents[1] / options["tiles"])}
    assert ledger_fsck(**options) == (2, [])


def test_an_unreadable_file_is_no_verdict(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def fail(self: Path) -> bytes:
        if self.name == "001":
            raise OSError(5, "Input/output error")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", fail)
    code, [result] = ledger_fsck(tiles=str(copy.parent))
    assert (code, result["sound"]) == (2, None)
    assert "Input/output error" in result["reason"]


@pytest.mark.django_db
def test_our_own_copies_are_sound_stopped_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores.open_store(str(tmp_path))
    for step in (100, 200, 300):
        append_many(step)
        sequencer.run_once()
        call_command("ledger_export", str(tmp_path), stdout=io.StringIO(), stderr=io.StringIO())
    assert ledger_fsck(tiles=str(tmp_path))[0] == 0

    # Pushed and not published, as between two steps of the sequencer; then stopped at any file.
    append_many(300)
    sequencer.integrate("test")
    size = 900
    assert tiles.newest_tree("test").size == size  # type: ignore[union-attr]
    write_all = stores.DirectoryStore.write_all
    for stop in range(1, 10):
        count = 0

        def stop_early(self: Any, files: dict[str, bytes]) -> None:
            nonlocal count
            for path, data in files.items():
                count += 1
                if count > stop:  # noqa: B023
                    raise KeyboardInterrupt
                write_all(self, {path: data})

        with monkeypatch.context() as patch:
            patch.setattr(stores.DirectoryStore, "write_all", stop_early)
            with contextlib.suppress(KeyboardInterrupt):
                export.push("test", store, size)
        code, [result] = ledger_fsck(tiles=str(tmp_path))
        assert (code, result["sound"], result["size"]) == (0, True, 600), result
    assert result["ahead"] == 5


# --- the database -----------------------------------------------------------------------------


def noted(*, seq: int = 0, ref: bytes = b"\x07" * 16, prev: bytes | None = None) -> LedgerEntry:
    with access.system("a test writes to the ledger"):
        return append(subject_ref=ref, seq=seq, prev=prev)


def built() -> None:
    """300 entries, among them a chain of three; checkpoints at 2, 259 and 300; one pending."""
    first = noted()
    second = noted(seq=1, prev=bytes(first.leaf_hash))
    sequencer.run_once()
    append_many(257)
    sequencer.run_once()
    noted(seq=2, prev=bytes(second.leaf_hash))
    append_many(40)
    sequencer.run_once()
    append_many(1)


@pytest.mark.django_db
def test_a_sound_log_is_sound() -> None:
    built()
    append_many(1, "live")
    sequencer.integrate("live")

    code, [test, live] = ledger_fsck()

    assert code == 0
    assert test == {
        "log": "test",
        "sound": True,
        "size": 300,
        "pending": 1,
        "checkpoints": 3,
        "openings": 301,
        "ahead": 0,
    }
    assert (live["size"], live["checkpoints"]) == (1, 0)


@pytest.mark.chaos
@pytest.mark.django_db(transaction=True)
def test_a_log_that_grows_meanwhile_is_no_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is integrated, or recorded, between two of its statements is left out."""
    monkeypatch.setattr(sequencer, "BATCH", 7)
    done = threading.Event()
    failures: list[BaseException] = []

    def grow() -> None:
        try:
            while not done.is_set():
                append_many(10)
                sequencer.run_once()
        except BaseException as failure:
            failures.append(failure)
        finally:
            connection.close()

    thread = threading.Thread(target=grow)
    thread.start()
    results = [ledger_fsck(log="test") for _number in range(40)]
    done.set()
    thread.join()

    assert failures == []
    assert [result for code, result in results if code] == []
    assert results[-1][1][0]["size"] > 0


@pytest.mark.django_db
def test_an_empty_log_is_sound() -> None:
    assert ledger_fsck(log="test")[0] == 0


@pytest.mark.django_db
def test_it_says_so_in_words() -> None:
    built()
    output = io.StringIO()
    call_command("ledger_fsck", log="test", stdout=output)
    assert output.getvalue() == (
        "test: sound: 300 entries, 1 pending, 3 checkpoints, 301 openings\n"
    )


@pytest.mark.django_db
def test_erased_openings_are_not_missed() -> None:
    built()
    with access.system("a test erases"):
        LedgerOpening.objects.all().delete()
    code, [result] = ledger_fsck(log="test")
    assert (code, result["openings"]) == (0, 0)


@pytest.mark.django_db
def test_real_entries_of_every_kind_pass_the_quick_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The strict reading is for what the quick one does not accept: once for each kind here."""
    built()
    strictly = fsck.BodyCheck._strictly
    calls: list[int] = []

    def watch(self: fsck.BodyCheck, row: Any) -> tuple[dict[str, str], list[str]]:
        calls.append(row.id)
        return strictly(self, row)

    monkeypatch.setattr(fsck.BodyCheck, "_strictly", watch)
    assert ledger_fsck(log="test")[0] == 0
    assert len(calls) == 1


def changed(database: TestDatabase, statement: str, table: str) -> None:
    """As nobody but a superuser can: foreign keys and triggers do not hold."""
    with superuser_connection(database) as superuser:
        if "convert_from(body" in statement:
            store_plainly(superuser)
        superuser.execute("SET session_replication_role = replica")
        superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        superuser.execute(statement)


@pytest.mark.chaos
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", TAMPERED)
def test_what_is_changed_in_the_database_is_found(name: str, test_database: TestDatabase) -> None:
    built()
    table, change, where, leaf = TAMPERED[name]
    table = f"licensing_ledger{table}"
    changed(test_database, f"UPDATE {table} {change}", table)

    code, [result] = ledger_fsck(log="test")

    assert (code, result["sound"]) == (1, False)
    assert result["where"] == where or result["where"].startswith(f"{where} "), result
    assert result["leaf"] == leaf, result


@pytest.mark.chaos
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", REMOVED)
def test_what_is_removed_from_the_database_is_missed(
    name: str, test_database: TestDatabase
) -> None:
    built()
    table, where, place = REMOVED[name]
    table = f"licensing_ledger{table}"
    changed(test_database, f"DELETE FROM {table} WHERE {where}", table)

    code, [result] = ledger_fsck(log="test")

    assert code == 1
    assert result["where"] == place or result["where"].startswith(f"{place} "), result


@pytest.mark.django_db(transaction=True)
def test_a_flipped_stored_leaf_hash_is_found_before_and_after_it_is_integrated(
    test_database: TestDatabase,
) -> None:
    """One bit of a stored leaf hash once ended a public log for ever."""
    entry = append_many(1)[0]
    flip_bit = "SET leaf_hash = set_bit(leaf_hash, 77, 1 - get_bit(leaf_hash, 77))"
    tamper(test_database, "licensing_ledgerentry", f"UPDATE licensing_ledgerentry {flip_bit}")
    code, [result] = ledger_fsck(log="test")
    assert (code, result["where"]) == (1, f"entry {entry.pk}")

    tamper(test_database, "licensing_ledgerentry", f"UPDATE licensing_ledgerentry {flip_bit}")
    sequencer.run_once()
    tamper(test_database, "licensing_ledgerleaf", f"UPDATE licensing_ledgerleaf {flip_bit}")
    code, [result] = ledger_fsck(log="test")
    assert (code, result["where"]) == (1, "leaf 0")


@pytest.mark.django_db
def test_nanoseconds_hashed_but_microseconds_stored_cannot_happen() -> None:
    """An audit trail elsewhere never verified: it hashed what its column could not hold."""
    at = timezone.now().replace(microsecond=123_456)
    with access.system("a test writes to the ledger"):
        append(at=at)
    sequencer.run_once()
    assert LedgerEntry.objects.get().created_at == at
    assert b"123456Z" in bytes(LedgerEntry.objects.get().body)
    assert ledger_fsck(log="test")[0] == 0


@pytest.mark.django_db(transaction=True)
def test_two_swapped_leaves_are_found_in_their_tile(test_database: TestDatabase) -> None:
    built()
    swap_leaves(test_database, 9, 10)

    code, [result] = ledger_fsck(log="test")

    assert (code, result["where"], result["leaf"]) == (1, "tile 0/0", 9)


def swap_leaves(database: TestDatabase, one: int, other: int) -> None:
    table = "licensing_ledgerleaf"
    for before, after in ((one, -1), (other, one), (-1, other)):
        changed(database, f"UPDATE {table} SET index = {after} WHERE index = {before}", table)


@pytest.mark.django_db(transaction=True)
def test_a_history_rewritten_everywhere_is_given_away_by_its_checkpoint(
    test_database: TestDatabase,
) -> None:
    append_many(3)
    sequencer.run_once()
    leaves = [bytes(row.leaf_hash) for row in LedgerLeaf.objects.order_by("index")]
    swap_leaves(test_database, 1, 2)
    root = naive_root([leaves[0], leaves[2], leaves[1]])
    changed(
        test_database,
        f"UPDATE licensing_ledgertree SET root = '\\x{root.hex()}'",
        "licensing_ledgertree",
    )

    code, [result] = ledger_fsck(log="test")

    assert (code, result["where"]) == (1, "checkpoint 3")


@pytest.mark.django_db
def test_without_its_key_a_log_s_signatures_cannot_be_told(tmp_path: Path, settings: Any) -> None:
    built()
    settings.LEDGER_KEY_DIR = tmp_path
    settings.DEVELOPMENT = False

    code, [result] = ledger_fsck(log="test")

    assert (code, result["sound"]) == (2, None)
    assert "has no key" in result["reason"]


@pytest.mark.django_db(transaction=True)
def test_what_is_broken_counts_more_than_a_missing_key(
    test_database: TestDatabase, tmp_path: Path, settings: Any
) -> None:
    built()
    tamper(
        test_database,
        "licensing_ledgertile",
        f"UPDATE licensing_ledgertile SET root = {OTHER_HASH}",
    )
    settings.LEDGER_KEY_DIR = tmp_path
    settings.DEVELOPMENT = False
    assert ledger_fsck()[0] == 1
