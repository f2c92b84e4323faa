"""What single contributors get of payouts: sent by a transfer, or paid outside by the seller."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit, events, idempotency
from marketplace.access import Caller, acting, system
from marketplace.errors import InvalidInput, RoyaltyPaymentWrongState
from payments import commands, journal, transfers
from payments.commands import Call
from payments.journal import Code, Key
from payments.models import Command, ConnectedAccount, RoyaltyPayment
from payments.stripe_facts import TransferFacts

State = RoyaltyPayment.State

TRANSITIONS: dict[str, frozenset[str]] = {
    State.DUE: frozenset({State.SENDING, State.PAID}),
    # Due again: our balance at Stripe did not cover it.
    State.SENDING: frozenset({State.PAID, State.RETURNED, State.DUE}),
    # Paid and returned are final: what came back is owed again, and part of a later payout.
}
# What the seller is told of.
_TOLD = {State.PAID: "royalty_payment.paid", State.RETURNED: "royalty_payment.returned"}
REFERENCE_MAX = 200
# What a charge brought is available after days: a transfer that came too soon is made again.
AGAIN_AFTER = timedelta(hours=1)
# The account cannot be paid, whatever its events said so far.
OF_THE_ACCOUNT = frozenset({"insufficient_capabilities_for_transfer", "account_closed"})


def paid_outside(caller: Caller, payment: str, *, reference: str) -> RoyaltyPayment:
    """Record that the seller paid a contributor itself. Repeating it changes nothing.

    The market owes the amount to the seller then. Raises NotFound, RoyaltyPaymentWrongState.
    """
    reference = checked_reference(reference)
    with system("a payment outside is posted among accounts of the market"), acting(caller):
        found = RoyaltyPayment.objects.get_visible(caller, payment, lock=True)
        if found.state == State.PAID and found.reference == reference:
            return found
        if found.state != State.DUE:
            raise RoyaltyPaymentWrongState(
                _("This payment is not waiting to be paid."),
                payment=str(found.pk),
                payment_state=found.state,
            )
        _move(found, State.PAID)
        found.reference, found.settled_at = reference, timezone.now()
        found.save(update_fields=["state", "reference", "settled_at"])
        _post(
            found,
            journal.ROYALTY_PAID_OUTSIDE,
            {
                _account(found, Code.CONTRIBUTOR_PAYABLE): found.amount_minor,
                _account(found, Code.SELLER_PAYABLE): -found.amount_minor,
            },
        )
        audit.record(caller, "royalty_payment.noted", subject=found)
        idempotency.names(caller, found)
    return found


def send_due(limit: int = 100) -> int:
    """Send what contributors with an account that can be paid are owed. The worker's."""
    with system("find royalties that can be sent"), connection.cursor() as cursor:
        cursor.execute(_SENDABLE, {"limit": limit, "now": timezone.now()})
        due = cursor.fetchall()
    for payment_id, account_id in due:
        with system("send royalties"):
            payment = RoyaltyPayment.objects.select_for_update().get(pk=payment_id)
            account = ConnectedAccount.objects.get(pk=account_id)
            is_payable = account.state == account.State.ACTIVE and transfers.is_cleared(account)
            if payment.state != State.DUE or not is_payable:
                continue
            _move(payment, State.SENDING)
            payment.save(update_fields=["state"])
            commands.give(
                Command.Kind.ROYALTY_TRANSFER,
                {
                    "amount": payment.amount_minor,
                    "currency": payment.currency.lower(),
                    "destination": account.stripe_id,
                    # Of its own: what a lost reply made is found without reading all of a payout.
                    "transfer_group": str(payment.pk),
                    "metadata": {"licet": str(payment.pk)},
                },
                account=account,
                reference=_attempt(payment),
            )
    return len(due)


def checked_reference(text: str) -> str:
    """A seller's own word for a payment. Raises InvalidInput."""
    text = text.strip()
    if not 0 < len(text) <= REFERENCE_MAX:
        raise InvalidInput(
            _("Name the payment, in up to %(max)s characters.") % {"max": REFERENCE_MAX},
            param="reference",
        )
    return text


def _attempt(payment: RoyaltyPayment) -> str:
    """What names one call about a payment: another one after each wait."""
    if payment.waits_until is None:
        return str(payment.pk)
    return f"{payment.pk}:{int(payment.waits_until.timestamp())}"


def _subject(command: Command) -> RoyaltyPayment:
    id = command.reference.partition(":")[0]
    return RoyaltyPayment.objects.select_for_update().get(pk=id)


def _post(payment: RoyaltyPayment, kind: str, lines: Mapping[Key, int]) -> None:
    posted = journal.begin(
        payment.organization_id, livemode=payment.livemode, kind=kind, reference=str(payment.pk)
    )
    journal.write(posted, list(lines.items()))


def _account(payment: RoyaltyPayment, code: Code) -> Key:
    owner: UUID | None = payment.organization_id
    of = payment.contributor_id if code == Code.CONTRIBUTOR_PAYABLE else None
    if code in {Code.STRIPE_CLEARING, Code.STRIPE_BALANCE, Code.STRIPE_FEES}:
        owner = None
    return Key(code, owner, of, payment.currency)


def _move(payment: RoyaltyPayment, state: RoyaltyPayment.State) -> None:
    allowed = TRANSITIONS.get(payment.state, frozenset())
    assert state in allowed, f"A payment does not go from {payment.state} to {state}."
    payment.state = state
    if state in _TOLD:
        events.record(
            _TOLD[state],
            to=[payment.organization_id],
            livemode=payment.livemode,
            subject=payment,
            contributor=str(payment.contributor_id),
            amount_minor=payment.amount_minor,
            currency=payment.currency,
        )


def _keep(command: Command, result: TransferFacts) -> str:
    payment = _subject(command)
    _move(payment, State.PAID)
    payment.stripe_id, payment.settled_at = result.id, timezone.now()
    payment.save(update_fields=["state", "stripe_id", "settled_at"])
    _post(
        payment,
        journal.ROYALTY_TRANSFER,
        {
            _account(payment, Code.CONTRIBUTOR_PAYABLE): payment.amount_minor,
            _account(payment, Code.STRIPE_CLEARING): -payment.amount_minor,
        },
    )
    if result.settled is not None:
        journal.settle_own(payment.organization_id, result.settled, livemode=payment.livemode)
    return result.id


def _refuse(command: Command, why: str, code: str) -> None:
    """It is owed again, and part of the next payout; or it waits until we have the money there."""
    payment = _subject(command)
    if code == "balance_insufficient":
        _move(payment, State.DUE)
        payment.waits_until = timezone.now() + AGAIN_AFTER
        payment.save(update_fields=["state", "waits_until"])
        return
    if code in OF_THE_ACCOUNT:
        ConnectedAccount.objects.filter(
            organization=payment.organization_id,
            livemode=payment.livemode,
            contributor=payment.contributor_id,
        ).update(state=ConnectedAccount.State.RESTRICTED, next_sync_at=timezone.now())
    give_back(payment, why)


def give_back(payment: RoyaltyPayment, why: str) -> None:
    """Owe a payment that was under way again. In the transaction that learns of it."""
    _move(payment, State.RETURNED)
    payment.refusal, payment.settled_at = why[:1000], timezone.now()
    payment.save(update_fields=["state", "refusal", "settled_at"])
    _post(
        payment,
        journal.ROYALTY_RETURNED,
        {
            _account(payment, Code.CONTRIBUTOR_PAYABLE): payment.amount_minor,
            _account(payment, Code.ROYALTY_PAYABLE): -payment.amount_minor,
        },
    )


TRANSFER = Call(send=transfers.call, keep=_keep, refuse=_refuse, find=transfers.find, is_money=True)


_SENDABLE = """
SELECT payment.id, account.id
FROM payments_royaltypayment payment
JOIN payments_connectedaccount account ON account.organization_id = payment.organization_id
    AND account.livemode = payment.livemode AND account.contributor_id = payment.contributor_id
WHERE payment.state = 'due' AND (payment.waits_until IS NULL OR payment.waits_until <= %(now)s)
    AND account.state = 'active'
    AND account.clearance <> 'refused' AND (account.clearance = 'cleared' OR NOT account.livemode)
ORDER BY payment.id LIMIT %(limit)s
"""
