"""Orders paid, declined, expired, refunded and disputed: their deliveries, at two handlers."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import psycopg
from django.db import connection
from django.test import Client
from django.utils import timezone

from marketplace import access
from marketplace.errors import DomainError
from payments import commands, orders, reconcile, refunds, stripe_events, sync, transfers
from payments.models import Command, Order, StripeEvent
from tests.chaos import market, stripe_truth
from tests.chaos.naive_handler import NaiveHandler
from tests.chaos.simulator_process import Letter, Stripe, simulated_stripe
from tests.make import make_offer
from tests.people import caller_for, found

SENDERS, WORKERS = 8, 4
COPIES_MAX = 4
CRASHES = FAILURES = LOSSES = 0.03
PRICE_MINOR = 50_000
REASON = "The collection is not what it seemed."
# What becomes of an order, and of how many in a hundred.
FATES = {
    "paid": 45,
    "declined": 12,
    "expired": 9,
    "refunded_in_part": 8,
    "refunded": 8,
    "dispute_won": 6,
    "dispute_lost": 6,
    "dispute_open": 6,
}


class Crash(BaseException):
    """The process ends here. Nothing catches it but whoever plays the machine."""


class DeadlockCounter(logging.Handler):
    """Swallows the log, and counts the deadlocks that it tells of."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        while error is not None:
            self.seen += isinstance(error, psycopg.errors.DeadlockDetected)
            error = error.__cause__


class Mishaps:
    """What goes wrong in our own processes, by one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.crashes = self.failures = 0
        # While the last pass heals what happened, nothing more happens.
        self.is_over = False

    def maybe_crash(self) -> None:
        if not self.is_over and self._random.random() < CRASHES:
            self.crashes += 1
            raise Crash

    def maybe_fail(self) -> None:
        if not self.is_over and self._random.random() < FAILURES:
            self.failures += 1
            raise RuntimeError("the disk is full")

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Crash after a delivery's commit; fail between payment and grant, and after calls."""
        calls = {
            kind: dataclasses.replace(call, keep=self._before(call.keep))
            for kind, call in commands.CALLS.items()
        }
        with (
            patch.object(stripe_events, "receive", self._after(stripe_events.receive)),
            # Undoes the grant alone, and the whole settlement.
            patch.object(orders, "issue_grant", self._before(orders.issue_grant)),
            patch.object(sync, "_grant_or_refund", self._before(sync._grant_or_refund)),
            patch.dict(commands.CALLS, calls),
        ):
            yield

    def _after(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def crashing(*arguments: Any) -> Any:
            result = act(*arguments)
            self.maybe_crash()
            return result

        return crashing

    def _before(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*arguments: Any) -> Any:
            self.maybe_fail()
            return act(*arguments)

        return failing


@dataclasses.dataclass
class Deal:
    """One order, and what shall become of it."""

    fate: str
    # Whether the bank or the buyer acts before we heard of the payment.
    is_early: bool
    is_lost: bool
    id: str = ""
    session: str = ""


class Storm:
    """One run: the same orders and deliveries for both handlers."""

    def __init__(self, *, orders: int, seed: int) -> None:
        self._count, self._random = orders, random.Random(seed)
        self._mishaps, self._naive_mishaps = Mishaps(seed), Mishaps(seed)
        self._naive = NaiveHandler()
        self._log = DeadlockCounter()
        self._waits: list[float] = []
        self._sending_seconds = 0.0
        self._deliveries = self._naive_deliveries = 0

    def run(self) -> dict[str, Any]:
        """Everything, from the first order to the comparison with Stripe."""
        began = time.monotonic()
        logger = logging.getLogger()
        before, logger.handlers = logger.handlers, [self._log]
        try:
            with simulated_stripe() as stripe:
                return self._run(stripe) | {"seconds": round(time.monotonic() - began, 1)}
        finally:
            logger.handlers = before

    def _run(self, stripe: Stripe) -> dict[str, Any]:
        deals = self._place(stripe)
        with self._mishaps.at_work():
            for wave in (self._pay, self._go_on, self._decide):
                wave(stripe, deals)
                self._storm(stripe.letters())
        # What was given back and fought over on our own account is told, too.
        with self._mishaps.at_work():
            self._storm(stripe.letters())
        before = stripe_truth.mistakes_of_ours(stripe_truth.read(stripe))
        self._mishaps.is_over = True
        self._reconcile()
        books = stripe_truth.read(stripe)
        waits = sorted(self._waits)
        return {
            "orders": self._count,
            "real": {
                **stripe_truth.mistakes_of_ours(books),
                "before_reconciling": before,
                "deliveries": self._deliveries,
                "crashes": self._mishaps.crashes,
                "failures": self._mishaps.failures,
                "deadlocks": self._log.seen,
                "acks_per_second": round(len(waits) / self._sending_seconds),
                "ack_p50_ms": round(waits[len(waits) // 2] * 1000, 1),
                "ack_p99_ms": round(waits[len(waits) * 99 // 100] * 1000, 1),
            },
            "naive": {
                **stripe_truth.mistakes_of(self._naive, books),
                "deliveries": self._naive_deliveries,
                "crashes": self._naive_mishaps.crashes,
                "failures": self._naive_mishaps.failures,
            },
        }

    # --- buyers, sellers and banks ---

    def _place(self, stripe: Stripe) -> list[Deal]:
        """Orders with an open pay page: of a seller who is paid at once, and of one who waits."""
        sellers = [market.paid_seller(stripe), found("Waiting", "platform")]
        self._buyer = caller_for(found("Lab", "lab"))
        offers = [str(make_offer(seller, price_minor=PRICE_MINOR).pk) for seller in sellers]
        fates = self._random.choices(list(FATES), list(FATES.values()), k=self._count)
        lost = set(self._random.sample(range(self._count), max(2, round(LOSSES * self._count))))
        deals = [Deal(fate, self._random.random() < 0.5, n in lost) for n, fate in enumerate(fates)]
        waiting = list(enumerate(deals))

        def place() -> None:
            while waiting:
                with contextlib.suppress(IndexError):
                    number, deal = waiting.pop()
                    order = market.place(self._buyer, offers[number % 2])
                    deal.id, deal.session = str(order.pk), str(order.checkout_session)
            connection.close()

        _together(place, WORKERS)
        for deal in deals:
            if deal.is_lost:
                stripe.control("webhooks", lose_about=deal.id)
        return deals

    def _pay(self, stripe: Stripe, deals: list[Deal]) -> None:
        """Everybody tries to pay; some go back to their bank at once."""
        for deal in deals:
            if deal.fate == "expired":
                stripe.control(f"sessions/{deal.session}/expire")
                continue
            if deal.fate == "declined":
                stripe.control(f"sessions/{deal.session}/decline")
            stripe.control(f"sessions/{deal.session}/pay")
            if deal.is_lost:
                # A dispute names the payment, and no order.
                stripe.control("webhooks", lose_about=self._payment(stripe, deal))
            if deal.is_early:
                self._turn(stripe, deal)

    def _go_on(self, stripe: Stripe, deals: list[Deal]) -> None:
        """Others are refunded by us, or go to their bank, once they have their license."""
        for deal in deals:
            if deal.is_early:
                continue
            if not deal.fate.startswith("refunded"):
                self._turn(stripe, deal)
                continue
            amount = PRICE_MINOR // 3 if deal.fate == "refunded_in_part" else None
            try:
                refunds.request(self._buyer, deal.id, amount_minor=amount, reason=REASON)
            except DomainError:
                # We have not heard of the payment: somebody gives it back at Stripe.
                self._turn(stripe, deal)

    def _decide(self, stripe: Stripe, deals: list[Deal]) -> None:
        """Banks decide disputes. Who heard of none answers at Stripe."""
        for deal in deals:
            if deal.fate not in {"dispute_won", "dispute_lost"}:
                continue
            payment = self._payment(stripe, deal)
            [dispute] = stripe.all(f"/v1/disputes?payment_intent={payment}")
            if deal.fate == "dispute_lost":
                stripe.control(f"disputes/{dispute['id']}/lose")
                continue
            if dispute["status"] == "needs_response":
                form = "evidence[uncategorized_text]=They+have+it.&submit=true"
                stripe.post(f"/v1/disputes/{dispute['id']}", form)
            stripe.control(f"disputes/{dispute['id']}/win")

    def _turn(self, stripe: Stripe, deal: Deal) -> None:
        """What the buyer's bank, or somebody at Stripe's dashboard, does to a payment."""
        if deal.fate.startswith("refunded"):
            part = f"&amount={PRICE_MINOR // 3}" if deal.fate == "refunded_in_part" else ""
            stripe.post("/v1/refunds", f"payment_intent={self._payment(stripe, deal)}{part}")
        elif deal.fate.startswith("dispute"):
            payment = stripe.get(f"/v1/payment_intents/{self._payment(stripe, deal)}")
            stripe.control(f"charges/{payment['latest_charge']}/dispute")

    def _payment(self, stripe: Stripe, deal: Deal) -> str:
        return str(stripe.get(f"/v1/checkout/sessions/{deal.session}")["payment_intent"])

    # --- deliveries ---

    def _storm(self, letters: list[Letter]) -> None:
        """Send each letter one to four times, shuffled, while workers work; then let them end."""
        mail = [each for each in letters for _copy in range(self._random.randint(1, COPIES_MAX))]
        self._random.shuffle(mail)
        for_naive = list(mail)
        stopping = threading.Event()
        workers = [
            threading.Thread(target=self._work, args=(stopping,)) for _each in range(WORKERS)
        ]
        began = time.monotonic()
        for worker in workers:
            worker.start()
        self._send(mail)
        self._sending_seconds += time.monotonic() - began
        deadline = time.monotonic() + 300
        while self._is_working():
            assert time.monotonic() < deadline, "the workers do not come to an end"
            time.sleep(0.1)
        stopping.set()
        for worker in workers:
            worker.join()
        self._send_naively(for_naive)

    def _send(self, mail: list[Letter]) -> None:
        """Eight senders; what was not answered with 200 is sent again later."""
        lock = threading.Lock()

        def send() -> None:
            client = Client()
            while True:
                with lock:
                    if not mail:
                        break
                    letter = mail.pop()
                began = time.perf_counter()
                try:
                    answer = client.post(
                        "/stripe/webhook",
                        data=letter.raw,
                        content_type="application/json",
                        headers={"Stripe-Signature": letter.header},
                    )
                except Crash:
                    with lock:
                        mail.insert(0, letter)
                else:
                    assert answer.status_code == 200, answer.content
                    self._waits.append(time.perf_counter() - began)
                self._deliveries += 1
            connection.close()

        _together(send, SENDERS)

    def _send_naively(self, mail: list[Letter]) -> None:
        lock = threading.Lock()

        def send() -> None:
            while True:
                with lock:
                    if not mail:
                        return
                    letter = mail.pop()
                try:
                    self._naive.receive(letter.raw, letter.header, self._naive_mishaps.maybe_fail)
                    self._naive_mishaps.maybe_crash()
                except (Crash, RuntimeError):
                    with lock:
                        mail.insert(0, letter)
                self._naive_deliveries += 1

        _together(send, SENDERS)

    def _work(self, stopping: threading.Event) -> None:
        """A worker, without those of its jobs that reconcile."""
        while not stopping.is_set():
            done = 0
            for job in (stripe_events.handle_due, commands.complete_due):
                try:
                    done += job(10)
                except Exception:
                    logging.getLogger(__name__).exception("a job failed")
            if not done:
                stopping.wait(0.05)
        connection.close()

    def _is_working(self) -> bool:
        """Whether events or calls are left. What waits for its next attempt need wait no more."""
        now = timezone.now()
        with access.system("let the time pass"):
            due = StripeEvent.objects.filter(next_attempt_at__isnull=False)
            due.filter(attempts__gt=0).exclude(last_error="").update(next_attempt_at=now)
            Command.objects.filter(state="pending", attempts__gt=0).filter(
                next_attempt_at__gt=now, first_sent_at__lt=now - timedelta(seconds=2)
            ).update(next_attempt_at=now)
            return due.exists() or Command.objects.filter(state="pending").exists()

    # --- healing ---

    def _reconcile(self) -> None:
        """One pass of what the worker does by the hour, each job until nothing is due for it."""
        reconcile.fetch_events(since=timezone.now() - timedelta(days=1))
        jobs: list[Callable[[int], int]] = [
            stripe_events.handle_due,
            sync.complete_due,
            commands.complete_due,
            transfers.start_waiting,
        ]
        # Each order is looked at once; what that brings about is done after it.
        with access.system("let the time pass"):
            Order.objects.filter(next_sync_at__isnull=False).update(next_sync_at=timezone.now())
        while any(job(50) for job in jobs):
            pass


def _together(act: Callable[[], None], count: int) -> None:
    """Do something in threads at once, and hear of what failed in them."""
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(act) for _each in range(count)]:
            done.result()
