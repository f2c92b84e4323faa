"""Controls over payments: what buyers and banks do, which no call of Stripe's API does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from payments.simulator import cards, checkout, disputes, payment_intents, refunds
from payments.simulator.errors import ApiError
from payments.simulator.state import Resource, World

Verb = Callable[[World, str, dict[str, Any]], Resource]


def _pay(world: World, id: str, wanted: dict[str, Any]) -> Resource:
    """{"card": "inquiry", "disputed_after_seconds": 60}; by default a card that is accepted."""
    seconds = wanted.get("disputed_after_seconds", payment_intents.DISPUTED_AFTER_SECONDS)
    if type(seconds) is not int or seconds < 0:
        raise ApiError("disputed_after_seconds is an integer, 0 or more.")
    return checkout.pay(
        world,
        id,
        card=str(wanted.get("card", cards.ACCEPTED)),
        disputed_after_seconds=seconds,
    )


def _decline(world: World, id: str, wanted: dict[str, Any]) -> Resource:
    return checkout.decline(
        world, id, decline_code=str(wanted.get("decline_code", "generic_decline"))
    )


def _expire(world: World, id: str, wanted: dict[str, Any]) -> Resource:
    return checkout.expire(world, {"session": id}, {})


def _bounce(world: World, id: str, wanted: dict[str, Any]) -> Resource:
    return checkout.bounce(
        world, id, failure_code=str(wanted.get("failure_code", "insufficient_funds"))
    )


def _dispute(world: World, id: str, wanted: dict[str, Any]) -> Resource:
    """{"reason": "fraudulent", "amount": 100, "status": "needs_response"}, each optional."""
    unknown = set(wanted) - {"reason", "amount", "status"}
    if unknown:
        raise ApiError(f"A dispute has no {', '.join(sorted(unknown))}.")
    return disputes.open_(world, id, **wanted)


def _change_dispute(world: World, id: str, wanted: dict[str, Any]) -> Resource:
    """{"amount": 100}"""
    return disputes.change(world, id, amount=wanted.get("amount", 0))


def _fail_refund(world: World, id: str, wanted: dict[str, Any]) -> Resource:
    return refunds.fail(world, id, reason=str(wanted.get("failure_reason", "unknown")))


def _alone(verb: Callable[[World, str], Resource]) -> Verb:
    """A verb that needs nothing but the object."""
    return lambda world, id, wanted: verb(world, id)


# /_simulator/{kind}/{id}/{verb}, each whole or not at all.
VERBS: dict[tuple[str, str], Verb] = {
    ("sessions", "pay"): _pay,
    ("sessions", "decline"): _decline,
    ("sessions", "expire"): _expire,
    ("sessions", "require_action"): _alone(checkout.require_action),
    ("sessions", "authenticate"): _alone(checkout.authenticate),
    ("sessions", "fail_authentication"): _alone(checkout.fail_authentication),
    ("sessions", "debit"): _alone(checkout.debit),
    ("sessions", "settle"): _alone(checkout.settle),
    ("sessions", "bounce"): _bounce,
    ("charges", "dispute"): _dispute,
    ("disputes", "change"): _change_dispute,
    ("disputes", "win"): _alone(disputes.win),
    ("disputes", "win_appeal"): _alone(disputes.win_appeal),
    ("disputes", "lose"): _alone(disputes.lose),
    ("disputes", "escalate"): _alone(disputes.escalate),
    ("disputes", "warn_close"): _alone(disputes.close_inquiry),
    ("refunds", "succeed"): _alone(refunds.succeed),
    ("refunds", "fail"): _fail_refund,
}
