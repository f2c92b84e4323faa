"""The table of an order's states: every pair of state and event has its answer."""

from __future__ import annotations

from itertools import product

import pytest

from payments import order_states
from payments.models import Order
from payments.order_states import QUOTE, STEPS, TABLE, Event

# Written from the states' meaning, not from the table: what happens to an order in each.
#            accepted granted refused paid ended cancelled overdue part all disputed won lost
WRITTEN = """
quote              awaiting_payment x x = = = = = = = = =
awaiting_payment   x granted x paid expired cancelled past_due = = = = =
past_due           x x x paid = cancelled = = = = = =
expired            x x x paid_late = = = = = = = =
cancelled          x x x paid_late = = = = = = = =
paid               x granted paid_ungrantable = = = = = = disputed = =
paid_late          x granted paid_ungrantable = = = = = = disputed = =
granted            x x x = = = = partially_refunded refunded disputed = =
paid_ungrantable   x x x = = = = = refunded disputed = =
partially_refunded x x x = = = = = refunded disputed = =
refunded           x x x = = = = = = = = =
disputed           x x x = = = = = refunded = dispute_won dispute_lost
dispute_won        x granted paid_ungrantable = = = = partially_refunded refunded disputed = =
dispute_lost       x x x = = = = = = = dispute_won =
"""
EXPECTED = {
    (state, event): outcome
    for state, *outcomes in (line.split() for line in WRITTEN.strip().splitlines())
    for event, outcome in zip(Event, outcomes, strict=True)
}


def test_every_state_has_a_row() -> None:
    assert set(TABLE) == {QUOTE, *Order.Status.values}
    assert {state for state, _event in EXPECTED} == set(TABLE)


@pytest.mark.parametrize(("state", "event"), list(product(TABLE, Event)))
def test_each_event_leads_from_each_state_where_it_should(state: str, event: Event) -> None:
    outcome = EXPECTED[state, event]

    if outcome == "x":
        with pytest.raises(AssertionError, match="No order"):
            order_states.after(state, event)
    else:
        assert order_states.after(state, event) == (state if outcome == "=" else outcome)


def test_a_step_that_is_not_open_changes_nothing() -> None:
    order = Order(status="refunded")

    for event in STEPS:
        with pytest.raises(AssertionError):
            order_states.move(order, event)

    assert order.status == "refunded"


def test_whether_an_order_moved_is_told() -> None:
    order = Order(status="granted")

    assert order_states.move(order, Event.DISPUTED) is True
    assert order_states.move(order, Event.DISPUTED) is False
    assert order.status == "disputed"
