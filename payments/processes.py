"""The processes of a market on one machine: web, delivery, worker, and the simulated Stripe."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

# One after another from the first, when none is said: web, delivery, simulator.
FIRST_PORT = 8000
READY_WITHIN_SECONDS = 60
STOP_WITHIN_SECONDS = 8
# Enough that a few requests which wait (for Stripe, for a receipt) do not stop the others.
WEB_THREADS = 16
# Most of these wait for somebody's slow line.
DELIVERY_THREADS = 64


class ProcessFailed(Exception):
    """A process did not start, or ended by itself. Names its log."""


@dataclass
class World:
    """Everything that runs, and where to reach it."""

    web_port: int
    delivery_port: int
    simulator_port: int
    log_directory: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def web_url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def delivery_url(self) -> str:
        return f"http://127.0.0.1:{self.delivery_port}"

    @property
    def simulator_url(self) -> str:
        return f"http://127.0.0.1:{self.simulator_port}"

    def environment(self, **extra: str) -> dict[str, str]:
        """What a process of this world finds in its environment."""
        return {
            **os.environ,
            "LICET_DEBUG": "1",
            "LICET_BASE_URL": self.web_url,
            "LICET_DELIVERY_URL": self.delivery_url,
            "LICET_SIMULATOR_URL": self.simulator_url,
            "LICET_DATABASE_ROLE": "licet_app",
            "PYTHONUNBUFFERED": "1",
            **extra,
        }

    def check(self) -> None:
        """Raise ProcessFailed if one of them has ended."""
        for name, process in self.running.items():
            if process.poll() is not None:
                raise ProcessFailed(self._obituary(name))

    def _obituary(self, name: str) -> str:
        log = self.log_directory / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines()[-12:] if log.exists() else []
        return "\n".join([f"The {name} process ended. The end of its log:", *lines])


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _number in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def running(ports: list[int]) -> Iterator[World]:
    """Start a whole world on `ports` (web, delivery, simulator); stop all of it at the end."""
    logs = Path(settings.DATA_DIR) / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    web, delivery, simulator = ports
    world = World(web, delivery, simulator, log_directory=logs)
    try:
        _start(world)
        yield world
    finally:
        _stop(world)


def _start(world: World) -> None:
    python = sys.executable
    if settings.STRIPE_API_BASE:
        simulator = [python, "-m", "payments.simulator", "--port", str(world.simulator_port)]
        simulator += ["--state", str(Path(settings.DATA_DIR) / "simulator")]
        simulator += ["--webhook-url", f"{world.web_url}/stripe/webhook"]
        simulator += ["--webhook-secret", settings.STRIPE_WEBHOOK_SECRETS[0]]
        _spawn(world, "simulator", simulator)
    _spawn(world, "web", served(world.web_port, threads=WEB_THREADS))
    delivery = served(world.delivery_port, threads=DELIVERY_THREADS)
    _spawn(world, "delivery", delivery, LICET_PROCESS="delivery")
    _spawn(world, "worker", [python, "manage.py", "worker"])
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    _wait_for(world, f"{world.web_url}/health", deadline)
    _wait_for(world, f"{world.delivery_url}/health", deadline)
    if "simulator" in world.running:
        _wait_for(world, f"{world.simulator_url}/", deadline)


def served(port: int, *, threads: int) -> list[str]:
    """The command that serves the application; LICET_PROCESS says which part of it."""
    # WSGI: under ASGI, synchronous views lose two thirds of their throughput.
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--no-ws"]
    command += ["--blocking-threads", str(threads), "--backpressure", str(threads)]
    return [*command, "marketplace.wsgi:application"]


def _spawn(world: World, name: str, command: list[str], **extra: str) -> None:
    with (world.log_directory / f"{name}.log").open("wb") as log:
        world.running[name] = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=settings.BASE_DIR,
            env=world.environment(**extra),
            # Out of the terminal's group: Ctrl-C reaches us, and we end them in order.
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )


def _die_with_parent() -> None:
    pr_set_pdeathsig = 1  # prctl(2)
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _wait_for(world: World, url: str, deadline: float) -> None:
    while time.monotonic() < deadline:
        world.check()
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            time.sleep(0.05)
    raise ProcessFailed(f"Nothing answers at {url}. See the logs in {world.log_directory.name}.")


def _stop(world: World) -> None:
    for process in world.running.values():
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_WITHIN_SECONDS
    for process in world.running.values():
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
