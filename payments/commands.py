"""Calls to Stripe that must happen: committed first, made after, made again until answered."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.utils import timezone

from marketplace import preferences
from marketplace.access import Caller, acting, system
from marketplace.errors import PaymentProviderRefused, PaymentProviderUnavailable
from payments import refusals, stripe_gateway
from payments.models import Command, ConnectedAccount, Order, StripeCustomer

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
# Stripe remembers a key for 24 hours at least: https://docs.stripe.com/api/idempotent_requests.
# What was sent longer ago is looked for before it is sent again.
KEY_LASTS = timedelta(hours=23)


@dataclass(frozen=True, slots=True)
class Call:
    """How one kind of command is carried out. Each is told in `payments.apps`."""

    # Makes the call, with the command's id as its key. Outside any transaction.
    send: Callable[[Command], Any]
    # Keeps the result in the transaction that ends the command, the order locked before it.
    # Returns the id of Stripe's object.
    keep: Callable[[Command, Any], str]
    # Gives up what depends on a call that Stripe refuses for good. (command, why, code)
    refuse: Callable[[Command, str, str], None]
    # Looks for what an earlier call made; None where there is nothing. Without it, the call is
    # harmless to repeat at any time.
    find: Callable[[Command], Any | None] | None = None
    # A refusal means that somebody's money stays where it should not: people must look. By the
    # worker alone: what follows is of no tenant.
    is_money: bool = False


CALLS: dict[str, Call] = {}


def give(
    kind: Command.Kind,
    params: dict[str, Any],
    *,
    order: Order | None = None,
    account: ConnectedAccount | None = None,
    customer: StripeCustomer | None = None,
    reference: str = "",
    caller_waits: bool = False,
) -> Command:
    """Commit to a call, in the transaction that makes it necessary. A repeat finds the first.

    About an order, a seller's account, or a buyer as Stripe's customer. Where a caller waits for
    it, and will carry it out, the worker keeps off for a while.
    """
    assert connection.in_atomic_block, "A command commits with its reason."
    about = order or account or customer
    assert about is not None, "A command is about something."
    command = Command.objects.filter(order=order, kind=kind, reference=reference).first()
    if command is None:
        command = Command(
            organization_id=about.organization_id,
            livemode=about.livemode,
            order=order,
            kind=kind,
            reference=reference,
            params=params,
            next_attempt_at=timezone.now() + (CALL_TAKES if caller_waits else timedelta()),
        )
        command.save(force_insert=True)
    return command


def carry_out(command_id: UUID, *, caller: Caller | None = None) -> Command:
    """Make the call, outside any transaction, and keep its result. Can be called any time, twice.

    The command's id is the idempotency key at Stripe, so a repeat finds the first call's object;
    after a day Stripe is asked for that object first. Works as `caller`, or across tenants for the
    worker. Raises PaymentProviderUnavailable and PaymentModeUnavailable, after which the command
    stays pending; a refusal is final and stands in the returned command.
    """
    with _as(caller):
        command = Command.objects.select_for_update().get(pk=command_id)
        if command.state != Command.State.PENDING:
            return command
        stripe_gateway.check_mode(command.livemode)
        now = timezone.now()
        first_sent_at = command.first_sent_at
        command.attempts += 1
        command.first_sent_at = first_sent_at or now
        command.next_attempt_at = now + CALL_TAKES
        command.save(update_fields=["attempts", "first_sent_at", "next_attempt_at"])
    call = CALLS[command.kind]
    is_old = first_sent_at is not None and now - first_sent_at > KEY_LASTS
    try:
        result = _called(call, command, is_old=is_old)
    except PaymentProviderRefused as refusal:
        return _refused(command, refusal, caller)
    except PaymentProviderUnavailable as error:
        _try_later(command, caller)
        if command.order_id is not None:
            error.data["order"] = str(command.order_id)
        raise
    with _as(caller):
        command = _locked(command)
        if command.state == Command.State.PENDING:
            command.stripe_id = call.keep(command, result)
            command.state = Command.State.DONE
            command.next_attempt_at = None
            command.save(update_fields=["state", "stripe_id", "next_attempt_at"])
            if call.is_money:
                refusals.resolve(command)
    return command


def complete_due(limit: int = 20) -> int:
    """Make the calls that nobody finished: the process died, or Stripe did not answer."""
    with system("complete commands that are due"):
        due = list(
            # Those of the other mode wait for a key of theirs: with this one, Stripe knows nothing
            # of what they name.
            Command.objects.filter(
                livemode=settings.STRIPE_LIVEMODE, next_attempt_at__lte=timezone.now()
            )
            .order_by("next_attempt_at")
            .values_list("pk", flat=True)[:limit]
        )
    for command_id in due:
        # It stays pending, and due again later.
        with contextlib.suppress(PaymentProviderUnavailable):
            carry_out(command_id)
    return len(due)


def _called(call: Call, command: Command, *, is_old: bool) -> Any:
    """Make a call, or find what an earlier one made.

    Stripe refuses a key that came with other parameters before, such as those of an older release,
    and does not say whether that call was carried out. It is no refusal of ours to act on: the
    same call under another key could pay twice. What it made is found, or it is made once Stripe
    has forgotten the key.
    """
    # What is kept of a refusal is in English, whoever's page waits for it.
    with preferences.viewing(preferences.NOBODY):
        return _tried(command, call, is_old)


def _tried(command: Command, call: Call, is_old: bool) -> Any:
    found = call.find(command) if is_old and call.find is not None else None
    if found is not None:
        return found
    try:
        return call.send(command)
    except PaymentProviderRefused as refusal:
        was_used = refusal.data.get("provider_code") == stripe_gateway.KEY_WAS_USED
        if not was_used or call.find is None:
            raise
        found = call.find(command)
        if found is None:
            raise PaymentProviderUnavailable(refusal.detail) from refusal
        return found


def _as(caller: Caller | None) -> AbstractContextManager[None]:
    if caller is not None:
        return acting(caller)
    return system("carry out a command")


def _locked(command: Command) -> Command:
    """Lock the order before its commands, as everywhere: in two orders, two rows deadlock."""
    if command.order_id is not None:
        Order.objects.select_for_update().get(pk=command.order_id)
    return Command.objects.select_for_update().get(pk=command.pk)


def _try_later(command: Command, caller: Caller | None) -> None:
    wait = timedelta(seconds=min(2 ** min(command.attempts, 16), RETRY_SECONDS_MAX))
    with _as(caller):
        Command.objects.filter(pk=command.pk, state=Command.State.PENDING).update(
            next_attempt_at=timezone.now() + wait
        )


def _refused(command: Command, refusal: PaymentProviderRefused, caller: Caller | None) -> Command:
    """Give up a call that can never succeed, and what depends on it."""
    why = refusal.detail
    call = CALLS[command.kind]
    with _as(caller):
        command = _locked(command)
        if command.state != Command.State.PENDING:
            return command
        command.state = Command.State.REFUSED
        command.refusal = why[:1000]
        command.next_attempt_at = None
        command.save(update_fields=["state", "refusal", "next_attempt_at"])
        call.refuse(command, why, str(refusal.data.get("provider_code", "")))
        if call.is_money:
            refusals.keep(command)
    level = logging.ERROR if call.is_money else logging.WARNING
    logger.log(level, "Stripe refused %s: %s", command, why)
    return command
