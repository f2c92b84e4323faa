"""The offline tool recomputes whole logs, and names the first file that is not what was signed."""

from __future__ import annotations

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from licensing.ledger import tree
from licensing.offline import __main__ as command
from tests.logs import Cosigner, MemoryLog, bodies

LOG = MemoryLog(bodies(66_000))
VKEY = LOG.key.verifier.vkey()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        return


@pytest.mark.parametrize("size", [1, 255, 256, 257, 512, 600, 65_536, 65_537, 66_000])
def test_a_log_of_any_size_is_sound(size: int, tmp_path: Path, capsys: Any) -> None:
    LOG.export(tmp_path, size)
    assert command.main(["audit", str(tmp_path), "--key", VKEY]) == 0
    assert capsys.readouterr().out.startswith(f"sound: {size} entries of licet.example/ledger/test")


def test_a_log_is_audited_where_it_is_served(tmp_path: Path) -> None:
    LOG.export(tmp_path, 600)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        assert command.main(["audit", url, "--key", VKEY]) == 0
        assert command.main(["audit", f"{url}/nothing", "--key", VKEY]) == 2
        server.shutdown()


def test_whole_files_stand_in_for_partial_ones(tmp_path: Path) -> None:
    """A mirror may clear partial tiles away once the whole ones are there."""
    LOG.export(tmp_path, 1024)
    (tmp_path / "checkpoint").write_text(LOG.note(600))
    assert command.main(["audit", str(tmp_path), "--key", VKEY]) == 2
    (tmp_path / "tile/1/000.p/2").write_bytes((tmp_path / "tile/1/000.p/4").read_bytes()[:64])
    assert command.main(["audit", str(tmp_path), "--key", VKEY]) == 0


def test_witnesses_that_are_named_are_counted(tmp_path: Path, capsys: Any) -> None:
    one, other = Cosigner("one.example", b"1" * 32), Cosigner("other.example", b"2" * 32)
    LOG.export(tmp_path, 300)
    (tmp_path / "checkpoint").write_text(LOG.note(300, one, other))
    arguments = ["audit", str(tmp_path), "--key", VKEY, "--witness", one.vkey, "--json"]
    assert command.main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["witnesses"] == ["one.example"]

    wrong = Cosigner("one.example", b"1" * 32).line("another text\n", 5)
    (tmp_path / "checkpoint").write_text(LOG.note(300) + wrong)
    assert command.main(arguments) == 1
    assert json.loads(capsys.readouterr().out) == {
        "sound": False,
        "broken": "checkpoint",
        "reason": "checkpoint: the cosignature of one.example is wrong",
    }


@pytest.mark.parametrize(
    ("path", "change", "said"),
    [
        ("tile/entries/001", lambda data: data[:-1], "tile/entries/001: it ends in its entry 255"),
        ("tile/entries/002.p/88", lambda data: data + b"x", "1 bytes follow its last entry"),
        ("tile/0/001", lambda data: data[32:64] + data[:32] + data[64:], "hash of entry 256"),
        ("tile/1/000.p/2", lambda data: data[:32] * 2, "hash of tile of level 0 1 is another"),
        ("checkpoint", lambda data: data.replace(b"\n600\n", b"\n599\n"), "is wrong"),
        (
            "checkpoint",
            lambda _data: MemoryLog(bodies(600, first=9)).note(600).encode(),
            "the entries have another root",
        ),
    ],
)
def test_what_was_changed_is_named(
    path: str, change: Any, said: str, tmp_path: Path, capsys: Any
) -> None:
    LOG.export(tmp_path, 600)
    file = tmp_path / path
    file.write_bytes(change(file.read_bytes()))

    assert command.main(["audit", str(tmp_path), "--key", VKEY]) == 1

    out = capsys.readouterr().out
    assert out.startswith("BROKEN: ")
    assert said in out


@pytest.mark.parametrize("arguments", [[], ["--key", "nonsense"]])
def test_called_wrongly_it_says_so(arguments: list[str], tmp_path: Path) -> None:
    LOG.export(tmp_path, 3)
    assert command.main(["audit", str(tmp_path), *arguments]) == 2
    assert command.main(["audit", str(tmp_path / "none"), "--key", VKEY]) == 2


def test_a_bundle_stands_beside_its_tile() -> None:
    assert tree.bundle_path(1234, 256) == "tile/entries/x001/234"
    assert tree.bundle_path(0, 3) == "tile/entries/000.p/3"
