"""The keys of the logs: made once, kept private, bound to their log."""

from __future__ import annotations

import io
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from licensing.ledger import notes, signer


@pytest.fixture
def key_dir(tmp_path: Path, settings: Any) -> Path:
    directory = tmp_path / "keys"
    settings.LEDGER_KEY_DIR = directory
    settings.DEVELOPMENT = False
    return directory


def ledger_key(log: str) -> str:
    output = io.StringIO()
    call_command("ledger_key", log=log, stdout=output)
    return output.getvalue()


def test_a_key_is_made_once_and_read_by_its_owner_only(key_dir: Path) -> None:
    first = ledger_key("live")

    assert ledger_key("live") == first

    assert stat.S_IMODE((key_dir / "live.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(key_dir.stat().st_mode) == 0o700
    assert sorted(path.name for path in key_dir.iterdir()) == ["live.key", "live.vkey"]
    assert (key_dir / "live.vkey").read_text() == first


def test_the_printed_key_verifies_what_the_log_signs(key_dir: Path) -> None:
    vkey = ledger_key("test").strip()

    note = notes.sign("a text\n", signer.load("test"))

    opened = notes.open_note(note, [notes.Verifier.parse(vkey)])
    assert [line.name for line in opened.verified] == ["licet.example/ledger/test"]
    assert vkey.startswith("licet.example/ledger/test+")


def test_two_that_create_at_once_get_the_same_key(key_dir: Path) -> None:
    barrier = threading.Barrier(8)
    made: list[str] = []

    def create() -> None:
        barrier.wait()
        made.append(signer.create("test").vkey())

    threads = [threading.Thread(target=create) for _number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 8
    assert len(set(made)) == 1
    assert sorted(path.name for path in key_dir.iterdir()) == ["test.key", "test.vkey"]


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o602])
def test_a_key_that_others_may_touch_is_refused(key_dir: Path, mode: int) -> None:
    signer.create("test")
    (key_dir / "test.key").chmod(mode)

    with pytest.raises(signer.KeyUnusable, match="chmod 600"):
        signer.load("test")
    with pytest.raises(CommandError, match="chmod 600"):
        ledger_key("test")


def test_only_development_makes_a_key_by_itself_and_only_the_test_logs(
    key_dir: Path, settings: Any
) -> None:
    with pytest.raises(signer.KeyUnusable, match=r"manage\.py ledger_key --log test"):
        signer.load("test")
    settings.DEVELOPMENT = True

    assert signer.load("test").verifier.name == "licet.example/ledger/test"

    with pytest.raises(signer.KeyUnusable, match=r"manage\.py ledger_key --log live"):
        signer.load("live")


def test_the_key_of_another_log_is_refused(key_dir: Path, settings: Any) -> None:
    signer.create("test")
    (key_dir / "test.key").rename(key_dir / "live.key")
    with pytest.raises(signer.KeyUnusable, match="made for another log than “licet"):
        signer.load("live")

    (key_dir / "live.key").rename(key_dir / "test.key")
    settings.LEDGER_ORIGIN = "other.example/ledger"
    with pytest.raises(signer.KeyUnusable, match="LICET_LEDGER_ORIGIN"):
        signer.load("test")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PRIVATE+KEY+licet.example/ledger/test+00000000+AQ==\n",
        "PRIVATE+KEY+licet.example/ledger/test+00000000+" + "A" * 44 + "\n",
        "PRIVATE+KEY+licet.example/ledger/test+zz+!\n",
    ],
)
def test_a_damaged_key_is_refused(key_dir: Path, text: str) -> None:
    key_dir.mkdir()
    (key_dir / "test.key").write_text(text)
    (key_dir / "test.key").chmod(0o600)

    with pytest.raises(signer.KeyUnusable):
        signer.load("test")


def test_a_host_that_only_serves_needs_the_public_half(key_dir: Path) -> None:
    vkey = signer.create("live").vkey()
    (key_dir / "live.key").unlink()

    verifier = signer.verifier("live")

    assert verifier is not None
    assert verifier.vkey() == vkey
    assert signer.verifier("test") is None
