"""What an attacker may do to a log, and which anchor of api_docs/ledger_threats.md notices.

Each attack is tried on a log of its own; then every anchor looks, alone. The table of the document
says who notices what: a cell that is filled without one noticing fails here, and so does an empty
one where one does.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from licensing.ledger import (
    commitments,
    guard,
    notes,
    proofs,
    receipts,
    sequencer,
    signer,
    tiles,
    tree,
)
from licensing.models import LedgerCheckpoint, LedgerEntry, LedgerLeaf
from marketplace import access
from tests.database import TestDatabase
from tests.ledger import append, append_many, grow, superuser_connection

pytestmark = [pytest.mark.chaos, pytest.mark.django_db(transaction=True)]

THREATS = Path(__file__).parents[2] / "api_docs" / "ledger_threats.md"
ANCHORS = ("D", "S", "X", "G", "C", "R")
# One full tile, and more; signed twice.
EARLIER, SIZE, WAITING = 270, 300, 3
# The entry that most attacks are about.
N = 100
TABLES = ("entry", "leaf", "tile", "tree", "checkpoint", "opening", "pending")


@dataclass
class World:
    """A log, and what others keep of it from before the attack."""

    super: psycopg.Connection[Any]
    export: Path
    guards: Path
    remembered: str
    receipt: bytes
    earlier_guard: bytes

    def execute(self, statement: str, values: Any = None) -> None:
        statement = re.sub(r"\b(entry|leaf|tile|tree|checkpoint|opening|pending)!", r"licensing_ledger\1", statement)
        self.super.execute(statement, values)

    def body(self, index: int) -> bytes:
        with access.system("look in a test"):
            return bytes(LedgerLeaf.objects.get(log="test", index=index).entry.body)

    def entry(self, index: int) -> int:
        with access.system("look in a test"):
            return LedgerLeaf.objects.get(log="test", index=index).entry_id


@pytest.fixture
def world(
    test_database: TestDatabase, ledger_guard: Path, settings: Any, tmp_path: Path
) -> Iterator[World]:
    settings.LEDGER_EXPORT = str(tmp_path / "second place")
    grow(EARLIER)
    earlier = (ledger_guard / "test.guard").read_bytes()
    grow(SIZE - EARLIER)
    append_many(WAITING)
    with access.system("look in a test"):
        leaf = LedgerLeaf.objects.select_related("entry__opening").get(log="test", index=N)
        receipt = proofs.receipt(leaf.entry, leaf.entry.opening)
        note = tiles.newest_checkpoint("test")
    assert receipt is not None and note is not None
    with superuser_connection(test_database) as opened:
        # Whoever is superuser turns off what refuses him.
        for table in TABLES:
            opened.execute(f"ALTER TABLE licensing_ledger{table} DISABLE TRIGGER ALL")
        export = Path(settings.LEDGER_EXPORT)
        yield World(opened, export, ledger_guard, note.note, receipt, earlier)


# --- attacks ----------------------------------------------------------------------------------

Attack = Callable[[World], None]
ATTACKS: dict[int, Attack] = {}


def attack(number: int) -> Callable[[Attack], Attack]:
    def keep(made: Attack) -> Attack:
        assert number not in ATTACKS
        ATTACKS[number] = made
        return made

    return keep


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


def sign_again(world: World, key: notes.Signer | None = None) -> None:
    """Every checkpoint anew, with the log's key or another."""
    key = key or signer.load("test")
    with access.system("an attacker signs"):
        sizes = LedgerCheckpoint.objects.filter(log="test").values_list("size", flat=True)
        roots = {size: tiles.StoredTree("test", size).root() for size in sizes}
    for size, root in roots.items():
        text = notes.Checkpoint(signer.origin("test"), size, root).text()
        world.execute(
            "UPDATE checkpoint! SET note = %s WHERE size = %s", [notes.sign(text, key), size]
        )


def cut_tail(world: World, size: int) -> None:
    world.execute("DELETE FROM checkpoint! WHERE size > %s", [size])
    world.execute("DELETE FROM tree! WHERE size > %s", [size])
    world.execute("DELETE FROM leaf! WHERE index >= %s", [size])


@attack(1)
def edit_a_body(world: World) -> None:
    set_body(world, N, other(world.body(N)))


@attack(2)
def edit_a_body_and_its_hash(world: World) -> None:
    body, id = other(world.body(N)), world.entry(N)
    set_body(world, N, body)
    world.execute("UPDATE entry! SET leaf_hash = %s WHERE id = %s", [tree.leaf_hash(body), id])


@attack(3)
def edit_body_hashes_and_leaf(world: World) -> None:
    body = other(world.body(N))
    set_body(world, N, body)
    set_hashes(world, N, body)


@attack(4)
def rewrite_the_tree(world: World) -> None:
    edit_body_hashes_and_leaf(world)
    grow_again(world)


@attack(5)
def rewrite_all_with_the_key(world: World) -> None:
    rewrite_the_tree(world)
    sign_again(world)


@attack(6)
def flip_a_bit_of_a_stored_leaf_hash(world: World) -> None:
    world.execute(
        "UPDATE leaf! SET leaf_hash = set_bit(leaf_hash, 77, 1 - get_bit(leaf_hash, 77))"
        " WHERE index = %s",
        [N],
    )


@attack(7)
def edit_a_waiting_body(world: World) -> None:
    world.execute(
        "UPDATE entry! SET body = set_bit(body, 1003, 1 - get_bit(body, 1003))"
        " WHERE id = (SELECT min(entry_id) FROM pending!)"
    )


@attack(8)
def delete_what_waits(world: World) -> None:
    for table in ("opening", "pending"):
        world.execute(f"DELETE FROM {table}! WHERE entry_id IN (SELECT max(id) FROM entry!)")
    world.execute("DELETE FROM entry! WHERE id = (SELECT max(id) FROM entry!)")


@attack(9)
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


@attack(10)
def delete_a_leaf(world: World) -> None:
    world.execute("DELETE FROM leaf! WHERE index = %s", [N])


@attack(11)
def move_an_entry_to_the_other_log(world: World) -> None:
    world.execute("UPDATE entry! SET log = 'live' WHERE id = %s", [world.entry(N)])


@attack(12)
def let_columns_say_other_than_the_body(world: World) -> None:
    world.execute("UPDATE entry! SET kind = 'grant.revoked' WHERE id = %s", [world.entry(N)])


@attack(13)
def let_a_chain_skip(world: World) -> None:
    world.execute("UPDATE entry! SET seq = 7 WHERE id = %s", [world.entry(N)])


@attack(14)
def shift_a_time_by_a_microsecond(world: World) -> None:
    world.execute(
        "UPDATE entry! SET created_at = created_at + %s WHERE id = %s",
        [timedelta(microseconds=1), world.entry(N)],
    )


@attack(15)
def edit_a_tile(world: World) -> None:
    world.execute("UPDATE tile! SET hashes = set_byte(hashes, 3200, 255 - get_byte(hashes, 3200))")


@attack(16)
def edit_a_tiles_root(world: World) -> None:
    world.execute("UPDATE tile! SET root = set_byte(root, 0, 255 - get_byte(root, 0))")


@attack(17)
def delete_a_tile(world: World) -> None:
    world.execute("DELETE FROM tile!")


@attack(18)
def edit_an_integrated_root(world: World) -> None:
    world.execute(
        "UPDATE tree! SET root = set_byte(root, 0, 255 - get_byte(root, 0)) WHERE size = %s", [SIZE]
    )


@attack(19)
def edit_a_checkpoint(world: World) -> None:
    world.execute("UPDATE checkpoint! SET note = replace(note, E'\n300\n', E'\n299\n')")


@attack(20)
def sign_with_another_key(world: World) -> None:
    sign_again(world, notes.Signer(signer.origin("test"), os.urandom(32)))


@attack(21)
def delete_the_newest_checkpoint(world: World) -> None:
    world.execute("DELETE FROM checkpoint! WHERE size = %s", [SIZE])


@attack(22)
def delete_the_tail(world: World) -> None:
    cut_tail(world, EARLIER)


@attack(23)
def sign_another_tail(world: World) -> None:
    cut_tail(world, EARLIER)
    append_many(SIZE - EARLIER - WAITING)
    with blinded("S", "X", "G"):
        sequencer.run_once()


@attack(24)
def restore_a_backup_and_go_on(world: World) -> None:
    restore(world)
    append_many(SIZE - EARLIER - 1)


@attack(25)
def restore_the_guard_too(world: World) -> None:
    restore(world)
    (world.guards / "test.guard").write_bytes(world.earlier_guard)
    append_many(SIZE - EARLIER + 5)
    with blinded("X"):
        sequencer.run_once()


def restore(world: World) -> None:
    """Have the database be as it was when EARLIER was signed."""
    cut_tail(world, EARLIER)
    for table in ("pending", "opening"):
        world.execute(
            f"DELETE FROM {table}! WHERE entry_id > (SELECT max(entry_id) FROM leaf!)"
        )
    world.execute("DELETE FROM entry! WHERE id > (SELECT max(entry_id) FROM leaf!)")


@attack(26)
def delete_the_guard(world: World) -> None:
    (world.guards / "test.guard").unlink()


@attack(27)
def edit_the_guard(world: World) -> None:
    path = world.guards / "test.guard"
    path.write_text(path.read_text().replace("\n300\n", "\n200\n"))


@attack(28)
def edit_an_exported_tile(world: World) -> None:
    spoil(world.export / "test/tile/0/000")


@attack(29)
def edit_an_exported_entry(world: World) -> None:
    spoil(world.export / "test/tile/entries/000")


@attack(30)
def remove_an_exported_bundle(world: World) -> None:
    (world.export / "test/tile/entries/000").unlink()


@attack(31)
def lengthen_an_exported_bundle(world: World) -> None:
    with (world.export / "test/tile/entries/000").open("ab") as file:
        file.write(b"\x00\x00")


@attack(32)
def edit_the_exported_checkpoint(world: World) -> None:
    path = world.export / "test/checkpoint"
    path.write_text(path.read_text().replace("\n300\n", "\n299\n"))


@attack(33)
def edit_an_opened_value(world: World) -> None:
    world.execute(
        "UPDATE opening! SET values = replace(values, 'noted', 'other') WHERE entry_id = %s",
        [world.entry(N)],
    )


@attack(34)
def exchange_openings(world: World) -> None:
    one, two = world.entry(N), world.entry(N + 1)
    world.execute(
        "UPDATE opening! SET entry_id = CASE entry_id WHEN %(one)s THEN -%(one)s ELSE -%(two)s END"
        " WHERE entry_id IN (%(one)s, %(two)s)",
        {"one": one, "two": two},
    )
    world.execute("UPDATE opening! SET entry_id = %s WHERE entry_id = -%s", [two, one])
    world.execute("UPDATE opening! SET entry_id = %s WHERE entry_id = -%s", [one, two])


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[N * 32] ^= 1
    path.write_bytes(data)


# --- anchors ----------------------------------------------------------------------------------


def noticed(world: World, tmp_path: Path) -> dict[str, str]:
    """What each anchor says, looking alone; those that notice nothing are missing."""
    looks: dict[str, Callable[[], None]] = {
        "D": lambda: call_command("ledger_fsck", log="test"),
        "X": lambda: look_at_the_second_place(world, tmp_path),
        "C": lambda: compare_with(world.remembered),
        "R": lambda: look_for(receipts.parse(world.receipt)),
        # These write: last.
        "S": lambda: go_on(blind=("X", "G")),
        "G": lambda: go_on(blind=("X", "S")),
    }
    found = {}
    for anchor, look in looks.items():
        try:
            with access.system("an anchor looks") if anchor in "CR" else suppress():
                look()
        except (CommandError, AssertionError, *sequencer.STOPS) as error:
            found[anchor] = str(error)
        except (LookupError, tree.ProofError, notes.NoteError, receipts.ReceiptError) as error:
            found[anchor] = str(error)
    return found


def look_at_the_second_place(world: World, tmp_path: Path) -> None:
    """Its files alone; then whether what the server would publish now is the same."""
    call_command("ledger_fsck", log="test", tiles=str(world.export))
    again = tmp_path / "again"
    call_command("ledger_export", str(again), log="test")
    ours, theirs = (
        {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        for top in (world.export / "test", again / "test")
    )
    for name in ours.keys() & theirs.keys() - {"checkpoint"}:
        assert ours[name] == theirs[name], f"{name} differs"
    seen, now = (notes.parse_checkpoint(notes.split_note(text["checkpoint"].decode())[0]) for text in (ours, theirs))
    assert seen.size <= now.size, "the second place is ahead"
    if seen.size == now.size:
        assert seen.root == now.root, "the second place has another root"


def compare_with(remembered: str) -> None:
    """Whether what is served now continues a checkpoint that somebody kept."""
    served = tiles.newest_checkpoint("test")
    assert served is not None, "nothing is served"
    verifier = signer.verifier("test")
    assert verifier is not None
    old, new = (notes.open_checkpoint(note, [verifier])[0] for note in (remembered, served.note))
    assert old.size <= new.size, "older than remembered"
    stored = tiles.StoredTree("test", new.size)
    proof = tree.consistency_proof(old.size, new.size, stored.node)
    tree.verify_consistency(old.size, new.size, proof, old.root, new.root)


def look_for(receipt: receipts.Receipt) -> None:
    """Whether a party's entry still stands where its receipt says, opened by the same values."""
    verifier = signer.verifier("test")
    assert verifier is not None
    known = receipts.verify(receipt, [verifier])
    bundle, _index = divmod(receipt.index, tree.TILE_WIDTH)
    served = tiles.newest_checkpoint("test")
    assert served is not None, "nothing is served"
    checkpoint, _note = notes.open_checkpoint(served.note, [verifier])
    assert receipt.index < checkpoint.size, "the log ends before the entry"
    width = min(tree.TILE_WIDTH, checkpoint.size - bundle * tree.TILE_WIDTH)
    data = tiles.entry_bundle("test", bundle, width)
    assert data is not None, "its bundle is not served"
    assert len(receipt.entry).to_bytes(2) + receipt.entry in data, "the entry is another"
    stored = tiles.StoredTree("test", checkpoint.size)
    proof = tree.inclusion_proof(receipt.index, checkpoint.size, stored.node)
    tree.verify_inclusion(
        receipt.index, checkpoint.size, known.leaf_hash, proof, checkpoint.root
    )
    entry = LedgerEntry.objects.select_related("opening").get(leaf_hash=known.leaf_hash)
    opened = entry.opening
    commitments.check_openings(
        known.body, commitments.openings(entry.kind, bytes(opened.seed), _values(opened.values))
    )


def _values(text: str) -> Any:
    import json

    return json.loads(text)


def go_on(blind: tuple[str, ...]) -> None:
    """Have the sequencer integrate one more entry, and sign."""
    append_many(1)
    with blinded(*blind):
        sequencer.run_once()


@contextmanager
def blinded(*anchors: str) -> Iterator[None]:
    """Let these look away: the other is tried alone."""
    patch = pytest.MonkeyPatch()
    if "S" in anchors:
        patch.setattr(sequencer, "_check_continues", lambda *_arguments: None)
    if "G" in anchors:
        patch.setattr(guard, "advance", lambda *_arguments: None)
    if "X" in anchors:
        patch.setattr("licensing.ledger.export.secure", lambda *_arguments: None)
        patch.setattr("licensing.ledger.export.publish_newest", lambda *_arguments: None)
    try:
        yield
    finally:
        patch.undo()


# --- the table --------------------------------------------------------------------------------


def table() -> dict[int, dict[str, str]]:
    """What the document says of each attack that is numbered."""
    rows = {}
    for line in THREATS.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].isdigit():
            rows[int(cells[0])] = dict(zip(ANCHORS, cells[2:], strict=True))
    return rows


def test_every_attack_of_the_document_is_tried_here() -> None:
    assert table().keys() == ATTACKS.keys()
    assert len(ATTACKS) >= 25


def test_without_an_attack_no_anchor_says_anything(world: World, tmp_path: Path) -> None:
    assert noticed(world, tmp_path) == {}


@pytest.mark.parametrize("number", ATTACKS, ids=lambda number: ATTACKS[number].__name__)
def test_the_anchors_notice_what_the_document_says(
    world: World, tmp_path: Path, number: int
) -> None:
    ATTACKS[number](world)

    found = noticed(world, tmp_path)

    said = table()[number]
    assert found.keys() == {anchor for anchor in ANCHORS if said[anchor]}, (said, found)
    for anchor, text in found.items():
        # The first word of the cell names the place; the anchor must name it too.
        place = said[anchor].strip("“”").split()[0]
        assert place in text, (anchor, said[anchor], text)
