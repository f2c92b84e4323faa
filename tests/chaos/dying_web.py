"""Web processes, served on loopback, which kill themselves (SIGKILL) at one named point.

Run as a program, it imports the application once. For each line `POINT<tab>STRIPE_URL` that it
reads, it forks a web process, prints `PID PORT`, and, when that process has ended, its exit code.
The points are functions of the application, wrapped from outside: it knows nothing of them.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True)
class Point:
    """Just before or just after a function of the application runs."""

    module: str
    function: str
    before: bool = False


# In the order in which a delivery, and then the buyer's return, pass them.
POINTS = {
    "delivery verified, not stored": Point("payments.stripe_gateway", "verify_webhook"),
    "event stored, before the answer": Point("payments.stripe_events", "receive"),
    "order claimed": Point("payments.sync", "_claim"),
    "facts fetched": Point("payments.stripe_gateway", "retrieve_checkout"),
    "paid, before the savepoint": Point("payments.sync", "_grant_or_refund", before=True),
    "entry appended, before the grant": Point("licensing.ledger.log", "append"),
    "grant issued, before the journal": Point("licensing.grants", "issue"),
    "journal posted, before the commit": Point("payments.journal", "post"),
    "everything written, before the commit": Point("payments.sync", "_next_look"),
    "committed, before the answer": Point("payments.sync", "_sync"),
}


def die_at(point: Point) -> None:
    """Wrap the point's function, so that the process ends there as if its power were cut."""
    module = importlib.import_module(point.module)
    original = getattr(module, point.function)

    @functools.wraps(original)
    def deadly(*args: Any, **kwargs: Any) -> Any:
        if not point.before:
            result = original(*args, **kwargs)
            if point.function == "_next_look" and args[0].status != "granted":
                return result  # the claim's own; the one after the grant is meant
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(module, point.function, deadly)


class Quiet(WSGIRequestHandler):
    def log_message(self, *_args: Any) -> None:
        pass


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    application = importlib.import_module("marketplace.wsgi").application
    # The routes are otherwise imported with the first request, in every process anew.
    importlib.import_module("marketplace.urls")
    for line in sys.stdin:
        point, stripe_url = line.rstrip("\n").split("\t")
        with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
            pid = os.fork()
            if pid == 0:
                live(server, point, stripe_url)
            print(pid, server.server_port, flush=True)
        _pid, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def live(server: WSGIServer, point: str, stripe_url: str) -> NoReturn:
    """The life of one web process."""
    from django.conf import settings

    settings.STRIPE_API_BASE = stripe_url
    if point != NOWHERE:
        die_at(POINTS[point])
    server.serve_forever()
    os._exit(0)


if __name__ == "__main__":
    main()
