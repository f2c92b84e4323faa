"""The processes of a market on one machine: ports, environment, obituaries, and their end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from payments import processes
from payments.processes import ProcessFailed, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world in which nothing runs yet. Ends what a test started in it."""
    made = World(9001, 9002, 9003, log_directory=tmp_path)
    yield made
    for process in made.running.values():
        process.kill()
        process.wait()


def spawn(world: World, name: str, program: str) -> subprocess.Popen[bytes]:
    processes._spawn(world, name, [sys.executable, "-c", program])
    return world.running[name]


def said(world: World, name: str, text: str) -> None:
    """Wait until a process has written `text`."""
    deadline = time.monotonic() + 10
    while text not in (world.log_directory / f"{name}.log").read_text():
        assert time.monotonic() < deadline, f"{name} never said “{text}”"
        time.sleep(0.02)


def is_there(pid: int) -> bool:
    """Whether a process runs. One that ended and was not waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        # The second, where it ends between the opening and the reading.
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_free_ports_are_free_and_differ() -> None:
    ports = processes.free_ports(20)
    assert len(set(ports)) == 20
    assert all(processes.is_free(port) for port in ports)


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    for host in ("127.0.0.1", "0.0.0.0"):
        with socket.socket() as taken:
            taken.bind((host, 0))
            taken.listen()
            assert not processes.is_free(taken.getsockname()[1])


def test_a_port_that_was_just_left_is_free_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # its end waits in TIME_WAIT
    assert processes.is_free(port)


def test_a_process_is_told_where_the_others_are_and_serves_as_the_application(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LICET_DATABASE_ROLE", "licet_owner")
    monkeypatch.setenv("LICET_BASE_URL", "https://elsewhere.example")
    found = world.environment(LICET_PROCESS="delivery")
    expected = {
        "LICET_DEBUG": "1",
        "LICET_BASE_URL": "http://127.0.0.1:9001",
        "LICET_DELIVERY_URL": "http://127.0.0.1:9002",
        "LICET_SIMULATOR_URL": "http://127.0.0.1:9003",
        "LICET_DATABASE_ROLE": "licet_app",
        "LICET_PROCESS": "delivery",
    }
    assert {name: found[name] for name in expected} == expected
    assert found["PATH"] == os.environ["PATH"]


def test_a_world_in_which_all_runs_is_well(world: World) -> None:
    spawn(world, "web", "import time; time.sleep(60)")
    world.check()


def test_a_process_that_ended_is_named_with_the_end_of_its_log(world: World) -> None:
    program = "[print('line', n) for n in range(40)]; raise SystemExit('no such table')"
    spawn(world, "worker", program).wait()
    with pytest.raises(ProcessFailed) as failed:
        world.check()
    lines = str(failed.value).splitlines()
    assert lines[0] == "The worker process ended. The end of its log:"
    assert (len(lines), lines[-1]) == (13, "no such table")


def test_waiting_for_a_process_ends_when_it_dies(world: World) -> None:
    spawn(world, "web", "raise SystemExit('the port is taken')")
    [port] = processes.free_ports(1)
    begin = time.monotonic()
    with pytest.raises(ProcessFailed, match="the port is taken"):
        processes._wait_for(world, f"http://127.0.0.1:{port}/health", begin + 30)
    assert time.monotonic() - begin < 10


def test_waiting_for_a_process_that_never_answers_names_the_logs(world: World) -> None:
    [port] = processes.free_ports(1)
    with pytest.raises(ProcessFailed, match=r"Nothing answers at .*\. See the logs"):
        processes._wait_for(world, f"http://127.0.0.1:{port}/", time.monotonic() + 0.2)


@pytest.mark.parametrize("status", [200, 404, 503])
def test_any_answer_shows_that_a_process_is_up(world: World, status: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        processes._wait_for(world, url, time.monotonic() + 10)
        server.shutdown()


def test_stopping_ends_each_process_by_asking_first(world: World) -> None:
    """What it does on SIGTERM, it may finish."""
    finishing = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('finished', flush=True), sys.exit(0)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    started = [spawn(world, name, finishing) for name in ("web", "worker")]
    for name in world.running:
        said(world, name, "ready")
    processes._stop(world)
    assert [process.returncode for process in started] == [0, 0]
    assert "finished" in (world.log_directory / "web.log").read_text()


def test_a_process_that_does_not_listen_is_killed_with_its_children(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_WITHIN_SECONDS", 0.2)
    deaf = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('child', child.pid, flush=True)\n"
        "time.sleep(60)"
    )
    process = spawn(world, "web", deaf)
    said(world, "web", "child")
    child = int((world.log_directory / "web.log").read_text().split()[1])
    assert is_there(child)

    processes._stop(world)

    assert process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while is_there(child):
        assert time.monotonic() < deadline, "an orphan is left"
        time.sleep(0.02)


def test_stopping_what_ended_already_is_no_error(world: World) -> None:
    spawn(world, "web", "pass").wait()
    processes._stop(world)
    assert world.running["web"].returncode == 0


def test_a_start_that_fails_leaves_nothing_running(
    world: World, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    begun: dict[str, subprocess.Popen[bytes]] = {}

    def half_started(made: World) -> None:
        begun["web"] = spawn(made, "web", "import time; time.sleep(60)")
        raise ProcessFailed("the worker did not start")

    monkeypatch.setattr(processes, "_start", half_started)
    with (
        pytest.raises(ProcessFailed, match="did not start"),
        processes.running(processes.free_ports(3)),
    ):
        pass
    assert begun["web"].returncode == -signal.SIGTERM


@pytest.mark.oracle
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_processes_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys, time; from pathlib import Path\n"
            "import django; django.setup()\n"
            "from payments import processes\n"
            f"world = processes.World(1, 2, 3, log_directory=Path({str(tmp_path)!r}))\n"
            "sleep = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
            "processes._spawn(world, 'web', sleep)\n"
            "print(world.running['web'].pid, flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "LICET_DEBUG": "1"},
    )
    assert parent.stdout is not None
    try:
        child = int(parent.stdout.readline())
        assert is_there(child)
    finally:
        parent.kill()
        parent.communicate()
    deadline = time.monotonic() + 5
    while is_there(child):
        assert time.monotonic() < deadline, "an orphan is left"
        time.sleep(0.02)
