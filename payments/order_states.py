"""The states of an order, and what each event makes of each: one table, every pair of it said."""

from __future__ import annotations

from enum import StrEnum

from marketplace import events
from payments.models import Order

Status = Order.Status


class Event(StrEnum):
    """What can happen to an order."""

    # Ours: steps that this server takes.
    ACCEPTED = "accepted"
    GRANTED = "granted"
    REFUSED = "refused"
    # Facts: what Stripe says, late, twice, out of order or after the next one.
    PAID = "paid"
    ENDED = "ended"  # the pay page closed unpaid
    CANCELLED = "cancelled"  # the buyer gave it up, or the invoice was voided
    OVERDUE = "overdue"
    REFUNDED_IN_PART = "refunded_in_part"
    REFUNDED = "refunded"
    DISPUTED = "disputed"
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"


# Steps of ours are taken where the table has them, and nowhere else. A fact is true whenever it is
# heard of: where the table does not have it, the order stays as it is.
STEPS = frozenset({Event.ACCEPTED, Event.GRANTED, Event.REFUSED})

# Before an order there is a quote; it is no state of an order's row.
QUOTE = "quote"

_GIVEN_BACK = {
    Event.REFUNDED_IN_PART: Status.PARTIALLY_REFUNDED,
    Event.REFUNDED: Status.REFUNDED,
    Event.DISPUTED: Status.DISPUTED,
}
_PAID = {
    Event.GRANTED: Status.GRANTED,
    Event.REFUSED: Status.PAID_UNGRANTABLE,
    # Nothing is given for a payment that the bank wants back. Won, it is granted after all.
    Event.DISPUTED: Status.DISPUTED,
}

TABLE: dict[str, dict[Event, Status]] = {
    QUOTE: {Event.ACCEPTED: Status.AWAITING_PAYMENT},
    Status.AWAITING_PAYMENT: {
        # For nothing, at once.
        Event.GRANTED: Status.GRANTED,
        Event.PAID: Status.PAID,
        Event.ENDED: Status.EXPIRED,
        Event.CANCELLED: Status.CANCELLED,
        Event.OVERDUE: Status.PAST_DUE,
    },
    Status.PAST_DUE: {Event.PAID: Status.PAID, Event.CANCELLED: Status.CANCELLED},
    # A payment that comes late is granted if the rights are still free, else given back.
    Status.EXPIRED: {Event.PAID: Status.PAID_LATE},
    Status.CANCELLED: {Event.PAID: Status.PAID_LATE},
    Status.PAID: _PAID,
    Status.PAID_LATE: _PAID,
    Status.GRANTED: _GIVEN_BACK,
    Status.PAID_UNGRANTABLE: {
        Event.REFUNDED: Status.REFUNDED,
        Event.DISPUTED: Status.DISPUTED,
    },
    Status.PARTIALLY_REFUNDED: {
        Event.REFUNDED: Status.REFUNDED,
        Event.DISPUTED: Status.DISPUTED,
    },
    # All of it went back before the bank asked: there is nothing left to hold.
    Status.REFUNDED: {},
    Status.DISPUTED: {
        Event.REFUNDED: Status.REFUNDED,
        Event.DISPUTE_WON: Status.DISPUTE_WON,
        Event.DISPUTE_LOST: Status.DISPUTE_LOST,
    },
    Status.DISPUTE_WON: _GIVEN_BACK
    | {Event.GRANTED: Status.GRANTED, Event.REFUSED: Status.PAID_UNGRANTABLE},
    # An appeal can still be won. The license stays revoked.
    Status.DISPUTE_LOST: {Event.DISPUTE_WON: Status.DISPUTE_WON},
}


# What both parties are told of. Of disputes and grants they are told by their own events.
TOLD = {
    Event.PAID: "order.paid",
    Event.REFUSED: "order.refused",
    Event.ENDED: "order.expired",
    Event.CANCELLED: "order.cancelled",
    Event.OVERDUE: "order.past_due",
    Event.REFUNDED_IN_PART: "order.refunded",
    Event.REFUNDED: "order.refunded",
}


def after(status: str, event: Event) -> str:
    """The state that an event leads to. A fact that changes nothing leaves it as it is.

    AssertionError for a step of ours that is not open to the state: a defect, not an input.
    """
    row = TABLE[status]
    assert event not in STEPS or event in row, f"No order that is {status} is {event}."
    return row.get(event, status)


def move(order: Order, event: Event) -> bool:
    """Let an event happen to a locked order, and tell its parties, in the caller's transaction.

    Whether its state has changed; the caller saves it.
    """
    before, order.status = order.status, after(order.status, event)
    if order.status != before and event in TOLD:
        events.record(
            TOLD[event],
            to=[order.organization_id, order.seller_id],
            livemode=order.livemode,
            subject=order,
            quote=str(order.quote_id),
        )
    return order.status != before
