"""A log that cannot go on is frozen, and another one continues it under the next number."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import IntegrityError, close_old_connections
from django.test import Client

from licensing.ledger import (
    commitments,
    guard,
    notes,
    sequencer,
    signer,
    succession,
)
from licensing.models import (
    LedgerCheckpoint,
    LedgerContinuation,
    LedgerLeaf,
)
from marketplace import access
from marketplace.models import Organization
from tests.database import TestDatabase
from tests.frozen import ORIGIN, World, run
from tests.ledger import append, append_many, grow, lose_tail

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


def test_what_was_lost_is_said_and_the_log_goes_on_as_another(
    world: World, client: Client, settings: Any
) -> None:
    world.lose()
    said = world.freeze()
    assert "test: 5 entries in signed places here, 9 in the last known checkpoint" in said
    assert "9 signed: 4 are lost" in said
    assert f"--apply {ORIGIN}" in said
    assert LedgerContinuation.objects.count() == 0

    said = world.applied()

    assert f"Froze {ORIGIN}. test/2 continues it: 1 entries without a signed place" in said
    assert sequencer.run_once() == 1
    begun = succession.beginning_of("test/2")
    assert begun is not None
    assert commitments.parse_body(bytes(begun.entry.body)).public == {
        "origin": ORIGIN,
        "size": 9,
        "root": notes.parse_checkpoint(notes.split_note(world.last.read_text())[0]).root.hex(),
        "checkpoint": world.last.read_text(),
        "known": 5,
        "signed": 9,
        "key": signer.load("test/2").verifier.vkey(),
    }
    assert client.get("/ledger/test/checkpoint").content == world.last.read_bytes()
    served = client.get("/ledger/test/2/checkpoint")
    assert served.content.startswith(f"{ORIGIN}/2\n2\n".encode())
    assert client.get("/ledger/test/2/tile/entries/000.p/2").status_code == 200
    assert client.get("/ledger/test/2/vkey").content == (world.keys / "test-2.vkey").read_bytes()
    assert client.get("/ledger/test/tile/0/000.p/5").status_code == 200
    assert client.get("/ledger/test/tile/0/000.p/9").status_code == 404
    for address in ("test/3", "test/1", "test/02", "test/0", "live/2"):
        assert client.get(f"/ledger/{address}/checkpoint").status_code == 404
    assert run("ledger_fsck", "--log=test").splitlines() == [
        "test: sound: 5 entries, 1 checkpoints, 5 openings",
        "test/2: sound: 2 entries, 2 checkpoints, 2 openings",
    ]


# --- refusals ---------------------------------------------------------------------------------


def test_only_a_checkpoint_that_the_log_s_key_signed_is_taken(world: World) -> None:
    world.lose()
    note = world.last.read_text()
    text = notes.split_note(note)[0]
    stranger = notes.sign(text, notes.Signer(ORIGIN, bytes(32)))
    other = notes.sign(text.replace("ledger/test", "ledger/live"), signer.load("live"))
    for spoiled in ("", note[:-9], text, stranger, other, note.replace("\n9\n", "\n8\n")):
        world.last.write_text(spoiled)
        world.refused(2, "no checkpoint that the key of the log “test” signed")
    world.last.unlink()
    world.refused(2, "no checkpoint")


def test_a_checkpoint_older_than_what_is_here_is_not_the_last_one(world: World) -> None:
    world.last.write_text(LedgerCheckpoint.objects.get(log="test", size=4 + 1).note)
    grow(2)
    world.refused(1, "Nothing|newer checkpoint", "--without-copy")
    lose_tail(world.database, 9, waiting=0)
    world.refused(1, "newer checkpoint of the log “test”, of 9 entries", "--without-copy")


def test_nothing_is_frozen_while_the_database_has_what_was_signed(world: World) -> None:
    world.refused(1, "Nothing of the log “test” is lost")
    world.refused(1, "Nothing of the log “test” is lost", "--without-copy")


def test_nothing_is_frozen_while_a_copy_can_bring_the_tail_back(world: World) -> None:
    kept = world.directory / "elsewhere"
    shutil.copytree(world.copy, kept)
    world.lose()
    world.refused(1, "ledger_recover --log test --apply", f"--from={kept}")
    run("ledger_recover", "--log=test", "--apply", f"--from={kept}")
    world.refused(1, "Nothing of the log “test” is lost")


def test_whether_there_is_a_copy_has_to_be_said(world: World, settings: Any) -> None:
    world.lose()
    settings.LEDGER_EXPORT = ""
    world.refused(2, "name one with --from")
    world.refused(2, "not both", "--without-copy", f"--from={world.copy}")
    assert "Would freeze" in world.freeze("--without-copy")


def test_the_origin_is_written_out_by_whoever_freezes_it(world: World) -> None:
    world.lose()
    before = world.state()
    for other in ("yes", f"{ORIGIN}/2", "licet.example/ledger/live"):
        with pytest.raises(CommandError, match="Nothing was changed") as refusal:
            world.freeze(f"--apply={other}")
        assert (refusal.value.returncode, world.state()) == (2, before)


# --- once, and again --------------------------------------------------------------------------


def test_done_again_it_changes_nothing(world: World) -> None:
    world.lose()
    world.applied()
    before = world.state()

    assert "test was frozen before, and test/2 continues it." in world.applied()
    assert world.state() == before
    found = json.loads(world.freeze("--json"))
    assert (found["frozen"], found["begun"], found["lost"]) == (True, True, 4)

    older = LedgerCheckpoint.objects.get(log="test", size=5).note
    world.last.write_text(older)
    world.refused(1, "frozen before, with another checkpoint, of 9 entries")


@pytest.mark.parametrize(
    "point",
    [
        "licensing.ledger.signer.create",
        "licensing.ledger.guard.freeze",
        "licensing.ledger.freezing._begin",
        "licensing.ledger.sequencer.grow",
        "licensing.ledger.sequencer.sign",
        "licensing.ledger.notes.sign",
        "licensing.ledger.export.publish_newest",
    ],
)
def test_a_crash_between_two_steps_is_gone_on_from(
    world: World, monkeypatch: pytest.MonkeyPatch, point: str, settings: Any
) -> None:
    world.lose()

    class Crash(Exception):
        pass

    def crash(*_arguments: Any, **_named: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(point, crash)
        with pytest.raises(Crash):
            world.applied()
    if point not in ("licensing.ledger.signer.create", "licensing.ledger.guard.freeze"):
        with pytest.raises(guard.GuardFrozen):
            guard.open_guard("test").read()
        sequencer.run_once() if LedgerContinuation.objects.exists() else None

    world.applied()

    sequencer.run_once()
    assert [row.size for row in LedgerCheckpoint.objects.filter(log="test")] == [5]
    first = LedgerCheckpoint.objects.filter(log="test/2").order_by("size")[0]
    assert {each.name for each in notes.split_note(first.note)[1]} == {ORIGIN, f"{ORIGIN}/2"}
    run("ledger_fsck", "--log=test")
    assert Path(settings.LEDGER_GUARD, "test.guard").read_text().endswith("\nfrozen\n")


def test_an_old_release_takes_the_frozen_guard_for_a_spoiled_one(
    world: World, settings: Any
) -> None:
    world.lose()
    world.applied()
    text = Path(settings.LEDGER_GUARD, "test.guard").read_text()
    assert text.split("\n")[1::2] == ["9", "frozen"]
    with pytest.raises(notes.NoteError):
        notes.parse_checkpoint(text)


# --- the race ---------------------------------------------------------------------------------


def test_a_sequencer_at_work_gives_no_place_in_a_log_that_is_being_frozen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.lose()
    inside, go_on = threading.Event(), threading.Event()
    grow_really = sequencer.grow
    failures: list[BaseException] = []

    def grow_slowly(name: str, entries: dict[int, bytes]) -> int:
        if name == "test":
            inside.set()
            assert go_on.wait(20)
        return grow_really(name, entries)

    def work() -> None:
        try:
            sequencer.integrate("test")
        except BaseException as error:
            failures.append(error)
        finally:
            close_old_connections()

    monkeypatch.setattr(sequencer, "grow", grow_slowly)
    worker = threading.Thread(target=work)
    worker.start()
    codes = []
    try:
        assert inside.wait(20)
        try:
            world.applied()
        except CommandError as busy:
            codes.append((busy.returncode, str(busy)[:34]))
    finally:
        go_on.set()
        worker.join()
    assert not failures

    # What it gave was never signed: it is set free.
    world.applied()
    sequencer.run_once()
    assert LedgerLeaf.objects.filter(log="test").count() == 5
    assert LedgerLeaf.objects.filter(log="test/2").count() == 2
    run("ledger_fsck", "--log=test")
    assert codes == [(2, "A worker works on the log “test” n")]


def test_nothing_is_signed_under_the_frozen_origin_by_sequencers_that_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.lose()
    stop = threading.Event()
    signed: list[str] = []
    sign_really = notes.sign

    def watched(text: str, *signers: notes.Signer) -> str:
        signed.append(text.split("\n")[0])
        return sign_really(text, *signers)

    def work() -> None:
        try:
            while not stop.is_set():
                try:
                    sequencer.run_once()
                except sequencer.STOPS:
                    continue
        finally:
            close_old_connections()

    monkeypatch.setattr(notes, "sign", watched)
    workers = [threading.Thread(target=work) for _each in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _attempt in range(200):
            try:
                world.applied()
                break
            except CommandError as busy:
                if "worker" not in str(busy):
                    raise
        append_many(5)
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    sequencer.run_once()
    assert set(signed) == {f"{ORIGIN}/2"}
    assert LedgerLeaf.objects.filter(log="test").count() == 5
    assert LedgerLeaf.objects.filter(log="test/2").count() == 1 + 1 + 5
    run("ledger_fsck", "--log=test")


def test_no_continuation_is_recorded_without_its_row(world: World) -> None:
    public: dict[str, Any] = {
        "origin": ORIGIN,
        "size": 9,
        "root": "00" * 32,
        "checkpoint": "",
        "known": 9,
        "signed": 9,
        "key": "",
    }
    with (
        pytest.raises(IntegrityError, match=r"\(log\.continued\) has no subject"),
        access.system("a test writes to the ledger"),
    ):
        append(kind="log.continued", values={}, public=public)
