"""The anchors of api_docs/ledger_threats.md: what each says of a log, looking alone."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from django.core.management import CommandError, call_command

from licensing.ledger import (
    commitments,
    cosignatures,
    guard,
    notes,
    proofs,
    receipts,
    sequencer,
    signer,
    tiles,
    tree,
    witnessing,
)
from licensing.ledger import export as exports
from licensing.ledger.log import LedgerCorrupted
from licensing.models import LedgerEntry
from licensing.offline import __main__ as offline
from licensing.offline import remember
from marketplace import access
from tests.chaos.attacks import SIZE, World, blinded
from tests.ledger import append_many

ANCHORS = ("D", "S", "X", "G", "C", "W", "R")


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
        "W": lambda: ask_the_witnesses(world),
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


def ask_the_witnesses(world: World) -> None:
    """What they say of the newest checkpoint here, and of the one that somebody else is shown.

    They are asked twice: an attacker may leave what the database keeps of their cosignatures, or
    not, and hides no contradiction by either.
    """
    said: list[Noticed] = []
    with blinded("X"):
        for _attempt in range(2):
            try:
                run("ledger_witness", once=True, log="test")
            except Noticed as notice:
                said.append(notice)
            world.execute("DELETE FROM cosignature!")
    contradictions = [each for each in said if each.code == 1]
    assert len(contradictions) in (0, 2), said
    if contradictions and "refuses" in str(contradictions[0]):
        check_contradiction(world, str(contradictions[0]))
    for notice in contradictions or said:
        raise notice
    if world.forged is not None:
        answers = [each.submit(world.forged, SIZE) for each in world.witnesses]
        if all(status != 200 for status in answers):
            raise Noticed(f"refused: HTTP {', '.join(map(str, answers))}")


def check_contradiction(world: World, said: str) -> None:
    """Every witness is named, with log, size and root of both sides, and its note is the proof."""
    newest = tiles.newest_checkpoint("test")
    size, root = 0, tree.EMPTY_ROOT
    if newest is not None:
        ours = notes.parse_checkpoint(notes.split_note(newest.note)[0])
        size, root = ours.size, ours.root
    for witness in world.witnesses:
        assert (
            f"test: {witness.name} refuses the tree of {size} entries of {signer.origin('test')},"
            f" with the root {notes.encode_base64(root)}: "
        ) in said
    proofs = re.findall(r"Keep it:\n(.*\n.*\n.*\n\n(?:— .*\n)+)", said)
    assert len(proofs) == len(world.witnesses)
    keys = [cosignatures.Witness.parse(each.vkey) for each in world.witnesses]
    for proof in proofs:
        theirs, note = notes.open_checkpoint(proof, [world.verifier])
        assert theirs.size > size or theirs.root != root
        assert cosignatures.verified(note.text, note.unverified, keys)


def look_for_the_receipts_entry(world: World, served: Path) -> None:
    """Whether a party's entry still stands where its receipt says, opened by the same values."""
    receipt = receipts.parse(world.receipt)
    receipts.verify(receipt, [world.verifier])
    known = [cosignatures.Witness.parse(each.vkey) for each in world.witnesses]
    try:
        checkpoint, note = notes.open_checkpoint(
            (served / "checkpoint").read_text(), [world.verifier]
        )
        cosignatures.verified(note.text, note.unverified, known)
    except (FileNotFoundError, notes.NoteError) as error:
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
    if newest is None:
        directory.mkdir()
        return directory
    files: dict[str, bytes | None] = {"checkpoint": witnessing.cosigned_note(newest).encode()}
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
