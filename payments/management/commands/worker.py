"""`manage.py worker`: everything that happens later, each job in a loop of its own."""

from __future__ import annotations

import logging
import signal
import threading
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connection

from licensing import (
    access_requests,
    audit_roots,
    delivery_summaries,
    lifecycle,
    moderation,
    optouts,
    scope_claims,
    status,
)
from licensing.ledger import sequencer
from marketplace import (
    accounts,
    bulk_edits,
    excerpts,
    log_lines,
    metrics,
    rate_limits,
    traces,
    uploads,
    webhook_deliveries,
)
from marketplace.imports import queue
from payments import (
    commands,
    connect,
    erasures,
    payouts,
    reconcile,
    remittances,
    royalties,
    royalty_payments,
    stripe_events,
    stripe_pace,
    sync,
    transfers,
    worker_port,
)

logger = logging.getLogger(__name__)

# After a failure of its own a job rests this long: a database that is away is not hammered.
REST_SECONDS = 2
# A job that is done again sooner keeps its connection.
KEEPS_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Job:
    """One kind of work that is done again and again, and may be done by several workers at once."""

    name: str
    # Or what says, after each time, when to do it again.
    every_seconds: float | Callable[[], float]
    run: Callable[[], object]
    # What `--once` does instead, where `run` would leave some of it for a moment later.
    run_alone: Callable[[], object] | None = None


_PACE = sequencer.Pace()
_WEBHOOKS = webhook_deliveries.Deliverer()

# In the order in which one thing leads to the next, for `--once`.
JOBS = [
    Job("Stripe's events", 0.2, lambda: stripe_events.handle_due()),
    Job("calls to Stripe", 0.5, lambda: commands.complete_due()),
    Job("unsettled orders", 1, lambda: sync.complete_due()),
    # Most times it finds that none is due: each is once an hour, and once a night.
    Job("undelivered events", 60, lambda: reconcile.events_due()),
    Job("Stripe's books against ours", 300, lambda: reconcile.balance_due()),
    Job("connected accounts", 5, lambda: connect.complete_due()),
    Job("transfers that were waiting", 5, lambda: transfers.start_waiting()),
    Job("royalties to be shared out", 1, lambda: royalties.allocate_due()),
    Job("payouts of royalties", 1, lambda: payouts.write_due()),
    Job("royalties to be sent", 5, lambda: royalty_payments.send_due()),
    # Once a day at most to each seller; it adds up all that was ever owed, in seconds.
    Job("what sellers are owed beside sales", 3600, lambda: remittances.start_due()),
    # A buyer whom an overdue claim keeps out must not wait long for its end.
    Job("overdue claims", 1, lambda: scope_claims.release_overdue()),
    Job("overdue access requests", 5, lambda: access_requests.expire_due()),
    Job("announced events of grants", 1, lambda: lifecycle.carry_out_due()),
    # Outside its windows nothing is permitted anyway: this writes down that a grant is over.
    Job("grants that are over", 300, lambda: lifecycle.expire_due()),
    Job("moderation decisions that are over", 60, lambda: moderation.expire_due()),
    Job("asked imports", 1, lambda: queue.carry_out_due(taken=optouts.of_feed)),
    Job("edits of many works", 0.5, lambda: bulk_edits.carry_out_due()),
    Job("excerpts of works", 1, lambda: excerpts.make_due()),
    Job("unused uploads", 600, lambda: uploads.sweep()),
    Job("sessions that ended", 3600, lambda: accounts.sweep()),
    Job("quotas that are full again", 3600, lambda: rate_limits.sweep()),
    # A restore must not lose them.
    Job("the list of erasures", 1, lambda: erasures.copy_due()),
    # A suspension or a revocation is to be in a signed root within 60 seconds.
    Job("status roots", 10, lambda: status.record_due()),
    # Most times it finds that none is due.
    Job("audit roots", 300, lambda: audit_roots.record_due()),
    # Days that are over, and what was counted late for them.
    Job("delivery summaries", 300, lambda: delivery_summaries.record_due()),
    # After all that makes them.
    Job("events that take their places", 0.2, lambda: webhook_deliveries.queue_new()),
    Job(
        "webhooks",
        0.5,
        lambda: _WEBHOOKS.run_once(),
        run_alone=lambda: webhook_deliveries.deliver_due(),
    ),
    Job("webhooks that are over", 3600, lambda: webhook_deliveries.sweep()),
    # Receipts wait for it.
    Job(
        "the ledger's sequencer",
        _PACE.rest,
        lambda: sequencer.run_once(_PACE),
        run_alone=lambda: sequencer.run_once(),
    ),
]


class Command(BaseCommand):
    help = "Handle Stripe's events, settle orders, make due calls, and sequence the ledger."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="do what is due now, once, and end")

    def handle(self, *args: Any, once: bool = False, **options: Any) -> None:
        if once:
            for job in JOBS:
                run_safely(replace(job, run=job.run_alone or job.run))
            return
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_context: stopping.set())
        # A thread for each job: a slow Stripe must not keep the ledger waiting.
        threads = [
            threading.Thread(target=repeat, args=(job, stopping), name=job.name) for job in JOBS
        ]
        for thread in threads:
            thread.start()
        if settings.LOG_FORMAT == "json":
            logger.info("worker: %d jobs", len(JOBS))
        else:
            self.stdout.write(f"worker: {len(JOBS)} jobs, until SIGTERM or Ctrl-C")
            self.stdout.flush()
        with worker_port.serving():
            stopping.wait()
        for thread in threads:
            thread.join()
        _WEBHOOKS.close()


def repeat(job: Job, stopping: threading.Event) -> None:
    """Do a job until told to stop; what fails is logged, and done again later."""
    try:
        while not stopping.is_set():
            pause = pause_after(job, is_done=run_safely(job))
            if pause >= KEEPS_SECONDS:
                # Back into the pool, which is smaller than the number of jobs.
                connection.close()
            stopping.wait(pause)
    finally:
        connection.close()


def pause_after(job: Job, *, is_done: bool) -> float:
    """How long a job rests before it is done again."""
    every = job.every_seconds if isinstance(job.every_seconds, int | float) else job.every_seconds()
    return every if is_done else max(REST_SECONDS, every)


def run_safely(job: Job) -> bool:
    """Do a job once. False, with the failure in the log, where it failed."""
    with log_lines.during(log_lines.Doing(job=job.name)):
        try:
            with metrics.job(job.name), traces.span(f"job {job.name}"), stripe_pace.background():
                job.run()
        except Exception:
            logger.exception("the worker's job “%s” failed", job.name)
            if not connection.in_atomic_block:
                # It may be the connection that is broken.
                connection.close()
            return False
    return True
