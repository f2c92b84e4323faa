"""Tax that Stripe Tax calculated, recorded there: what was sold, and what went back of it.

https://docs.stripe.com/tax/custom#tax-transaction. A calculation reports nothing by itself, and an
invoice with lines of ours has none: Stripe records the tax of an invoice by itself only where
it calculated it there (`automatic_tax`), but ours is agreed before, in the contract.
"""

from __future__ import annotations

from typing import Any

from marketplace.access import system
from marketplace.errors import PaymentProviderRefused, PaymentProviderUnavailable
from payments import commands, mismatches, settlements, stripe_gateway
from payments.commands import Call
from payments.models import Command, Order
from payments.settlements import Shares

Kind = Command.Kind
State = Command.State


def record(order: Order) -> None:
    """Commit to having a sale recorded that was just posted. Under the order's lock; repeatable.

    Nothing where the tax is by the operator's own table.
    """
    if order.quote.tax_calculation:
        commands.give(
            Kind.RECORD_TAX,
            {
                "calculation": order.quote.tax_calculation,
                "reference": str(order.pk),
                "metadata": {"order": str(order.pk)},
            },
            order=order,
        )


def reverse(order: Order, *, cause: str, shares: Shares) -> None:
    """Commit to having recorded what goes back of a sale, once a cause: in all, or in part.

    Under the order's lock, with the journal that takes the same from everybody. `cause` is the id
    of a refund, a lost dispute, or an invoice that was voided.
    """
    is_recorded = Command.objects.filter(order=order, kind=Kind.RECORD_TAX).exists()
    if not is_recorded or not shares.total_minor:
        return
    params: dict[str, Any] = {
        "mode": "full",
        # Of all tax transactions, reversals included, each has its own.
        "reference": cause,
        "metadata": {"order": str(order.pk)},
    }
    if shares != settlements.of(order):
        params |= {
            "mode": "partial",
            "amount": shares.tax_minor - shares.total_minor,
            "amount_tax": -shares.tax_minor,
        }
    commands.give(Kind.REVERSE_TAX, params, order=order, reference=cause)


def _record(command: Command) -> str:
    return stripe_gateway.record_tax(command.params, key=str(command.pk))


def _reverse(command: Command) -> str:
    """Reverse what was recorded; before that it waits, and what never was cannot be reversed."""
    with system("find what was recorded of an order's tax"):
        recorded = Command.objects.get(order=command.order_id, kind=Kind.RECORD_TAX)
    if recorded.state == State.PENDING:
        raise PaymentProviderUnavailable("The sale itself is not recorded yet.")
    if recorded.state == State.REFUSED:
        raise PaymentProviderRefused("The sale itself was never recorded.")
    return stripe_gateway.reverse_tax(recorded.stripe_id, command.params, key=str(command.pk))


def _keep(command: Command, result: str) -> str:
    return result


def _refuse(command: Command, why: str, code: str) -> None:
    """The money is where it belongs, and the tax report is not: people must report it."""
    order = command.order
    assert order is not None
    whole = settlements.of(order).tax_minor
    tax_minor = command.params.get("amount_tax", -whole)
    mismatches.tax_unrecorded(
        order,
        str(command.pk),
        why,
        amount_minor=whole if command.kind == Kind.RECORD_TAX else tax_minor,
    )


# Stripe lists no tax transactions. Their references are unique: a call that is repeated after
# Stripe has forgotten its key is refused, and makes no second one.
RECORD = Call(send=_record, keep=_keep, refuse=_refuse, is_money=True)
REVERSE = Call(send=_reverse, keep=_keep, refuse=_refuse, is_money=True)
