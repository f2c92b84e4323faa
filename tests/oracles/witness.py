"""A live tlog-witness that we did not write, and a log's side of the talk with it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.oracles.ledger_verifiers import INSTALLED, missing

NAME = "witness.example/w1"


class Witness:
    """aics-witness, trusting one log."""

    def __init__(self, port: int, vkey: str) -> None:
        self._port = port
        self.vkey = vkey
        self.url = f"http://127.0.0.1:{port}"

    def add_checkpoint(self, old: int, proof: Sequence[bytes], note: str) -> tuple[int, str]:
        """Ask for a cosignature (C2SP tlog-witness): the status, and what was answered."""
        steps = "".join(f"{base64.b64encode(step).decode()}\n" for step in proof)
        body = f"old {old}\n{steps}\n{note}".encode()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("POST", "/add-checkpoint", body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


def is_installed() -> bool:
    return (INSTALLED / "python" / "aics_witness").is_dir()


@contextlib.contextmanager
def serving(directory: Path, origin: str, vkey: str) -> Iterator[Witness]:
    """The same within this process: a test that starts with nothing cosigned waits for nobody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(INSTALLED / "python"))
        library: Any = importlib.import_module("aics_witness")
        store: Any = importlib.import_module("aics_witness.store")
    key = store.create_key_file(directory / "witness.key")
    config = library.LogConfig.from_strings(origin, [vkey])
    with store.WitnessStore(directory / "witness.db", create=True) as kept:
        server = library.make_server(library.Witness(NAME, key, kept, [config]))
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield Witness(server.server_address[1], server.witness.vkey_text)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@contextlib.contextmanager
def running(directory: Path, origin: str, vkey: str) -> Iterator[Witness]:
    """Start the witness on a port of its own choice."""
    packages = INSTALLED / "python"
    if not is_installed():
        missing("the Python package aics-witness (make oracles installs it)")
    command = [sys.executable, "-m", "aics_witness"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(packages),
        "AICS_WITNESS_CONFIG": str(directory / "witness.json"),
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=60, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = run("init", "--name", NAME)
    witness_vkey = next(word for word in said.split() if word.startswith(f"{NAME}+"))
    run("add-log", "--origin", origin, "--vkey", vkey)
    port = _free_port()
    process = subprocess.Popen(
        [*command, "serve", "--listen", f"127.0.0.1:{port}"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port, process)
        yield Witness(port, witness_vkey)
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _attempt in range(200):
        assert process.poll() is None, "the witness ended at once"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise AssertionError("the witness does not answer")
