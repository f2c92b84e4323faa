"""Workers are killed at every point of an order's life: nothing is lost, nothing is there twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from licensing.models import Grant, LedgerEntry
from marketplace import access
from marketplace.access import Caller
from payments import commands, orders, refunds, sync
from payments.models import Command, Journal, Order
from tests.chaos import market, stripe_truth
from tests.chaos.dying_worker import CALL_POINTS, DISPUTED, PAID, POINTS, REFUNDED, STAGES, WON
from tests.chaos.simulator_process import Stripe, simulated_stripe
from tests.database import TestDatabase
from tests.make import make_offer
from tests.people import caller_for, found

ROOT = Path(__file__).resolve().parents[2]
TIMES = 20
NO_MISTAKE = {
    "double": 0,
    "lost": 0,
    "wrongly_active": 0,
    "wrongly_inactive": 0,
    "unbalanced": 0,
}


class Workers:
    """Workers, one after another, from a program that has the application loaded."""

    def __init__(self, database: TestDatabase, stripe: Stripe) -> None:
        self.kills: Counter[str] = Counter()
        self._url = stripe.url
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.dying_worker"],
            cwd=ROOT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "marketplace.settings",
                "LICET_DEBUG": "1",
                "LICET_DATABASE_ROLE": "licet_app",
                "DATABASE_URL": database.url,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def die(self, point: str, act: str, id: Any) -> None:
        """Have a worker begin an act, and die at a point of it."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(f"{point}\t{self._url}\t{act}\t{id}\n")
        self._program.stdin.flush()
        ended = self._program.stdout.readline().strip()
        assert ended == str(-signal.SIGKILL), f"it did not die at “{point}”, but ended with {ended}"
        self.kills[point] += 1

    def settle(self, order: Order, points: Iterable[str]) -> Order:
        """Settle an order after workers died at each of these points of it."""
        for point in points:
            self.die(point, "sync", order.pk.hex)
        return sync.sync_order(order.pk)

    def call(self, order: Order, kind: str) -> Command:
        """Make a call after workers died at each stage of it; a retry finds the original result."""
        command = given(order, kind)
        for stage in STAGES[:-1]:
            self.die(f"{kind}: {stage}", "call", command.pk.hex)
        # Made again, and cut off after it was kept.
        self.die(f"{kind}: {STAGES[-1]}", "call", command.pk.hex)
        with access.system("read what was kept"):
            kept = Command.objects.get(pk=command.pk)
        retried = commands.carry_out(command.pk)
        assert (retried.state, retried.stripe_id) == ("done", kept.stripe_id)
        assert retried.attempts == kept.attempts == len(STAGES)
        return retried

    def close(self) -> None:
        self._program.kill()
        self._program.communicate()


@pytest.fixture
def stripe() -> Iterator[Stripe]:
    with simulated_stripe() as opened:
        yield opened


@pytest.fixture
def workers(test_database: TestDatabase, stripe: Stripe) -> Iterator[Workers]:
    opened = Workers(test_database, stripe)
    yield opened
    opened.close()


@pytest.fixture
def buyer(transactional_db: None) -> Caller:
    return caller_for(found("Lab", "lab"))


def placed(buyer: Caller, stripe: Stripe) -> list[Order]:
    """Orders whose pay pages are not open yet."""
    offer = make_offer(market.paid_seller(stripe), price_minor=50_000)
    with patch.object(orders, "_opened", lambda _caller, order, _command: order):
        return [market.place(buyer, str(offer.pk)) for _time in range(times())]


def times() -> int:
    """How often each point is tried: once in the quick run."""
    return int(os.environ.get("LICET_KILLS", TIMES))


def bought(order: Order, stripe: Stripe) -> Order:
    """An order that was paid and granted, undisturbed."""
    opened = commands.carry_out(given(order, "create_checkout").pk)
    stripe.control(f"sessions/{opened.stripe_id}/pay")
    return sync.sync_order(order.pk)


def given(order: Order, kind: str) -> Command:
    with access.system("find a call"):
        return Command.objects.get(order=order, kind=kind)


def counted() -> dict[str, int]:
    with access.system("count what there is"):
        return {
            "grants": Grant.objects.count(),
            "entries": LedgerEntry.objects.filter(kind="grant.issued").count(),
            **Counter(Journal.objects.exclude(kind="settled").values_list("kind", flat=True)),
        }


@pytest.mark.chaos
def test_an_order_is_opened_granted_and_paid_on_once_wherever_workers_are_killed(
    buyer: Caller, stripe: Stripe, workers: Workers
) -> None:
    for order in placed(buyer, stripe):
        opened = workers.call(order, "create_checkout")
        stripe.control(f"sessions/{opened.stripe_id}/pay")
        assert workers.settle(order, PAID).status == "granted"
        workers.call(order, "transfer")

    n = times()
    assert stripe_truth.mistakes_of_ours(stripe_truth.read(stripe)) == NO_MISTAKE
    assert counted() == dict.fromkeys(["grants", "entries", "payment", "sale", "transfer"], n)
    assert set(workers.kills.values()) == {n}


@pytest.mark.chaos
def test_a_payment_goes_back_once_wherever_workers_are_killed(
    buyer: Caller, stripe: Stripe, workers: Workers
) -> None:
    for order in placed(buyer, stripe):
        assert bought(order, stripe).status == "granted"
        commands.carry_out(given(order, "transfer").pk)
        refunds.request(buyer, str(order.pk), reason="It is not what it seemed.")
        workers.call(order, "refund")
        assert workers.settle(order, REFUNDED).status == "refunded"
        workers.call(order, "reverse_transfer")
        assert grant_status(order) == "revoked"

    n = times()
    assert stripe_truth.mistakes_of_ours(stripe_truth.read(stripe)) == NO_MISTAKE
    assert counted() == dict.fromkeys(
        ["grants", "entries", "payment", "sale", "transfer", "refund", "reversal"], n
    )
    assert set(workers.kills.values()) == {n}


@pytest.mark.chaos
def test_a_disputed_license_stops_and_comes_back_once_wherever_workers_are_killed(
    buyer: Caller, stripe: Stripe, workers: Workers
) -> None:
    for order in placed(buyer, stripe):
        dispute = stripe.control(f"charges/{bought(order, stripe).charge}/dispute")
        assert workers.settle(order, DISPUTED).status == "disputed"
        assert grant_status(order) == "suspended"
        workers.call(order, "send_evidence")
        stripe.control(f"disputes/{dispute['id']}/win")
        assert workers.settle(order, WON).status == "dispute_won"
        assert grant_status(order) == "active"

    n = times()
    assert stripe_truth.mistakes_of_ours(stripe_truth.read(stripe)) == NO_MISTAKE
    assert counted() == dict.fromkeys(
        ["grants", "entries", "payment", "sale", "dispute", "dispute_won"], n
    )
    assert set(workers.kills.values()) == {n}


def grant_status(order: Order) -> str:
    with access.system("read a license"):
        return str(Grant.objects.get(agreement__made_by=str(order.pk)).status)


def test_workers_are_killed_at_more_than_twelve_points() -> None:
    assert len(POINTS) + len(CALL_POINTS) >= 12
    assert TIMES == 20
