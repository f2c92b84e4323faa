"""A lost guard is made again from a checkpoint that a person trusts, and from nothing else."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from licensing.ledger import guard, notes, sequencer, signer, tree
from licensing.models import LedgerCheckpoint, LedgerTree
from tests.database import TestDatabase
from tests.ledger import (
    append_many,
    grow,
    guards_in,
    restore_backup,
    signed_sizes,
    signed_text,
    tamper,
)

ROOT = Path(__file__).parents[2]


def adopt(checkpoint: Path | str, log: str = "test") -> str:
    output = io.StringIO()
    call_command("ledger_adopt", log=log, checkpoint=str(checkpoint), stdout=output)
    return output.getvalue()


def refuse_to_adopt(checkpoint: Path | str, code: int, message: str, log: str = "test") -> None:
    """See that the command ends so, and that no guard came, went or changed."""
    directory = Path(str(guard.open_guard("test"))).parent
    before = guards_in(directory)
    with pytest.raises(CommandError, match=message) as caught:
        adopt(checkpoint, log)
    assert caught.value.returncode == code
    assert guards_in(directory) == before


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The checkpoint of size 2 that an operator kept of a log that went on to size 5."""
    grow(2)
    path = tmp_path / "kept"
    path.write_text(LedgerCheckpoint.objects.get(log="test").note)
    grow(3)
    return path


def keep(path: Path, size: int, root: bytes, log: str = "test") -> Path:
    """A checkpoint with the true signature of the log's key over any tree."""
    checkpoint = notes.Checkpoint(signer.origin(log), size, root)
    path.write_text(notes.sign(checkpoint.text(), signer.load(log)))
    return path


@pytest.mark.django_db
def test_a_trusted_checkpoint_makes_a_lost_guard_again(kept: Path, ledger_guard: Path) -> None:
    (ledger_guard / "test.guard").unlink()

    output = adopt(kept)

    assert (ledger_guard / "test.guard").read_text() == signed_text(5)
    shown = [line.split() for line in output.splitlines()]
    assert [words[0] for words in shown] == ["guard:", "trusted:", "before:", "now:"]
    assert shown[0][1] == str(ledger_guard / "test.guard")
    assert [shown[1][2], shown[2][1:], shown[3][2]] == ["2", ["no", "guard"], "5"]
    grow(1)
    assert signed_sizes() == [2, 5, 6]


@pytest.mark.django_db
def test_the_checkpoint_comes_from_stdin_too(
    kept: Path, ledger_guard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ledger_guard / "test.guard").unlink()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(kept.read_bytes())))

    adopt("-")

    assert (ledger_guard / "test.guard").read_text() == signed_text(5)


@pytest.mark.django_db
def test_adopting_again_changes_nothing(kept: Path, ledger_guard: Path) -> None:
    before = guards_in(ledger_guard)

    adopt(kept)

    assert guards_in(ledger_guard) == before


@pytest.mark.django_db
def test_an_older_guard_is_moved_forward(kept: Path, ledger_guard: Path) -> None:
    (ledger_guard / "test.guard").write_text(signed_text(2))

    adopt(kept)

    assert (ledger_guard / "test.guard").read_text() == signed_text(5)


@pytest.mark.django_db
def test_a_checkpoint_newer_than_the_stored_ones_is_taken_where_the_tree_has_it(
    kept: Path, ledger_guard: Path
) -> None:
    """Its note was published and then lost; the tree was committed before it was signed."""
    append_many(1)
    sequencer.integrate("test")
    newest = LedgerTree.objects.filter(log="test").order_by("-size")[0]
    keep(kept, 6, bytes(newest.root))
    (ledger_guard / "test.guard").unlink()

    adopt(kept)

    assert (ledger_guard / "test.guard").read_text().split("\n")[1] == "6"
    sequencer.run_once()
    assert signed_sizes() == [2, 5, 6]


@pytest.mark.django_db
def test_a_guard_ahead_of_the_notes_is_kept_where_the_tree_has_it(
    kept: Path, ledger_guard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_many(1)
    monkeypatch.setattr(notes, "sign", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        sequencer.run_once()
    before = guards_in(ledger_guard)

    assert "now:     licet.example/ledger/test 6 " in adopt(kept)

    assert guards_in(ledger_guard) == before


def _interrupt(*_arguments: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.django_db(transaction=True)
def test_a_guard_is_never_moved_back(kept: Path, test_database: TestDatabase) -> None:
    restore_backup(test_database, 2)

    refuse_to_adopt(kept, 1, "has 2 entries here, and does not continue the guard of size 5")


@pytest.mark.django_db(transaction=True)
def test_a_checkpoint_beyond_a_restored_backup_is_refused(
    kept: Path, test_database: TestDatabase, ledger_guard: Path
) -> None:
    kept.write_text(LedgerCheckpoint.objects.get(log="test", size=5).note)
    restore_backup(test_database, 2)
    (ledger_guard / "test.guard").unlink()

    refuse_to_adopt(kept, 1, "has 2 entries here, and does not continue the checkpoint of size 5")


@pytest.mark.django_db
def test_a_checkpoint_of_another_history_is_refused(kept: Path, ledger_guard: Path) -> None:
    (ledger_guard / "test.guard").unlink()
    for size in (2, 4, 5):
        keep(kept, size, tree.leaf_hash(b"another history"))
        refuse_to_adopt(kept, 1, f"does not continue the checkpoint of size {size}")


@pytest.mark.django_db(transaction=True)
def test_a_log_that_left_its_own_checkpoint_is_not_adopted(
    kept: Path, test_database: TestDatabase, ledger_guard: Path, tmp_path: Path
) -> None:
    """The trusted one holds, and the stored one does not: there are two histories."""
    (ledger_guard / "test.guard").unlink()
    other = keep(tmp_path / "other", 5, tree.leaf_hash(b"another history")).read_text()
    tamper(
        test_database,
        "licensing_ledgercheckpoint",
        f"UPDATE licensing_ledgercheckpoint SET note = '{other}' WHERE size = 5",
    )

    refuse_to_adopt(kept, 1, "does not continue the newest stored checkpoint of size 5")


@pytest.mark.django_db(transaction=True)
def test_a_log_whose_checkpoint_another_key_signed_is_not_adopted(
    kept: Path, test_database: TestDatabase, ledger_guard: Path
) -> None:
    (ledger_guard / "test.guard").unlink()
    note = LedgerCheckpoint.objects.get(log="test", size=5).note
    other = notes.sign(notes.split_note(note)[0], notes.Signer(signer.origin("test"), bytes(32)))
    tamper(
        test_database,
        "licensing_ledgercheckpoint",
        f"UPDATE licensing_ledgercheckpoint SET note = '{other}' WHERE size = 5",
    )

    refuse_to_adopt(kept, 1, "newest stored checkpoint of the log “test” is not its key's")


@pytest.mark.django_db(transaction=True)
def test_a_log_with_a_changed_leaf_is_not_adopted(
    kept: Path, test_database: TestDatabase, ledger_guard: Path
) -> None:
    (ledger_guard / "test.guard").unlink()
    tamper(
        test_database,
        "licensing_ledgerleaf",
        "UPDATE licensing_ledgerleaf SET leaf_hash = sha256('x') WHERE index = 1",
    )

    refuse_to_adopt(kept, 1, "does not continue the checkpoint of size 2")


@pytest.mark.django_db
def test_a_checkpoint_that_the_logs_key_did_not_sign_is_refused(
    kept: Path, ledger_guard: Path
) -> None:
    (ledger_guard / "test.guard").unlink()
    note = kept.read_text()
    text = notes.split_note(note)[0]
    append_many(1, "live")
    sequencer.run_once()
    stranger = notes.Signer(signer.origin("test"), bytes(32))
    for wrong in (
        notes.sign(text, stranger),
        note.replace("\n2\n", "\n3\n"),
        note.replace("\n", "\r\n"),
        text,
        "",
        LedgerCheckpoint.objects.get(log="live").note,
    ):
        kept.write_bytes(wrong.encode())
        refuse_to_adopt(kept, 2, "This is no checkpoint of the log “test”")


@pytest.mark.django_db
def test_what_is_no_text_or_not_there_is_no_checkpoint(kept: Path, tmp_path: Path) -> None:
    kept.write_bytes(b"\xff" * 9)
    refuse_to_adopt(kept, 2, "This is no checkpoint of the log “test”")
    kept.write_bytes(b"a" * (1 << 16) + b"a")
    refuse_to_adopt(kept, 2, "it is too long")
    refuse_to_adopt(tmp_path / "nothing", 2, "No such file")


@pytest.mark.django_db
def test_a_torn_guard_is_not_overwritten_by_adopting(kept: Path, ledger_guard: Path) -> None:
    (ledger_guard / "test.guard").write_text("licet.example/ledger/test\n5\n")

    refuse_to_adopt(kept, 2, "torn or was edited.*move it away")


@pytest.mark.django_db
def test_a_log_without_key_cannot_be_adopted(kept: Path, settings: Any, tmp_path: Path) -> None:
    settings.LEDGER_KEY_DIR = tmp_path

    refuse_to_adopt(kept, 2, "The log “live” has no key", log="live")


@pytest.mark.oracle
def test_the_command_called_wrongly_ends_with_2_and_help_with_0(
    test_database: TestDatabase,
) -> None:
    def ended(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "manage.py", "ledger_adopt", *arguments],
            cwd=ROOT,
            env=test_database.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    assert ended("--log", "test")[0] == 2
    assert ended("--log", "test", "--checkpoint", "/dev/null")[0] == 2
    code, text = ended("--help")
    assert code == 0
    assert "with 1 when the log does not continue what was signed" in " ".join(text.split())
