"""The worker: every job in a loop of its own, none brought down by another, ended by a signal."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from licensing.models import ScopeClaim
from marketplace import access
from marketplace.models import Organization
from payments.management.commands import worker
from payments.models import Order
from tests.database import TestDatabase
from tests.make import make_offer
from tests.payments.buying import GRANTED_ONCE, made_of, order_for, order_now
from tests.payments.simulating import Stripe, work
from tests.people import ApiClient

ROOT = Path(__file__).resolve().parents[2]
ClientFor = Callable[..., ApiClient]


@pytest.mark.django_db
def test_a_job_that_fails_does_not_keep_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    def fail() -> None:
        raise RuntimeError("broken")

    jobs = [worker.Job("first", 1, fail), worker.Job("second", 1, lambda: done.append("second"))]
    monkeypatch.setattr(worker, "JOBS", jobs)

    with caplog.at_level(logging.ERROR):
        work()

    assert done == ["second"]
    assert "the worker's job “first” failed" in caplog.text


def test_a_failing_job_rests_before_it_goes_on() -> None:
    job = worker.Job("broken", 0.01, lambda: None)

    assert worker.pause_after(job, is_done=True) == 0.01
    assert worker.pause_after(job, is_done=False) == worker.REST_SECONDS


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("every_seconds", "is_kept"), [(0.01, True), (30, False)])
def test_a_job_that_rests_gives_its_connection_back(every_seconds: float, is_kept: bool) -> None:
    """The pool is smaller than the number of jobs: one that kept its own would starve others."""
    seen: list[bool] = []

    class Once(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            seen.append(connection.connection is not None)
            self.set()
            return True

    stopping = Once()
    job = worker.Job("looks", every_seconds, lambda: connection.ensure_connection())
    thread = threading.Thread(target=worker.repeat, args=(job, stopping))
    thread.start()
    thread.join(10)

    assert seen == [is_kept]


def test_the_jobs_that_keep_their_connections_leave_some_to_the_others() -> None:
    kept = [
        job
        for job in worker.JOBS
        if not isinstance(job.every_seconds, int | float)
        or job.every_seconds < worker.KEEPS_SECONDS
    ]
    # The pool has 16: marketplace/settings.py.
    assert len(kept) <= 8


@pytest.mark.django_db
def test_the_worker_lets_go_of_claims_that_nobody_can_pay_for(
    archive: Organization, lab: Organization, client_for: ClientFor, stripe: Stripe
) -> None:
    order = order_for(client_for(lab), make_offer(archive, price_minor=50_000))
    with access.system("let the time pass"):
        ScopeClaim.objects.update(held_until=timezone.now())

    work()

    assert made_of(order)["claims"] == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.oracle)]
)
def test_a_running_worker_settles_a_payment_and_ends_when_told(
    how: signal.Signals,
    archive: Organization,
    lab: Organization,
    client_for: ClientFor,
    stripe: Stripe,
    test_database: TestDatabase,
    ledger_keys: Path,
) -> None:
    client = client_for(lab)
    order = order_for(client, make_offer(archive, price_minor=50_000))
    stripe.pay(order)
    with access.system("make it due"):
        Order.objects.update(next_sync_at=timezone.now())
    process = subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        cwd=ROOT,
        env={
            **os.environ,
            "LICET_DEBUG": "1",
            "LICET_SIMULATOR_URL": stripe.url,
            "LICET_LEDGER_KEY_DIR": str(ledger_keys),
            "DATABASE_URL": test_database.url,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        first_line = process.stdout.readline()
        assert first_line == f"worker: {len(worker.JOBS)} jobs, until SIGTERM or Ctrl-C\n"
        deadline = time.monotonic() + 20
        while order_now(client, order)["status"] != "granted":
            assert time.monotonic() < deadline, "the worker did not settle the order"
            time.sleep(0.1)
        process.send_signal(how)
        _out, errors = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()

    assert (process.returncode, errors) == (0, "")
    assert made_of(order) == GRANTED_ONCE
