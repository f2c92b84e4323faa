"""Workers that give events their places and send them to webhooks, until somebody kills them.

Run as a program, it imports the worker once. For each line that it reads it forks one, and prints
its id; those that have ended are waited for, so that an id stays theirs until then.
"""

from __future__ import annotations

import importlib
import os
import sys
from datetime import timedelta
from typing import NoReturn

import django

JOBS = ("events that take their places", "webhooks")
# What a dead worker had begun is otherwise due again after a minute and a half.
LEASE = timedelta(seconds=3)


def main() -> None:
    django.setup()
    importlib.import_module("payments.management.commands.worker")
    started: list[int] = []
    for _line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            live()
        started.append(pid)
        print(pid, flush=True)
        # The ones before it are dead, or live on: whoever asked for this one killed them.
        started = [each for each in started if os.waitpid(each, os.WNOHANG) == (0, 0)]


def live() -> NoReturn:
    """The life of one worker: the loops of the product's own, and no other jobs."""
    from django.core.management import call_command

    from marketplace import webhook_deliveries
    from payments.management.commands import worker

    webhook_deliveries.LEASE = LEASE
    worker.JOBS[:] = [job for job in worker.JOBS if job.name in JOBS]
    assert len(worker.JOBS) == len(JOBS)
    with open(os.devnull, "w") as nowhere:
        call_command("worker", stdout=nowhere)
    os._exit(0)


if __name__ == "__main__":
    main()
