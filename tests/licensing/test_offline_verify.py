"""The offline verifier says what a receipt proves, or names what broke in it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from licensing.ledger import notes
from licensing.offline import __main__ as command
from licensing.offline import build
from tests.licensing import receipt_samples
from tests.licensing.receipt_samples import VECTOR
from tests.make import TYPED

VKEY: str = VECTOR["vkey"]
LIVE_VKEY = receipt_samples.signer("live").verifier.vkey()
LIVE = receipt_samples.make(log="live")


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    path = tmp_path / "grant.tlog-proof"
    path.write_bytes(VECTOR["receipt"].encode())
    return path


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def test_a_sound_test_receipt_is_described_and_exits_with_3(receipt: Path, capsys: Any) -> None:
    assert command.main(["verify", str(receipt), "--key", VKEY]) == 3
    citation = VECTOR["values"]["coverage"][0]["citation"]
    text = VECTOR["values"]["terms_text"]["sha256"]
    typed = "f4318b7a5d0c08b03cbbaaff76de53ce4da83ae8db5cde2f34e34b2bab9cce6d"
    document = VECTOR["values"]["documents"][0]["sha256"]
    year = "from 2026-11-24T10:00:00.000000Z until 2027-11-24T10:00:00.000000Z"
    assert capsys.readouterr().out.splitlines() == [
        "TEST LICENSE, no money moved",
        "sound: grant.issued, entry 3 of licet.example/ledger/test",
        "  issued          2026-11-24T10:00:00.000000Z",
        "  licensor        Demo archive, DE, HRB 1001, org_01jd0000000000000000000001",
        "  licensee        Example Lab, Inc., US-DE, 7654321, org_01jd0000000000000000000002",
        "  use             pretrain",
        "  territory       EU",
        f"  access window   {year}",
        f"  training window {year}",
        "  use window      from 2026-11-24T10:00:00.000000Z without end",
        "  price           EUR 1,250.00 (125000 in minor units)",
        f"  coverage        snapshot of 7 items (28,021 bytes, 7 works), citation {citation}",
        f"  terms text      SHA-256 {text}",
        f"  typed terms     SHA-256 {typed}",
        f"  document        contract, SHA-256 {document}",
        "  accepted by     Ada Example, Counsel",
        "  log position    3 in a tree of 5 entries",
        "  verified        licet.example/ledger/test",
        "  unverified      witness.example/w1 (key not known here)",
        "  witnesses       0",
        "  recorded        between 2026-11-24T10:00:00.000000Z and the time of your download",
        "This proves what was issued and logged, not that it is still in force.",
    ]


def test_allow_test_accepts_a_test_license_and_still_says_so(receipt: Path, capsys: Any) -> None:
    assert command.main(["verify", str(receipt), "--key", VKEY, "--allow-test"]) == 0
    assert capsys.readouterr().out.startswith("TEST LICENSE, no money moved\nsound: ")


def test_a_live_receipt_exits_with_0(tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path / "live", LIVE)
    assert command.main(["verify", path, "--key", LIVE_VKEY]) == 0
    assert capsys.readouterr().out.startswith(
        "sound: grant.issued, entry 3 of licet.example/ledger/live\n"
    )


def test_the_report_for_programs_holds_everything_proven(receipt: Path, capsys: Any) -> None:
    assert command.main(["verify", str(receipt), "--key", VKEY, "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert report == {
        "sound": True,
        "test": True,
        "kind": "grant.issued",
        "issued_at": "2026-11-24T10:00:00.000000Z",
        "grant_ref": bytes(range(16)).hex(),
        "log": {
            "origin": "licet.example/ledger/test",
            "index": 3,
            "size": 5,
            "leaf_hash": VECTOR["leaf_hash"],
            "root": notes.decode_base64(VECTOR["checkpoint"].split("\n")[2]).hex(),
        },
        "signatures": {
            "verified": ["licet.example/ledger/test"],
            "unverified": ["witness.example/w1"],
        },
        "witnesses": [],
        "recorded": {"from": "2026-11-24T10:00:00.000000Z", "until": None},
        "consistency": None,
        "continued_by": None,
        "values": VECTOR["values"],
        "party": None,
        "undisclosed": [],
    }


def with_false_citation() -> bytes:
    values = json.loads(json.dumps(VECTOR["values"]))
    values["coverage"][0]["size"] += 1
    return receipt_samples.make(values=values)


@pytest.mark.parametrize(
    ("old", "new", "broken"),
    [
        ("\nindex 3\n", "\nindex 1\n", "proof"),
        ("\n5\n", "\n6\n", "signature"),
        ("extra ", "extra A", "container"),
        ("=\n\n— licet", "=\n— licet", "checkpoint"),
    ],
)
def test_what_broke_is_named(receipt: Path, old: str, new: str, broken: str, capsys: Any) -> None:
    receipt.write_bytes(receipt.read_bytes().replace(old.encode(), new.encode(), 1))
    assert command.main(["verify", str(receipt), "--key", VKEY, "--allow-test"]) == 1
    assert capsys.readouterr().out.startswith(f"NOT SOUND: {broken}: ")
    assert command.main(["verify", str(receipt), "--key", VKEY, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["sound"], report["broken"], report["field"]) == (False, broken, None)


def test_a_citation_of_another_set_is_not_sound(tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path / "false", with_false_citation())
    assert command.main(["verify", path, "--key", VKEY, "--allow-test"]) == 1
    assert capsys.readouterr().out.startswith("NOT SOUND: openings, field “coverage”: ")


def test_the_wrong_key_is_not_sound_and_names_who_signed(receipt: Path, capsys: Any) -> None:
    assert command.main(["verify", str(receipt), "--key", LIVE_VKEY]) == 1
    said = capsys.readouterr().out
    assert said == (
        "NOT SOUND: signature: no known key signed this; it names: "
        "licet.example/ledger/test, witness.example/w1\n"
    )


def test_without_a_key_nothing_is_said_to_be_sound(receipt: Path, capsys: Any) -> None:
    assert command.main(["verify", str(receipt)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "/ledger/live/vkey" in said.err


def test_a_key_is_taken_from_a_file_with_comments(
    receipt: Path, tmp_path: Path, capsys: Any
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"# our logs\n{LIVE_VKEY}\n\n{VKEY}\n")
    assert command.main(["verify", str(receipt), "--key", str(keys), "--allow-test"]) == 0
    keys.write_text("# nothing yet\n")
    assert command.main(["verify", str(receipt), "--key", str(keys)]) == 2


@pytest.mark.parametrize("key", ["/nonexistent", "a+b+c", VKEY[:-1], VKEY.replace("test", "tset")])
def test_a_wrong_key_is_a_wrong_call(receipt: Path, key: str, capsys: Any) -> None:
    assert command.main(["verify", str(receipt), "--key", key]) == 2
    assert capsys.readouterr().err.startswith(f"licet-offline: --key {key}: ")


def test_a_receipt_that_cannot_be_read_is_a_wrong_call(tmp_path: Path, capsys: Any) -> None:
    assert command.main(["verify", str(tmp_path / "none"), "--key", VKEY]) == 2
    assert "No such file" in capsys.readouterr().err
    assert command.main(["verify", str(tmp_path), "--key", VKEY]) == 2


def test_a_receipt_is_taken_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(LIVE)))
    assert command.main(["verify", "-", "--key", LIVE_VKEY]) == 0


def test_private_fields_are_listed_as_not_shown(tmp_path: Path, capsys: Any) -> None:
    data = receipt_samples.make(log="live", disclosed=frozenset({"scope"}))
    assert command.main(["verify", write(tmp_path / "r", data), "--key", LIVE_VKEY]) == 0
    said = capsys.readouterr().out
    assert "  use             pretrain\n" in said
    assert "licensor  " not in said
    assert "  not shown       acceptance, coverage, documents, licensee, licensor, " in said


def test_names_of_other_people_cannot_steer_the_terminal(tmp_path: Path, capsys: Any) -> None:
    values = {
        **VECTOR["values"],
        "licensor": {"legal_name": "\x1b[2Jsound\r\n\u202egnuos"},
        "scope": {"uses": "pretrain\x07", "\x1b]0;": ["\x9b"]},
        "windows": [1],
        "price": {"amount_minor": -5, "currency": "JPY"},
        "coverage": "none",
        "documents": None,
        "acceptance": 7,
    }
    data = receipt_samples.make(log="live", values=values)
    assert command.main(["verify", write(tmp_path / "r", data), "--key", LIVE_VKEY]) == 0
    said = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in said)
    assert "licensor        \\u001b[2Jsound\\u000d\\u000a\\u202egnuos\n" in said
    assert "JPY -5 (-5 in minor units)" in said


# --- one file, without Django -----------------------------------------------------------------


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment of its own that holds the cryptography package and nothing else."""
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, with_pip=False, symlinks=True)
    ours = Path(sysconfig.get_paths()["purelib"])
    paths = sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)})
    theirs = Path(paths["purelib"])
    for pattern in ("cryptography", "cffi", "_cffi_backend*", "pycparser"):
        for found in ours.glob(pattern):
            (theirs / found.name).symlink_to(found)
    assert (theirs / "cryptography").exists()
    return home / "bin" / "python"


def run_bare(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # -I: neither this directory, nor PYTHONPATH, nor the user's packages.
    return subprocess.run(
        [str(python), "-I", *arguments], capture_output=True, text=True, timeout=60
    )


def test_the_one_file_verifies_without_django(
    bare_python: Path, receipt: Path, tmp_path: Path
) -> None:
    pyz = tmp_path / "licet-offline.pyz"
    build.build(pyz)
    assert run_bare(bare_python, "-c", "import django").returncode == 1
    sound = run_bare(bare_python, str(pyz), "verify", str(receipt), "--key", VKEY)
    assert (sound.returncode, sound.stderr) == (3, "")
    assert sound.stdout.startswith("TEST LICENSE, no money moved\nsound: ")

    data = receipt.read_bytes()
    receipt.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    broken = run_bare(bare_python, str(pyz), "verify", str(receipt), "--key", VKEY)
    assert broken.returncode == 1
    assert broken.stdout.startswith("NOT SOUND: ")


def test_the_one_file_decides_without_django(bare_python: Path, tmp_path: Path) -> None:
    pyz = tmp_path / "licet-offline.pyz"
    build.build(pyz)
    values = {**VECTOR["values"], "terms": TYPED}
    path = write(tmp_path / "receipt", receipt_samples.make(log="live", values=values))
    asked = ["--use", "pretrain", "--territory", "DE", "--at", "2027-01-01T00:00:00Z"]
    done = run_bare(bare_python, str(pyz), "decide", path, "--key", LIVE_VKEY, *asked)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("permit        anything of the grant  clause 2.1")


def test_the_one_file_pulls_without_any_package(tmp_path: Path) -> None:
    pyz = tmp_path / "licet-offline.pyz"
    build.build(pyz)
    venv.create(tmp_path / "empty", with_pip=False, symlinks=True)
    python = tmp_path / "empty" / "bin" / "python"
    key = tmp_path / "key"
    key.write_text("licet_test_x")
    arguments = ["--grant", "grt_x", "--to", str(tmp_path / "to"), "--key-file", str(key)]
    nobody = run_bare(python, str(pyz), "pull", "--server", "http://127.0.0.1:9", *arguments)
    assert nobody.returncode == 1
    assert nobody.stderr.splitlines()[-1].startswith(
        "pull: the manifest cannot be had: 127.0.0.1:9: "
    )

    cannot = run_bare(python, str(pyz), "verify", str(key), "--key", VKEY)
    assert cannot.returncode == 2
    assert cannot.stderr == (
        "licet-offline: verify needs the Python package cryptography: pip install cryptography\n"
    )


@pytest.mark.parametrize("arguments", [[], ["verify"], ["decide"], ["pull"]])
def test_help_tells_the_exit_codes_and_a_wrong_call_exits_with_2(
    arguments: list[str], capsys: Any
) -> None:
    with pytest.raises(SystemExit) as left:
        command.main([*arguments, "--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert ("Exit codes" in said) == bool(arguments)
    with pytest.raises(SystemExit) as left:
        command.main(arguments)
    assert left.value.code == 2


def test_the_one_file_is_the_same_wherever_it_is_built(tmp_path: Path) -> None:
    first, second = tmp_path / "first.pyz", tmp_path / "second.pyz"
    digest = build.build(first)
    before = os.umask(0o077)
    try:
        assert build.build(second) == digest
    finally:
        os.umask(before)
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_mode & 0o777 == 0o755
    with zipfile.ZipFile(first) as archive:
        assert archive.namelist() == ["__main__.py", *build.SOURCES]
        assert all(entry.date_time == (1980, 1, 1, 0, 0, 0) for entry in archive.infolist())


def test_the_one_file_can_be_run_by_its_name(tmp_path: Path) -> None:
    pyz = tmp_path / "licet-offline.pyz"
    build.build(pyz)
    assert pyz.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    told = subprocess.run([sys.executable, str(pyz), "--help"], capture_output=True, text=True)
    assert told.returncode == 0
    assert "verify" in told.stdout
