"""A handover verifies every receipt by itself: without this server, its database, or Django."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from licensing.ledger import proofs, sequencer, signer, tiles
from licensing.models import LedgerOpening
from marketplace import access
from marketplace.models import Organization
from tests.ledger import append_many, grow
from tests.make import issue_grant, make_offer
from tests.people import caller_for
from tests.witnesses import serving

pytestmark = pytest.mark.django_db


def handover(directory: Path) -> tuple[str, str]:
    out, errors = io.StringIO(), io.StringIO()
    call_command("handover", str(directory), stdout=out, stderr=errors)
    return out.getvalue(), errors.getvalue()


def alone(directory: Path, *arguments: str) -> tuple[int, str]:
    """Run the tool that lies in a handover, as a stranger does: with Python and cryptography."""
    command = [sys.executable, "-I", "-X", "importtime", "licet-offline.pyz", *arguments]
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=120, env={}
    )
    assert "django" not in done.stderr
    assert "cryptography" in done.stderr
    return done.returncode, done.stdout


@pytest.fixture
def handed_over(
    tmp_path: Path, settings: Any, archive: Organization, lab: Organization
) -> tuple[Path, Path]:
    """A handover, away from where it was made, and a party's receipt."""
    with serving("witness.example/w1", signer.load("test").verifier) as server:
        settings.LEDGER_WITNESSES = server.setting
        grow(250)
        grant = issue_grant(lab, make_offer(archive))
        grow(20)
        call_command("ledger_witness", once=True, log="test", stdout=io.StringIO())
    # The keys of witnesses that are named no more are handed over, too.
    settings.LEDGER_WITNESSES = ""
    caller = caller_for(lab)
    with access.acting(caller, writing=False):
        entry = grant.issued_entry
        assert LedgerOpening.objects.visible_to(caller).filter(entry=entry).exists()
        receipt = proofs.receipt_for(caller, entry)
    assert receipt is not None
    kept = tmp_path / "grant.tlog-proof"
    kept.write_bytes(receipt)
    out, errors = handover(tmp_path / "made")
    assert out.startswith("test: 273 entries, 1 cosigned checkpoints\n")
    assert errors == ""
    return (tmp_path / "made").rename(tmp_path / "elsewhere"), kept


def test_a_partys_receipt_verifies_from_the_directory_alone(
    handed_over: tuple[Path, Path],
) -> None:
    directory, receipt = handed_over

    arguments = ["--key", "keys/test.vkey", "--witness", "keys/witnesses.vkey"]
    code, out = alone(directory, "verify", str(receipt), *arguments, "--log", "ledger/test")

    assert code == 3
    assert "sound: grant.issued, entry 252 of licet.example/ledger/test" in out
    assert "witnesses       1: witness.example/w1 at 2027-01-15T08:00:00Z" in out
    assert "the published tree of 273 entries" in out


def test_the_whole_log_is_recomputed_from_the_directory_alone(
    handed_over: tuple[Path, Path],
) -> None:
    directory, _receipt = handed_over
    arguments = ["--key", "keys/test.vkey", "--witness", "keys/witnesses.vkey", "--json"]

    code, out = alone(directory, "audit", "ledger/test", *arguments)

    newest = tiles.newest_tree("test")
    assert newest is not None
    assert code == 0
    assert json.loads(out) == {
        "key_changes": [],
        "continued_by": None,
        "sound": True,
        "origin": "licet.example/ledger/test",
        "size": 273,
        "root": bytes(newest.root).hex(),
        "witnesses": ["witness.example/w1"],
    }


CHANGED = [
    ("tile/entries/000", 1, "BROKEN: tile/0/000: its hash of entry 0 is another"),
    ("tile/entries/001.p/17", 1, "BROKEN: tile/0/001.p/17: its hash of entry 256 is another"),
    ("tile/0/000", 1, "BROKEN: tile/0/000: its hash of entry 0 is another"),
    ("tile/1/000.p/1", 1, "its hash of tile of level 0 0 is another"),
    ("checkpoint", 1, "BROKEN: checkpoint: "),
    ("vkey", 0, "sound: 273 entries of licet.example/ledger/test"),
]


@pytest.mark.oracle
def test_what_is_changed_in_it_is_named(handed_over: tuple[Path, Path]) -> None:
    """One handover for all: making it takes longer than looking at it."""
    directory, _receipt = handed_over
    for name, code, said in CHANGED:
        file = directory / "ledger" / "test" / name
        before = file.read_bytes()
        data = bytearray(before)
        # The first byte of an entry, of a hash, or of an origin.
        data[2 if "entries" in name else 0] ^= 1
        file.write_bytes(data)

        found, out = alone(directory, "audit", "ledger/test", "--key", "keys/test.vkey")

        assert found == code, name
        assert said in out
        assert damaged(directory) == [f"ledger/test/{name}"]
        file.write_bytes(before)


@pytest.mark.oracle
def test_what_is_missing_of_it_is_named(handed_over: tuple[Path, Path]) -> None:
    directory, _receipt = handed_over
    for name in ("tile/entries/000", "tile/0/001.p/17", "checkpoint"):
        file = directory / "ledger" / "test" / name
        before = file.read_bytes()
        file.unlink()
        arguments = ["audit", "ledger/test", "--key", "keys/test.vkey"]
        assert alone(directory, *arguments)[0] == 2, name
        file.write_bytes(before)


def damaged(directory: Path) -> list[str]:
    """What differs from the list of SHA-256, read as sha256sum does."""
    found = []
    for line in (directory / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ", 1)
        if hashlib.sha256((directory / name).read_bytes()).hexdigest() != digest:
            found.append(name)
    return found


def test_every_file_is_in_the_list_and_explained(handed_over: tuple[Path, Path]) -> None:
    directory, _receipt = handed_over
    files = {
        path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()
    }
    listed = {
        line.split("  ", 1)[1] for line in (directory / "SHA256SUMS").read_text().splitlines()
    }

    assert damaged(directory) == []
    assert listed == {name for name in files if "/." not in name} - {"SHA256SUMS"}
    assert {name.split("/")[0] for name in listed} == {
        "LICENSE", "README.md", "cosigned", "docs", "keys", "ledger", "licet-offline.pyz",
    }  # fmt: skip
    readme = (directory / "README.md").read_text()
    assert (directory / "keys" / "test.vkey").read_text().strip() in readme
    assert "{" not in readme
    [line] = (directory / "cosigned" / "test.ndjson").read_text().splitlines()
    assert json.loads(line)["note"] == (directory / "ledger/test/checkpoint").read_text()
    if sha256sum := shutil.which("sha256sum"):
        subprocess.run([sha256sum, "-c", "--quiet", "SHA256SUMS"], cwd=directory, check=True)


def test_nothing_private_is_in_it(
    handed_over: tuple[Path, Path], archive: Organization, lab: Organization
) -> None:
    directory, _receipt = handed_over
    private = [str(archive.pk), str(lab.pk), "Archive", "Lab"]
    for path in (directory / "ledger").rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode(errors="replace")
            assert [each for each in private if each in text] == []


def test_a_second_time_it_adds_what_is_new(handed_over: tuple[Path, Path]) -> None:
    directory, _receipt = handed_over
    grow(300)
    append_many(1)

    out, errors = handover(directory)

    assert out.startswith("test: 573 entries")
    assert "test: 1 entries have no place yet" in errors
    code, said = alone(directory, "audit", "ledger/test", "--key", "keys/test.vkey")
    assert (code, "573 entries" in said) == (0, True)
    assert damaged(directory) == []


def test_both_logs_are_handed_over(tmp_path: Path) -> None:
    append_many(2, "live")
    append_many(3)
    sequencer.run_once()
    handover(tmp_path / "made")
    for log, size in (("live", 2), ("test", 3)):
        code, said = alone(tmp_path / "made", "audit", f"ledger/{log}", "--key", f"keys/{log}.vkey")
        assert (code, f"{size} entries of" in said) == (0, True)
    # A log's key is not the other's.
    assert alone(tmp_path / "made", "audit", "ledger/live", "--key", "keys/test.vkey")[0] == 1


def test_a_directory_with_something_else_is_refused(tmp_path: Path) -> None:
    grow(1)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CommandError, match="holds something else") as refusal:
        handover(tmp_path)
    assert refusal.value.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
