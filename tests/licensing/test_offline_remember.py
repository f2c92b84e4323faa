"""`verify --remember` and `--log`: a log that shows two trees is found out."""

from __future__ import annotations

import functools
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from licensing.ledger import cosignatures, notes
from licensing.offline import __main__ as command
from licensing.offline import build, remember
from tests.logs import Cosigner, MemoryLog, bodies

LOG = MemoryLog(bodies(600))
# The same log up to 300 entries; then it tells somebody else another story.
FORK = MemoryLog([*bodies(300), *bodies(300, first=10_000)])
VKEY = LOG.key.verifier.vkey()
W1 = Cosigner("witness.example/w1", bytes(32))
W2 = Cosigner("witness.example/w2", b"2" * 32)
ORIGIN = LOG.key.verifier.name

Verify = Callable[..., dict[str, Any]]


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "seen.json"


@pytest.fixture
def verify(tmp_path: Path, capsys: Any) -> Verify:
    """Run the command on a receipt; give its exit code, what it said, and its report."""

    def run(receipt: bytes, *options: str) -> dict[str, Any]:
        path = tmp_path / "receipt"
        path.write_bytes(receipt)
        arguments = ["verify", str(path), "--key", VKEY, "--allow-test", *options]
        code = command.main(arguments)
        said = capsys.readouterr()
        assert command.main([*arguments, "--json"]) == code
        shown = capsys.readouterr().out
        return {"code": code, "out": said.out, "err": said.err, **json.loads(shown or "{}")}

    return run


def remembered(memory: Path) -> str:
    kept = json.loads(memory.read_text())["logs"][ORIGIN]["checkpoint"]
    return "\n".join(kept) + "\n"


def test_the_first_checkpoint_of_a_log_is_kept_as_it_was_signed(
    verify: Verify, memory: Path
) -> None:
    path = memory.with_name("receipt")
    path.write_bytes(LOG.receipt(3, 10))
    arguments = ["verify", str(path), "--key", VKEY, "--allow-test", "--remember", str(memory)]
    assert command.main(arguments) == 0

    assert remembered(memory) == LOG.note(10)
    # Made to be read: each line of the checkpoint is one.
    assert f'"{ORIGIN}",\n' in memory.read_text()
    again = verify(LOG.receipt(7, 10), "--remember", str(memory))
    assert (again["code"], again["consistency"]["result"]) == (0, "same")
    assert "  consistency     the same tree as the remembered tree of 10 entries\n" in again["out"]


def test_another_root_of_the_same_size_is_found_without_the_log(
    verify: Verify, memory: Path
) -> None:
    verify(LOG.receipt(3, 400), "--remember", str(memory))
    before = memory.read_bytes()

    told = verify(FORK.receipt(3, 400), "--remember", str(memory))

    assert (told["code"], told["broken"]) == (1, "consistency")
    assert told["out"].startswith(
        f"NOT SOUND: consistency: {ORIGIN} signed another tree of 400 entries before. Keep "
    )
    assert memory.read_bytes() == before


@pytest.mark.parametrize("size", [9, 11])
def test_another_size_is_not_checked_without_the_log(
    verify: Verify, memory: Path, size: int
) -> None:
    verify(LOG.receipt(3, 10), "--remember", str(memory))
    before = memory.read_bytes()

    told = verify(LOG.receipt(3, size), "--remember", str(memory))

    assert (told["code"], told["sound"], told["consistency"]["result"]) == (2, True, "not_checked")
    assert (
        "consistency     not checked: the remembered tree has 10 entries. Give --log"
        in (told["out"])
    )
    # What was not compared is not remembered: it would hide the older one.
    assert memory.read_bytes() == before


@pytest.mark.parametrize(
    ("first", "then", "shown"),
    [
        (1, 2, 2),
        (3, 255, 256),
        (255, 256, 257),
        (256, 257, 257),
        (300, 512, 600),
        (600, 4, 600),
        (512, 257, 513),
        (600, 600, 600),
    ],
)
def test_any_two_states_of_one_log_are_consistent_by_its_tiles(
    verify: Verify, memory: Path, tmp_path: Path, first: int, then: int, shown: int
) -> None:
    log = LOG.export(tmp_path / "log", shown)
    verify(LOG.receipt(0, first), "--remember", str(memory))

    told = verify(LOG.receipt(0, then), "--remember", str(memory), "--log", str(log))

    assert told["code"] == 0
    assert told["consistency"]["result"] in ("continues", "same")
    # The newest of all three is what the next one is compared with.
    assert remembered(memory) == LOG.note(max(first, then, shown))


@pytest.mark.parametrize(("first", "then"), [(400, 500), (500, 400), (300, 301), (301, 600)])
def test_a_fork_is_found_by_the_tiles_of_either_side(
    verify: Verify, memory: Path, tmp_path: Path, first: int, then: int
) -> None:
    verify(LOG.receipt(0, first), "--remember", str(memory))
    before = memory.read_bytes()
    consistent = first == 300
    for name, log in (("theirs", FORK), ("ours", LOG)):
        place = str(log.export(tmp_path / name, 600))
        told = verify(FORK.receipt(0, then), "--remember", str(memory), "--log", place)
        if consistent and name == "theirs":
            # Up to 300 entries there is only one log.
            assert told["code"] == 0
            memory.write_bytes(before)
            continue
        assert (told["code"], told["broken"]) == (1, "consistency")
        assert "does not continue" in told["out"] or "do not make the root" in told["out"]
        assert memory.read_bytes() == before


def test_a_log_is_compared_with_a_receipt_without_a_memory(verify: Verify, tmp_path: Path) -> None:
    ours, theirs = LOG.export(tmp_path / "ours", 600), FORK.export(tmp_path / "theirs", 600)

    sound = verify(LOG.receipt(3, 400), "--log", str(ours))
    assert (sound["code"], sound["consistency"]["text"]) == (
        0,
        "one log with the published tree of 600 entries",
    )
    assert verify(LOG.receipt(3, 400), "--log", str(theirs))["code"] == 1


def test_a_partial_tile_that_was_cleared_away_is_read_from_its_full_one(
    verify: Verify, memory: Path, tmp_path: Path
) -> None:
    log = LOG.export(tmp_path / "log", 512)
    # A stale mirror's checkpoint: tiles of more than it says.
    (log / "checkpoint").write_text(LOG.note(200))
    verify(LOG.receipt(0, 100), "--remember", str(memory))

    assert verify(LOG.receipt(0, 300), "--remember", str(memory), "--log", str(log))["code"] == 0


@pytest.mark.parametrize("spoiled", ["checkpoint", "tile/0/001.p/144", "tile/1/000.p/1", "all"])
def test_what_cannot_be_had_of_a_log_is_named_and_nothing_is_remembered(
    verify: Verify, memory: Path, tmp_path: Path, spoiled: str
) -> None:
    verify(LOG.receipt(0, 10), "--remember", str(memory))
    before = memory.read_bytes()
    log = tmp_path / "log"
    if spoiled != "all":
        LOG.export(log, 400)
        (log / spoiled).unlink()

    told = verify(LOG.receipt(0, 399), "--remember", str(memory), "--log", str(log))

    named = "neither a web address nor a directory" if spoiled == "all" else f"{spoiled}: not there"
    # The width of the newest state is what is asked for.
    assert (told["code"], named in told["out"]) == (2, True), told["out"]
    assert memory.read_bytes() == before


def test_a_log_that_went_back_is_named(verify: Verify, memory: Path, tmp_path: Path) -> None:
    """As after the restore of an old backup, before anything new was signed."""
    verify(LOG.receipt(0, 400), "--remember", str(memory))
    log = LOG.export(tmp_path / "log", 300)

    told = verify(LOG.receipt(0, 300), "--remember", str(memory), "--log", str(log))

    assert told["code"] == 2
    assert "shows a tree of 300 entries, and 400 were signed before" in told["out"]
    assert remembered(memory) == LOG.note(400)


@pytest.mark.parametrize("cut", [0, 31, -1])
def test_a_tile_that_was_cut_or_changed_never_passes(
    verify: Verify, tmp_path: Path, cut: int
) -> None:
    log = LOG.export(tmp_path / "log", 400)
    path = log / "tile/0/001.p/144"
    data = path.read_bytes()
    path.write_bytes(data[:cut] if cut >= 0 else bytes([data[0] ^ 1]) + data[1:])

    told = verify(LOG.receipt(0, 300), "--log", str(log))

    assert told["code"] == (2 if cut >= 0 else 1)
    assert ("shorter than 144 hashes" if cut >= 0 else "do not make the root") in told["out"]


def test_the_log_of_another_key_or_name_is_not_compared(verify: Verify, tmp_path: Path) -> None:
    live = MemoryLog(bodies(3, "live"), "live").export(tmp_path / "live", 3)

    unknown = verify(LOG.receipt(0, 3), "--log", str(live))
    named = verify(LOG.receipt(0, 3), "--log", str(live), "--key", str(live / "vkey"))

    assert (unknown["code"], "no known key signed this" in unknown["out"]) == (2, True)
    assert (named["code"], "is the log licet.example/ledger/live" in named["out"]) == (2, True)


def test_logs_are_remembered_beside_each_other(
    verify: Verify, memory: Path, tmp_path: Path
) -> None:
    live = MemoryLog(bodies(3, "live"), "live")
    key = tmp_path / "vkey"
    key.write_text(live.key.verifier.vkey())

    verify(LOG.receipt(0, 3), "--remember", str(memory))
    verify(live.receipt(0, 3), "--remember", str(memory), "--key", str(key))

    assert json.loads(memory.read_text())["logs"].keys() == {
        "licet.example/ledger/live",
        "licet.example/ledger/test",
    }
    # Neither lock nor draft is left but the lock's own file.
    assert sorted(path.name for path in memory.parent.glob("*seen*")) == [
        "seen.json",
        "seen.json.lock",
    ]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        '{"format": "another", "logs": {}}',
        '{"format": "licet/remembered/v1", "logs": []}',
        '{"format": "licet/remembered/v1", "logs": {"x": {"checkpoint": ["y", "1"]}}}',
        '{"format": "licet/remembered/v1", "logs": {"x": {"checkpoint": 7}}}',
        json.dumps(
            {
                "format": "licet/remembered/v1",
                "logs": {"another.example": {"checkpoint": LOG.note(3).split("\n")[:-1]}},
            }
        ),
    ],
)
def test_a_file_that_is_no_memory_is_left_alone(verify: Verify, memory: Path, content: str) -> None:
    memory.write_text(content)

    told = verify(LOG.receipt(0, 3), "--remember", str(memory))

    assert told["code"] == 2
    assert "is no file of remembered checkpoints" in told["err"]
    assert memory.read_text() == content


def test_a_memory_that_cannot_be_written_is_a_wrong_call(verify: Verify, tmp_path: Path) -> None:
    told = verify(LOG.receipt(0, 3), "--remember", str(tmp_path / "none" / "seen.json"))

    assert told["code"] == 2
    assert "No such file" in told["err"]


def test_an_unsound_receipt_is_not_remembered(verify: Verify, memory: Path) -> None:
    receipt = LOG.receipt(3, 10).replace(b"\nindex 3\n", b"\nindex 4\n")

    assert verify(receipt, "--remember", str(memory))["code"] == 1
    assert not memory.exists()


def test_the_later_of_two_at_once_never_undoes_the_newer_one(
    tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow one read the file first, and would write last: back to an older tree."""
    log = str(LOG.export(tmp_path / "log", 5))
    LOG.export(tmp_path / "log", 10)
    (tmp_path / "log" / "checkpoint").write_text(LOG.note(5))
    slow_has_read, quick_is_done = threading.Event(), threading.Event()
    compare = remember._compare

    def delayed(receipt: remember.Seen, *others: Any) -> remember.Consistency:
        if receipt.checkpoint.size == 5:
            slow_has_read.set()
            # With the lock the quick one cannot be done before; without it, it is.
            quick_is_done.wait(1)
        return compare(receipt, *others)

    monkeypatch.setattr(remember, "_compare", delayed)

    def run(size: int) -> None:
        seen = remember.Seen.parse("receipt’s", LOG.note(size))
        assert remember.check(seen, [LOG.key.verifier], file=memory, place=log) is not None

    slow = threading.Thread(target=run, args=[5])
    slow.start()
    assert slow_has_read.wait(10)
    run(10)
    quick_is_done.set()
    slow.join()

    assert remembered(memory) == LOG.note(10)


# --- over HTTP, by the one file ---------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An exported log behind a web server that knows nothing of logs."""
    directory = tmp_path / "served"
    directory.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", directory
        server.shutdown()
        thread.join()


def test_the_one_file_compares_with_a_log_on_the_web(
    served: tuple[str, Path], tmp_path: Path, memory: Path
) -> None:
    address, directory = served
    pyz = tmp_path / "licet-offline.pyz"
    build.build(pyz)

    def run(receipt: bytes) -> tuple[int, str]:
        path = tmp_path / "receipt"
        path.write_bytes(receipt)
        options = ["--key", VKEY, "--allow-test", "--remember", str(memory), "--log", address]
        done = subprocess.run(
            [sys.executable, str(pyz), "verify", str(path), *options],
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    code, said = run(LOG.receipt(3, 5))
    assert (code, "checkpoint: not there" in said) == (2, True)
    LOG.export(directory, 300)
    assert run(LOG.receipt(3, 200))[0] == 0
    LOG.export(directory, 600)
    code, said = run(LOG.receipt(3, 512))
    assert code == 0
    assert "remembered tree of 300 entries and the published tree of 600 entries" in said
    FORK.export(directory, 600)
    code, said = run(LOG.receipt(3, 512))
    assert (code, said.startswith("NOT SOUND: consistency: ")) == (1, True)


def test_a_server_that_is_not_there_is_named(verify: Verify) -> None:
    told = verify(LOG.receipt(3, 5), "--log", "http://127.0.0.1:9")

    assert (told["code"], told["consistency"]["result"]) == (2, "not_checked")
    assert "http://127.0.0.1:9/checkpoint: " in told["out"]


# --- witnesses --------------------------------------------------------------------------------


def test_cosignatures_of_named_witnesses_count_and_bound_the_time(verify: Verify) -> None:
    receipt = LOG.receipt(3, 10, W1, W2, at=1_800_000_000)

    told = verify(receipt, "--witness", W1.vkey)

    assert told["witnesses"] == [{"name": "witness.example/w1", "at": "2027-01-15T08:00:00Z"}]
    assert told["signatures"]["unverified"] == ["witness.example/w2"]
    assert told["recorded"] == {
        "from": "2026-11-24T10:00:00.000000Z",
        "until": "2027-01-15T08:00:00Z",
    }
    assert "  witnesses       1: witness.example/w1 at 2027-01-15T08:00:00Z\n" in told["out"]
    assert (
        "  recorded        between 2026-11-24T10:00:00.000000Z and 2027-01-15T08:00:00Z (cosigned)"
    ) in told["out"]


def test_the_earliest_cosignature_bounds_the_time(verify: Verify) -> None:
    text = LOG.checkpoint(10).text()
    receipt = LOG.receipt(3, 10) + W2.line(text, 1_800_000_100).encode()
    receipt += W1.line(text, 1_800_000_200).encode()

    told = verify(receipt, "--witness", W1.vkey, "--witness", W2.vkey)

    assert [each["name"] for each in told["witnesses"]] == [W2.name, W1.name]
    assert told["recorded"]["until"] == "2027-01-15T08:01:40Z"


def test_without_named_witnesses_none_count(verify: Verify) -> None:
    told = verify(LOG.receipt(3, 10, W1, W2))

    assert (told["code"], told["witnesses"]) == (0, [])
    assert "  witnesses       0\n" in told["out"]
    assert "and the time of your download\n" in told["out"]
    # Another key under a witness's name is another witness.
    other = Cosigner(W1.name, b"3" * 32)
    assert verify(LOG.receipt(3, 10, W1), "--witness", other.vkey)["witnesses"] == []


@pytest.mark.parametrize("place", [0, 7, 8, 71])
def test_a_wrong_cosignature_of_a_named_witness_condemns_the_receipt(
    verify: Verify, place: int
) -> None:
    text = LOG.checkpoint(10).text()
    value = bytearray(notes.decode_base64(W1.line(text, 1).split(" ")[2].strip()))
    value[4 + place] ^= 1
    line = f"{notes.SIGNATURE_MARK}{W1.name} {notes.encode_base64(bytes(value))}\n"

    told = verify(LOG.receipt(3, 10) + line.encode(), "--witness", W1.vkey)

    assert (told["code"], told["broken"]) == (1, "signature")
    assert "the cosignature of witness.example/w1 is wrong" in told["out"]


@pytest.mark.parametrize("length", [1, 64, 71, 73])
def test_a_cosignature_of_another_length_is_wrong(length: int) -> None:
    witness = cosignatures.Witness.parse(W1.vkey)
    with pytest.raises(notes.SignatureError):
        witness.cosigned_at(LOG.checkpoint(10).text(), bytes(length))


@pytest.mark.parametrize("key", [VKEY, W1.vkey[:-1], W1.vkey.replace("w1", "w2"), "/nonexistent"])
def test_what_is_no_key_of_a_witness_is_a_wrong_call(
    verify: Verify, capsys: Any, tmp_path: Path, key: str
) -> None:
    path = tmp_path / "receipt"
    path.write_bytes(LOG.receipt(3, 10))
    assert command.main(["verify", str(path), "--key", VKEY, "--witness", key]) == 2
    assert capsys.readouterr().err.startswith(f"licet-offline: --witness {key}: ")
