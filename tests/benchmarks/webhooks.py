"""How soon a webhook is acknowledged at 100 a second, beside a bare insert of the same row."""

from __future__ import annotations

import http.client
import json
import os
import queue
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from django.conf import settings

from payments import processes
from tests.benchmarks.measure import Figure, app, median, progress
from tests.payments.signing import signature

PER_SECOND = 100
# By turns, so that a noisy neighbor disturbs both sides alike.
ROUNDS, ROUND_SECONDS = 6, 10
# Enough that a slow answer delays no other delivery.
SENDERS = 32
P99_GOAL_MS = 100
EVENT = "checkout.session.completed"
BARE = """
INSERT INTO payments_stripeevent (id, type, livemode, api_version, is_thin, account, object_id,
    order_ref, body, received_at, attempts, last_error, next_attempt_at)
VALUES (%s, %s, false, %s, false, '', %s, %s, %s::jsonb, now(), 0, '', now())
ON CONFLICT DO NOTHING
"""

Send = Callable[[str], None]


def run(quick: bool) -> Iterator[Figure]:
    """Deliver at a steady rate to a web process of its own, and insert at the same rate."""
    rounds = 1 if quick else ROUNDS
    [port] = processes.free_ports(1)
    web = subprocess.Popen(
        processes.served(port, threads=processes.WEB_THREADS),
        env={**os.environ, "LICET_DATABASE_ROLE": "licet_app", "LICET_DEBUG": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port)
        _paced(lambda: _deliverer(port), "warm", 2)
        ours, bare = [], []
        for number in range(rounds):
            ours.append(_paced(lambda: _deliverer(port), f"ours{number}", ROUND_SECONDS))
            bare.append(_paced(_inserter, f"bare{number}", ROUND_SECONDS))
            progress(
                f"webhooks: round {number + 1}/{rounds}: p99 {_at(ours[-1], 99):.1f} ms,"
                f" bare {_at(bare[-1], 99):.1f} ms"
            )
    finally:
        web.terminate()
        web.wait()
    with app() as opened, opened.transaction():
        opened.execute("SELECT set_config('licet.system', 'count events', true)")
        row = opened.execute("SELECT count(*) FROM payments_stripeevent").fetchone()
    assert row == (PER_SECOND * (2 + 2 * rounds * ROUND_SECONDS),), f"{row} were stored"
    for percent in (50, 99):
        value = _at([wait for each in ours for wait in each], percent)
        limit = _at([wait for each in bare for wait in each], percent)
        pairs = zip(ours, bare, strict=True)
        yield Figure(
            figure=f"webhook acknowledged at {PER_SECOND}/s, p{percent}",
            value=value,
            unit="ms",
            limit=limit,
            ratio=median(_at(theirs, percent) / _at(mine, percent) for mine, theirs in pairs),
            goal=f"value <= {P99_GOAL_MS} ms" if percent == 99 else None,
            holds=value <= P99_GOAL_MS if percent == 99 else None,
        )


def _paced(make: Callable[[], Send], name: str, seconds: int) -> list[float]:
    """Send at the rate, whatever the answers take. Waits in ms, counted from when each was due."""
    due: queue.SimpleQueue[tuple[float, str] | None] = queue.SimpleQueue()
    waits: list[float] = []
    failures: list[BaseException] = []

    def send() -> None:
        try:
            act = make()
            while (each := due.get()) is not None:
                at, id = each
                act(id)
                waits.append((time.perf_counter() - at) * 1000)
        except BaseException as error:
            failures.append(error)

    senders = [threading.Thread(target=send) for _each in range(SENDERS)]
    for sender in senders:
        sender.start()
    # Connections are opened meanwhile.
    began = time.perf_counter() + 0.5
    for number in range(PER_SECOND * seconds):
        at = began + number / PER_SECOND
        time.sleep(max(0.0, at - time.perf_counter()))
        due.put((at, f"evt_{name}_{number}"))
    for _sender in senders:
        due.put(None)
    for sender in senders:
        sender.join()
    if failures:
        raise failures[0]
    return waits


def _deliverer(port: int) -> Send:
    secret = settings.STRIPE_WEBHOOK_SECRETS[0]

    def deliver(id: str) -> None:
        raw = json.dumps(_event(id), indent=2).encode()
        headers = {"Content-Type": "application/json", "Stripe-Signature": signature(raw, secret)}
        # One for each: a server of ours serves as many connections at once as it has threads.
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/stripe/webhook", raw, headers | {"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        assert answer.status == 200, body

    return deliver


def _inserter() -> Send:
    connection: psycopg.Connection[Any] = app()

    def insert(id: str) -> None:
        event = _event(id)
        about = event["data"]["object"]
        values = [id, EVENT, event["api_version"], about["id"], about["client_reference_id"]]
        with connection.transaction():
            connection.execute("SELECT set_config('licet.system', 'store', true)", prepare=True)
            connection.execute(BARE, [*values, json.dumps(event)], prepare=True)

    return insert


def _event(id: str) -> dict[str, Any]:
    """An event as long as Stripe's: a Checkout session has some 60 fields."""
    session = {f"field_{number}": None for number in range(40)}
    session |= {f"text_{number}": f"a value of usual length, {number}" for number in range(20)}
    about = {"id": f"cs_{id}", "client_reference_id": "ord_1", "metadata": {"order": "ord_1"}}
    return {
        "id": id,
        "object": "event",
        "type": EVENT,
        "livemode": False,
        "api_version": "2026-10-28.endive",
        "created": 1_790_000_000,
        "data": {"object": {**session, **about}},
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
    }


def _wait(port: int) -> None:
    deadline = time.monotonic() + processes.READY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the web process does not answer")


def _at(waits: list[float], percent: int) -> float:
    """A percentile."""
    return sorted(waits)[min(len(waits) * percent // 100, len(waits) - 1)]
