"""Calls to Stripe that must happen: committed first, made after, made again until answered."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from licensing import scope_claims
from marketplace.access import Caller, acting, system
from marketplace.errors import PaymentProviderRefused, PaymentProviderUnavailable
from payments import stripe_gateway
from payments.models import Command, Order
from payments.stripe_gateway import CheckoutFacts, RefundFacts

logger = logging.getLogger(__name__)

TRANSITIONS: dict[str, frozenset[str]] = {
    Command.State.PENDING: frozenset({Command.State.DONE, Command.State.REFUSED}),
    # Done and refused are final.
}

# A call that failed is made again after 2, 4, 8 … seconds, at most this many.
RETRY_SECONDS_MAX = 600
# The longest that a call takes: one that began longer ago, and left no result, died.
CALL_TAKES = timedelta(
    seconds=stripe_gateway.TIMEOUT_SECONDS * (stripe_gateway.RETRIES_MAX + 1) + 5
)


def give(
    order: Order, kind: Command.Kind, params: dict[str, Any], *, caller_waits: bool = False
) -> Command:
    """Commit to a call, in the transaction that makes it necessary. A repeat finds the first.

    Where a caller waits for it, and will carry it out, the worker keeps off for a while.
    """
    assert connection.in_atomic_block, "A command commits with its reason."
    command = Command.objects.filter(order=order, kind=kind).first()
    if command is None:
        command = Command(
            organization_id=order.organization_id,
            livemode=order.livemode,
            order=order,
            kind=kind,
            params=params,
            next_attempt_at=timezone.now() + (CALL_TAKES if caller_waits else timedelta()),
        )
        command.save(force_insert=True)
    return command


def carry_out(command_id: UUID, *, caller: Caller | None = None) -> Command:
    """Make the call, outside any transaction, and keep its result. Can be called any time, twice.

    The command's id is the idempotency key at Stripe, so a repeat finds the first call's object.
    Works as `caller`, or across tenants for the worker. Raises PaymentProviderUnavailable, after
    which the command stays pending; a refusal is final and stands in the returned command.
    """
    with _as(caller):
        command = Command.objects.select_for_update().get(pk=command_id)
        if command.state != Command.State.PENDING:
            return command
        now = timezone.now()
        command.attempts += 1
        command.first_sent_at = command.first_sent_at or now
        command.next_attempt_at = now + CALL_TAKES
        command.save(update_fields=["attempts", "first_sent_at", "next_attempt_at"])
    try:
        result = _CALLS[command.kind](command)
    except PaymentProviderRefused as refusal:
        return _refused(command, refusal.detail, caller)
    except PaymentProviderUnavailable as error:
        _try_later(command, caller)
        error.data["order"] = str(command.order_id)
        raise
    with _as(caller):
        # The order before its commands, everywhere: two rows locked in two orders deadlock.
        order = Order.objects.select_for_update().get(pk=command.order_id)
        command = Command.objects.select_for_update().get(pk=command_id)
        if command.state == Command.State.PENDING:
            _keep(order, command, result)
    return command


def complete_due(limit: int = 20) -> int:
    """Make the calls that nobody finished: the process died, or Stripe did not answer."""
    with system("complete commands that are due"):
        due = list(
            Command.objects.filter(next_attempt_at__lte=timezone.now())
            .order_by("next_attempt_at")
            .values_list("pk", flat=True)[:limit]
        )
    for command_id in due:
        # It stays pending, and due again later.
        with contextlib.suppress(PaymentProviderUnavailable):
            carry_out(command_id)
    return len(due)


def _as(caller: Caller | None) -> AbstractContextManager[None]:
    if caller is not None:
        return acting(caller)
    return system("carry out a command")


def _try_later(command: Command, caller: Caller | None) -> None:
    wait = timedelta(seconds=min(2 ** min(command.attempts, 16), RETRY_SECONDS_MAX))
    with _as(caller):
        Command.objects.filter(pk=command.pk, state=Command.State.PENDING).update(
            next_attempt_at=timezone.now() + wait
        )


def _create_checkout(command: Command) -> CheckoutFacts:
    expires_at = datetime.fromtimestamp(command.params["expires_at"], UTC)
    if expires_at <= timezone.now():
        # Nobody ever saw this session's address, so nobody can have paid it.
        raise PaymentProviderRefused(
            _("The time for paying passed before Stripe could be reached.")
        )
    return stripe_gateway.create_checkout(command.params, key=str(command.pk))


def _refund(command: Command) -> RefundFacts:
    return stripe_gateway.refund(command.params, key=str(command.pk))


_CALLS: dict[str, Callable[[Command], CheckoutFacts | RefundFacts]] = {
    Command.Kind.CREATE_CHECKOUT: _create_checkout,
    Command.Kind.REFUND: _refund,
}


def _keep(order: Order, command: Command, result: CheckoutFacts | RefundFacts) -> None:
    if isinstance(result, CheckoutFacts):
        command.stripe_id = result.session
        order.checkout_session, order.checkout_url = result.session, result.url
        order.save(update_fields=["checkout_session", "checkout_url"])
    else:
        command.stripe_id = result.refund
        # What was refunded is Stripe's fact: `sync` fetches it.
        order.next_sync_at = timezone.now()
        order.save(update_fields=["next_sync_at"])
    command.state = Command.State.DONE
    command.next_attempt_at = None
    command.save(update_fields=["state", "stripe_id", "next_attempt_at"])


def _refused(command: Command, why: str, caller: Caller | None) -> Command:
    """Give up a call that can never succeed, and what depends on it."""
    with _as(caller):
        order = Order.objects.select_for_update().get(pk=command.order_id)
        command = Command.objects.select_for_update().get(pk=command.pk)
        if command.state != Command.State.PENDING:
            return command
        command.state = Command.State.REFUSED
        command.refusal = why[:1000]
        command.next_attempt_at = None
        command.save(update_fields=["state", "refusal", "next_attempt_at"])
        if command.kind == Command.Kind.CREATE_CHECKOUT:
            order.status = Order.Status.EXPIRED
            order.next_sync_at = None
            order.save(update_fields=["status", "next_sync_at"])
            scope_claims.release(str(order.pk))
    # A refund that Stripe refuses is somebody's money: people must look.
    level = logging.ERROR if command.kind == Command.Kind.REFUND else logging.WARNING
    logger.log(level, "Stripe refused %s for %s: %s", command.kind, command.order_id, why)
    return command
