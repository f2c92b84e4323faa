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
from marketplace.models import Organization, User
from payments import mismatches, reconcile
from payments.models import Mismatch, Order
from tests.payments.buying import balances, order_now
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


@pytest.fixture
def operator() -> User:
    return User.objects.create(email="op@example.org", name="Op", is_operator=True)


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
def test_a_suspension_that_is_announced_during_a_dispute_begins_no_sooner_when_that_is_won(
    archive: Organization, order: dict[str, Any], stripe: Stripe
) -> None:
    """Seen to fail: the license stayed suspended from then on."""
    id = dispute(order, stripe)
    announce(archive, order, "suspend", days=10)
    assert grant_status(order) == "suspended"
    win(order, stripe, id)

    assert grant_status(order) == "active"
    assert (status_at(order, days=9), status_at(order, days=11)) == ("active", "suspended")


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


# --- an appeal --------------------------------------------------------------------------------


def open_mismatches() -> list[tuple[str, int | None, int | None]]:
    with access.system("read mismatches in a test"):
        rows = Mismatch.objects.filter(resolved_at=None).order_by("pk")
        return [(row.kind, row.expected_minor, row.found_minor) for row in rows]


def test_money_that_an_appeal_brings_back_is_a_mismatch_until_an_operator_closes_it(
    buyer: ApiClient, order: dict[str, Any], stripe: Stripe, operator: User
) -> None:
    """Seen to fail: a line of the log was all that told of it."""
    id = dispute(order, stripe)
    work()
    stripe.decide(id, "lose")
    look(order)
    stripe.decide(id, "win_appeal")
    for _again in range(2):
        look(order)

    assert open_mismatches() == [("appeal_won", 0, -50_000)]
    found = balances()
    assert (found["dispute_losses"], found["stripe_clearing"]) == (-50_000, 0)
    reconcile.check_balance()
    with access.system("read a mismatch in a test"):
        row = Mismatch.objects.get()
    assert (str(row.order_id), row.subject_type) == (order["id"], id)

    mismatches.close(operator, str(row.pk), note="Half of it went to the seller by bank.")
    look(order)
    assert open_mismatches() == []


# --- another amount ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "verdict"),
    [
        (30_000, "lose"),
        pytest.param(30_000, "win", marks=pytest.mark.oracle),
        pytest.param(10_000, "lose", marks=pytest.mark.oracle),
        pytest.param(10_000, "win", marks=pytest.mark.oracle),
    ],
)
def test_an_amount_that_changes_after_the_money_was_held_is_booked_and_told(
    amount: int, verdict: str, order: dict[str, Any], stripe: Stripe
) -> None:
    """Seen to fail: the difference stood on the hold for ever, and on what moves at Stripe."""
    id = dispute(order, stripe, amount=20_000)
    work()
    stripe.decide(id, "change", amount=amount)
    for _again in range(2):
        look(order)

    assert open_mismatches() == [("dispute_differs", amount, 20_000)]
    found = balances()
    assert (found["dispute_hold"], found["stripe_clearing"]) == (amount, 0)

    stripe.decide(id, verdict)
    look(order)

    found = balances()
    assert (found["dispute_hold"], found["stripe_clearing"]) == (0, 0)
    assert found["seller_payable"] == (-50_000 if verdict == "win" else amount - 50_000)
    reconcile.check_balance()
    assert open_mismatches() == [("dispute_differs", amount, 20_000)]


@pytest.mark.oracle
def test_an_amount_that_changes_back_leaves_nothing_held(
    order: dict[str, Any], stripe: Stripe
) -> None:
    id = dispute(order, stripe, amount=20_000)
    work()
    for amount in (30_000, 20_000, 30_000, 25_000):
        stripe.decide(id, "change", amount=amount)
        look(order)
    stripe.decide(id, "win")
    look(order)

    found = balances()
    assert (found["dispute_hold"], found["stripe_clearing"]) == (0, 0)
    reconcile.check_balance()
    assert {kind for kind, *_amounts in open_mismatches()} == {"dispute_differs"}


@pytest.mark.oracle
def test_a_changed_amount_is_booked_in_another_currency_of_settlement_too(
    archive: Organization, buyer: ApiClient, stripe: Stripe
) -> None:
    stripe.settle_in("eur", usd="0.9")
    order = bought(buyer, archive, stripe)
    id = dispute(order, stripe, amount=20_000)
    work()
    stripe.decide(id, "change", amount=30_000)
    look(order)
    stripe.decide(id, "win")
    look(order)

    found = balances()
    assert (found["dispute_hold"], found["stripe_clearing"]) == (0, 0)
    reconcile.check_balance()
    assert open_mismatches() == [("dispute_differs", 30_000, 20_000)]
