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
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection

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
    PARTY,
    SIZE,
    TABLES,
    WAITING,
    N,
    World,
    blinded,
)
from tests.database import TestDatabase
from tests.ledger import append, append_many, grow, superuser_connection

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
    grow(EARLIER, parties=[PARTY])
    earlier_guard = (ledger_guard / "test.guard").read_bytes()
    shutil.copytree(export, earlier)
    grow(SIZE - EARLIER, parties=[PARTY])
    append_many(WAITING, parties=[PARTY])
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
        options = ["--remember", str(memory), "--log", str(place), "--allow-test"]
        code = offline.main(["verify", str(receipt), "--key", world.verifier.vkey(), *options])
    if code:
        raise Noticed(said.getvalue(), code)


def look_for_the_receipts_entry(world: World, served: Path) -> None:
    """Whether a party's entry still stands where its receipt says, opened by the same values."""
    receipt = receipts.parse(world.receipt)
    receipts.verify(receipt, [world.verifier])
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
    with access.system("a party asks for its receipt again"):
        entry = LedgerEntry.objects.select_related("opening").get(body=receipt.entry)
        try:
            again = proofs.receipt(entry, entry.opening)
            if again is None:
                raise Noticed("no receipt: as if the entry waited")
            receipts.verify(receipts.parse(again), [world.verifier])
        except receipts.ReceiptError as error:
            raise Noticed(f"{error.part}: {error}") from error
        except (LedgerCorrupted, commitments.CommitmentError) as error:
            raise Noticed(str(error)) from error


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


@pytest.mark.parametrize(
    "number", ATTACKS, ids=lambda number: f"{number}_{ATTACKS[number].__name__}"
)
def test_the_anchors_notice_what_the_document_says(
    world: World, tmp_path: Path, number: int
) -> None:
    ATTACKS[number](world)

    found = noticed(world, tmp_path)

    said = {anchor: cell for anchor, cell in table()[number].items() if cell}
    assert found.keys() == said.keys(), (said, found)
    for anchor, notice in found.items():
        text, cell = str(notice).lower(), said[anchor].replace("leaf n", f"leaf {N}").lower()
        # The first word of a cell is one of the anchor's own; a place that it names is named.
        for word in (cell.split()[0], *re.findall(r"leaf \d+", cell)):
            assert word.strip("“”,;`") in text, (anchor, cell, text)
        if anchor in "DXC":
            assert notice.code == (2 if "(2)" in cell else 1), (anchor, cell, text)


# --- what broke elsewhere ---------------------------------------------------------------------

WRITERS, LINKS_EACH, CHAINS = 32, 6, 4


def test_chains_of_32_writers_at_once_neither_fork_nor_skip() -> None:
    failures, done = write_chains()
    assert failures == []
    assert len(done) == WRITERS * LINKS_EACH
    while sequencer.run_once():
        pass

    for ref, rows in chains().items():
        assert [seq for seq, _prev, _leaf in rows] == list(range(len(rows))), ref
        assert [prev for _seq, prev, _leaf in rows] == [
            None,
            *(leaf for _seq, _prev, leaf in rows[:-1]),
        ]
    indexes = LedgerLeaf.objects.filter(log="test").order_by("index")
    assert list(indexes.values_list("index", flat=True)) == list(range(len(done)))
    run("ledger_fsck", log="test")


def test_without_their_constraint_chains_fork_and_the_check_says_so(
    test_database: TestDatabase,
) -> None:
    with superuser_connection(test_database) as opened:
        opened.execute(
            "ALTER TABLE licensing_ledgerentry DROP CONSTRAINT ledger_chain_does_not_fork"
        )
    write_chains()

    assert any(len({seq for seq, *_ in rows}) < len(rows) for rows in chains().values())
    with pytest.raises(Noticed, match="BROKEN: entry") as said:
        run("ledger_fsck", log="test")
    assert said.value.code == 1


def write_chains() -> tuple[list[BaseException], list[int]]:
    """Have WRITERS go on with few chains at once; who is too late tries again from the new end."""
    failures: list[BaseException] = []
    done: list[int] = []
    refs = [bytes([number]) * 16 for number in range(CHAINS)]
    ready = threading.Barrier(WRITERS)

    def write(writer: int) -> None:
        try:
            ready.wait(60)
            for number in range(LINKS_EACH):
                done.append(go_on_with(refs[(writer + number) % CHAINS]))
                # Back to the pool: it has fewer connections than there are writers.
                connection.close()
        except BaseException as failure:
            failures.append(failure)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=[writer]) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures, done


def go_on_with(ref: bytes) -> int:
    while True:
        with suppress(IntegrityError), access.system("a test writes to the ledger"):
            last = LedgerEntry.objects.filter(subject_ref=ref).order_by("-seq").first()
            seq, prev = (0, None) if last is None else (last.seq + 1, bytes(last.leaf_hash))
            return append(subject_ref=ref, seq=seq, prev=prev).pk


def chains() -> dict[bytes, list[tuple[int, bytes | None, bytes]]]:
    """Of each subject (seq, prev, leaf hash), as the bodies say, in the order of seq."""
    found: dict[bytes, list[tuple[int, bytes | None, bytes]]] = {}
    for entry in LedgerEntry.objects.order_by("seq", "id"):
        body = commitments.parse_body(bytes(entry.body))
        found.setdefault(body.subject_ref, []).append((body.seq, body.prev, bytes(entry.leaf_hash)))
    return found
