"""What a superuser of the database, or whoever holds the log's key or its files, may do to a log.

Numbered as in api_docs/ledger_threats.md.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.conf import settings

from licensing import jcs, packing
from licensing.ledger import export, guard, notes, sequencer, signer, tiles, tree
from licensing.models import LedgerCheckpoint, LedgerLeaf
from marketplace import access
from tests.chaos.watchers import Watcher
from tests.ledger import append_many
from tests.logs import Cosigner, MemoryLog, bodies

# One full tile, and more; signed twice.
EARLIER, SIZE, WAITING = 270, 300, 3
# The entry that most attacks are about.
N = 100
# Whose entries they all are.
PARTY, STRANGER = UUID(int=7), UUID(int=8)
TABLES = (
    "entry",
    "leaf",
    "tile",
    "tree",
    "checkpoint",
    "cosignature",
    "opening",
    "pending",
    "party",
    "counter",
    "recovered",
)


@dataclass
class World:
    """A log, and what others keep of it from before the attack."""

    super: psycopg.Connection[Any]
    patch: pytest.MonkeyPatch
    # The second place, as it was when EARLIER was signed, and as it is now.
    earlier: Path
    export: Path
    guards: Path
    earlier_guard: bytes
    verifier: notes.Verifier
    # The newest checkpoint that somebody saw, and a party's receipt.
    remembered: str
    receipt: bytes
    # Who cosigned both.
    witnesses: Sequence[Watcher]
    # A log that is shown to somebody in place of what the database holds.
    shown: Path | None = None
    # The same, or what was put into the second place, if the attacker made that up.
    forged: MemoryLog | None = None

    def execute(self, statement: str, values: Any = None) -> None:
        tables = "|".join(TABLES)
        self.super.execute(re.sub(rf"\b({tables})!", r"licensing_ledger\1", statement), values)

    def body(self, index: int) -> bytes:
        with access.system("look in a test"):
            return bytes(LedgerLeaf.objects.get(log="test", index=index).entry.body)

    def entry(self, index: int) -> int:
        with access.system("look in a test"):
            return LedgerLeaf.objects.get(log="test", index=index).entry_id


Attack = Callable[[World], None]
ATTACKS: dict[int, Attack] = {}


def attack(made: Attack) -> Attack:
    ATTACKS[len(ATTACKS) + 1] = made
    return made


@contextmanager
def blinded(*anchors: str) -> Iterator[None]:
    """Let these look away: the other is tried alone."""
    patch = pytest.MonkeyPatch()
    if "S" in anchors:
        patch.setattr(sequencer, "_check_continues", lambda *_arguments: None)
    if "G" in anchors:
        patch.setattr(guard, "advance", lambda *_arguments: None)
        patch.setattr(guard, "ahead_of", lambda *_arguments: None)
    if "X" in anchors:
        patch.setattr(export, "secure", lambda *_arguments: None)
        patch.setattr(export, "publish_newest", lambda *_arguments: None)
        patch.setattr(export, "publish_cosigned", lambda *_arguments: None)
    try:
        yield
    finally:
        patch.undo()


# --- entries ---


def other(body: bytes) -> bytes:
    """A body that says something else, as well formed as before."""
    found = re.search(rb'"commitments":\{"text":"([0-9a-f]{64})"', body)
    assert found is not None
    return body.replace(found[1], os.urandom(32).hex().encode())


def set_body(world: World, index: int, body: bytes) -> None:
    world.execute("UPDATE entry! SET body = %s WHERE id = %s", [body, world.entry(index)])


def set_hashes(world: World, index: int, body: bytes) -> None:
    hashed, id = tree.leaf_hash(body), world.entry(index)
    world.execute("UPDATE entry! SET leaf_hash = %s WHERE id = %s", [hashed, id])
    world.execute("UPDATE leaf! SET leaf_hash = %s WHERE entry_id = %s", [hashed, id])


def grow_again(world: World) -> None:
    """Tiles and trees anew, from the leaves as they are now."""
    with access.system("an attacker reads the leaves"):
        rows = LedgerLeaf.objects.filter(log="test").order_by("index")
        hashes = [bytes(hashed) for hashed in rows.values_list("leaf_hash", flat=True)]
    frontier, first = tree.Frontier(), hashes[: tree.TILE_WIDTH]
    for size, hashed in enumerate(hashes, 1):
        frontier.push(hashed)
        world.execute("UPDATE tree! SET root = %s WHERE size = %s", [frontier.root(), size])
    world.execute("UPDATE tile! SET hashes = %s, root = %s", [b"".join(first), tree.fold(first)])


def sign_again(world: World, key: notes.Signer | None = None, *, is_thorough: bool = True) -> None:
    """Every checkpoint anew, with the log's key or another."""
    key = key or signer.load("test")
    if is_thorough:
        world.execute("DELETE FROM cosignature!")
    with access.system("an attacker signs"):
        sizes = LedgerCheckpoint.objects.filter(log="test").values_list("size", flat=True)
        roots = {size: tiles.StoredTree("test", size).root() for size in sizes}
    for size, root in roots.items():
        text = notes.Checkpoint(signer.origin("test"), size, root).text()
        world.execute(
            "UPDATE checkpoint! SET note = %s WHERE size = %s", [notes.sign(text, key), size]
        )


def cut_tail(world: World, size: int) -> None:
    world.execute("DELETE FROM cosignature! WHERE size > %s", [size])
    world.execute("DELETE FROM checkpoint! WHERE size > %s", [size])
    world.execute("DELETE FROM tree! WHERE size > %s", [size])
    world.execute("DELETE FROM leaf! WHERE index >= %s", [size])


def restore(world: World) -> None:
    """Have the database be as it was when EARLIER was signed."""
    cut_tail(world, EARLIER)
    for table in ("pending", "opening"):
        world.execute(f"DELETE FROM {table}! WHERE entry_id > (SELECT max(entry_id) FROM leaf!)")
    world.execute("DELETE FROM entry! WHERE id > (SELECT max(entry_id) FROM leaf!)")


@attack
def edit_a_body(world: World) -> None:
    set_body(world, N, other(world.body(N)))


@attack
def edit_a_body_and_its_hash(world: World) -> None:
    body, id = other(world.body(N)), world.entry(N)
    set_body(world, N, body)
    world.execute("UPDATE entry! SET leaf_hash = %s WHERE id = %s", [tree.leaf_hash(body), id])


@attack
def edit_body_hashes_and_leaf(world: World) -> None:
    body = other(world.body(N))
    set_body(world, N, body)
    set_hashes(world, N, body)
    # As if it had been erased: it would not open what is new.
    world.execute("DELETE FROM opening! WHERE entry_id = %s", [world.entry(N)])


@attack
def rewrite_the_tree(world: World) -> None:
    edit_body_hashes_and_leaf(world)
    grow_again(world)


@attack
def rewrite_all_with_the_key(world: World) -> None:
    rewrite_the_tree(world)
    sign_again(world)


@attack
def flip_a_bit_of_a_stored_leaf_hash(world: World) -> None:
    world.execute(
        "UPDATE leaf! SET leaf_hash = set_bit(leaf_hash, 77, 1 - get_bit(leaf_hash, 77))"
        " WHERE index = %s",
        [N],
    )


@attack
def flip_a_bit_of_an_entrys_hash(world: World) -> None:
    world.execute(
        "UPDATE entry! SET leaf_hash = set_bit(leaf_hash, 77, 1 - get_bit(leaf_hash, 77))"
        " WHERE id = %s",
        [world.entry(N)],
    )


@attack
def edit_a_waiting_body(world: World) -> None:
    world.execute(
        "UPDATE entry! SET body = set_bit(body, 103, 1 - get_bit(body, 103))"
        " WHERE id = (SELECT min(entry_id) FROM pending!)"
    )


@attack
def delete_what_waits(world: World) -> None:
    for table in ("opening", "pending"):
        world.execute(f"DELETE FROM {table}! WHERE entry_id IN (SELECT max(id) FROM entry!)")
    world.execute("DELETE FROM entry! WHERE id = (SELECT max(id) FROM entry!)")


@attack
def forget_that_one_waits(world: World) -> None:
    world.execute("DELETE FROM pending! WHERE entry_id = (SELECT min(entry_id) FROM pending!)")


@attack
def queue_an_entry_again(world: World) -> None:
    world.execute("INSERT INTO pending! (entry_id, log) VALUES (%s, 'test')", [world.entry(N)])


@attack
def queue_for_the_other_log(world: World) -> None:
    world.execute(
        "UPDATE pending! SET log = 'live' WHERE entry_id = (SELECT min(entry_id) FROM pending!)"
    )


@attack
def exchange_two_places(world: World) -> None:
    one, two = world.entry(N), world.entry(N + 1)
    for id, index in ((one, N + 1), (two, N)):
        world.execute("UPDATE leaf! SET entry_id = -%s WHERE index = %s", [id, index])
    world.execute("UPDATE leaf! SET entry_id = -entry_id WHERE entry_id < 0")
    world.execute(
        "UPDATE leaf! SET leaf_hash = entry.leaf_hash FROM entry! entry"
        " WHERE entry.id = entry_id AND index IN (%s, %s)",
        [N, N + 1],
    )


@attack
def delete_a_leaf(world: World) -> None:
    world.execute("DELETE FROM leaf! WHERE index = %s", [N])


@attack
def move_an_entry_to_the_other_log(world: World) -> None:
    world.execute("UPDATE entry! SET log = 'live' WHERE id = %s", [world.entry(N)])


@attack
def let_columns_say_other_than_the_body(world: World) -> None:
    world.execute("UPDATE entry! SET kind = 'grant.revoked' WHERE id = %s", [world.entry(N)])


@attack
def let_a_chain_skip(world: World) -> None:
    world.execute("UPDATE entry! SET seq = 7 WHERE id = %s", [world.entry(N)])


@attack
def shift_a_time_by_a_microsecond(world: World) -> None:
    world.execute(
        "UPDATE entry! SET created_at = created_at + %s WHERE id = %s",
        [timedelta(microseconds=1), world.entry(N)],
    )


@attack
def edit_a_tile(world: World) -> None:
    world.execute("UPDATE tile! SET hashes = set_byte(hashes, 3200, 255 - get_byte(hashes, 3200))")


@attack
def edit_a_tiles_root(world: World) -> None:
    world.execute("UPDATE tile! SET root = set_byte(root, 0, 255 - get_byte(root, 0))")


@attack
def delete_a_tile(world: World) -> None:
    world.execute("DELETE FROM tile!")


@attack
def add_a_tile(world: World) -> None:
    world.execute(
        "INSERT INTO tile! (log, level, index, hashes, root)"
        " SELECT log, level, 1, hashes, root FROM tile!"
    )


@attack
def edit_an_integrated_root(world: World) -> None:
    world.execute(
        "UPDATE tree! SET root = set_byte(root, 0, 255 - get_byte(root, 0)) WHERE size = %s", [SIZE]
    )


@attack
def delete_an_integrated_tree(world: World) -> None:
    world.execute("DELETE FROM tree! WHERE size = %s", [EARLIER])


@attack
def edit_a_checkpoint(world: World) -> None:
    world.execute("UPDATE checkpoint! SET note = replace(note, E'\n300\n', E'\n299\n')")


@attack
def sign_with_another_key(world: World) -> None:
    sign_again(world, notes.Signer(signer.origin("test"), os.urandom(32)))


@attack
def delete_the_newest_checkpoint(world: World) -> None:
    world.execute("DELETE FROM cosignature! WHERE size = %s", [SIZE])
    world.execute("DELETE FROM checkpoint! WHERE size = %s", [SIZE])


@attack
def sign_the_past_again_otherwise(world: World) -> None:
    text = notes.Checkpoint(signer.origin("test"), EARLIER, os.urandom(32)).text()
    note = notes.sign(text, signer.load("test"))
    world.execute("UPDATE checkpoint! SET note = %s WHERE size = %s", [note, EARLIER])


@attack
def delete_the_tail(world: World) -> None:
    cut_tail(world, EARLIER)


@attack
def sign_another_tail(world: World) -> None:
    restore(world)
    append_many(SIZE - EARLIER)
    with blinded("S", "X", "G"):
        sequencer.run_once()


@attack
def restore_a_backup_and_go_on(world: World) -> None:
    restore(world)
    append_many(SIZE - EARLIER - 1)


@attack
def restore_the_guard_too(world: World) -> None:
    restore(world)
    (world.guards / "test.guard").write_bytes(world.earlier_guard)
    append_many(SIZE - EARLIER + 5)
    with blinded("X"):
        sequencer.run_once()


@attack
def restore_the_second_place_too(world: World) -> None:
    put_back_an_old_copy(world)
    restore(world)
    (world.guards / "test.guard").write_bytes(world.earlier_guard)
    append_many(SIZE - EARLIER + 5)
    sequencer.run_once()


@attack
def delete_the_guard(world: World) -> None:
    (world.guards / "test.guard").unlink()


@attack
def edit_the_guard(world: World) -> None:
    path = world.guards / "test.guard"
    path.write_text(path.read_text().replace("\n300\n", "\n200\n"))


@attack
def sign_on_two_servers(world: World) -> None:
    """The other one has the same key and guard, and signs while this one is about to."""
    signed = another_history(world, SIZE, WAITING + 1)
    theirs = signed.checkpoint(SIZE + WAITING + 1)
    world.remembered = signed.note(theirs.size)
    assert [each.submit(signed, SIZE) for each in world.witnesses] == [200] * len(world.witnesses)
    write = guard.Guard.write
    overtaken: list[notes.Checkpoint] = []

    def write_too_late(self: guard.Guard, state: notes.Checkpoint, **expected: Any) -> None:
        if not overtaken:
            overtaken.append(state)
            write(self, theirs, **expected)
        write(self, state, **expected)

    world.patch.setattr(guard.Guard, "write", write_too_late)


@attack
def delete_the_key(world: World) -> None:
    # In development a missing key of the test log would be made anew.
    world.patch.setattr(settings, "DEVELOPMENT", False)
    world.patch.setattr(settings, "LEDGER_KEY_DIR", world.guards / "no keys")


@attack
def exchange_the_key(world: World) -> None:
    world.patch.setattr(settings, "LEDGER_KEY_DIR", world.guards / "other keys")
    signer.create("test")


@attack
def edit_an_exported_tile(world: World) -> None:
    spoil(world.export / "test/tile/0/000")


@attack
def edit_an_exported_entry(world: World) -> None:
    path = world.export / "test/tile/entries/000"
    body = world.body(N)
    path.write_bytes(path.read_bytes().replace(body, other(body)))


@attack
def remove_an_exported_bundle(world: World) -> None:
    (world.export / "test/tile/entries/000").unlink()


@attack
def lengthen_an_exported_bundle(world: World) -> None:
    with (world.export / "test/tile/entries/000").open("ab") as file:
        file.write(b"\x00\x00")


@attack
def edit_the_exported_checkpoint(world: World) -> None:
    path = world.export / "test/checkpoint"
    path.write_text(path.read_text().replace("\n300\n", "\n299\n"))


@attack
def exchange_the_exported_key(world: World) -> None:
    other = notes.Signer(signer.origin("test"), os.urandom(32)).verifier
    (world.export / "test/vkey").write_text(f"{other.vkey()}\n")


@attack
def add_an_exported_tile(world: World) -> None:
    shutil.copy(world.export / "test/tile/0/000", world.export / "test/tile/0/001")


@attack
def cut_an_exported_tile(world: World) -> None:
    path = world.export / "test/tile/0/001.p/44"
    path.write_bytes(path.read_bytes()[:-32])


@attack
def exchange_exported_bundles(world: World) -> None:
    path = world.export / "test/tile/entries/001.p/14"
    shutil.copy(world.earlier / "test/tile/entries/001.p/14", path.with_name("44"))


@attack
def sign_another_copy_with_another_key(world: World) -> None:
    """A whole other log, sound in itself."""
    shutil.rmtree(world.export / "test")
    world.forged = MemoryLog(bodies(SIZE))
    world.forged.key = notes.Signer(signer.origin("test"), os.urandom(32))
    world.forged.export(world.export / "test", SIZE)


@attack
def sign_another_copy_with_the_key(world: World) -> None:
    shutil.rmtree(world.export / "test")
    world.forged = another_history(world, EARLIER, SIZE - EARLIER)
    world.forged.export(world.export / "test", SIZE)


@attack
def put_back_an_old_copy(world: World) -> None:
    shutil.rmtree(world.export / "test")
    shutil.copytree(world.earlier / "test", world.export / "test")


@attack
def empty_the_second_place(world: World) -> None:
    shutil.rmtree(world.export / "test")


@attack
def freeze(world: World) -> None:
    world.shown = world.earlier / "test"


@attack
def split_the_view(world: World) -> None:
    world.forged = another_history(world, EARLIER, SIZE + 30 - EARLIER)
    world.shown = world.forged.export(world.earlier / "to one party", SIZE + 30)


def another_history(world: World, size: int, more: int) -> MemoryLog:
    """The log up to a size; then what it never recorded, signed by its key."""
    begun = [world.body(index) for index in range(size)]
    made = MemoryLog([*begun, *bodies(more)])
    made.key = signer.load("test")
    return made


@attack
def edit_an_opened_value(world: World) -> None:
    other = packing.pack(jcs.dumps({"text": "other"}))
    world.execute("UPDATE opening! SET packed = %s WHERE entry_id = %s", [other, world.entry(N)])


@attack
def edit_a_seed(world: World) -> None:
    world.execute(
        "UPDATE opening! SET seed = set_byte(seed, 0, 255 - get_byte(seed, 0)) WHERE entry_id = %s",
        [world.entry(N)],
    )


@attack
def exchange_openings(world: World) -> None:
    one, two = world.entry(N), world.entry(N + 1)
    world.execute(
        "UPDATE opening! SET entry_id = CASE entry_id WHEN %(one)s THEN -%(one)s ELSE -%(two)s END"
        " WHERE entry_id IN (%(one)s, %(two)s)",
        {"one": one, "two": two},
    )
    world.execute("UPDATE opening! SET entry_id = %s WHERE entry_id = -%s", [two, one])
    world.execute("UPDATE opening! SET entry_id = %s WHERE entry_id = -%s", [one, two])


# --- numbers ---


def renumber(world: World, entry: int, number: int) -> None:
    world.execute(
        "UPDATE party! SET sequence = %s WHERE entry_id = %s AND organization_id = %s",
        [number, entry, PARTY],
    )


@attack
def edit_a_party_s_number(world: World) -> None:
    renumber(world, world.entry(N), SIZE * 2)


@attack
def exchange_two_numbers(world: World) -> None:
    renumber(world, world.entry(N), SIZE * 2)
    renumber(world, world.entry(N + 1), N + 1)
    renumber(world, world.entry(N), N + 2)


@attack
def keep_an_entry_from_its_party(world: World) -> None:
    world.execute(
        "DELETE FROM party! WHERE entry_id = %s AND organization_id = %s", [world.entry(N), PARTY]
    )


@attack
def keep_the_newest_entry_from_its_party(world: World) -> None:
    """And count it back, so that the numbers have no gap."""
    world.execute("DELETE FROM party! WHERE sequence = %s", [SIZE + WAITING])
    world.execute("UPDATE counter! SET last = last - 1")


@attack
def count_back(world: World) -> None:
    """To give the last number once more."""
    world.execute("UPDATE counter! SET last = last - 1")


@attack
def give_an_entry_to_another_party(world: World) -> None:
    world.execute(
        "UPDATE party! SET organization_id = %s WHERE entry_id = %s AND organization_id = %s",
        [STRANGER, world.entry(N), PARTY],
    )


@attack
def let_a_stranger_read_along(world: World) -> None:
    world.execute(
        "INSERT INTO party! (entry_id, log, organization_id, sequence) VALUES (%s, 'test', %s, 1)",
        [world.entry(N), STRANGER],
    )
    world.execute(
        "INSERT INTO counter! (log, organization_id, last) VALUES ('test', %s, 1)", [STRANGER]
    )


@attack
def pass_off_as_recovered(world: World) -> None:
    """What came back from a copy may lack its parties' numbers: then this one may, too."""
    with access.system("an attacker looks"):
        newest = LedgerLeaf.objects.filter(log="test").order_by("index").last()
    assert newest is not None
    world.execute("INSERT INTO recovered! VALUES (%s, now())", [newest.entry_id])
    world.execute("DELETE FROM party! WHERE entry_id >= %s", [newest.entry_id])
    world.execute("UPDATE counter! SET last = %s", [SIZE - 1])
    # What waits behind it never was.
    for table in ("opening", "pending", "entry"):
        key = "id" if table == "entry" else "entry_id"
        world.execute(f"DELETE FROM {table}! WHERE {key} > %s", [newest.entry_id])


@attack
def pass_off_as_recovered_and_erased(world: World) -> None:
    pass_off_as_recovered(world)
    world.execute("DELETE FROM opening! WHERE entry_id IN (SELECT entry_id FROM recovered!)")


# --- cosignatures ---


@attack
def edit_the_cosignatures(world: World) -> None:
    world.execute("UPDATE cosignature! SET line = overlay(line placing 'AAAA' from 60)")


@attack
def delete_the_cosignatures(world: World) -> None:
    world.execute("DELETE FROM cosignature!")


@attack
def rewrite_all_but_the_cosignatures(world: World) -> None:
    rewrite_the_tree(world)
    sign_again(world, is_thorough=False)


@attack
def delete_a_checkpoint_under_its_cosignatures(world: World) -> None:
    world.execute("DELETE FROM checkpoint! WHERE size = %s", [SIZE])


@attack
def make_up_a_witness(world: World) -> None:
    stranger = Cosigner("witness.example/made-up", os.urandom(32))
    with access.system("an attacker looks"):
        noted = LedgerCheckpoint.objects.filter(log="test").values_list("size", "note")
    for size, note in list(noted):
        line = stranger.line(notes.split_note(note)[0], 1_700_000_000)
        world.execute(
            "INSERT INTO cosignature! (log, size, vkey, cosigned_at, line, kept_at)"
            " VALUES ('test', %s, %s, 1700000000, %s, now())",
            [size, stranger.vkey, line],
        )


# --- whole logs, times, keys ---


@attack
def empty_the_database(world: World) -> None:
    for table in TABLES:
        world.execute(f"DELETE FROM {table}!")


@attack
def hold_an_entry_back_for_ever(world: World) -> None:
    world.execute(
        "UPDATE pending! SET not_before = now() + interval '100 years'"
        " WHERE entry_id = (SELECT min(entry_id) FROM pending!)"
    )


@attack
def change_when_it_was_signed(world: World) -> None:
    world.execute("UPDATE checkpoint! SET signed_at = signed_at - interval '1 year'")
    world.execute("UPDATE tree! SET integrated_at = integrated_at - interval '1 year'")


@attack
def add_a_key_to_the_published_ones(world: World) -> None:
    """For who takes a log's key from where its copy lies."""
    stranger = notes.Signer(signer.origin("test"), os.urandom(32)).verifier
    with (world.export / "test/vkey").open("a") as file:
        file.write(f"{stranger.vkey()}\n")


@attack
def pass_off_a_stranger_s_log(world: World) -> None:
    """Files and keys of another log, with the true key listed among its own."""
    true = world.verifier.vkey()
    sign_another_copy_with_another_key(world)
    with (world.export / "test/vkey").open("a") as file:
        file.write(f"{true}\n")


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[N * 32] ^= 1
    path.write_bytes(data)
