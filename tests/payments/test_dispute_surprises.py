"""Disputes that do not go as most do: announcements beside them, appeals, changed amounts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from licensing import lifecycle
from licensing.lifecycle import Act
from licensing.models import Grant, GrantEvent
from marketplace import access
from marketplace.models import Organization
from payments.models import Order
from tests.payments.buying import order_now
from tests.payments.invoicing import travel
from tests.payments.simulating import Stripe, work
from tests.payments.test_money_attacks import look
from tests.payments.test_refunds import dispute, grant_status
from tests.payments.test_transfers import bought
from tests.people import ApiClient, caller_for

pytestmark = pytest.mark.django_db
ClientFor = Callable[..., ApiClient]


@pytest.fixture
def buyer(lab: Organization, client_for: ClientFor) -> ApiClient:
    return client_for(lab)


@pytest.fixture
def order(archive: Organization, buyer: ApiClient, stripe: Stripe) -> dict[str, Any]:
    return bought(buyer, archive, stripe)


# --- what the licensor announced --------------------------------------------------------------


def announce(seller: Organization, order: dict[str, Any], verb: str, **later: float) -> GrantEvent:
    act = Act(
        by="licensor",
        cause="breach",
        reason="Shared.",
        effective_at=timezone.now() + timedelta(**later) if later else None,
    )
    acts = {"suspend": lifecycle.suspend, "reinstate": lifecycle.reinstate}
    return acts[verb](caller_for(seller), order["grant"], act)


def status_at(order: dict[str, Any], **later: float) -> str:
    """How a grant will stand, as its events say by now."""
    at = timezone.now() + timedelta(**later)
    with access.system("read what a grant will be in a test"):
        event = GrantEvent.objects.in_effect(at).filter(grant=order["grant"]).first()
    return "active" if event is None else GrantEvent.STATUS[event.kind]


def win(order: dict[str, Any], stripe: Stripe, id: str) -> None:
    work()
    stripe.decide(id, "win")
    look(order)


def test_a_suspension_that_was_announced_before_a_dispute_stays_when_that_is_won(
    archive: Organization, buyer: ApiClient, order: dict[str, Any], stripe: Stripe
) -> None:
    """Seen to fail: the reinstatement took the announcement back."""
    said = announce(archive, order, "suspend", days=10)
    win(order, stripe, dispute(order, stripe))

    assert order_now(buyer, order)["status"] == "dispute_won"
    assert grant_status(order) == "active"
    assert (status_at(order, days=9), status_at(order, days=11)) == ("active", "suspended")
    with access.system("read an announcement in a test"):
        last = Grant.objects.get(pk=order["grant"]).events.order_by("-number")[0]
    names = ("by", "cause", "reason", "effective_at", "duties", "reference")
    assert [getattr(last, name) for name in names] == [getattr(said, name) for name in names]


@pytest.mark.oracle
def test_a_suspension_that_came_into_effect_during_a_dispute_goes_on_when_that_is_won(
    archive: Organization,
    order: dict[str, Any],
    stripe: Stripe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    announce(archive, order, "suspend", seconds=600)
    id = dispute(order, stripe)
    work()
    travel(monkeypatch, seconds=601)
    win(order, stripe, id)

    assert grant_status(order) == "suspended"
    # It is the licensor's, who can end it.
    announce(archive, order, "reinstate")
    assert grant_status(order) == "active"


@pytest.mark.oracle
def test_an_end_of_a_suspension_that_was_announced_comes_no_sooner_for_a_dispute(
    archive: Organization, order: dict[str, Any], stripe: Stripe
) -> None:
    announce(archive, order, "suspend")
    announce(archive, order, "reinstate", days=10)
    win(order, stripe, dispute(order, stripe))

    assert grant_status(order) == "suspended"
    assert (status_at(order, days=9), status_at(order, days=11)) == ("suspended", "active")
    with access.system("read an order in a test"):
        assert Order.objects.get().status == "dispute_won"
