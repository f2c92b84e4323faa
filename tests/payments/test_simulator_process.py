"""The simulator as a process of its own: where it listens, how it starts, ends and remembers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from payments.simulator.server import NotLoopback, Simulator
from tests.payments.simulator_account import client_of, session_params

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process, and the address that it prints when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "payments.simulator", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        assert said.startswith("Simulated Stripe at http://127.0.0.1:"), said
        yield process, said.split()[-1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def opened(url: str) -> str:
    params: dict[str, object] = session_params()
    return client_of(url).v1.checkout.sessions.create(params).id  # type: ignore[arg-type]


def test_it_says_where_it_is_and_ends_when_told() -> None:
    for how in (signal.SIGTERM, signal.SIGINT):
        with running() as (process, url):
            assert opened(url).startswith("cs_test_dev_")

            process.send_signal(how)

            assert process.wait(10) == 0


def test_the_account_survives_the_end_of_the_process(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "simulator"))
    with running(*state) as (process, url):
        session = opened(url)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    with running(*state) as (_process, url):
        found = client_of(url).v1.checkout.sessions.retrieve(session)
        assert (found.id, found.status) == (session, "open")


def test_the_keys_survive_too(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path))
    ids = []
    for _run in range(2):
        with running(*state) as (_process, url):
            create = client_of(url).v1.checkout.sessions.create
            params: dict[str, object] = session_params()
            ids.append(create(params, {"idempotency_key": "k"}).id)  # type: ignore[arg-type]

    assert ids[0] == ids[1]


def test_sellers_and_the_platforms_country_are_there_after_a_start(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path), "--country", "ch")
    with running(*state) as (_process, url):
        seller = client_of(url).v2.core.accounts.create({"display_name": "An archive"}).id

    with running(*state) as (_process, url):
        client = client_of(url)
        assert client.v2.core.accounts.retrieve(seller).display_name == "An archive"
        assert [each.currency for each in client.v1.balance.retrieve().available] == ["chf"]


def test_it_starts_without_the_sdk_and_without_django() -> None:
    """Importing either takes longer than everything else that happens at the start."""
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, payments.simulator.__main__, payments.simulator.contract as contract;"
            "contract.check('POST', '/v1/refunds', {'charge': 'ch_1'}, form=True);"
            "print(sorted({name.split('.')[0] for name in sys.modules}"
            " & {'stripe', 'django', 'requests', 'psycopg'}))",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )

    assert said.stdout == "[]\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com", ""])
def test_it_refuses_an_address_that_others_can_reach(host: str) -> None:
    with pytest.raises(NotLoopback):
        Simulator(host=host)


@pytest.mark.parametrize(
    "url",
    ["https://example.com/hook", "http://192.0.2.1/hook", "http://0.0.0.0/", "ftp://127.0.0.1/"],
)
def test_it_sends_webhooks_to_this_machine_only(url: str) -> None:
    with pytest.raises(NotLoopback):
        Simulator(webhook_url=url)


def test_a_refused_start_says_why_and_ends_with_1() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "payments.simulator", "--host", "0.0.0.0"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )

    assert ended.returncode == 1
    assert "serves this machine only" in ended.stderr


def test_a_port_that_is_taken_is_said() -> None:
    with running() as (_process, url):
        ended = subprocess.run(
            [sys.executable, "-m", "payments.simulator", "--port", url.rsplit(":", 1)[1]],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )

    assert ended.returncode == 1
    assert ended.stderr.startswith("The simulator cannot start: ")
    assert "Traceback" not in ended.stderr


def test_it_is_ready_within_two_seconds() -> None:
    begin = time.monotonic()
    with running():
        assert time.monotonic() - begin < 2
