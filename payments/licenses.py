"""What becomes of a license when its payment is disputed, given back or overdue."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from licensing import lifecycle
from licensing.lifecycle import Act, Kind
from licensing.models import Grant, GrantEvent
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

    With `after`, only one that was suspended for that cause, and for no other since. What its
    licensor announced for later, before or since, stays as it was said.
    """
    # Nobody says more of it meanwhile.
    list(Grant.objects.select_for_update().filter(pk=order.grant_id).values_list("pk"))
    events = list(GrantEvent.objects.filter(grant=order.grant_id).order_by("-number"))
    market = next((event for event in events if event.by == GrantEvent.By.MARKET), None)
    if after and (market is None or market.cause != after):
        return
    now = timezone.now()
    own = next((event for event in events if event.by != GrantEvent.By.MARKET), None)
    announced = None
    if own is not None and market is not None:
        is_later = own.kind == Kind.SUSPENDED and own.effective_at > now
        if own.number > market.number and not is_later:
            # Somebody else has the last word.
            return
        if own.number > market.number or own.effective_at > market.created_at:
            announced = own
    act = Act(by=GrantEvent.By.MARKET, cause=Cause.SETTLED, reason=reason)
    if announced is None:
        _act(order, Kind.REINSTATED, act)
    elif announced.kind == Kind.REINSTATED:
        # Its licensor has suspended it until then.
        _act(order, Kind.REINSTATED, replace(act, effective_at=_later(announced, now)))
    else:
        if announced.effective_at > now:
            _act(order, Kind.REINSTATED, act)
        _act(order, Kind.SUSPENDED, _again(announced, now))


def revoke(order: Order, *, cause: str, reason: str, effect: str = Effect.PROSPECTIVE) -> None:
    """End the license of an order for good, from now on or as if it had never been given."""
    act = Act(by=GrantEvent.By.MARKET, cause=cause, reason=reason)
    _act(order, Kind.REVOKED, act, effect=effect)


def _later(event: GrantEvent, now: datetime) -> datetime | None:
    """When an announcement counts; None for at once."""
    return event.effective_at if event.effective_at > now else None


def _again(event: GrantEvent, now: datetime) -> Act:
    """An announcement, to be recorded anew: the market's word has come after it."""
    return Act(
        by=event.by,
        cause=event.cause,
        reason=event.reason,
        reference=event.reference,
        effective_at=_later(event, now),
        duties=event.duties,
    )


def _act(order: Order, kind: Kind, act: Act, *, effect: str = "") -> None:
    if order.grant_id is None:
        return
    # For the licensor, whose license it is; the event says that the market did it.
    licensor = Caller(
        Organization.objects.get(pk=order.seller_id),
        livemode=order.livemode,
        scopes=frozenset(),
    )
    if act.by == GrantEvent.By.MARKET:
        act = replace(act, reference=str(order.pk))
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
