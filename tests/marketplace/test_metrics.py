"""Metrics as real processes tell them: two that serve, and the worker, each for all of its kind."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from marketplace import metrics
from marketplace.models import Organization
from payments import processes, queues, stripe_gateway
from payments.management.commands import worker
from tests.database import TestDatabase
from tests.people import ApiClient

ROOT = Path(__file__).resolve().parents[2]
ClientFor = Callable[..., ApiClient]
TOKEN = secrets.token_urlsafe(24)


@dataclass
class Running:
    """A web server of two processes and a worker with a port, both counting."""

    web: int
    worker: int
    counted: Path
    log: Path
    pid: int

    def get(self, path: str, *, port: int = 0, **headers: str) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.web}{path}")
        for name, value in headers.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()

    def metrics(self, port: int = 0) -> dict[str, float]:
        status, text = self.get("/metrics", port=port, Authorization=f"Bearer {TOKEN}")
        assert status == 200
        pairs = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _space, value in pairs}


@pytest.fixture
def running(
    test_database: TestDatabase, ledger_keys: Path, tmp_path: Path, transactional_db: None
) -> Iterator[Running]:
    web, port = processes.free_ports(2)
    environment = {
        **test_database.environ,
        "LICET_DEBUG": "1",
        "LICET_LOG_FORMAT": "json",
        "LICET_ACCESS_LOG": "1",
        "LICET_METRICS_TOKEN": TOKEN,
        "LICET_WORKER_PORT": str(port),
        "LICET_LEDGER_KEY_DIR": str(ledger_keys),
        "LICET_DATABASE_ROLE": "licet_app",
    }
    served = processes.served(web, threads=4)
    served[served.index("--workers") + 1] = "2"
    served[-1:-1] = ["--log-config", "marketplace/granian_log.json"]
    commands = {"web": served, "worker": [sys.executable, "manage.py", "worker"]}
    log = tmp_path / "log"
    with log.open("wb") as output:
        started = {
            name: subprocess.Popen(
                command,
                cwd=ROOT,
                env={**environment, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / name)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            for name, command in commands.items()
        }
        run = Running(web, port, tmp_path / "web", log, started["web"].pid)
        try:
            for each in (web, port):
                wait_for(lambda at=each: answers(run, at), log)
            yield run
        finally:
            for process in started.values():
                process.send_signal(signal.SIGTERM)
            for process in started.values():
                process.wait(20)


def answers(run: Running, port: int) -> bool:
    try:
        return run.get("/healthz", port=port)[0] == 200
    except OSError:
        return False


def wait_for(is_so: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 90
    while not is_so():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def live(run: Running) -> set[int]:
    """The processes that counted something, and still live."""
    found = {int(file.stem.rpartition("_")[2]) for file in run.counted.glob("counter_*.db")}
    return {pid for pid in found if Path(f"/proc/{pid}").exists()}


@pytest.mark.oracle
def test_each_process_tells_what_all_of_its_kind_counted_and_writes_nothing_but_json(
    running: Running, lab: Organization, client_for: ClientFor
) -> None:
    secret = client_for(lab).secret or ""
    key = {"Authorization": f"Bearer {secret}"}
    asked = 'licet_requests_total{method="GET",route="/v1/offers/{pk}",status="4xx"}'
    sent = 0
    # The system shares connections out between the two: ask until both have answered.
    while len(live(running)) < 2 or sent < 8:
        assert running.get(f"/v1/offers/{sent}{secrets.token_hex(8)}", **key)[0] == 404
        sent += 1
        assert sent < 400

    # Whichever of them is asked.
    for _again in range(4):
        told = running.metrics()
        assert told[asked] == sent
    assert told['licet_request_seconds_count{method="GET",route="/v1/offers/{pk}"}'] == sent
    assert told["licet_requests_in_flight"] == 1
    assert told['licet_database_pool{state="waiting"}'] == 0
    assert told["licet_market_readable"] == 1
    assert told["licet_ledger_waiting"] == 0
    assert told['licet_due{queue="calls"}'] == 0
    assert [name for name in told if str(lab.pk) in name or "ofr_" in name] == []

    run = 'licet_job_runs_total{job="the ledger\'s sequencer",outcome="done"}'
    wait_for(lambda: running.metrics(running.worker).get(run, 0) > 1, running.log)
    worked = running.metrics(running.worker)
    last = worked['licet_job_last_success_timestamp_seconds{job="the ledger\'s sequencer"}']
    assert abs(time.time() - last) < 60
    # While all jobs begin at once, its pool may have no connection for a probe.
    wait_for(lambda: running.get("/readyz", port=running.worker)[0] == 200, running.log)
    for path in ("/metrics", "/v1/organization", "/../etc/passwd"):
        assert running.get(path, port=running.worker)[0] == 404

    # One that dies takes what it was at with it; what it counted stays.
    [victim, _other] = sorted(live(running))
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{victim}").exists() or is_zombie(victim), running.log)
    lines = [json.loads(line) for line in running.log.read_text().splitlines() if line]
    assert {line["logger"] for line in lines} >= {"_granian", "licet.access"}
    assert [line for line in lines if secret in str(line) or TOKEN in str(line)] == []
    probes = [line for line in lines if line.get("route") in {"/healthz", "/readyz"}]
    assert probes == []


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


# --- in this process --------------------------------------------------------------------------


def test_what_the_dead_were_at_is_forgotten_and_what_they_counted_is_kept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine, gone = os.getpid(), dead.pid
    names = [f"{kind}_{pid}.db" for kind in ("gauge_livesum", "gauge_max") for pid in (mine, gone)]
    for name in [*names, f"counter_{gone}.db"]:
        (tmp_path / name).write_bytes(b"")

    metrics._forget_the_dead(tmp_path)

    kept = {file.name for file in tmp_path.iterdir()}
    assert kept == {*names, f"counter_{gone}.db"} - {f"gauge_livesum_{gone}.db"}


@pytest.mark.django_db
def test_the_market_is_read_once_for_many_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    now, reads = 100.0, []

    def read() -> list[metrics.Reading]:
        reads.append(now)
        return [metrics.Reading("licet_x", "X.", 1)]

    monkeypatch.setattr(metrics, "READINGS", [read])
    monkeypatch.setattr("marketplace.metrics.time.monotonic", lambda: now)
    kept = metrics._Kept()
    assert [kept.read(), kept.read()] == [read()] * 2
    reads.clear()
    now += metrics.READ_EVERY_SECONDS
    kept.read()
    assert reads == [now]


@pytest.mark.django_db
def test_a_database_that_is_away_takes_only_its_own_metrics_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away() -> list[metrics.Reading]:
        raise OperationalError("away")

    monkeypatch.setattr(metrics, "READINGS", [away])
    monkeypatch.setattr(metrics, "_market", metrics._Kept())

    [family] = metrics._Market().collect()

    assert (family.name, family.samples[0].value) == ("licet_market_readable", 0)


@pytest.mark.django_db
def test_every_reading_of_the_apps_has_a_name_help_and_bounded_labels() -> None:
    found = [each for read in metrics.READINGS for each in read()]

    assert {each.labels["queue"] for each in found if "queue" in each.labels} == {
        each.name for each in queues.due()
    }
    assert all(re.fullmatch(r"licet_[a-z_]+", each.name) and each.help for each in found)
    assert {each.labels["log"] for each in found if "log" in each.labels} == {"test", "live"}


class Heard:
    """Instruments that only remember."""

    def __init__(self) -> None:
        self.said: list[tuple[str, object]] = []

    def stripe_answered(self, outcome: str) -> None:
        self.said.append(("stripe", outcome))

    def job_ran(self, job: str, *, is_done: bool, seconds: float) -> None:
        assert seconds >= 0
        self.said.append((job, is_done))


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    made = Heard()
    monkeypatch.setattr(metrics, "instruments", lambda: made)
    return made


@pytest.mark.django_db
def test_jobs_are_counted_done_or_failed(heard: Heard) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    worker.run_safely(worker.Job("good", 1, lambda: None))
    worker.run_safely(worker.Job("bad", 1, fail))

    assert heard.said == [("good", True), ("bad", False)]


@pytest.mark.django_db
@pytest.mark.parametrize("outcome", ["answered", "refused", "unavailable", "failed"])
def test_calls_to_stripe_are_counted_by_how_they_ended(outcome: str, heard: Heard) -> None:
    errors: dict[str, Exception] = {
        "refused": stripe_gateway.stripe.InvalidRequestError("No such object.", None),
        "unavailable": stripe_gateway.stripe.APIConnectionError("away"),
        "failed": RuntimeError("ours"),
    }

    def use(_client: Any) -> str:
        if outcome in errors:
            raise errors[outcome]
        return "answer"

    if outcome == "answered":
        assert stripe_gateway._call(use) == "answer"
    else:
        with pytest.raises(Exception):  # noqa: B017, PT011
            stripe_gateway._call(use)

    assert heard.said == [("stripe", outcome)]
