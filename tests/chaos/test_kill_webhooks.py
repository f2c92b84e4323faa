"""Workers are killed while they send events to webhooks: all arrive, as what they are."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from marketplace import events, webhooks
from marketplace.access import Caller, acting, system
from marketplace.models import Event, WebhookAttempt, WebhookDelivery
from tests.database import TestDatabase
from tests.people import caller_for, found
from tests.webhooks import Receiver

pytestmark = pytest.mark.chaos
ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("LICET_KILLS", "20"))
ORGANIZATIONS, ENDPOINTS_EACH = 3, 2
# At once: what one has begun is not the other's.
WORKERS = 2
TOLD_EVERY_SECONDS = 0.02
# Deliveries that may be on their way: who is slow would be told of ever more.
BACKLOG = 100
# Longer than what a dead worker had begun is left alone.
STUCK_AFTER_SECONDS = 60


class Workers:
    """Workers that send events, from a program that has the application loaded."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.alive: list[int] = []
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.sending_worker"],
            cwd=ROOT,
            env={
                **environ,
                "DJANGO_SETTINGS_MODULE": "marketplace.settings",
                "LICET_DATABASE_ROLE": "licet_app",
                "LICET_WEBHOOKS_TO_LOOPBACK": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self) -> None:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write("start\n")
        self._program.stdin.flush()
        self.alive.append(int(self._program.stdout.readline()))

    def kill(self, chance: random.Random) -> None:
        pid = self.alive.pop(chance.randrange(len(self.alive)))
        os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        os.killpg(self._program.pid, signal.SIGKILL)
        self._program.communicate()


@pytest.fixture
def workers(test_database: TestDatabase) -> Iterator[Workers]:
    opened = Workers(test_database.environ)
    yield opened
    opened.close()


@pytest.fixture
def receivers() -> Iterator[list[Receiver]]:
    """One for each endpoint. They think a moment: workers die while they wait for an answer."""
    opened = [Receiver(takes_seconds=0.02) for _each in range(ORGANIZATIONS * ENDPOINTS_EACH)]
    yield opened
    for each in opened:
        each.close()


class Teller(threading.Thread):
    """Things happen to each organization all the time, until it is told to end."""

    def __init__(self, callers: list[Caller], receivers: list[Receiver]) -> None:
        super().__init__()
        self.over = threading.Event()
        self._callers, self._receivers = callers, receivers

    def run(self) -> None:
        try:
            told = 0
            while not self.over.wait(TOLD_EVERY_SECONDS):
                if told * len(self._receivers) < arrived(self._receivers) + BACKLOG:
                    for caller in self._callers:
                        tell(caller)
                    told += 1
        finally:
            connection.close()


def tell(caller: Caller) -> None:
    with acting(caller):
        events.record(
            "offer.published",
            to=[caller.organization.pk],
            livemode=False,
            subject=caller.organization,
        )


@pytest.mark.django_db(transaction=True)
def test_each_event_arrives_as_the_same_bytes_whoever_is_killed(
    workers: Workers, receivers: list[Receiver], settings: Any
) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    chance = random.Random(KILLS)
    callers = [caller_for(found(f"Archive {each}", "platform")) for each in range(ORGANIZATIONS)]
    to = {}
    for number, receiver in enumerate(receivers):
        endpoint, _secret = webhooks.create(callers[number % ORGANIZATIONS], url=receiver.url)
        to[endpoint.pk] = receiver

    teller = Teller(callers, receivers)
    teller.start()
    try:
        for _each in range(KILLS):
            while len(workers.alive) < WORKERS:
                workers.start()
            wait_until_something_arrives(receivers)
            time.sleep(chance.uniform(0, 0.5))
            workers.kill(chance)
    finally:
        teller.over.set()
        teller.join()
    workers.start()
    wait_until_all_is_taken()

    assert_feeds_have_no_gap()
    with system("look what was sent to whom"):
        deliveries = list(WebhookDelivery.objects.select_related("event"))
        numbers = Counter(WebhookAttempt.objects.values_list("delivery", "number"))
        told = set(Event.objects.values_list("organization", "pk"))
    assert {row.state for row in deliveries} == {"delivered"}
    assert {(row.organization_id, row.event_id) for row in deliveries} == told
    assert len(deliveries) == len(told) * ENDPOINTS_EACH
    assert set(numbers.values()) == {1}
    repeated = 0
    for row in deliveries:
        came = to[row.endpoint_id].came(str(row.event_id))
        assert len(set(came)) == 1, "it did not arrive, or not as the same bytes"
        assert len(came) <= row.attempts
        kept = [number for delivery, number in numbers if delivery == row.pk]
        assert 0 < len(kept) <= row.attempts
        assert max(kept) <= row.attempts
        repeated += len(came) > 1
    assert arrived(receivers) == sum(
        len(to[row.endpoint_id].came(str(row.event_id))) for row in deliveries
    )
    # Or nobody died between an answer and its row.
    assert repeated > 0


def arrived(receivers: list[Receiver]) -> int:
    return sum(len(each.requests) for each in receivers)


def wait_until_something_arrives(receivers: list[Receiver]) -> None:
    before, ends = arrived(receivers), time.monotonic() + STUCK_AFTER_SECONDS
    while arrived(receivers) == before:
        assert time.monotonic() < ends, "nothing is sent any more"
        time.sleep(0.005)


def wait_until_all_is_taken() -> None:
    fewest, ends = sys.maxsize, 0.0
    while True:
        with system("count what is on its way"):
            waiting = Event.objects.filter(position=None).count()
            pending = WebhookDelivery.objects.filter(state="pending").count()
        if not waiting and not pending:
            return
        if waiting + pending < fewest:
            fewest, ends = waiting + pending, time.monotonic() + STUCK_AFTER_SECONDS
        assert time.monotonic() < ends, f"{waiting} without a place, {pending} on their way"
        time.sleep(0.1)


def assert_feeds_have_no_gap() -> None:
    with system("read all feeds"):
        rows = list(Event.objects.order_by("position").values_list("organization", "position"))
    for organization in {organization for organization, _position in rows}:
        places = [position for each, position in rows if each == organization]
        assert places == list(range(1, len(places) + 1))
