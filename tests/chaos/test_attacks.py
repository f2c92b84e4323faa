"""Which anchor of api_docs/ledger_threats.md notices which attack on a log, and what it says.

Each attack is tried on a log of its own; then every anchor looks, alone. The table of the document
says who notices what: a cell that is filled without one noticing fails here, and so does an empty
one where one does.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from licensing.ledger import commitments, guard, notes, proofs, receipts, sequencer, signer, tiles
from licensing.ledger import export as exports
from licensing.ledger.log import LedgerCorrupted
from licensing.models import LedgerEntry, LedgerLeaf
from licensing.offline import __main__ as offline
from licensing.offline import remember
from marketplace import access
from tests.chaos.attacks import (
    ATTACKS,
    EARLIER,
    SIZE,
    TABLES,
    WAITING,
    Attack,
    N,
    World,
    blinded,
)
from tests.database import TestDatabase
from tests.ledger import append_many, grow, superuser_connection

pytestmark = [pytest.mark.chaos, pytest.mark.django_db(transaction=True)]

THREATS = Path(__file__).parents[2] / "api_docs" / "ledger_threats.md"
ANCHORS = ("D", "S", "X", "G", "C", "R")


@pytest.fixture
def world(
    test_database: TestDatabase,
    ledger_guard: Path,
    settings: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    export, earlier = tmp_path / "second place", tmp_path / "earlier"
    settings.LEDGER_EXPORT = str(export)
    grow(EARLIER)
    earlier_guard = (ledger_guard / "test.guard").read_bytes()
    shutil.copytree(export, earlier)
    grow(SIZE - EARLIER)
    append_many(WAITING)
    with access.system("look in a test"):
        leaf = LedgerLeaf.objects.select_related("entry__opening").get(log="test", index=N)
        receipt = proofs.receipt(leaf.entry, leaf.entry.opening)
        note = tiles.newest_checkpoint("test")
    verifier = signer.verifier("test")
    assert receipt is not None
    assert note is not None
    assert verifier is not None
    with superuser_connection(test_database) as opened:
        # Whoever is superuser turns off what refuses him.
        for table in TABLES:
            opened.execute(f"ALTER TABLE licensing_ledger{table} DISABLE TRIGGER ALL")
        yield World(
            super=opened,
            patch=monkeypatch,
            earlier=earlier,
            export=export,
            guards=ledger_guard,
            earlier_guard=earlier_guard,
            verifier=verifier,
            remembered=note.note,
            receipt=receipt,
        )


# --- anchors ----------------------------------------------------------------------------------


class Noticed(Exception):
    """What an anchor says, and the exit code of the command that said it."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


def noticed(world: World, tmp_path: Path) -> dict[str, Noticed]:
    """What each anchor says, looking alone; those that notice nothing are missing."""
    served = serve(tmp_path / "served")
    looks: dict[str, Callable[[], None]] = {
        "D": lambda: run("ledger_fsck", log="test"),
        "X": lambda: look_at_the_second_place(world),
        "C": lambda: compare_with_what_is_remembered(world, world.shown or served, tmp_path),
        "R": lambda: look_for_the_receipts_entry(world, served),
        # These write: last.
        "S": lambda: go_on(("X", "G"), (LedgerCorrupted, signer.KeyUnusable)),
        "G": lambda: go_on(("X", "S"), (guard.GuardRefused,)),
    }
    found = {}
    for anchor, look in looks.items():
        try:
            look()
        except Noticed as said:
            found[anchor] = said
    return found


def run(name: str, *arguments: str, **options: Any) -> None:
    try:
        call_command(name, *arguments, stdout=io.StringIO(), stderr=io.StringIO(), **options)
    except CommandError as error:
        raise Noticed(str(error), error.returncode) from error


def look_at_the_second_place(world: World) -> None:
    """Its files alone, by a key that was kept elsewhere; then against the database."""
    run("ledger_fsck", log="test", tiles=str(world.export), key=world.verifier.vkey())
    run("ledger_export", str(world.export), log="test", from_start=True)


def compare_with_what_is_remembered(world: World, place: Path, tmp_path: Path) -> None:
    """What somebody who kept a checkpoint and a receipt finds out without us."""
    memory, receipt = tmp_path / "seen.json", tmp_path / "receipt"
    kept = {"checkpoint": world.remembered.removesuffix("\n").split("\n")}
    logs = {signer.origin("test"): kept}
    memory.write_text(json.dumps({"format": remember.FORMAT, "logs": logs}))
    receipt.write_bytes(world.receipt)
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = offline.main(
            ["verify", str(receipt), "--key", world.verifier.vkey(), "--allow-test"]
            + ["--remember", str(memory), "--log", str(place)]
        )
    if code:
        raise Noticed(said.getvalue(), code)


def look_for_the_receipts_entry(world: World, served: Path) -> None:
    """Whether a party's entry still stands where its receipt says, opened by the same values."""
    receipt = receipts.parse(world.receipt)
    known = receipts.verify(receipt, [world.verifier])
    try:
        checkpoint, _note = notes.open_checkpoint(
            (served / "checkpoint").read_text(), [world.verifier]
        )
    except notes.NoteError as error:
        raise Noticed(f"checkpoint: {error}") from error
    if checkpoint.size <= receipt.index:
        raise Noticed("the log ends before the entry")
    bundle = served / exports.bundle_path(receipt.index // 256)
    if entries_in(bundle.read_bytes())[receipt.index % 256] != receipt.entry:
        raise Noticed(f"entry {receipt.index} is another than the receipt's")
    with access.system("a party asks for its entry"):
        entry = LedgerEntry.objects.select_related("opening").filter(body=receipt.entry).get()
        opened = entry.opening
    try:
        commitments.check_openings(
            known.body,
            commitments.openings(entry.kind, bytes(opened.seed), json.loads(opened.values)),
        )
    except commitments.CommitmentError as error:
        raise Noticed(f"opening: {error}") from error


def go_on(blind: tuple[str, ...], says: tuple[type[Exception], ...]) -> None:
    """Have the sequencer integrate one more entry, and sign."""
    append_many(1)
    with blinded(*blind):
        try:
            sequencer.run_once()
        except sequencer.STOPS as error:
            if isinstance(error, says):
                raise Noticed(str(error)) from error


def serve(directory: Path) -> Path:
    """What the server shows now: its newest checkpoint, and the tiles below it, as HTTP does."""
    newest = tiles.newest_checkpoint("test")
    assert newest is not None
    files: dict[str, bytes | None] = {"checkpoint": newest.note.encode()}
    for index in range(-(-newest.size // 256)):
        width = min(256, newest.size - index * 256)
        part = None if width == 256 else width
        files[exports.bundle_path(index, part)] = tiles.entry_bundle("test", index, width)
        files[exports.tile_path(0, index, part)] = served_tile(0, index, width)
    full = newest.size // 256
    if full:
        files[exports.tile_path(1, 0, full)] = served_tile(1, 0, full)
    for path, data in files.items():
        if data is not None:
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(data)
    return directory


def served_tile(level: int, index: int, width: int) -> bytes | None:
    try:
        return tiles.tile("test", level, index, width)
    except LookupError:
        return None


def entries_in(bundle: bytes) -> list[bytes]:
    entries = []
    while bundle:
        length = int.from_bytes(bundle[:2])
        entries.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    return entries


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
    assert list(table()) == list(ATTACKS)
    assert len(ATTACKS) >= 25


def test_without_an_attack_no_anchor_says_anything(world: World, tmp_path: Path) -> None:
    assert noticed(world, tmp_path) == {}


@pytest.mark.parametrize("number", ATTACKS, ids=lambda number: f"{number}_{ATTACKS[number].__name__}")
def test_the_anchors_notice_what_the_document_says(
    world: World, tmp_path: Path, number: int
) -> None:
    ATTACKS[number](world)

    found = noticed(world, tmp_path)

    import os
    if dump := os.environ.get("DUMP"):
        with open(dump, "a") as file:
            file.write(json.dumps([number, ATTACKS[number].__name__, {a: [n.code, str(n)[:260]] for a, n in found.items()}]) + "\n")
        return
