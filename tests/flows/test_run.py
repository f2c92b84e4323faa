"""`manage.py run`: the whole market as processes, from its first line to Ctrl-C."""

from __future__ import annotations

import contextlib
import dataclasses
import http.cookiejar
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.core.management import CommandError, call_command

from payments import demo, processes
from payments.management.commands import run as run_command
from tests.database import TestDatabase
from tests.market import ROOT, Run, command, run, three_free_ports

__all__ = ["run"]


def descendants(pid: int) -> set[int]:
    """The ids of all processes that come from this one, whatever session they are in."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended meanwhile
    found, wave = set(), {pid}
    while wave:
        wave = {child for child, parent in parents.items() if parent in wave}
        found |= wave
    return found


def is_there(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def workspace(run: Run, email: str) -> str:
    """The words of the first page that a person sees after signing in with what was printed."""
    browser = urllib.request.build_opener(
        urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    )
    address = f"{run.url}/login/?next=/studio/"
    form = browser.open(address, timeout=10).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
    assert token is not None
    said = {"csrfmiddlewaretoken": token[1], "login": email, "password": demo.PASSWORD}
    data = urllib.parse.urlencode({**said, "next": "/studio/"}).encode()
    request = urllib.request.Request(address, data, {"Referer": address})
    with browser.open(request, timeout=10) as page:
        assert page.geturl() == f"{run.url}/studio/"
        return re.sub(r"<[^>]*>", " ", page.read().decode())


@pytest.mark.oracle
def test_a_market_runs_from_its_first_line_until_ctrl_c(run: Run) -> None:
    # It says where everything is, and how to sign in.
    for line in (
        rf"Listings +{run.url}/",
        rf"API reference +{run.url}/docs/",
        rf"Admin +{run.url}/admin/ +operator@demo\.example / {demo.PASSWORD}",
        rf"Sign in +{run.url}/login/ +archive@demo\.example or lab@demo\.example / {demo.PASSWORD}",
        r"Verify +run `make demo` first",
        rf"curl -H .* {run.url}/v1/listings",
        r"Ctrl-C stops all of it\.",
    ):
        assert re.search(line, run.printed), line
    assert "No money moves" in run.printed

    # Each of its processes answers, and writes a log of its own.
    for port in (run.port, run.port + 1):
        assert run.get("/health", port=port)[0] == 200
    assert run.get("/", port=run.port + 2)[0] == 200
    assert b"Field notes of a bird watcher" in run.get("/")[1]
    for path in ("/docs/", "/docs/errors", "/login/", "/admin/", "/static/marketplace/page.css"):
        assert run.get(path)[0] == 200, path
    logs = {path.stem for path in (run.data / "logs").iterdir()}
    assert logs == {"web", "delivery", "worker", "simulator"}

    # The keys that it prints open the two organizations, and are kept from other users.
    names = []
    for who in ("Seller", "Lab"):
        found = re.search(rf"{who}'s key +(licet_test_\w+)", run.printed)
        assert found is not None
        names.append(json.loads(run.get("/v1/organization", key=found[1])[1])["name"])
    assert names == ["Demo archive", "Demo lab"]
    assert (run.data / "demo" / "cast.json").stat().st_mode & 0o777 == 0o600

    # The workspace shows what happened, to whoever signs in.
    assert "not complete" not in run.printed
    shown = {who: workspace(run, f"{who}@demo.example") for who in ("archive", "creator", "lab")}
    assert "1,500.00" in shown["archive"]
    assert "1,020.00" in shown["creator"]
    assert "3 licenses are active" in shown["lab"]
    assert json.loads((run.data / "demo" / "cast.json").read_text())["market"] == "done"

    # Ctrl-C ends all of it: web, delivery, worker, simulator, and granian's own workers.
    family = descendants(run.process.pid)
    assert len(family) >= 6 or sys.platform != "linux"
    os.kill(run.process.pid, signal.SIGINT)
    out, errors = run.process.communicate(timeout=20)
    assert (run.process.returncode, errors) == (0, "")
    assert out.endswith("Stopped.\n")
    assert [pid for pid in family if is_there(pid)] == []
    assert all(processes.is_free(run.port + n) for n in range(3))


def test_a_verify_line_that_it_prints_can_be_run(
    test_database: TestDatabase, transactional_db: None, tmp_path: Path, settings: Any
) -> None:
    """After a demonstration there is a receipt: the line names it, its key, and our Python."""
    settings.DATA_DIR = tmp_path
    cast = demo.gather()
    for name in ("ledger.vkey", "grant.tlog-proof"):
        (tmp_path / "demo" / name).write_text("nothing that verifies")
    cast.receipt = str(tmp_path / "demo" / "grant.tlog-proof")
    cast.save()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        run_command.Command()._welcome(processes.World(9000, 9001, 9002, tmp_path), cast)
    found = re.search(r"Verify +(.*)", said.getvalue())
    assert found is not None
    demo.build_offline()
    ended = subprocess.run(found[1].split(), cwd=ROOT, capture_output=True, text=True)
    # It ran, and refused what is no key.
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)
    assert "ledger.vkey" in ended.stderr
    assert demo.gather().lab_key == cast.lab_key


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_a_port_that_is_taken_is_refused_with_the_way_out(offset: int) -> None:
    first = three_free_ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first + offset))
        taken.listen()
        with pytest.raises(CommandError) as refused:
            call_command("run", port=first)
    said = str(refused.value)
    assert said.startswith(f"Port {first + offset} is taken. End what listens there")
    assert said.endswith("manage.py run --port 9000")


@pytest.mark.parametrize("port", [-1, 0, 65_534, 65_535, 100_000])
def test_a_port_that_cannot_be_is_refused(port: int) -> None:
    with pytest.raises(CommandError, match=f"There is no port {port} with two after it"):
        call_command("run", port=port)


def test_a_database_that_others_use_goes_on(
    test_database: TestDatabase,
    db: None,
    tmp_path: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The application does not see others' connections, so it must not be the one that looks."""
    stopped: list[Path] = []
    settings.DEVDB = dataclasses.replace(settings.DEVDB, data_dir=tmp_path)
    monkeypatch.setattr(run_command.devdb, "stop", stopped.append)
    monkeypatch.setattr(
        run_command.devdb, "administrator_url", lambda _directory: test_database._admin_url
    )
    assert run_command._is_used(tmp_path)
    for name in ("connection", "connections"):
        monkeypatch.setattr(run_command, name, mock.Mock())  # this test's own stays open
    run_command._stop_database()
    assert stopped == []


def test_it_is_refused_in_production(settings: Any) -> None:
    settings.DEVELOPMENT = False
    with pytest.raises(CommandError, match="needs LICET_DEBUG=1"):
        call_command("run")


def test_a_refused_start_ends_with_1_and_no_traceback(test_database: TestDatabase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(min(taken.getsockname()[1], 2**16 - 3))
        ended = subprocess.run(
            command("--port", port),
            cwd=ROOT,
            env=test_database.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("CommandError: Port ")
