"""Controls for connected accounts and payouts: what sellers, Stripe and banks would do."""

from __future__ import annotations

from typing import Any

from payments.simulator import accounts, payouts
from payments.simulator.errors import ApiError, missing
from payments.simulator.state import Resource, World

VERBS = frozenset({"complete", "leave_out", "pay_out", "refuse", "restrict"})


def act(world: World, id: str, verb: str, wanted: dict[str, Any]) -> Resource:
    """Have something happen to an account; answers the account as it stands then.

    leave_out takes {"requirements": ["…"]}, refuse {"code": "rejected_fraud"}, restrict
    {"requirement": "…"} or {"is_verifying": true}.
    """
    with world.change():
        if verb == "pay_out":
            return {"account": id, "paid_out": payouts.drain(world, id)}
        if verb == "complete":
            return accounts.complete(world, id)
        if verb == "leave_out":
            left = wanted.get("requirements")
            if left is not None and not _are_names(left):
                raise ApiError("requirements is a list of names.", param="requirements")
            return accounts.leave_out(world, id, left)
        if verb == "refuse":
            return accounts.refuse(world, id, str(wanted.get("code", "rejected_other")))
        if verb == "restrict":
            return accounts.restrict(
                world,
                id,
                description=str(wanted.get("requirement", "")),
                is_verifying=bool(wanted.get("is_verifying")),
            )
    raise missing("control", verb, param="path")


def pay_out(world: World, wanted: dict[str, Any]) -> Resource:
    """Pay out what the platform has available: {"currency": "usd"}."""
    with world.change():
        return payouts.pay_out(world, str(wanted.get("currency", "usd")))


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)
