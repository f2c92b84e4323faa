"""What a restored database lost of a log comes back from the copy, or nothing changes."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError

from licensing.ledger import (
    guard,
    notes,
    proofs,
    receipts,
    sequencer,
    signer,
    tiles,
    tree,
)
from licensing.models import (
    Grant,
    LedgerCheckpoint,
    LedgerEntry,
    LedgerLeaf,
    LedgerOpening,
    LedgerPending,
    LedgerRecovered,
    LedgerTile,
    LedgerTree,
)
from marketplace import access
from marketplace.models import Organization
from tests.database import TestDatabase
from tests.ledger import append, append_many, grow, lose_tail, signed_text
from tests.make import issue_grant, make_offer

pytestmark = [pytest.mark.chaos, pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "api_docs/guide/ledger_recovery.md").read_text()

# The backup was made with so many entries in their places; so many were signed later.
BACKED_UP, SIGNED = 250, 300


def recover(*arguments: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("ledger_recover", "--log=test", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def recovered() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(recover("--apply", "--json"))
    return document


def refused(match: str, code: int = 1, *arguments: str) -> None:
    """The command ends so, and changes nothing."""
    before = state()
    for more in ((), ("--apply",)):
        with pytest.raises(CommandError, match=match) as refusal:
            recover(*more, *arguments)
        assert refusal.value.returncode == code
        assert state() == before


def state() -> list[Any]:
    """All that stands in the log, and its copies outside."""
    return [
        *(
            list(model.objects.order_by("pk").values_list())  # type: ignore[attr-defined]
            for model in (LedgerTree, LedgerTile, LedgerLeaf, LedgerCheckpoint, LedgerPending)
        ),
        LedgerEntry.objects.count(),
        LedgerRecovered.objects.count(),
    ]


def published() -> dict[str, bytes]:
    """What the server hands out: entries, and tiles, up to SIGNED."""
    files: dict[str, bytes] = {}
    for level, index, width in ((0, 0, 256), (0, 1, SIGNED - 256), (1, 0, 1)):
        files[f"{level}/{index}"] = tiles.tile("test", level, index, width) or b""
        if level == 0:
            files[f"entries/{index}"] = tiles.entry_bundle("test", index, width) or b""
    return files


class World:
    """A log of 300 entries, its copy and its guard, and what its parties took away."""

    def __init__(self, copy: Path, seller: Organization, buyer: Organization) -> None:
        self.copy = copy
        # Two entries: its snapshot and its terms.
        offer = make_offer(seller)
        grow(98, BACKED_UP - 100)
        # The backup has this one waiting.
        self.waited = append_many(1)[0]
        self.grant = issue_grant(buyer, offer)
        self.other = append_many(SIGNED - BACKED_UP - 2)[0]
        sequencer.run_once()
        assert signed_text(SIGNED)
        self.receipt = self.receipt_of(self.grant.issued_entry)
        self.published = published()
        self.note = LedgerCheckpoint.objects.get(log="test", size=SIGNED).note

    def receipt_of(self, entry: LedgerEntry) -> bytes:
        with access.system("a test takes a receipt"):
            opening = LedgerOpening.objects.get(entry=entry)
            receipt = proofs.receipt(entry, opening)
        assert receipt is not None
        return receipt


@pytest.fixture
def world(tmp_path: Path, settings: Any, archive: Organization, lab: Organization) -> World:
    settings.LEDGER_EXPORT = str(tmp_path / "second")
    return World(tmp_path / "second", archive, lab)


# --- the lost tail ----------------------------------------------------------------------------


def test_the_tail_comes_back_as_it_was_signed(
    world: World, test_database: TestDatabase, tmp_path: Path
) -> None:
    lose_tail(test_database, BACKED_UP)
    with access.system("a test looks for the grant"):
        assert not Grant.objects.filter(pk=world.grant.pk).exists()

    out = recover("--apply")

    assert out.startswith(f"test: {BACKED_UP} entries here, {SIGNED} signed\nGave 50 entries")
    assert published() == world.published
    assert LedgerCheckpoint.objects.get(log="test", size=SIGNED).note == world.note
    assert LedgerRecovered.objects.count() == SIGNED - BACKED_UP
    entry = LedgerEntry.objects.get(leaf__index=BACKED_UP + 1)
    assert bytes(entry.subject_ref) == bytes(world.grant.grant_ref)
    assert (entry.kind, entry.seq) == ("grant.issued", 0)
    assert entry.created_at == world.grant.issued_entry.created_at
    # What is stored is hashed again from the start, and is what the copy holds.
    call_command("ledger_export", str(world.copy), from_start=True, log="test")
    call_command("ledger_export", str(tmp_path / "third"), log="test")
    call_command("ledger_fsck", log="test", stdout=io.StringIO())


def test_without_apply_it_says_what_it_would_do_and_changes_nothing(
    world: World, test_database: TestDatabase
) -> None:
    lose_tail(test_database, BACKED_UP, waiting=1)
    before = state()

    lines = recover().splitlines()

    assert state() == before
    assert lines[:4] == [
        "test: 250 entries here, 300 signed",
        "Would give 50 entries their places again, 1 of them waiting here.",
        "Nothing was changed. Run this again with --apply.",
        "To be created again afterwards, from the parties' receipts:",
    ]
    assert len(lines) == 4 + 49
    assert lines[4].split()[:4] == [
        "251",
        "grant.issued",
        "grant_ref",
        bytes(world.grant.grant_ref).hex(),
    ]


def test_it_lists_the_entries_whose_subjects_are_to_be_created_again(
    world: World, test_database: TestDatabase
) -> None:
    at = world.grant.issued_entry.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    lose_tail(test_database, BACKED_UP)

    document = recovered()

    assert [document[key] for key in ("size_before", "size_signed", "held", "waiting")] == [
        BACKED_UP,
        SIGNED,
        0,
        0,
    ]
    assert document["needed"] is document["applied"] is True
    assert len(document["without_subject"]) == SIGNED - BACKED_UP
    assert document["without_subject"][1] == {
        "index": BACKED_UP + 1,
        "kind": "grant.issued",
        "grant_ref": bytes(world.grant.grant_ref).hex(),
        "seq": 0,
        "at": at,
    }


def test_what_the_backup_has_waiting_takes_its_own_place_with_its_openings(
    world: World, test_database: TestDatabase
) -> None:
    """And its subject, which is not listed: nothing of it was lost."""
    lose_tail(test_database, BACKED_UP, waiting=2)
    with access.system("a test looks for the grant"):
        assert Grant.objects.filter(pk=world.grant.pk).exists()

    document = recovered()

    assert document["held"] == 2
    assert not LedgerPending.objects.exists()
    assert world.waited.pk == LedgerLeaf.objects.get(index=BACKED_UP).entry_id
    assert world.receipt_of(world.grant.issued_entry) == world.receipt
    listed = [each["index"] for each in document["without_subject"]]
    assert listed == list(range(BACKED_UP + 2, SIGNED))


def test_the_log_goes_on_where_it_was_signed(world: World, test_database: TestDatabase) -> None:
    lose_tail(test_database, BACKED_UP)
    recover("--apply")

    grow(3)

    assert signed_text(SIGNED + 3)
    assert guard.open_guard("test").read() == notes.parse_checkpoint(signed_text(SIGNED + 3))
    assert (world.copy / "test/checkpoint").read_text().split("\n")[1] == str(SIGNED + 3)


def test_a_receipt_from_before_the_loss_verifies_against_the_checkpoint_after_it(
    world: World, test_database: TestDatabase
) -> None:
    lose_tail(test_database, BACKED_UP)
    recover("--apply")
    grow(3)

    key = signer.load("test").verifier
    old = receipts.verify(receipts.parse(world.receipt), [key])
    new = notes.parse_checkpoint(signed_text(SIGNED + 3))
    stored = tiles.StoredTree("test", new.size)
    proof = tree.consistency_proof(old.checkpoint.size, new.size, stored.node)
    tree.verify_consistency(old.checkpoint.size, new.size, proof, old.checkpoint.root, new.root)
    # Nobody can open the recovered entry but by that receipt; its place is proven as before.
    entry = LedgerEntry.objects.get(leaf__index=old.index)
    again = proofs.receipt(entry, None)
    assert again is not None
    fresh = receipts.verify(receipts.parse(again), [key])
    assert (fresh.leaf_hash, fresh.index) == (old.leaf_hash, old.index)
    assert set(fresh.undisclosed) == set(old.values)


@pytest.mark.parametrize("count", [2, 60], ids=["fewer than were lost", "more"])
def test_what_was_recorded_since_the_restore_keeps_its_place_after_the_tail(
    world: World, test_database: TestDatabase, count: int
) -> None:
    lose_tail(test_database, BACKED_UP)
    fresh = append_many(count)
    # A worker that was not stopped gives no places while the guard is ahead.
    with pytest.raises(guard.GuardRefused, match="has only 250 entries"):
        sequencer.run_once()
    assert LedgerPending.objects.count() == count
    assert LedgerLeaf.objects.count() == BACKED_UP

    document = recovered()
    assert document["waiting"] == count
    sequencer.run_once()

    assert published() == world.published
    placed = LedgerLeaf.objects.filter(index__gte=SIGNED).order_by("index")
    assert [leaf.entry_id for leaf in placed] == [entry.pk for entry in fresh]
    assert signed_text(SIGNED + count)


def test_a_backup_that_has_all_of_it_waiting_needs_no_recovery(
    world: World, test_database: TestDatabase
) -> None:
    lose_tail(test_database, BACKED_UP, waiting=SIGNED - BACKED_UP)

    assert sequencer.run_once() == SIGNED - BACKED_UP

    assert published() == world.published
    assert recover("--apply").endswith("Nothing is missing.\n")


def test_a_second_run_does_nothing_and_lists_again(
    world: World, test_database: TestDatabase
) -> None:
    lose_tail(test_database, BACKED_UP)
    first = recovered()
    before = state()

    again = recovered()

    assert state() == before
    assert (again["needed"], again["applied"]) == (False, False)
    assert again["without_subject"] == first["without_subject"]
    assert "Nothing is missing." in recover()


def test_nothing_is_lost_where_nothing_was_restored(world: World) -> None:
    before = state()
    assert recover("--apply") == "test: 300 entries here, 300 signed\nNothing is missing.\n"
    assert state() == before


def test_an_empty_database_gets_the_whole_log(world: World, test_database: TestDatabase) -> None:
    lose_tail(test_database, 0)

    recover("--apply")

    assert published() == world.published


@pytest.mark.parametrize("size", [1, 255, 256, 257, 299])
def test_any_beginning_is_gone_on_with(
    tmp_path: Path, settings: Any, test_database: TestDatabase, size: int
) -> None:
    settings.LEDGER_EXPORT = str(tmp_path / "second")
    grow(size, SIGNED - size)
    before = published()
    lose_tail(test_database, size)

    recover("--apply")

    assert published() == before


def test_a_crash_before_the_copy_s_checkpoint_loses_nothing_that_may_have_been_signed(
    world: World, test_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard is ahead of the copy's checkpoint, and the copy's entries are not behind it."""

    def die(*_given: Any, **_more: Any) -> None:
        raise KeyboardInterrupt

    append_many(4)
    with monkeypatch.context() as patch:
        patch.setattr(signer.notes, "sign", die)
        with pytest.raises(KeyboardInterrupt):
            sequencer.run_once()
    state = guard.open_guard("test").read()
    assert state is not None
    assert state.size == SIGNED + 4
    lose_tail(test_database, BACKED_UP)

    assert recovered()["size_signed"] == SIGNED + 4
    sequencer.run_once()

    assert notes.parse_checkpoint(signed_text(SIGNED + 4)) == state


@pytest.mark.parametrize("commits", [1, 2, 5])
def test_killed_in_the_middle_and_run_again_it_is_whole(
    world: World,
    test_database: TestDatabase,
    ledger_keys: Path,
    commits: int,
) -> None:
    lose_tail(test_database, 100)
    dying = (
        "import os, signal, sys, django; django.setup()\n"
        "from django.core.management import call_command\n"
        "from licensing.ledger import recovery\n"
        "recovery.BATCH_ENTRIES = 32\n"
        "put, count = recovery._put, iter(range(int(sys.argv[1])))\n"
        "def die(*given):\n"
        "    entries = put(*given)\n"
        "    if next(count, None) is None:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return entries\n"
        "recovery._put = die\n"
        "call_command('ledger_recover', '--log=test', '--apply')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", dying, str(commits)],
        env={
            **test_database.environ,
            "DJANGO_SETTINGS_MODULE": "marketplace.settings",
            "LICET_LEDGER_KEY_DIR": str(ledger_keys),
            "LICET_LEDGER_EXPORT": str(world.copy),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    newest = tiles.newest_tree("test")
    assert newest is not None
    assert 100 < newest.size < SIGNED

    # A worker that starts now leaves the rest of the places free.
    append_many(1)
    with pytest.raises(guard.GuardRefused):
        sequencer.run_once()
    document = recovered()

    assert published() == world.published
    assert len(document["without_subject"]) == SIGNED - 100


def test_the_runbook_does_what_it_says(
    world: World, test_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command of the page, in its order, as an operator types it."""
    page = PAGE.partition("## No copy")[0]
    commands = re.findall(r"^ *manage\.py (ledger_.*)$", page, re.MULTILINE)
    assert len(commands) == 6
    lose_tail(test_database, BACKED_UP, waiting=1)
    fresh = append_many(1)[0]
    monkeypatch.setenv("LICET_LEDGER_EXPORT", str(world.copy))

    said = []
    for command in commands:
        out = io.StringIO()
        words = shlex.split(os.path.expandvars(command.replace("live", "test")))
        call_command(*words, stdout=out, stderr=out)
        said.append(out.getvalue())

    shown = re.search(r"^   live: .*\n   Would .*\n", page, re.MULTILINE)
    assert shown is not None
    expected = [line.strip() for line in shown[0].replace("live", "test").splitlines()]
    assert said[0].splitlines()[:2] == expected
    assert said[1].splitlines()[1].startswith("Gave 50 entries their places again")
    assert len(json.loads(said[2])["without_subject"]) == 49
    assert f"{SIGNED} entries, and the checkpoint of them" in said[3]
    assert said[4] == "1 entries integrated\n"
    assert f"{SIGNED + 1} entries" in said[5]
    assert LedgerLeaf.objects.get(index=SIGNED).entry_id == fresh.pk
    assert signed_text(SIGNED + 1)
    assert published() == world.published


def test_the_rehearsed_runbook_freezes_a_log_that_no_copy_can_rebuild(
    world: World, test_database: TestDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each command of the page's second part, in its order, as an operator types it."""
    page = PAGE.partition("## No copy")[2]
    commands = re.findall(r"^ *manage\.py (ledger_.*)$", page, re.MULTILINE)
    assert len(commands) == 4
    lose_tail(test_database, BACKED_UP, waiting=1)
    append_many(11)
    (world.copy / "test/tile/entries/001.p/44").unlink()
    (tmp_path / "last-checkpoint").write_text(world.note)
    monkeypatch.chdir(tmp_path)

    said = []
    for command in commands:
        out = io.StringIO()
        call_command(*shlex.split(command.replace("live", "test")), stdout=out, stderr=out)
        said.append(out.getvalue().splitlines())

    shown = re.search(
        r"^   live: .*\n   No help .*\n   Would .*\n   Nothing .*\n", page, re.MULTILINE
    )
    assert shown is not None
    expected = [line.strip() for line in shown[0].replace("live", "test").splitlines()]
    start, end = expected[1].split("…")[0], expected[1].split("…")[1]
    assert (said[0][0], said[0][2:]) == (expected[0], expected[2:])
    assert said[0][1].startswith(start)
    assert end.strip() in said[0][1]
    assert said[1][2].startswith("Froze licet.example/ledger/test. test/2 continues it: 12 entries")
    assert said[2] == ["12 entries integrated"]
    assert [line.partition(", ")[0] for line in said[3]] == [
        "test: sound: 250 entries",
        "test/2: sound: 13 entries",
    ]


# --- what is refused --------------------------------------------------------------------------


def damage(path: Path, at: int = 40) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("tile/entries/001.p/44", r"tile/entries/001\.p/44: entry 256 is not what its tile says"),
        ("tile/entries/000", "tile/entries/000: entry 0 is not what its tile says"),
        ("tile/0/001.p/44", r"tile/entries/001\.p/44: entry 257 is not what its tile says"),
        ("tile/1/000.p/1", r"tile/1/000: it is not what its entries make it"),
        ("checkpoint", "has no checkpoint that the key of the log “test” signed"),
    ],
)
def test_a_damaged_copy_is_refused_by_its_place(
    world: World, test_database: TestDatabase, name: str, match: str
) -> None:
    lose_tail(test_database, BACKED_UP)
    damage(world.copy / "test" / name, at=20 if name.startswith("tile/1") else 40)

    refused(match)


@pytest.mark.parametrize(
    "name", ["tile/entries/000", "tile/entries/001.p/44", "tile/0/000", "tile/1/000.p/1"]
)
def test_a_copy_that_lacks_a_file_is_refused_by_its_place(
    world: World, test_database: TestDatabase, name: str
) -> None:
    lose_tail(test_database, BACKED_UP)
    (world.copy / "test" / name).unlink()

    refused(f"{name}: it is missing")


def test_another_copy_stands_in_for_a_damaged_one(
    world: World, test_database: TestDatabase, tmp_path: Path
) -> None:
    call_command("ledger_export", str(tmp_path / "third"), log="test")
    damage(world.copy / "test/tile/entries/000")
    lose_tail(test_database, BACKED_UP)

    recover("--apply", f"--from={tmp_path / 'third'}")

    assert published() == world.published


def test_a_copy_that_the_guard_is_ahead_of_is_refused(
    world: World, test_database: TestDatabase, tmp_path: Path
) -> None:
    call_command("ledger_export", str(tmp_path / "older"), log="test")
    grow(4)
    lose_tail(test_database, BACKED_UP)

    refused(r"cannot rebuild size 304: tile/0/001\.p/48|304", 1, f"--from={tmp_path / 'older'}")


def test_a_copy_whose_root_is_not_the_guard_s_is_refused(
    world: World, test_database: TestDatabase, ledger_guard: Path
) -> None:
    lose_tail(test_database, BACKED_UP)
    other = notes.Checkpoint(signer.origin("test"), SIGNED, tree.leaf_hash(b"another history"))
    (ledger_guard / "test.guard").write_text(other.text())

    refused("have other roots for size 300")


def test_a_log_that_was_gone_on_with_after_the_restore_is_refused_by_its_first_leaf(
    world: World, test_database: TestDatabase
) -> None:
    lose_tail(test_database, BACKED_UP)
    append_many(2)
    sequencer.integrate("test")

    refused("leaf 250 is another one")


def test_a_fact_that_was_recorded_anew_is_named(world: World, test_database: TestDatabase) -> None:
    ref = bytes(world.other.subject_ref)
    lose_tail(test_database, BACKED_UP)
    with access.system("a test records a fact anew"):
        append(subject_ref=ref, values={"text": "otherwise"})

    refused(f"note.made, {ref.hex()}, number 0. was recorded anew")


def test_it_does_not_work_beside_a_sequencer(world: World, test_database: TestDatabase) -> None:
    lose_tail(test_database, BACKED_UP)
    before = state()
    with test_database.connect("licet_owner") as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(%s, 0)", [sequencer._LOCK_SPACE])
        with pytest.raises(CommandError, match="Stop it") as refusal:
            recover("--apply")
    assert refusal.value.returncode == 2
    assert state() == before


def test_without_a_copy_nothing_can_be_told(settings: Any) -> None:
    settings.LEDGER_EXPORT = ""
    refused("no copy", 2)
    refused("no place to keep a log", 2, "--from=gs://bucket")


def test_a_stand_in_allows_no_entry_that_has_no_place(world: World) -> None:
    """Whoever records a grant cannot do without the grant by writing a stand-in."""
    count = LedgerEntry.objects.count()
    with pytest.raises(IntegrityError, match="has no subject"):
        record_with_a_stand_in()
    assert LedgerEntry.objects.count() == count


def record_with_a_stand_in() -> None:
    with access.system("a test records a grant that is none"):
        entry = LedgerEntry.objects.create(
            log="test",
            kind="grant.issued",
            subject_ref=os.urandom(16),
            seq=0,
            body=b"{}",
            leaf_hash=tree.leaf_hash(b"{}"),
        )
        LedgerRecovered.objects.create(entry=entry)
