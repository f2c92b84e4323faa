"""Refunds of payments for which no license could be given."""

from __future__ import annotations

from payments import commands, journal
from payments.models import Command, Order


def start(order: Order) -> None:
    """Commit to giving the whole payment back. Repeating it finds the first refund."""
    journal.post(order, journal.SALE_UNGRANTABLE, journal.sale_ungrantable(order))
    left_minor = order.paid_minor - order.refunded_minor
    if left_minor:
        commands.give(
            order,
            Command.Kind.REFUND,
            {
                "payment_intent": order.payment_intent,
                "amount": left_minor,
                "metadata": {"order": str(order.pk)},
            },
        )


def finish(order: Order) -> None:
    """Record that the whole payment went back: what the market owed the buyer is 0 again."""
    assert order.refunded_minor == order.paid_minor, "Only a whole refund ends an order."
    lines = journal.reversed_lines(journal.sale_ungrantable(order))
    journal.post(order, journal.REFUND, lines)
