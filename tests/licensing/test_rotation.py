"""A log's key gives way to another: step by step, and never to one that the log has not named."""

from __future__ import annotations

import io
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import close_old_connections, connection
from django.test import Client

from licensing.ledger import (
    commitments,
    guard,
    keychain,
    log,
    notes,
    proofs,
    receipts,
    rotation,
    sequencer,
    signer,
    tiles,
)
from licensing.ledger.log import LedgerCorrupted
from licensing.models import LedgerCheckpoint, LedgerCosignature, LedgerEntry, LedgerKeyChange
from licensing.offline import __main__ as offline
from marketplace import access
from tests.database import TestDatabase
from tests.ledger import append, append_many, grow, lose_tail, tamper
from tests.witnesses import serving

pytestmark = pytest.mark.django_db

LOG = "test"


@pytest.fixture(autouse=True)
def key_dir(tmp_path: Path, settings: Any) -> Path:
    """Keys of this test's own: it changes them."""
    settings.LEDGER_KEY_DIR = tmp_path / "keys"
    for name in ("test", "live"):
        signer.create(name)
    return tmp_path / "keys"


@pytest.fixture
def copy(tmp_path: Path, settings: Any) -> Path:
    settings.LEDGER_EXPORT = str(tmp_path / "copy")
    return tmp_path / "copy" / LOG


def rotate(**options: Any) -> str:
    out = io.StringIO()
    call_command("ledger_rotate_key", log=LOG, stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def refused(code: int, match: str, **options: Any) -> None:
    """The command ends so, and changes nothing."""
    before = files(), LedgerKeyChange.objects.count(), LedgerEntry.objects.count()
    with pytest.raises(CommandError, match=match) as refusal:
        rotate(**options)
    assert refusal.value.returncode == code
    assert (files(), LedgerKeyChange.objects.count(), LedgerEntry.objects.count()) == before


def files() -> dict[str, str]:
    from django.conf import settings

    return {path.name: path.read_text() for path in Path(settings.LEDGER_KEY_DIR).iterdir()}


def fsck(**options: Any) -> str:
    out = io.StringIO()
    call_command("ledger_fsck", log=LOG, stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def signed_by(size: int | None = None) -> list[str]:
    """The ids of the keys that signed a checkpoint, the newest or one of a size."""
    found = LedgerCheckpoint.objects.filter(log=LOG).order_by("-size")
    row = found[0] if size is None else found.get(size=size)
    return [each.key_id.hex() for each in notes.split_note(row.note)[1]]


def signed_anew(size: int, *signers: notes.Signer) -> str:
    """The checkpoint of a size as others could sign it."""
    text, _signatures = notes.split_note(LedgerCheckpoint.objects.get(log=LOG, size=size).note)
    return notes.sign(text, *signers)


def put_note(database: TestDatabase, size: int, note: str) -> None:
    quoted = note.replace("'", "''")
    tamper(
        database,
        "licensing_ledgercheckpoint",
        f"UPDATE licensing_ledgercheckpoint SET note = '{quoted}'"
        f" WHERE log = 'test' AND size = {size}",
    )


class Rotated:
    """A log of 10 entries whose key was changed: announced at entry 4, finished at 7."""

    def __init__(self) -> None:
        grow(4)
        self.old = signer.load(LOG)
        rotate()
        made = signer.load_next(LOG)
        assert made is not None
        self.new = made
        rotate(announce=True)
        grow(2)
        rotate(finish=True)
        grow(3)

    @property
    def ids(self) -> tuple[str, str]:
        return self.old.verifier.key_id.hex(), self.new.verifier.key_id.hex()


# --- step by step -----------------------------------------------------------------------------


def test_the_new_key_signs_from_its_announcement_on_and_alone_from_the_end() -> None:
    rotated = Rotated()
    old, new = rotated.ids

    assert [signed_by(size) for size in (4, 5, 7, 10)] == [[old], [old, new], [old, new], [new]]
    entry = LedgerEntry.objects.get(kind="log.key_changed")
    body = commitments.parse_body(bytes(entry.body))
    assert (body.commitments, body.parties, body.seq) == ({}, (), 0)
    assert body.public == {
        "old": rotated.old.verifier.vkey(),
        "new": rotated.new.verifier.vkey(),
    }
    assert sorted(files()) == ["live.key", "live.vkey", "test.key", "test.retired", "test.vkey"]
    assert files()["test.retired"] == f"{rotated.old.verifier.vkey()}\n"
    assert files()["test.vkey"] == f"{rotated.new.verifier.vkey()}\n"
    assert "10 entries" in fsck()


def test_each_step_done_again_changes_nothing() -> None:
    grow(1)
    for options in ({}, {"announce": True}, {"finish": True}):
        first = rotate(**options)
        before = files(), LedgerEntry.objects.count(), LedgerCheckpoint.objects.count()
        assert rotate(**options) == first
        assert rotate(status=True) == first
        assert (files(), LedgerEntry.objects.count(), LedgerCheckpoint.objects.count()) == before
    assert LedgerKeyChange.objects.count() == 1


def test_a_key_changes_again_and_the_log_s_chain_goes_on() -> None:
    rotated = Rotated()
    rotate()
    rotate(announce=True)
    rotate(finish=True)
    grow(1)

    rows = list(LedgerKeyChange.objects.order_by("id").select_related("entry"))
    assert [row.entry.seq for row in rows] == [0, 1]
    assert rows[0].ref == rows[1].ref
    assert rows[1].old_vkey == rotated.new.verifier.vkey()
    assert len(files()["test.retired"].splitlines()) == 2
    assert Client().get("/ledger/test/vkey").content.decode().splitlines() == [
        rows[1].new_vkey,
        rows[0].new_vkey,
        rows[0].old_vkey,
    ]
    assert fsck()


def test_steps_in_another_order_are_refused() -> None:
    grow(1)
    refused(1, "There is no next key", announce=True)
    rotate()
    refused(1, "not announced yet", finish=True)
    rotation.announce(LOG)
    refused(1, "Both keys have not signed", finish=True)
    sequencer.run_once()
    rotate(finish=True)


def test_a_next_key_signs_nothing_before_it_is_announced() -> None:
    grow(1)
    old = signer.load(LOG).verifier.key_id.hex()
    rotate()
    grow(2)

    assert signed_by() == [old]
    assert Client().get("/ledger/test/vkey").content.decode().count("\n") == 1


def test_a_log_without_a_key_gets_no_next_one(key_dir: Path, settings: Any) -> None:
    settings.DEVELOPMENT = False
    (key_dir / "test.key").unlink()
    refused(2, "has no key")


@pytest.mark.parametrize("status", [False, True])
def test_a_next_key_that_others_may_read_is_refused(key_dir: Path, status: bool) -> None:
    rotate()
    (key_dir / "test.next.key").chmod(0o640)
    refused(2, "chmod 600", status=status)


# --- crashes ----------------------------------------------------------------------------------


class Died(Exception):
    pass


def die(*_args: Any, **_options: Any) -> Any:
    raise Died


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (os, "link"),
        (os, "replace"),
        (signer, "_replace"),
        (signer, "_sync"),
        (signer, "create_next"),
        (log, "append"),
        (rotation, "row_of"),
        (sequencer, "integrate"),
        (guard, "advance"),
        (notes, "sign"),
        (signer, "promote_next"),
    ],
)
@pytest.mark.parametrize("call", [1, 2])
def test_after_a_crash_at_any_step_the_same_command_goes_on(
    monkeypatch: pytest.MonkeyPatch, where: Any, name: str, call: int
) -> None:
    grow(2)
    old = signer.load(LOG).verifier
    for options in ({}, {"announce": True}, {"finish": True}):
        true, calls = getattr(where, name), 0

        def once(*args: Any, _true: Any = true, **given: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                raise Died
            return _true(*args, **given)

        died = False
        with monkeypatch.context() as patch:
            patch.setattr(where, name, once)
            try:
                rotate(**options)
            except Died:
                died = True
        if died:
            grow(1)  # meanwhile others sign with what there is
        rotate(**options)
    grow(1)

    new = signer.load(LOG).verifier
    assert new != old
    assert signer.load_next(LOG) is None
    assert signer.retired(LOG) == [old]
    assert signer.verifiers(LOG) == [new, old]
    assert files()["test.vkey"] == f"{new.vkey()}\n"
    assert LedgerKeyChange.objects.count() == 1
    assert signed_by() == [new.key_id.hex()]
    assert fsck()


# --- two at once ------------------------------------------------------------------------------


def in_threads(*works: Any) -> list[BaseException]:
    failures: list[BaseException] = []

    def run(work: Any) -> None:
        try:
            work()
        except BaseException as failure:
            failures.append(failure)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


@pytest.mark.django_db(transaction=True)
def test_two_that_announce_at_once_announce_once(monkeypatch: pytest.MonkeyPatch) -> None:
    grow(1)
    rotate()
    barrier = threading.Barrier(2, timeout=10)
    true = rotation._lock

    def meet(name: str) -> None:
        barrier.wait()
        true(name)

    monkeypatch.setattr(rotation, "_lock", meet)
    assert in_threads(*[lambda: rotation.announce(LOG)] * 2) == []

    assert LedgerKeyChange.objects.count() == 1
    assert LedgerEntry.objects.filter(kind="log.key_changed").count() == 1


@pytest.mark.django_db(transaction=True)
def test_sequencers_of_one_host_follow_the_keys_as_they_change() -> None:
    grow(1)
    done = threading.Event()

    def work() -> None:
        close_old_connections()
        try:
            while not done.is_set():
                sequencer.run_once()
        finally:
            done.set()

    def change() -> None:
        try:
            for _turn in range(3):
                rotate()
                append_many(2)
                rotation.announce(LOG)
                append_many(2)
                while rotation.status(LOG).step != rotation.Step.SIGNED and not done.is_set():
                    time.sleep(0.05)
                append_many(2)
                rotation.finish(LOG)
                append_many(2)
        finally:
            done.set()

    assert in_threads(work, work, change) == []
    sequencer.run_once()

    assert LedgerKeyChange.objects.count() == 3
    assert fsck()
    assert signed_by() == [signer.load(LOG).verifier.key_id.hex()]


def test_a_key_is_read_anew_for_each_signature_also_in_the_moment_of_its_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grow(1)
    rotate()
    rotate(announce=True)
    true = signer.load

    def late(name: str) -> notes.Signer:
        monkeypatch.setattr(signer, "load", true)
        rotation.finish(name)  # between the reading of the next key and of this one
        return true(name)

    monkeypatch.setattr(signer, "load", late)
    grow(1)

    assert signed_by() == [signer.load(LOG).verifier.key_id.hex()]


def test_a_host_without_the_announced_key_signs_nothing_and_says_which(key_dir: Path) -> None:
    grow(1)
    rotate()
    rotation.announce(LOG)
    new = signer.verifiers(LOG)[0].key_id.hex()
    kept = (key_dir / "test.next.key").rename(key_dir / "elsewhere")
    before = LedgerCheckpoint.objects.count()

    with pytest.raises(signer.KeyUnusable, match=rf"key {new}, and it is not here"):
        sequencer.run_once()
    assert LedgerCheckpoint.objects.count() == before

    kept.rename(key_dir / "test.next.key")
    sequencer.run_once()
    assert signed_by()[-1] == new


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_old_key_alone_is_refused_once_another_is_announced(test_database: TestDatabase) -> None:
    rotated = Rotated()
    put_note(test_database, 10, signed_anew(10, rotated.old))

    with pytest.raises(CommandError, match=r"checkpoint 10: the key .* has not signed it"):
        fsck()
    append_many(1)
    with pytest.raises(LedgerCorrupted, match="has not signed it"):
        sequencer.run_once()


@pytest.mark.django_db(transaction=True)
def test_a_new_key_is_refused_where_the_log_has_not_named_it(test_database: TestDatabase) -> None:
    rotated = Rotated()
    put_note(test_database, 4, signed_anew(4, rotated.new))

    with pytest.raises(CommandError, match=r"checkpoint 4: the key .* has not signed it"):
        fsck()


@pytest.mark.django_db(transaction=True)
def test_the_order_of_two_signatures_tells_nothing(test_database: TestDatabase) -> None:
    rotated = Rotated()
    put_note(test_database, 7, signed_anew(7, rotated.new, rotated.old))

    assert fsck()


@pytest.mark.django_db(transaction=True)
def test_a_wrong_second_signature_condemns_a_checkpoint(test_database: TestDatabase) -> None:
    rotated = Rotated()
    text, [first, _second] = notes.split_note(LedgerCheckpoint.objects.get(size=7).note)
    wrong = rotated.new.signature_line("another text\n")
    put_note(test_database, 7, f"{text}\n{first.line()}{wrong}")

    with pytest.raises(CommandError, match=r"checkpoint 7: the signature of .* is wrong"):
        fsck()


def test_an_entry_that_changes_from_another_key_stops_the_log() -> None:
    rotated = Rotated()
    stranger = notes.Signer(signer.origin(LOG), os.urandom(32)).verifier
    first = LedgerKeyChange.objects.get()
    with access.system("a test forges a change of key"):
        entry = append(
            kind=keychain.KIND,
            subject_ref=bytes(first.ref),
            seq=1,
            prev=bytes(first.entry.leaf_hash),
            values={},
            public={"old": rotated.old.verifier.vkey(), "new": stranger.vkey()},
        )
        rotation.row_of(entry).save()

    with pytest.raises(LedgerCorrupted, match="changes from a key that is not the log's"):
        sequencer.run_once()


# --- who cosigns ------------------------------------------------------------------------------


def test_a_witness_of_the_old_key_cosigns_until_it_is_let_go(settings: Any) -> None:
    grow(2)

    def ask() -> None:
        quiet = {"stdout": io.StringIO(), "stderr": io.StringIO()}
        call_command("ledger_witness", once=True, log=LOG, **quiet)

    with serving("witness.example/w1", signer.load(LOG).verifier) as server:
        settings.LEDGER_WITNESSES = server.setting
        ask()
        rotate()
        rotate(announce=True)
        ask()
        assert list(LedgerCosignature.objects.values_list("size", flat=True)) == [2, 3]
        rotate(finish=True)
        grow(1)
        with pytest.raises(CommandError, match="does not trust this log's key") as refusal:
            ask()
        assert refusal.value.returncode == 2
    assert fsck()


# --- who follows ------------------------------------------------------------------------------


def audit(place: Path, key: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = offline.main(["audit", str(place), "--key", key])
    return code, capsys.readouterr().out


def test_who_knows_the_old_key_alone_follows_to_the_new_one(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rotated = Rotated()
    old, new = rotated.old.verifier, rotated.new.verifier

    code, said = audit(copy, old.vkey(), capsys)
    assert code == 0
    assert (
        f"its key changed at entry 4. Trust this one from now on, and no older one: {new.vkey()}"
        in said
    )
    assert audit(copy, new.vkey(), capsys)[0] == 0
    for key in (old, new):
        assert "10 entries" in fsck(tiles=str(copy.parent), key=key.vkey())
    assert (copy / "vkey").read_text() == f"{new.vkey()}\n{old.vkey()}\n"
    assert (copy / "vkey").read_bytes() == Client().get("/ledger/test/vkey").content
    assert "10 entries" in fsck(tiles=str(copy.parent))


def test_the_proof_of_a_change_is_a_receipt_under_the_old_key(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rotated = Rotated()
    path = copy / "keys" / rotated.ids[0]

    answer = Client().get(f"/ledger/test/keys/{rotated.ids[0]}")
    assert answer.status_code == 200
    assert answer.content == path.read_bytes()
    assert Client().get(f"/ledger/test/keys/{rotated.ids[1]}").status_code == 404
    assert Client().get(f"/ledger/live/keys/{rotated.ids[0]}").status_code == 404
    for key in (rotated.old, rotated.new):
        receipts.verify(receipts.parse(answer.content), [key.verifier])
    code = offline.main(["verify", str(path), "--key", rotated.old.verifier.vkey(), "--allow-test"])
    said = capsys.readouterr().out
    assert code == 0
    # As the guide says it.
    assert f"  log’s new key   {rotated.new.verifier.vkey()}\n" in said
    assert "in force" not in said


def test_during_the_change_each_key_alone_suffices(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grow(2)
    rotate()
    rotate(announce=True)
    new, old = signer.verifiers(LOG)
    assert signed_by() == [old.key_id.hex(), new.key_id.hex()]

    for key in (old, new):
        code, said = audit(copy, key.vkey(), capsys)
        assert (code, new.vkey() in said) == (0, True)
        assert fsck(tiles=str(copy.parent), key=key.vkey())


def test_who_has_followed_refuses_what_the_old_key_signs_alone(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rotated = Rotated()
    (copy / "checkpoint").write_text(signed_anew(10, rotated.old))

    # Also who trusts both: the tree says that the old one is not the log's any more.
    both = copy.parent / "both"
    both.write_text(f"{rotated.new.verifier.vkey()}\n{rotated.old.verifier.vkey()}\n")
    for key in (rotated.new.verifier.vkey(), rotated.old.verifier.vkey(), str(both)):
        code, said = audit(copy, key, capsys)
        assert (code, said.startswith("BROKEN: checkpoint")) == (1, True)
    with pytest.raises(CommandError, match="has not signed it"):
        fsck(tiles=str(copy.parent))


def test_a_proof_by_somebody_else_is_not_followed(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rotated = Rotated()
    path = copy / "keys" / rotated.ids[0]
    true = path.read_text()
    stranger = notes.Signer(signer.origin(LOG), os.urandom(32))
    head, _blank, note = true.partition("\n\n")
    text, _signatures = notes.split_note(note)

    for signers in ([stranger], [rotated.new], [rotated.old], [stranger, rotated.new]):
        path.write_text(f"{head}\n\n{notes.sign(text, *signers)}")
        code = offline.main(["audit", str(copy), "--key", rotated.old.verifier.vkey()])
        assert code == 2
        assert "gave way is not sound" in capsys.readouterr().err
        with pytest.raises(CommandError, match="gave way is not sound"):
            fsck(tiles=str(copy.parent))
    path.unlink()
    code, said = audit(copy, rotated.old.verifier.vkey(), capsys)
    assert (code, "no known key signed this" in said) == (1, True)


def receipt_of(entry: LedgerEntry) -> bytes:
    newest = tiles.newest_checkpoint(LOG)
    assert newest is not None
    return proofs.receipt_at(entry, newest)


def test_receipts_from_before_during_and_after_verify_with_the_keys_that_are_documented(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (entry,) = append_many(1)
    sequencer.run_once()
    before = receipt_of(entry)
    old = signer.load(LOG).verifier
    rotate()
    rotate(announce=True)
    during = receipt_of(entry)
    new = signer.verifiers(LOG)[0]
    rotate(finish=True)
    grow(1)
    after = receipt_of(entry)

    def verify(receipt: bytes, key: str, *more: str) -> int:
        path = tmp_path / "receipt"
        path.write_bytes(receipt)
        return offline.main(["verify", str(path), "--key", key, "--allow-test", *more])

    both = tmp_path / "both"
    both.write_bytes(Client().get("/ledger/test/vkey").content)
    assert [verify(each, str(both)) for each in (before, during, after)] == [0, 0, 0]
    assert [verify(each, old.vkey()) for each in (before, during, after)] == [0, 0, 1]
    assert [verify(each, new.vkey()) for each in (before, during, after)] == [1, 0, 0]
    assert "give it with --log URL|DIR" in capsys.readouterr().out
    # The log leads from the old key to the new one.
    for each in (before, during, after):
        assert verify(each, old.vkey(), "--log", str(copy)) == 0


@pytest.mark.django_db(transaction=True)
def test_a_lost_tail_comes_back_with_the_change_of_key_in_it(
    copy: Path, test_database: TestDatabase
) -> None:
    rotated = Rotated()
    rows = list(LedgerKeyChange.objects.values("ref", "old_vkey", "new_vkey"))
    with access.system("a test loses a row"):
        tamper(test_database, "licensing_ledgerkeychange", "DELETE FROM licensing_ledgerkeychange")
    lose_tail(test_database, 4)

    out = io.StringIO()
    call_command("ledger_recover", log=LOG, apply=True, stdout=out, stderr=io.StringIO())

    assert "log.key_changed" not in out.getvalue()
    assert list(LedgerKeyChange.objects.values("ref", "old_vkey", "new_vkey")) == rows
    grow(1)
    assert signed_by() == [rotated.ids[1]]
    assert fsck()
    assert fsck(tiles=str(copy.parent))


@pytest.mark.django_db(transaction=True)
def test_a_spoiled_change_of_key_is_a_finding(test_database: TestDatabase) -> None:
    rotated = Rotated()
    table = "licensing_ledgerkeychange"
    stranger = notes.Signer(signer.origin(LOG), os.urandom(32)).verifier.vkey()
    tamper(test_database, table, f"UPDATE {table} SET new_vkey = '{stranger}'")

    with pytest.raises(CommandError, match="other keys than its entry") as said:
        fsck()
    assert str(said.value).startswith("test: BROKEN: log test: ")
    assert said.value.returncode == 1
    assert signed_by() == [rotated.ids[1]]
