"""Software that is not ours accepts our logs, receipts and proofs, and no changed ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from licensing.ledger import cosignatures, notes, proofs, sequencer, signer, tree
from licensing.models import LedgerCosignature, LedgerLeaf
from licensing.offline import __main__ as command
from tests.database import TestDatabase
from tests.ledger import append_many, grow, restore_backup, tamper
from tests.logs import MemoryLog, bodies
from tests.oracles import ledger_mutations as mutations
from tests.oracles import witness
from tests.oracles.ledger_verifiers import (
    AicsTlog,
    Auditor,
    Claim,
    GoChecksumDatabase,
    Growth,
    Metamorphic,
    SigstoreJavaScript,
    SigstorePython,
    Verifier,
)

pytestmark = pytest.mark.oracle

COSIGNATURES = "licensing_ledgercosignature"
SIZES = (1, 2, 3, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000)
VERIFIERS: dict[str, Callable[[], Verifier]] = {
    "Go's checksum database": GoChecksumDatabase,
    "metamorphic-log (Rust)": Metamorphic,
    "sigstore (Python)": SigstorePython,
    "@sigstore/verify (JavaScript)": SigstoreJavaScript,
    "aics-tlog (Python)": AicsTlog,
}
OF_GROWTH = ("Go's checksum database", "metamorphic-log (Rust)", "aics-tlog (Python)")
OF_EXPORTS: dict[str, Callable[[], Auditor]] = {
    "Go's checksum database": GoChecksumDatabase,
    "aics-tlog (Python)": AicsTlog,
}


@pytest.fixture(scope="module")
def log() -> MemoryLog:
    return MemoryLog(bodies(SIZES[-1]))


@pytest.fixture(scope="module")
def fork() -> MemoryLog:
    """The same key has signed it, and no entry of it is in the log."""
    return MemoryLog(bodies(SIZES[-1], first=1_000_000))


def vkey(log: MemoryLog) -> str:
    return log.key.verifier.vkey()


def places(size: int) -> list[int]:
    """Entries at both ends, in the middle, and at the edges of tiles."""
    return sorted({0, 1, 254, 255, 256, size // 3, size // 2, size - 2, size - 1} & {*range(size)})


def claims(log: MemoryLog, size: int) -> list[Claim]:
    return [Claim.of_receipt(log.receipt(place, size)) for place in places(size)]


def growths(log: MemoryLog) -> list[Growth]:
    return [
        Growth(log.note(older), log.note(newer), tuple(log.consistency(older, newer)))
        for newer in SIZES
        for older in SIZES
        if older <= newer
    ]


# --- receipts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VERIFIERS)
def test_every_receipt_is_accepted(name: str, log: MemoryLog) -> None:
    given = [claim for size in SIZES for claim in claims(log, size)]

    answers = VERIFIERS[name]().claims(vkey(log), given)

    assert len(answers) == len(given) > 70
    assert [answer for answer in answers if answer] == []


@pytest.mark.parametrize("name", VERIFIERS)
def test_no_changed_receipt_is_accepted(name: str, log: MemoryLog, fork: MemoryLog) -> None:
    changed = [
        (f"{what}, entry {claim.index} of {size}", wrong)
        for size in SIZES
        for claim in claims(log, size)[:: 1 if size < 300 else 4]
        for what, wrong in mutations.of_claim(claim, log, fork)
    ]

    answers = VERIFIERS[name]().claims(vkey(log), [wrong for _what, wrong in changed])

    kinds = {what.split(",")[0] for what, _wrong in changed}
    assert len(kinds) >= 10
    accepted = [what for (what, _wrong), said in zip(changed, answers, strict=True) if not said]
    assert accepted == []


# --- consistency ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_GROWTH)
def test_every_consistency_proof_is_accepted(name: str, log: MemoryLog) -> None:
    given = growths(log)

    answers = grown(name, log, given)

    assert len(answers) == len(given) == 78
    assert [answer for answer in answers if answer] == []


@pytest.mark.parametrize("name", OF_GROWTH)
def test_no_changed_consistency_proof_is_accepted(
    name: str, log: MemoryLog, fork: MemoryLog
) -> None:
    changed = [
        (what, wrong)
        for growth in growths(log)[::3]
        if growth.old != growth.new
        for what, wrong in mutations.of_growth(growth, log, fork)
        # A smaller tree that is a whole subtree takes no step from it: then “no proof” is it.
        if wrong != growth
    ]

    answers = grown(name, log, [wrong for _what, wrong in changed])

    assert len({what for what, _wrong in changed}) >= 10
    accepted = [what for (what, _wrong), said in zip(changed, answers, strict=True) if not said]
    assert accepted == []


def grown(name: str, log: MemoryLog, given: list[Growth]) -> list[str]:
    verifier: Any = VERIFIERS[name]()
    answers: list[str] = verifier.growths(vkey(log), given)
    return answers


# --- whole logs -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_EXPORTS)
def test_every_exported_log_is_recomputed(name: str, log: MemoryLog, tmp_path: Path) -> None:
    auditor = OF_EXPORTS[name]()
    for size in SIZES:
        directory = log.export(tmp_path / str(size), size)
        assert auditor.exports(vkey(log), [directory]) == [""]
        shutil.rmtree(directory)


@pytest.mark.parametrize("name", OF_EXPORTS)
@pytest.mark.parametrize("size", [257, 400, 511])
def test_no_spoiled_export_is_accepted(
    name: str, log: MemoryLog, tmp_path: Path, size: int
) -> None:
    auditor = OF_EXPORTS[name]()
    sound = log.export(tmp_path / "sound", size)
    spoiled, kinds = [], []
    for number, (what, _spoil) in enumerate(list(mutations.of_export(sound))):
        copy = tmp_path / f"{number}"
        shutil.copytree(sound, copy)
        list(mutations.of_export(copy))[number][1]()
        spoiled.append(copy)
        kinds.append(what)

    assert len(kinds) >= 10
    assert auditor.exports(vkey(log), [sound]) == [""]
    answers = auditor.exports(vkey(log), spoiled)
    assert [what for what, said in zip(kinds, answers, strict=True) if not said] == []


@pytest.mark.django_db
@pytest.mark.parametrize("size", [1, 3, 256, 257])
def test_all_accept_what_the_server_serves(size: int, tmp_path: Path) -> None:
    """The log of the database, fetched over its public addresses, and its receipts."""
    entries = append_many(size)
    sequencer.run_once()
    directory = mirrored("test", size, tmp_path / "mirror")
    key = signer.load("test").verifier.vkey()
    given = []
    for place in places(size):
        receipt = proofs.receipt(entries[place], None)
        assert receipt is not None
        given.append(Claim.of_receipt(receipt))

    lacking = []
    for name, make in VERIFIERS.items():
        try:
            verifier = make()
        except pytest.skip.Exception as skipped:
            lacking.append(f"{name}: {skipped}")
            continue
        assert [said for said in verifier.claims(key, given) if said] == [], name
        if isinstance(verifier, GoChecksumDatabase | AicsTlog):
            assert verifier.exports(key, [directory]) == [""]
    if lacking:
        pytest.skip("; ".join(lacking))


def mirrored(log: str, size: int, directory: Path) -> Path:
    """Fetch a log as a mirror does: checkpoint, tiles, entries, key."""
    client = Client()
    paths = ["checkpoint", "vkey"]
    level = 0
    while size >> 8 * level:
        in_level = size >> 8 * level
        for index in range(-(-in_level // 256)):
            path = tree.tile_path(level, index, min(256, in_level - index * 256))
            paths += [path] if level else [path, path.replace("tile/0", "tile/entries")]
        level += 1
    for path in paths:
        answer = client.get(f"/ledger/{log}/{path}")
        assert answer.status_code == 200, path
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(answer.content)
    return directory


# --- a live witness ---------------------------------------------------------------------------


def test_a_live_witness_cosigns_a_log_that_grows_and_nothing_else(
    log: MemoryLog, fork: MemoryLog, tmp_path: Path, capsys: Any
) -> None:
    origin = log.key.verifier.name
    with witness.running(tmp_path, origin, vkey(log)) as watching:
        seen = cosignatures.Witness.parse(watching.vkey)
        size = 0
        for newer in SIZES:
            proof = log.consistency(size, newer) if size else []
            status, line = watching.add_checkpoint(size, proof, log.note(newer))
            assert status == 200, (newer, line)
            _text, signatures = notes.split_note(log.note(newer) + line)
            found = cosignatures.verified(log.checkpoint(newer).text(), signatures, [seen])
            assert [each.name for each in found] == [witness.NAME]
            size = newer
            receipt = tmp_path / f"receipt-{newer}"
            receipt.write_bytes(log.receipt(0, newer) + line.encode())
        arguments = ["verify", str(receipt), "--key", vkey(log), "--allow-test"]
        assert command.main([*arguments, "--witness", watching.vkey]) == 0
        assert "  witnesses       1: witness.example/w1 at 20" in capsys.readouterr().out

        refused = refusals(watching, log, fork, size)

    assert len(refused) >= 10
    assert {what: status for what, (status, wanted) in refused.items() if status != wanted} == {}


@pytest.mark.django_db(transaction=True)
def test_a_live_witness_cosigns_what_ledger_witness_submits(
    tmp_path: Path, settings: Any, test_database: TestDatabase
) -> None:
    key = signer.load("test").verifier
    with witness.running(tmp_path, key.name, key.vkey()) as watching:
        settings.LEDGER_WITNESSES = f"{watching.vkey} {watching.url}"
        for step in (1, 254, 2, 300):
            grow(step)
            call_command("ledger_witness", once=True, log="test")
        # What was kept is lost: the witness says itself from where to go on.
        tamper(test_database, COSIGNATURES, f"DELETE FROM {COSIGNATURES} WHERE size > 1")
        call_command("ledger_witness", once=True, log="test")
        proof = proofs.receipt(LedgerLeaf.objects.get(log="test", index=400).entry, None)
        assert proof is not None
        receipt = tmp_path / "receipt"
        receipt.write_bytes(proof)
        arguments = ["verify", str(receipt), "--key", key.vkey(), "--allow-test"]
        assert command.main([*arguments, "--witness", watching.vkey]) == 0
        # It does not know the other log.
        append_many(1, "live")
        sequencer.run_once()
        assert refused_with("live") == 2
        tamper(test_database, COSIGNATURES, f"DELETE FROM {COSIGNATURES}")
        restore_backup(test_database, 257)
        assert refused_with("test") == 1

    assert not LedgerCosignature.objects.exists()


def refused_with(log: str) -> int:
    with pytest.raises(CommandError) as refusal:
        call_command("ledger_witness", once=True, log=log)
    code: int = refusal.value.returncode
    return code


def refusals(
    watching: witness.Witness, log: MemoryLog, fork: MemoryLog, size: int
) -> dict[str, tuple[int, int]]:
    """What a witness that saw the whole log is asked next: (its answer, the specification's)."""
    grown = MemoryLog([*log.entries, *bodies(5, first=size)])
    sound = (size, grown.consistency(size, size + 5), grown.note(size + 5))
    stranger = notes.sign(grown.checkpoint(size + 5).text(), mutations.STRANGER)
    split = MemoryLog([*fork.entries, *bodies(5, first=size)])
    asked: dict[str, tuple[int, tuple[int, list[bytes], str]]] = {
        "a split view of the same size": (422, (size, [], fork.note(size))),
        "a fork that grew": (422, (size, split.consistency(size, size + 5), split.note(size + 5))),
        "a restored backup": (409, (257, log.consistency(257, 512), log.note(512))),
        "an old size that it never saw": (409, (512, log.consistency(512, size), log.note(size))),
        "from nothing once more": (409, (0, [], log.note(1))),
        "no proof": (422, (size, [], sound[2])),
        "a stranger's key": (403, (*sound[:2], stranger)),
        "another log": (404, (*sound[:2], sound[2].replace("ledger/test", "ledger/none", 1))),
    }
    for what, proof in mutations.steps_of(tuple(sound[1])):
        if what != "a step cut short":
            asked[what] = (422, (size, list(proof), sound[2]))
    for what, note in mutations.notes_of(sound[2]):
        wanted = {
            "another origin": 404,
            "a line more": 400,
            "a signature cut short": 403,
            "no signature": 400,
        }
        asked[f"note: {what}"] = (wanted.get(what, 403), (*sound[:2], note))
    answers = {
        what: (watching.add_checkpoint(*question)[0], wanted)
        for what, (wanted, question) in asked.items()
    }
    # It refused all of them for what was wrong in them, not for something else.
    assert watching.add_checkpoint(*sound)[0] == 200
    return answers
