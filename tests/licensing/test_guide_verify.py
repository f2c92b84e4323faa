"""The guide's commands that verify a grant without our code do what the guide says."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.licensing import receipt_samples
from tests.logs import MemoryLog, bodies
from tests.oracles.ledger_mutations import flip

GUIDE = Path(__file__).resolve().parents[2] / "api_docs" / "guide" / "verify.md"
LOG = MemoryLog(bodies(300, "live"), "live")


def commands() -> list[str]:
    """The commands of the section, each with the text that it is fed."""
    section = GUIDE.read_text().split("## Verify a grant without trusting us")[1]
    block = re.search(r"```sh[^\n]*\n(.*?)```", section, re.DOTALL)
    assert block is not None
    install, fetch, program = block.group(1).split("\n", 2)
    return [install, fetch, program]


@pytest.fixture
def market(tmp_path: Path) -> Iterator[str]:
    """Serves the log's key, as the market does."""
    served = tmp_path / "served" / "ledger" / "live"
    served.mkdir(parents=True)
    (served / "vkey").write_text(f"{LOG.key.verifier.vkey()}\n")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def with_another_price(extra: bytes) -> bytes:
    held = json.loads(base64.b64decode(extra.removeprefix(b"extra ")))
    held["openings"]["values"]["price"]["amount_minor"] -= 1
    return b"extra " + base64.b64encode(json.dumps(held).encode())


def run(directory: Path, market: str, receipt: bytes) -> subprocess.CompletedProcess[str]:
    install, fetch, program = commands()
    package = install.removeprefix("python3 -m pip install ")
    pytest.importorskip(package.replace("-", "_"), reason=f"not installed: {package}")
    if shutil.which("curl") is None:
        pytest.skip("not installed: curl")
    (directory / "RECEIPT").write_bytes(receipt)
    binaries = Path(sys.executable).parent
    return subprocess.run(
        ["bash", "-euc", f"{fetch.replace('https://MARKET', market)}\n{program}"],
        cwd=directory,
        env={"PATH": f"{binaries}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_guides_commands_verify_a_receipt_and_print_its_facts(
    tmp_path: Path, market: str
) -> None:
    done = run(tmp_path, market, LOG.receipt(7, 300))

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "entry 7 of licet.example/ledger/live, a tree of 300 entries"
    assert [line.split(" ")[0] for line in lines[1:]] == sorted(receipt_samples.VECTOR["values"])
    assert 'scope {"territories": ["EU"], "uses": ["pretrain"]}' in lines


def test_names_in_any_script_are_committed_alike(tmp_path: Path, market: str) -> None:
    values = {
        **receipt_samples.VECTOR["values"],
        "licensor": {"legal_name": 'Ærø \U0001f5bc\u2028"\\'},
    }
    done = run(tmp_path, market, receipt_samples.make(log="live", values=values))

    assert (done.returncode, done.stderr) == (0, "")


def test_a_receipt_that_discloses_nothing_still_proves_its_entry(
    tmp_path: Path, market: str
) -> None:
    done = run(tmp_path, market, receipt_samples.make(log="live", with_openings=False))

    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)


@pytest.mark.parametrize("part", ["entry", "index", "proof", "root", "signature", "opening", "key"])
def test_the_guides_commands_refuse_a_changed_receipt(
    tmp_path: Path, market: str, part: str
) -> None:
    receipt = LOG.receipt(7, 300)
    if part == "entry":
        other = LOG.receipt(8, 300).split(b"\n")[1]
        receipt = receipt.replace(receipt.split(b"\n")[1], other)
    elif part == "index":
        receipt = receipt.replace(b"\nindex 7\n", b"\nindex 8\n")
    elif part == "proof":
        step = receipt.split(b"\n")[3]
        receipt = receipt.replace(step + b"\n", b"", 1)
    elif part == "root":
        receipt = receipt.replace(b"\n300\n", b"\n299\n")
    elif part == "signature":
        receipt = flip(receipt, len(receipt) - 20)
    elif part == "opening":
        extra = receipt.split(b"\n")[1]
        receipt = receipt.replace(extra, with_another_price(extra))
    else:
        receipt = MemoryLog(bodies(300)).receipt(7, 300)

    done = run(tmp_path, market, receipt)

    assert done.returncode != 0
    assert ("NOT WHAT WAS COMMITTED: price" if part == "opening" else "VerifyError") in done.stderr
