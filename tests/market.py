"""A whole market as processes: what `manage.py run` starts, and what it printed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from payments import processes
from tests.database import TestDatabase

ROOT = Path(__file__).parents[1]
READY_WITHIN_SECONDS = 150


def command(*arguments: str) -> list[str]:
    return [sys.executable, "manage.py", "run", *arguments]


def three_free_ports() -> int:
    """The first of three ports in a row that nobody listens on."""
    for _try in range(100):
        [first] = processes.free_ports(1)
        if first < 2**16 - 3 and all(processes.is_free(first + n) for n in range(3)):
            return first
    raise AssertionError("no three free ports in a row")


@dataclass(frozen=True)
class Run:
    """A market that runs, what it printed, and every process of it."""

    process: subprocess.Popen[str]
    port: int
    printed: str
    data: Path
    environ: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, *, port: int | None = None, key: str = "") -> tuple[int, bytes]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port or self.port}{path}",
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()


def printed_until_ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    lines, begin = [], time.monotonic()
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            return "".join(lines)
        assert time.monotonic() - begin < READY_WITHIN_SECONDS
    raise AssertionError("".join(lines) + process.communicate()[1])


@pytest.fixture
def run(test_database: TestDatabase, transactional_db: None, tmp_path: Path) -> Iterator[Run]:
    """A market that has just said that it runs."""
    port = three_free_ports()
    environ = {**test_database.environ, "LICET_DATA_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command("--port", str(port)),
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As a terminal would: Ctrl-C goes to a group, and this test is not in it.
        start_new_session=True,
    )
    try:
        yield Run(process, port, printed_until_ready(process), tmp_path, environ)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
