"""A log's key never signs what contradicts its last signature, whatever the database says."""

from __future__ import annotations

import dataclasses
import fcntl
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from moto.server import ThreadedMotoServer

from licensing.ledger import export, guard, notes, sequencer, signer, tree
from licensing.ledger.stores import StoreConflict
from licensing.models import LedgerCheckpoint, LedgerEntry, LedgerLeaf
from payments import demo
from payments.management.commands import run
from tests.database import TestDatabase, wait_for_the_dead
from tests.ledger import append_many, grow, guards_in, restore_backup, signed_sizes, signed_text

ROOT = Path(__file__).parents[2]


def refuse(message: str) -> None:
    """See that a pass refuses so, and signs nothing and leaves the guards as they are."""
    directory = Path(str(guard.open_guard("test"))).parent
    before = (signed_sizes(), signed_sizes("live"), guards_in(directory))
    with pytest.raises(guard.GuardRefused, match=message):
        sequencer.sign("test")
    assert (signed_sizes(), signed_sizes("live"), guards_in(directory)) == before


# --- what it keeps ----------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_guard_holds_what_was_signed_last_as_a_person_can_read_it(ledger_guard: Path) -> None:
    grow(2, 3)
    append_many(1, "live")
    sequencer.run_once()

    assert (ledger_guard / "test.guard").read_text() == signed_text(5)
    assert (ledger_guard / "live.guard").read_text() == signed_text(1, "live")
    assert signed_text(5).startswith("licet.example/ledger/test\n5\n")


@pytest.mark.django_db
def test_a_pass_that_signs_nothing_leaves_the_guard_alone(ledger_guard: Path) -> None:
    grow(2)
    before = (ledger_guard / "test.guard").stat()

    sequencer.run_once()

    assert (ledger_guard / "test.guard").stat() == before


@pytest.mark.django_db
def test_without_a_setting_it_stands_beside_the_keys(settings: Any, tmp_path: Path) -> None:
    settings.LEDGER_GUARD = ""
    settings.LEDGER_KEY_DIR = tmp_path
    signer.create("test")
    grow(1)

    assert (tmp_path / "test.guard").read_text() == signed_text(1)


@pytest.mark.django_db
def test_ledger_fsck_tells_a_restored_backup_by_the_guard_and_says_where_there_is_none(
    ledger_guard: Path,
) -> None:
    grow(2)
    call_command("ledger_fsck", log="test", stdout=io.StringIO())
    kept = (ledger_guard / "test.guard").read_text()

    (ledger_guard / "test.guard").write_text(kept.replace("\n2\n", "\n3\n"))
    with pytest.raises(CommandError, match="BROKEN: guard") as broken:
        call_command("ledger_fsck", log="test", stdout=io.StringIO())
    (ledger_guard / "test.guard").unlink()
    with pytest.raises(CommandError, match="has no guard here") as untold:
        call_command("ledger_fsck", log="test", stdout=io.StringIO())

    assert (broken.value.returncode, untold.value.returncode) == (1, 2)


# --- crashes ----------------------------------------------------------------------------------


def die(database: TestDatabase, keys: Path, point: str) -> None:
    """Run a pass in a process that kills itself at `point`, a place for a function."""
    program = (
        "import os, signal, django; django.setup()\n"
        "from pathlib import Path\n"
        "from licensing.ledger import guard, sequencer\n"
        "from licensing.models import LedgerCheckpoint\n"
        f"{point} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "sequencer.run_once()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **database.environ,
            "DJANGO_SETTINGS_MODULE": "marketplace.settings",
            "LICET_LEDGER_KEY_DIR": str(keys),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    wait_for_the_dead()


@pytest.mark.django_db(transaction=True)
def test_killed_between_guard_and_note_the_next_pass_signs_the_same_tree_again(
    test_database: TestDatabase, ledger_keys: Path, ledger_guard: Path
) -> None:
    grow(2)
    append_many(3)
    die(test_database, ledger_keys, "LedgerCheckpoint.objects.create")
    left = (ledger_guard / "test.guard").read_text()
    assert left.split("\n")[1] == "5"
    assert signed_sizes() == [2]

    assert sequencer.run_once() == 0

    assert signed_sizes() == [2, 5]
    assert signed_text(5) == left == (ledger_guard / "test.guard").read_text()


@pytest.mark.django_db(transaction=True)
def test_killed_between_guard_and_note_the_log_may_grow_before_it_is_signed(
    test_database: TestDatabase, ledger_keys: Path, ledger_guard: Path
) -> None:
    append_many(3)
    die(test_database, ledger_keys, "LedgerCheckpoint.objects.create")

    grow(4)

    assert signed_sizes() == [7]
    assert (ledger_guard / "test.guard").read_text() == signed_text(7)


@pytest.mark.django_db(transaction=True)
def test_overtaken_by_one_who_died_between_guard_and_note_a_signer_waits_for_the_next_pass(
    test_database: TestDatabase,
    ledger_keys: Path,
    ledger_guard: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen once in chaos: the smaller tree, looked at before, was refused as a restored backup."""
    grow(2)
    append_many(1)
    secure = export.secure

    def secure_slowly(log: str, size: int) -> None:
        assert (log, size) == ("test", 3)
        monkeypatch.setattr(export, "secure", secure)
        append_many(1)
        die(test_database, ledger_keys, "LedgerCheckpoint.objects.create")

    monkeypatch.setattr(export, "secure", secure_slowly)

    assert sequencer.run_once() == 1
    assert signed_sizes() == [2]
    assert (ledger_guard / "test.guard").read_text().split("\n")[1] == "4"

    assert sequencer.run_once() == 0
    assert signed_sizes() == [2, 4]


@pytest.mark.oracle
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("point", ["guard.advance", "os.replace", "os.fsync"])
def test_killed_before_the_guard_stands_nothing_is_signed(
    test_database: TestDatabase, ledger_keys: Path, ledger_guard: Path, point: str
) -> None:
    grow(2)
    before = (ledger_guard / "test.guard").read_text()
    append_many(3)
    die(test_database, ledger_keys, point)
    assert signed_sizes() == [2]
    assert (ledger_guard / "test.guard").read_text() == before

    sequencer.run_once()

    assert signed_sizes() == [2, 5]


@pytest.mark.django_db
def test_the_guard_stands_when_the_note_is_made(
    monkeypatch: pytest.MonkeyPatch, ledger_guard: Path
) -> None:
    """And it is not the signature that comes first."""
    append_many(2)
    seen: list[str] = []

    def watch(text: str, *_signers: notes.Signer) -> str:
        seen.append((ledger_guard / "test.guard").read_text())
        assert seen == [text]
        raise KeyboardInterrupt

    monkeypatch.setattr(notes, "sign", watch)
    with pytest.raises(KeyboardInterrupt):
        sequencer.run_once()

    assert len(seen) == 1


# --- a restored backup ------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_restored_backup_is_not_signed(test_database: TestDatabase) -> None:
    grow(3, 2)
    restore_backup(test_database, 3)
    append_many(1)
    sequencer.integrate("test")

    refuse("signed size 5 .*, and the log has only 4 entries: an older backup was restored")


@pytest.mark.django_db(transaction=True)
def test_a_restored_backup_is_not_signed_when_it_has_grown_past_the_signed_size(
    test_database: TestDatabase,
) -> None:
    grow(3, 2)
    restore_backup(test_database, 3)
    append_many(9)
    sequencer.integrate("test")

    refuse("of size 12 does not continue what its key signed at size 5")


@pytest.mark.django_db(transaction=True)
def test_a_restored_backup_is_not_signed_at_the_signed_size(test_database: TestDatabase) -> None:
    grow(3, 2)
    restore_backup(test_database, 3)
    append_many(2)
    sequencer.integrate("test")

    refuse("signed another root for size 5")


@pytest.mark.django_db(transaction=True)
def test_a_restored_backup_from_before_the_first_checkpoint_is_not_signed(
    test_database: TestDatabase,
) -> None:
    grow(3)
    restore_backup(test_database, 0)
    append_many(1)
    sequencer.integrate("test")

    refuse("signed size 3 .*, and the log has only 1 entries")


@pytest.mark.django_db(transaction=True)
def test_a_refused_log_does_not_hold_up_the_other(test_database: TestDatabase) -> None:
    grow(1, 2)
    restore_backup(test_database, 1)
    append_many(1)
    append_many(2, "live")

    with pytest.raises(guard.GuardRefused, match="log “test”"):
        sequencer.run_once()

    assert signed_sizes("live") == [2]


@pytest.mark.django_db(transaction=True)
def test_a_backup_with_the_same_entries_in_its_queue_becomes_the_same_tree_and_is_signed(
    test_database: TestDatabase, ledger_guard: Path
) -> None:
    grow(3, 2)
    before = (ledger_guard / "test.guard").read_text()
    restore_backup(test_database, 3)
    with test_database.connect("licet_owner") as owner:
        owner.execute(
            "INSERT INTO licensing_ledgerpending (entry_id, log) SELECT id, log"
            " FROM licensing_ledgerentry e WHERE NOT EXISTS"
            " (SELECT FROM licensing_ledgerleaf WHERE entry_id = e.id)"
        )

    assert sequencer.run_once() == 2

    assert signed_sizes()[-1] == 5
    assert signed_text(5) == before == (ledger_guard / "test.guard").read_text()


@pytest.mark.django_db(transaction=True)
def test_the_command_ends_with_1_and_says_why(test_database: TestDatabase) -> None:
    grow(1, 2)
    restore_backup(test_database, 1)
    append_many(1)

    with pytest.raises(CommandError, match="an older backup was restored") as caught:
        call_command("ledger_sequence", once=True, stdout=io.StringIO())

    assert caught.value.returncode == 1


# --- a guard that is not there, or not whole ---------------------------------------------------


@pytest.mark.django_db
def test_a_missing_guard_of_a_signed_log_is_not_made_anew(ledger_guard: Path) -> None:
    grow(2)
    (ledger_guard / "test.guard").unlink()
    append_many(1)
    sequencer.integrate("test")

    refuse(r"is missing.*manage\.py ledger_adopt --log test --checkpoint FILE")

    assert not (ledger_guard / "test.guard").exists()


@pytest.mark.django_db
def test_a_log_that_was_never_signed_gets_its_first_guard(ledger_guard: Path) -> None:
    append_many(1)
    sequencer.integrate("test")
    assert not ledger_guard.exists()

    assert sequencer.sign("test") is not None

    assert (ledger_guard / "test.guard").exists()


@pytest.mark.django_db
def test_a_torn_guard_is_refused_at_whatever_byte_it_ends(ledger_guard: Path) -> None:
    grow(2)
    path = ledger_guard / "test.guard"
    whole = path.read_bytes()
    append_many(1)
    sequencer.integrate("test")

    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refuse("cannot be used: it is torn or was edited")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text + "\n",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n2\n", "\n02\n"),
        lambda text: text.replace("\n2\n", "\n-2\n"),
        lambda text: text.replace("=\n", "\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.encode().replace(b"licet", b"\xff"),
    ],
    ids=["longer", "crlf", "zeros", "sign", "padding", "mark", "no text"],
)
def test_an_edited_guard_is_refused(ledger_guard: Path, edit: Callable[[str], str | bytes]) -> None:
    grow(2)
    path = ledger_guard / "test.guard"
    edited = edit(path.read_text())
    path.write_bytes(edited if isinstance(edited, bytes) else edited.encode())
    append_many(1)
    sequencer.integrate("test")

    refuse("cannot be used: it is (torn or was edited|of the log)")


@pytest.mark.django_db
def test_the_guard_of_another_log_is_refused(ledger_guard: Path) -> None:
    grow(2)
    append_many(1, "live")
    sequencer.run_once()
    (ledger_guard / "test.guard").write_bytes((ledger_guard / "live.guard").read_bytes())
    append_many(1)
    sequencer.integrate("test")

    refuse("it is of the log “licet.example/ledger/live”")


@pytest.mark.django_db
def test_a_guard_out_of_reach_stops_the_log(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    settings.LEDGER_GUARD = str(tmp_path / "file" / "guards")
    append_many(1)
    sequencer.integrate("test")

    refuse("is out of reach")


@pytest.mark.django_db
def test_a_guard_at_another_root_of_the_same_size_is_refused(ledger_guard: Path) -> None:
    grow(2)
    path = ledger_guard / "test.guard"
    other = notes.Checkpoint(signer.origin("test"), 3, tree.leaf_hash(b"another"))
    path.write_text(other.text())
    append_many(1)
    sequencer.integrate("test")

    refuse("signed another root for size 3")


@pytest.mark.django_db
def test_a_guard_that_lags_behind_the_stored_checkpoints_is_caught_up(ledger_guard: Path) -> None:
    """As on a host that takes over with a guard of its own: an older one is still a true one."""
    grow(2)
    old = (ledger_guard / "test.guard").read_bytes()
    grow(3)
    (ledger_guard / "test.guard").write_bytes(old)

    grow(1)

    assert signed_sizes() == [2, 5, 6]
    assert (ledger_guard / "test.guard").read_text() == signed_text(6)


# --- two signers at once ----------------------------------------------------------------------

ORIGIN = "licet.example/ledger/test"
FIRST, SECOND = tree.leaf_hash(b"the first entry"), tree.leaf_hash(b"the second entry")


def begin_at_one() -> guard.Guard:
    opened = guard.open_guard("test")
    opened.write(notes.Checkpoint(ORIGIN, 1, FIRST), expected=None)
    return opened


def sign_apart(count: int) -> tuple[list[bytes], list[str]]:
    """Have signers ask at once for different trees of size 2: the roots allowed, the refusals."""
    allowed: list[bytes] = []
    refused: list[str] = []
    together = threading.Barrier(count)

    def ask(number: int) -> None:
        leaf = tree.leaf_hash(bytes([number]))
        root = tree.node_hash(FIRST, leaf)
        together.wait(10)
        try:
            guard.advance("test", 2, root, lambda _size: [leaf])
            allowed.append(root)
        except guard.GuardRefused as refusal:
            refused.append(str(refusal))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return allowed, refused


def test_of_signers_at_once_one_is_allowed(settings: Any, tmp_path: Path) -> None:
    """Two databases with one key, as after a failover to a copy: the election is no help there.

    Seen to fail without the lock: the next test repeats that.
    """
    settings.DEVELOPMENT = False
    for attempt in range(20):
        settings.LEDGER_GUARD = str(tmp_path / str(attempt))
        opened = begin_at_one()

        allowed, refused = sign_apart(4)

        assert len(allowed) == 1
        assert len(refused) == 3
        assert all("signed another root for size 2" in refusal for refusal in refused)
        state = opened.read()
        assert state is not None
        assert (state.size, state.root) == (2, allowed[0])


def test_without_its_lock_the_guard_would_allow_two_histories(
    monkeypatch: pytest.MonkeyPatch, ledger_guard: Path
) -> None:
    begin_at_one()
    sync, both = os.fsync, threading.Barrier(2)
    waited = threading.local()

    def meet(descriptor: int) -> None:
        """Hold each signer between its comparison and its write until the other is there too."""
        if not hasattr(waited, "is_done"):
            waited.is_done = True
            both.wait(10)
        sync(descriptor)

    monkeypatch.setattr(fcntl, "flock", lambda *_arguments: None)
    monkeypatch.setattr(os, "fsync", meet)

    allowed, refused = sign_apart(2)

    assert (len(allowed), refused) == (2, [])


OTHER = tree.leaf_hash(b"another second entry")
OVERTAKERS = {
    "the same tree": (notes.Checkpoint(ORIGIN, 2, tree.node_hash(FIRST, SECOND)), ""),
    "another tree": (
        notes.Checkpoint(ORIGIN, 2, tree.node_hash(FIRST, OTHER)),
        "signed another root for size 2",
    ),
    "a larger tree": (
        notes.Checkpoint(ORIGIN, 3, tree.node_hash(tree.node_hash(FIRST, SECOND), OTHER)),
        "signed size 3 .* has only 2 entries",
    ),
}


@pytest.mark.parametrize("who", OVERTAKERS)
@pytest.mark.parametrize("where", ["directory", "bucket"])
def test_a_signer_that_another_overtakes_looks_again(
    request: pytest.FixtureRequest,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    who: str,
) -> None:
    """It read the guard, and before it writes, another signer does."""
    settings.DEVELOPMENT = False
    if where == "bucket":
        settings.LEDGER_GUARD = request.getfixturevalue("bucket_url")
    opened = begin_at_one()
    state, refusal = OVERTAKERS[who]
    write = guard.Guard.write
    overtaken: list[int] = []

    def overtake(self: guard.Guard, new: notes.Checkpoint, **expected: Any) -> None:
        if not overtaken:
            overtaken.append(1)
            write(self, state, **expected)
        write(self, new, **expected)

    monkeypatch.setattr(guard.Guard, "write", overtake)

    def ask() -> None:
        guard.advance("test", 2, tree.node_hash(FIRST, SECOND), lambda _size: [SECOND])

    if refusal:
        with pytest.raises(guard.GuardRefused, match=refusal):
            ask()
    else:
        ask()

    assert opened.read() == state


def test_a_guard_that_never_holds_still_is_told(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.DEVELOPMENT = False
    begin_at_one()

    def lose(*_arguments: Any, **_more: Any) -> None:
        raise StoreConflict

    monkeypatch.setattr(guard.Guard, "write", lose)
    with pytest.raises(guard.GuardUnreadable, match="Only one database may sign a log"):
        guard.advance("test", 2, tree.node_hash(FIRST, SECOND), lambda _size: [SECOND])


# --- in a bucket ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket_url(s3: str, settings: Any) -> str:
    """Where a guard may be kept in a bucket that is empty."""
    settings.LEDGER_BUCKET = {
        "endpoint": s3,
        "region": "us-east-1",
        "access_key": "a",
        "secret_key": "s",
    }
    name = f"guards-{os.urandom(6).hex()}"
    client = boto3.client(
        "s3",
        endpoint_url=s3,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="s",
    )
    client.create_bucket(Bucket=name)
    return f"s3://{name}/guards"


@pytest.mark.oracle
@pytest.mark.django_db
def test_a_guard_in_a_bucket_guards_alike(
    bucket_url: str, settings: Any, ledger_guard: Path
) -> None:
    settings.LEDGER_GUARD = bucket_url
    grow(2, 3)

    opened = guard.open_guard("test")
    assert str(opened) == f"{bucket_url}/test.guard"
    assert opened.store.read("test.guard") == signed_text(5).encode()
    assert not ledger_guard.exists()

    other = notes.Checkpoint(ORIGIN, 6, tree.leaf_hash(b"another"))
    opened.write(other, expected=opened.read())
    append_many(1)
    sequencer.integrate("test")
    with pytest.raises(guard.GuardRefused, match="signed another root for size 6"):
        sequencer.sign("test")
    assert signed_sizes() == [2, 5]
    assert opened.read() == other


@pytest.mark.django_db
def test_a_guard_missing_in_a_bucket_is_adopted_there(bucket_url: str, settings: Any) -> None:
    """As when a log moves its guard from a file into a bucket."""
    grow(2, 3)
    settings.LEDGER_GUARD = bucket_url
    append_many(1)
    sequencer.integrate("test")
    with pytest.raises(guard.GuardRefused, match="is missing"):
        sequencer.sign("test")

    guard.adopt("test", LedgerCheckpoint.objects.get(log="test", size=2).note)
    sequencer.sign("test")

    assert signed_sizes() == [2, 5, 6]
    assert guard.open_guard("test").store.read("test.guard") == signed_text(6).encode()


@pytest.mark.django_db
def test_a_bucket_that_is_not_there_stops_the_log(bucket_url: str, settings: Any) -> None:
    settings.LEDGER_GUARD = "s3://no-such-bucket/guards"
    append_many(1)

    with pytest.raises(guard.GuardUnreadable, match=r"is out of reach\. Nothing was signed"):
        sequencer.run_once()

    assert signed_sizes() == []


# --- in development ---------------------------------------------------------------------------


def way_out() -> str:
    """What the demonstration says before it starts, up from the command to run."""
    with pytest.raises(demo.DemoFailed) as caught:
        demo.check_ledger()
    message = str(caught.value)
    assert message.count("In development, begin") == 1
    return message.rpartition(": ")[2]


@pytest.mark.django_db(transaction=True)
def test_a_developer_who_deleted_the_database_is_told_what_begins_a_new_log(
    test_database: TestDatabase, settings: Any, tmp_path: Path
) -> None:
    settings.LEDGER_KEY_DIR = tmp_path / "my keys"
    settings.LEDGER_GUARD = ""
    settings.DEVELOPMENT = True
    grow(3)
    first = signer.load("test").verifier
    test_database.remake()

    command = way_out()
    assert command.startswith("rm -f ")
    subprocess.run(command, shell=True, check=True)

    demo.check_ledger()
    grow(1)
    assert signed_sizes() == [1]
    # No fork: nobody who knows the old key takes the new log for the old one.
    assert signer.load("test").verifier.key_id != first.key_id


@pytest.mark.django_db
def test_a_developer_who_deleted_the_keys_is_told_to_begin_anew(
    ledger_guard: Path, settings: Any, tmp_path: Path
) -> None:
    settings.DEVELOPMENT = True
    settings.DEVDB = dataclasses.replace(settings.DEVDB, data_dir=tmp_path)
    grow(3)
    (ledger_guard / "test.guard").unlink()

    command = "LICET_DEBUG=1 .venv/bin/python manage.py devdb reset --yes && rm -f "
    assert way_out().startswith(command)


@pytest.mark.django_db
def test_a_database_of_the_developers_own_is_not_reset(ledger_guard: Path, settings: Any) -> None:
    settings.DEVELOPMENT = True
    settings.DEVDB = dataclasses.replace(settings.DEVDB, data_dir=None)
    grow(3)
    (ledger_guard / "test.guard").unlink()

    with pytest.raises(guard.GuardRefused, match=r"ledger_adopt --log test --checkpoint FILE$"):
        guard.check("test")


@pytest.mark.django_db
def test_make_run_says_that_receipts_wait_and_goes_on(
    ledger_guard: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its web process serves the checkpoint that `ledger_adopt` may need."""
    grow(3)
    run._warn_of_the_ledger()
    assert capsys.readouterr().out == ""
    (ledger_guard / "test.guard").unlink()

    run._warn_of_the_ledger()

    assert "Receipts wait. The log “test” was signed before" in capsys.readouterr().out


@pytest.mark.django_db
def test_a_sound_log_lets_the_demonstration_begin(settings: Any) -> None:
    settings.DEVELOPMENT = True
    demo.check_ledger()
    grow(2)
    append_many(1)
    sequencer.integrate("test")

    demo.check_ledger()


@pytest.mark.django_db
def test_outside_development_nobody_is_told_to_begin_anew(
    ledger_guard: Path, settings: Any
) -> None:
    settings.DEVELOPMENT = False
    grow(3)
    (ledger_guard / "test.guard").unlink()

    with pytest.raises(guard.GuardRefused) as caught:
        guard.check("test")

    assert "rm -f" not in str(caught.value)
    assert LedgerEntry.objects.count() == LedgerLeaf.objects.count() == 3
