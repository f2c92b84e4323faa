"""What becomes of a license when its payment is disputed, given back or overdue."""

from __future__ import annotations

import logging

from django.db import transaction

from licensing import lifecycle
from licensing.lifecycle import Act, Kind
from licensing.models import GrantEvent
from marketplace.access import Caller
from marketplace.errors import GrantWrongState
from marketplace.models import Organization
from payments.models import Order

logger = logging.getLogger(__name__)
Cause = GrantEvent.Cause
Effect = GrantEvent.Effect


def suspend(order: Order, *, cause: str, reason: str) -> None:
    """Stop the license of an order at once: sale, delivery and decisions refuse from now on.

    In the transaction that learned why. A license that has ended stays as it is.
    """
    _act(order, Kind.SUSPENDED, Act(by=GrantEvent.By.MARKET, cause=cause, reason=reason))


def reinstate(order: Order, *, reason: str, after: str = "") -> None:
    """Let the license of an order go on. One that was never suspended stays as it is.

    With `after`, only one that was suspended for that cause, and for no other since.
    """
    if after:
        last = GrantEvent.objects.filter(grant=order.grant_id).order_by("-number").first()
        if last is None or last.cause != after:
            return
    act = Act(by=GrantEvent.By.MARKET, cause=Cause.SETTLED, reason=reason)
    _act(order, Kind.REINSTATED, act)


def revoke(order: Order, *, cause: str, reason: str, effect: str = Effect.PROSPECTIVE) -> None:
    """End the license of an order for good, from now on or as if it had never been given."""
    act = Act(by=GrantEvent.By.MARKET, cause=cause, reason=reason)
    _act(order, Kind.REVOKED, act, effect=effect)


def _act(order: Order, kind: Kind, act: Act, *, effect: str = "") -> None:
    if order.grant_id is None:
        return
    # For the licensor, whose license it is; the event says that the market did it.
    licensor = Caller(
        Organization.objects.get(pk=order.seller_id),
        livemode=order.livemode,
        scopes=frozenset(),
    )
    act = Act(by=act.by, cause=act.cause, reason=act.reason, reference=str(order.pk))
    grant = str(order.grant_id)
    try:
        # Money is a fact and commits, whatever a license's own state says to it.
        with transaction.atomic():
            if kind == Kind.SUSPENDED:
                lifecycle.suspend(licensor, grant, act)
            elif kind == Kind.REINSTATED:
                lifecycle.reinstate(licensor, grant, act)
            else:
                lifecycle.revoke(licensor, grant, act, effect=effect)
    except GrantWrongState as refusal:
        logger.info("%s of %s: %s", kind, order.pk, refusal.detail)
