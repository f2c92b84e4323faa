"""What a frozen log and its successor show to strangers, and what else works on the successor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError
from django.db import DatabaseError, connection
from django.test import Client

from licensing import lifecycle, status
from licensing.ledger import (
    guard,
    notes,
    receipts,
    rotation,
    sequencer,
    signer,
    succession,
)
from licensing.models import LedgerCheckpoint, LedgerCosignature, LedgerLeaf
from licensing.offline import __main__ as offline
from marketplace import access
from marketplace.models import Organization
from tests.database import TestDatabase
from tests.frozen import ORIGIN, World, run
from tests.ledger import append_many, grow, lose_tail
from tests.people import caller_for
from tests.witnesses import serving

pytestmark = [pytest.mark.chaos, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def world(
    tmp_path: Path,
    settings: Any,
    test_database: TestDatabase,
    archive: Organization,
    lab: Organization,
) -> World:
    return World(tmp_path, settings, test_database, archive, lab)


@pytest.fixture
def frozen(world: World, settings: Any) -> World:
    """Frozen and gone on: its successor has 12 entries, and a copy."""
    world.lose()
    world.applied()
    sequencer.run_once()
    grow(5, 5)
    return world


def tool(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = offline.main(list(arguments))
    shown = capsys.readouterr()
    return code, shown.out + shown.err


def vkey(name: str) -> str:
    return signer.load(name).verifier.vkey()


def saved(directory: Path, name: str, data: bytes) -> str:
    (directory / name).write_bytes(data)
    return str(directory / name)


def test_receipts_from_before_stay_valid_and_are_made_again(
    frozen: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, receipt in (
        ("old", frozen.old_receipt),
        ("again", frozen.receipt_of(frozen.old)),
        # Its place is lost here, and was signed all the same.
        ("lost", frozen.lost_receipt),
    ):
        path = saved(tmp_path, name, receipt)
        code, said = tool(capsys, "verify", path, "--key", vkey("test"), "--allow-test")
        assert (code, f"of {ORIGIN}\n" in said) == (0, True), said


def test_a_grant_whose_signed_place_was_lost_has_one_in_the_successor(
    frozen: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt = frozen.receipt_of(frozen.grant)
    assert receipts.parse(receipt).entry == receipts.parse(frozen.lost_receipt).entry
    path = saved(tmp_path, "receipt", receipt)
    code, said = tool(capsys, "verify", path, "--key", vkey("test/2"), "--allow-test")
    assert (code, f"grant.issued, entry 1 of {ORIGIN}/2" in said) == (0, True), said
    # The frozen log's key alone says nothing of another log, until that proves what it is.
    code, said = tool(capsys, "verify", path, "--key", vkey("test"), "--allow-test")
    assert (code, "signature" in said) == (1, True), said
    at = str(frozen.copy / "test" / "2")
    code, said = tool(capsys, "verify", path, "--key", vkey("test"), "--allow-test", "--log", at)
    assert (code, "the same tree as" in said) == (0, True), said


def test_the_offline_tool_goes_on_from_the_frozen_log_to_its_successor(
    frozen: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path, "receipt", frozen.old_receipt)
    at = str(frozen.copy / "test")
    code, said = tool(capsys, "verify", path, "--key", vkey("test"), "--log", at, "--allow-test")
    assert code == 0, said
    assert "frozen          at 9 entries, of which 5 were kept, and 9 signed." in said
    assert f"It goes on as {ORIGIN}/2: {vkey('test/2')}" in said

    code, said = tool(capsys, "audit", at, "--key", vkey("test"), "--json")
    told = json.loads(said)
    # One of the frozen log's files was lost with its tail: that is all that is missing.
    assert (code, told["sound"], told["size"]) == (2, None, 9)
    after = told["continued_by"]
    assert (after["sound"], after["origin"], after["size"]) == (True, f"{ORIGIN}/2", 12)
    code, said = tool(capsys, "audit", f"{at}/2", "--key", vkey("test"))
    assert (code, f"sound: 12 entries of {ORIGIN}/2" in said) == (0, True), said


def test_a_whole_copy_of_a_frozen_log_is_audited_and_so_is_what_continues_it(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lose_tail(world.database, 5, waiting=1)
    world.freeze("--without-copy", f"--apply={ORIGIN}")
    sequencer.run_once()
    code, said = tool(capsys, "audit", str(world.copy / "test"), "--key", vkey("test"))
    assert code == 0, said
    assert f"sound: 9 entries of {ORIGIN}," in said
    assert f"sound: 2 entries of {ORIGIN}/2," in said
    lines = run("ledger_fsck", f"--tiles={world.copy}", "--log=test").splitlines()
    assert [line.partition(", ")[0] for line in lines] == [
        "test: sound: 9 entries",
        "test/2: sound: 2 entries",
    ]
    named = run("ledger_fsck", f"--tiles={world.copy}", "--log=test", f"--key={vkey('test')}")
    assert named.splitlines() == lines
    # A frozen log's files are checked without the ones below them.
    alone = run("ledger_fsck", f"--tiles={world.copy / 'test'}")
    assert alone.startswith("the log: sound: 9 entries")


def test_an_operator_who_freezes_to_drop_entries_is_contradicted_by_a_receipt(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path, "receipt", world.lost_receipt)
    # All that knew of the newest entries is put back: database, guard and copy.
    world.last.write_text(LedgerCheckpoint.objects.get(log="test", size=6).note)
    lose_tail(world.database, 5, waiting=0)
    text = notes.split_note(world.last.read_text())[0]
    state = notes.parse_checkpoint(text)
    kept = guard.open_guard("test")
    kept.write(state, expected=kept.read())
    (world.copy / "test" / "checkpoint").write_text(world.last.read_text())
    world.freeze("--without-copy", f"--apply={ORIGIN}")

    at = str(world.copy / "test")
    code, said = tool(capsys, "verify", path, "--key", vkey("test"), "--log", at, "--allow-test")

    assert code == 1, said
    assert "signed a tree of 9 entries, and its successor says" in said


def test_the_database_lets_go_of_no_place_but_what_was_never_signed(frozen: World) -> None:
    for statement in (
        "DELETE FROM licensing_ledgerleaf WHERE log = 'test' AND index = 4",
        "DELETE FROM licensing_ledgerleaf WHERE log = 'test/2' AND index = 11",
        "DELETE FROM licensing_ledgertree WHERE log = 'test' AND size = 5",
        "UPDATE licensing_ledgerleaf SET index = 9 WHERE log = 'test' AND index = 4",
    ):
        with (
            pytest.raises(psycopg.Error, match="insert-only"),
            frozen.database.connect("licet_owner") as owner,
        ):
            owner.execute(statement)
    with (
        pytest.raises(DatabaseError, match="insert-only"),
        access.system("a test sets free what is signed"),
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT ledger_set_free('test', 3)")


def test_the_successor_is_copied_checked_handed_over_and_changes_its_key(
    frozen: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("ledger_rotate_key", "--log=test")
    run("ledger_rotate_key", "--log=test", "--announce")
    run("ledger_rotate_key", "--log=test", "--finish")
    grow(1)
    assert rotation.published("test/2")[0].vkey() == vkey("test/2")
    assert [each.vkey() for each in rotation.published("test")] == [vkey("test")]
    other = tmp_path / "other"
    said = run("ledger_export", str(other), "--log=test")
    assert "test/2: 14 entries, and the checkpoint of them" in said
    said = run("ledger_export", str(frozen.copy), "--log=test", "--from-start")
    assert said.startswith("test: frozen; ")
    assert sorted(path.name for path in (other / "test" / "2" / "keys").iterdir()) == sorted(
        each.key_id.hex()
        for each in (signer.load("test").verifier, rotation.published("test/2")[1])
    )
    run("ledger_fsck", "--log=test")
    for key in (vkey("test"), rotation.published("test/2")[1].vkey()):
        code, said = tool(capsys, "audit", str(other / "test" / "2"), "--key", key)
        assert (code, "sound: 14 entries" in said) == (0, True), said
    said = run("ledger_fsck", f"--tiles={other}", "--log=test", f"--key={vkey('test')}")
    assert said.splitlines()[1].startswith("test/2: sound: 14 entries")
    run("handover", str(tmp_path / "kept"))
    assert (tmp_path / "kept" / "ledger" / "test" / "2" / "checkpoint").exists()
    assert (tmp_path / "kept" / "keys" / "test-2.vkey").read_text().count("\n") == 2


def test_a_successor_that_loses_its_tail_gets_it_back_from_its_copy(frozen: World) -> None:
    note = LedgerCheckpoint.objects.get(log="test/2", size=12).note
    lose_tail(frozen.database, 7, log="test/2")
    append_many(1)
    with pytest.raises(guard.GuardRefused, match="test/2"):
        sequencer.run_once()
    said = run("ledger_recover", "--log=test", "--apply")
    assert said.startswith("test/2: 7 entries here, 12 signed\nGave 5 entries")
    assert LedgerCheckpoint.objects.get(log="test/2", size=12).note == note
    sequencer.run_once()
    run("ledger_fsck", "--log=test")


def test_a_successor_that_cannot_go_on_is_frozen_as_well(frozen: World, tmp_path: Path) -> None:
    frozen.last.write_text(LedgerCheckpoint.objects.get(log="test/2", size=12).note)
    lose_tail(frozen.database, 7, log="test/2")
    with pytest.raises(CommandError, match=f"The log to be frozen is {ORIGIN}/2"):
        frozen.freeze("--without-copy", f"--apply={ORIGIN}")
    frozen.freeze("--without-copy", f"--apply={ORIGIN}/2")
    grow(3)
    assert succession.names("test") == ["test", "test/2", "test/3"]
    assert LedgerLeaf.objects.filter(log="test/2").count() == 7
    assert LedgerLeaf.objects.filter(log="test/3").count() == 4
    run("ledger_fsck", "--log=test")


@pytest.mark.parametrize("unsigned", [False, True])
def test_a_backup_from_before_the_freeze_gets_the_successor_back(
    frozen: World, unsigned: bool, settings: Any
) -> None:
    receipt = frozen.receipt_of(frozen.grant)
    note = LedgerCheckpoint.objects.get(log="test/2", size=12).note
    kept = Path(settings.LEDGER_GUARD, "test.guard").read_bytes()
    # It has the grant's entry, waiting, or in a place that was never signed.
    lose_tail(frozen.database, 0, waiting=2, log="test/2")
    assert succession.names("test") == ["test"]
    if unsigned:
        sequencer.integrate("test")
        assert LedgerLeaf.objects.filter(log="test").count() == 6
    # Guard or copy, whichever is asked first: nothing is placed or signed.
    with pytest.raises(sequencer.STOPS, match=r"frozen|the copy has what is missing"):
        sequencer.run_once()
    with pytest.raises(CommandError, match="ledger_recover --log test"):
        frozen.freeze("--without-copy")

    assert "test/2: 0 entries here, 12 signed" in run("ledger_recover", "--log=test")
    said = run("ledger_recover", "--log=test", "--apply")

    assert "Gave 12 entries their places again, 1 of them had waited here." in said
    assert succession.names("test") == ["test", "test/2"]
    assert LedgerCheckpoint.objects.get(log="test/2").note == note
    assert receipts.parse(frozen.receipt_of(frozen.grant)).entry == receipts.parse(receipt).entry
    assert "Nothing is missing." in run("ledger_recover", "--log=test", "--apply")
    grow(1)
    assert run("ledger_fsck", "--log=test").count("sound") == 2
    assert Path(settings.LEDGER_GUARD, "test.guard").read_bytes() == kept


def test_a_status_root_of_the_successor_speaks_of_grants_from_before(
    world: World, tmp_path: Path, archive: Organization, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status.record("test") is not None
    sequencer.run_once()
    grow(2)
    world.last.write_text(LedgerCheckpoint.objects.get(log="test", size=12).note)
    lose_tail(world.database, 10)
    world.freeze("--without-copy", f"--apply={ORIGIN}")
    act = lifecycle.Act(by="licensor", cause="other", reason="Looked into.")
    lifecycle.suspend(caller_for(archive), str(world.old.pk), act)
    sequencer.run_once()

    root = status.record("test")
    assert root is not None
    sequencer.run_once()

    # It has read the log that grows, and not the frozen one up to there.
    assert (root.number, root.log_size, root.size) == (1, 2, 2)
    proof = status.proof(root, world.old)
    assert proof is not None
    paths = saved(tmp_path, "receipt", world.old_receipt), saved(tmp_path, "status", proof)
    keys = [word for name in ("test", "test/2") for word in ("--key", vkey(name))]
    code, said = tool(capsys, "verify", paths[0], *keys, "--status", paths[1], "--allow-test")
    assert (code, "suspended as of" in said) == (4, True), said
    other = saved(tmp_path, "other", world.receipt_of(world.old))
    assert tool(capsys, "verify", other, *keys, "--status", paths[1], "--allow-test")[0] == 4
    run("ledger_fsck", "--log=test")


def test_witnesses_cosign_the_successor_once_they_know_its_key(
    frozen: World, settings: Any, client: Client
) -> None:
    with serving("witness.example/w1", signer.load("test/2").verifier) as server:
        settings.LEDGER_WITNESSES = server.setting
        run("ledger_witness", "--once", "--log=test")
    rows = LedgerCosignature.objects.values_list("log", "size")
    assert list(rows) == [("test/2", 12)]
    assert b"witness.example/w1" in client.get("/ledger/test/2/checkpoint").content
    copied = (frozen.copy / "test" / "2" / "checkpoint").read_text()
    assert "witness.example/w1" in copied
    run("ledger_fsck", "--log=test")
