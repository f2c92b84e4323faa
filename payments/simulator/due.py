"""Everything that time alone brings about: sessions expire, banks decide, refunds settle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from payments.simulator import account_balances, checkout, disputes, refunds, schedule
from payments.simulator.state import World

VERBS: dict[str, Callable[..., Any]] = {
    "dispute": disputes.open_by_card,
    "decide_dispute": disputes.decide,
    "dispute_past_due": disputes.past_due,
    "close_inquiry": disputes.close_old_inquiry,
    "fail_pending_refunds": refunds.fail_pending,
    "end_refund": refunds.end_by_card,
}


def is_any(world: World) -> bool:
    with world.lock:
        return bool(
            world.due(checkout.KIND) or world.due(schedule.KIND) or account_balances.is_due(world)
        )


def run(world: World) -> None:
    """Do what is due, within a change. What came of it may be due at once, too."""
    checkout.expire_due(world)
    account_balances.settle_due(world)
    while tasks := schedule.take_due(world):
        for task in tasks:
            VERBS[task["verb"]](world, task["about"], **task["details"])
