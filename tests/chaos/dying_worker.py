"""Workers, which kill themselves (SIGKILL) at one named point of one act.

Run as a program, it imports the application once. For each line that it reads (POINT, STRIPE_URL,
ACT and ID, with tabs between them) it forks a worker, and prints how that ended. The points are
functions of the application, wrapped from outside.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn
from uuid import UUID

import django

from tests.chaos.dying_web import Point, die_at

# Of each call, in the order in which it passes them.
STAGES = (
    "noted, not sent",
    "made at Stripe, not answered for",
    "answered, not kept",
    "kept, before the commit",
    "committed, before the end",
)
CALLS = (
    "create_checkout",
    "transfer",
    "refund",
    "reverse_transfer",
    "send_evidence",
    "royalty_transfer",
)
CALL_POINTS = {f"{kind}: {stage}": (kind, stage) for kind in CALLS for stage in STAGES}
# What a settlement passes, in its order: of a payment, a refund, a dispute, and a won one.
PAID = {
    "order claimed": Point("payments.sync", "_claim"),
    "payment fetched": Point("payments.stripe_gateway", "retrieve_checkout"),
    "payment posted, not settled": Point("payments.sync", "_settle", before=True),
    "paid, before the savepoint": Point("payments.sync", "_grant_or_refund", before=True),
    "entry appended, before the grant": Point("licensing.ledger.log", "append"),
    "grant issued, before its journal": Point("payments.orders", "issue_grant"),
    "sold, before the transfer": Point("payments.transfers", "plan", before=True),
    "transfer given, before the commit": Point("payments.transfers", "plan"),
    "settled, before the end": Point("payments.sync", "_sync"),
}
REFUNDED = {
    "refund fetched": Point("payments.stripe_gateway", "retrieve_checkout"),
    "refund found, not taken": Point("payments.refunds", "_take", before=True),
    "refund taken, license in force": Point("payments.licenses", "revoke", before=True),
    "license revoked, before the commit": Point("payments.licenses", "revoke"),
    "refund taken, before the commit": Point("payments.refunds", "merge"),
    "refund settled, before the end": Point("payments.sync", "_sync"),
}
DISPUTED = {
    "dispute fetched": Point("payments.stripe_gateway", "retrieve_checkout"),
    "money held, license in force": Point("payments.licenses", "suspend", before=True),
    "license suspended, before the commit": Point("payments.licenses", "suspend"),
    "evidence given, before the commit": Point("payments.disputes", "merge"),
    "dispute settled, before the end": Point("payments.sync", "_sync"),
}
WON = {
    "win fetched": Point("payments.stripe_gateway", "retrieve_checkout"),
    "money back, license suspended": Point("payments.licenses", "reinstate", before=True),
    "license reinstated, before the commit": Point("payments.licenses", "reinstate"),
    "win settled, before the end": Point("payments.sync", "_sync"),
}
# What writing a payout of royalties passes, batch by batch.
PAYOUT = {
    "batch claimed, nothing written": Point("payments.payouts", "_batch"),
    "payments written, not posted": Point("payments.payouts", "_post", before=True),
    "batch posted, its end not kept": Point("payments.payouts", "_post"),
    "batch committed, before the next": Point("payments.payouts", "step"),
    "last batch written, before it is done": Point("payments.payouts", "_move"),
}
# Contributors in a batch of theirs: several for a few people.
PAYOUT_BATCH = 2
POINTS = PAID | REFUNDED | DISPUTED | WON | PAYOUT


# Otherwise imported by their first use, in every worker anew, which takes longer than the rest.
LATE = (
    "netrc",
    "payments.sync",
    "psycopg_pool",
    "stripe._object_classes",
    "stripe._v1_services",
    "stripe._v2_services",
)


def main() -> None:
    django.setup()
    for name in LATE:
        importlib.import_module(name)
    _import_stripe()
    for line in sys.stdin:
        point, stripe_url, act, id = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            live(point, stripe_url, act, id)
        _pid, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _import_stripe() -> None:
    """Have the SDK import what our calls need: nothing is called."""
    from payments import stripe_gateway

    client = stripe_gateway._client("sk_test_devstripe_dying", "http://127.0.0.1:9")
    for service in ("checkout", "disputes", "refunds", "transfers"):
        getattr(client.v1, service)
    _ = client.v1.checkout.sessions, client.v1.transfers.reversals


def live(point: str, stripe_url: str, act: str, id: str) -> NoReturn:
    """The life of one worker."""
    from django.conf import settings

    from payments import commands, payouts, sync

    settings.STRIPE_API_BASE = stripe_url
    payouts.BATCH = PAYOUT_BATCH
    if point in POINTS:
        die_at(POINTS[point])
    else:
        die_in_call(*CALL_POINTS[point])
    acts: dict[str, Callable[[Any], Any]] = {
        "sync": sync.sync_order,
        "call": commands.carry_out,
        "payout": lambda _id: write_payouts(),
    }
    acts[act](UUID(id))
    os._exit(0)


def write_payouts() -> None:
    """Write until nothing is left: what a dead worker held is free a moment after it died."""
    from payments import payouts

    while payouts.write_due():
        time.sleep(0.01)


def die_in_call(kind: str, stage: str) -> None:
    """End at a stage of carrying a call out."""
    from payments import commands

    call = commands.CALLS[kind]
    if stage == STAGES[0]:
        call = dataclasses.replace(call, send=die)
    elif stage == STAGES[1]:
        call = dataclasses.replace(call, send=_then_die(call.send))
    elif stage == STAGES[2]:
        call = dataclasses.replace(call, keep=die)
    elif stage == STAGES[3]:
        call = dataclasses.replace(call, keep=_then_die(call.keep))
    else:
        commands.carry_out = _then_die(commands.carry_out)
    commands.CALLS[kind] = call


def die(*_arguments: Any) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody lives on")


def _then_die(act: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(act)
    def deadly(*arguments: Any, **named: Any) -> Any:
        act(*arguments, **named)
        die()

    return deadly


if __name__ == "__main__":
    main()
