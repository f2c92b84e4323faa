"""Transfers: a seller's share of a sale on its way to the seller, and back again.

Separate charges and transfers: https://docs.stripe.com/connect/separate-charges-and-transfers.
A refund or a dispute pulls nothing back by itself: each reversal is a call of ours, and where the
seller's balance does not cover it, the seller owes it, and later sales pay it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Exists, OuterRef, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit, events
from marketplace.access import Caller, system
from marketplace.errors import MissingScope, NotFound, PaymentProviderRefused
from marketplace.models import User
from marketplace.money import round_half_even
from payments import commands, journal, settlements, stripe_gateway
from payments.commands import Call
from payments.journal import Code, Line
from payments.models import Command, ConnectedAccount, Journal, Order, Transfer, TransferReversal
from payments.stripe_facts import TransferFacts

State = Transfer.State
Account = ConnectedAccount

# A transfer that an account refuses for its lack of capability is tried so often.
ATTEMPTS_MAX = 5
# How Stripe says that an account cannot be paid.
ACCOUNT_REFUSALS = frozenset({"insufficient_capabilities_for_transfer", "account_closed"})
# The `provider_code` of a refusal that is not Stripe's: the market sends nothing for now.
HELD_BACK = "held_back"
# What the cause of a reversal begins with that takes back what the seller bears of an exchange.
_EXCHANGE = "exchange:"
# Of a payment that is not the market's just now, or no more.
_NOT_SENT = frozenset({Order.Status.DISPUTED, Order.Status.DISPUTE_LOST, Order.Status.REFUNDED})


def plan(order: Order) -> None:
    """Owe the seller its share of an order that was granted, and send it if it can be sent.

    Under the order's lock. A repeat changes nothing.
    """
    share = settlements.of(order).seller_minor
    if not share or Transfer.objects.filter(order=order).exists():
        return
    transfer = Transfer(
        organization_id=order.seller_id,
        livemode=order.livemode,
        order=order,
        share_minor=share,
        currency=order.currency,
    )
    transfer.save(force_insert=True)
    _start(order, transfer)


def start_waiting(limit: int = 100) -> int:
    """Send what waits for accounts that can be paid now. The worker's; repeatable."""
    with system("find transfers that can be sent"):
        active = Account.objects.filter(
            organization=OuterRef("organization"),
            livemode=OuterRef("livemode"),
            contributor=None,
            state=Account.State.ACTIVE,
        ).filter(
            Q(livemode=True, clearance=Account.Clearance.CLEARED)
            | Q(livemode=False) & ~Q(clearance=Account.Clearance.REFUSED)
        )
        ready = list(
            Transfer.objects.filter(
                Exists(active), state=State.WAITING, order__settled_minor__isnull=False
            )
            .exclude(order__status=Order.Status.DISPUTED)
            .order_by("pk")
            .values_list("pk", "order_id")[:limit]
        )
    for transfer_id, order_id in ready:
        with system("send a transfer that was waiting"):
            order = Order.objects.select_for_update().get(pk=order_id)
            _start(order, Transfer.objects.get(pk=transfer_id))
    return len(ready)


def take_back(order: Order, *, cause: str) -> None:
    """Take back from the seller what went back of an order: to its share of it, once a cause.

    Under the order's lock, after `refunded_minor` and `lost_minor` were counted up. What was not
    sent yet is sent no more; what was sent is reversed, or owed.
    """
    transfer = Transfer.objects.filter(order=order).first()
    if transfer is None or TransferReversal.objects.filter(transfer=transfer, cause=cause).exists():
        return
    if transfer.state == State.SENDING:
        # `_keep_sent` and `_refuse_sent` count what went back meanwhile.
        return
    _reverse(order, transfer, cause)


def bear_exchange(order: Order) -> None:
    """Have the seller bear what going back cost at Stripe beyond what it had brought, at its rate.

    Under the order's lock, after what Stripe says was booked; repeatable, also in parts. Taken back
    as far as the transfer covers it, and owed else. A gain is the seller's, too: it is owed to it
    beside its sales. While a bank holds the money, nobody knows what it comes to.
    """
    if order.settled_minor is None or order.settled_currency == order.currency:
        return
    if not settlements.exchange_borne_by_seller(order):
        return
    if order.disputes.filter(closed_at=None).exclude(status__startswith="warning_").exists():
        return
    transfer = Transfer.objects.filter(order=order).first()
    # `_keep_sent` and `_refuse_sent` come back here.
    if transfer is not None and transfer.state != State.SENDING:
        _bear(order, transfer)


def owed_minor(organization_id: UUID, *, livemode: bool, currency: str) -> int:
    """What a seller owes the market, in one currency."""
    return journal.balance_minor(
        Code.SELLER_RECEIVABLE,
        organization_id=organization_id,
        livemode=livemode,
        currency=currency,
    )


def lock_debts(organization_id: UUID) -> None:
    """Make what is sent to one seller wait for each other: a debt is withheld once.

    After the order's lock, where there is one: nothing waits for an order while it has this one.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('payments.debts' || %s, 0))",
            [str(organization_id)],
        )


def restrict(organization_id: UUID, *, livemode: bool) -> None:
    """Note that Stripe refused to pay a seller's account, and have it looked at now."""
    Account.objects.filter(
        organization=organization_id, livemode=livemode, contributor=None
    ).update(state=Account.State.RESTRICTED, next_sync_at=timezone.now())


def send_again(operator: User, transfer_id: str) -> Transfer:
    """Try a transfer again that Stripe refused, once what it complained of is settled.

    Repeating it changes nothing. Raises MissingScope, NotFound.
    """
    if not operator.is_operator or not operator.is_active:
        raise MissingScope(_("Only an operator of this market sends a transfer again."))
    with system("an operator has a transfer sent again"):
        try:
            found = Transfer.objects.get(pk=transfer_id)
        except (Transfer.DoesNotExist, ValidationError):
            raise NotFound(_("There is no transfer “%(id)s”.") % {"id": transfer_id}) from None
        order = Order.objects.select_for_update().select_related("seller").get(pk=found.order_id)
        transfer = Transfer.objects.get(pk=found.pk)
        if transfer.state == State.REFUSED:
            transfer.state, transfer.refusal = State.WAITING, ""
            transfer.save(update_fields=["state", "refusal"])
            seller = Caller(
                order.seller, livemode=order.livemode, scopes=frozenset(), user=operator
            )
            audit.record(seller, "transfer.sent_again", subject=transfer)
            _start(order, transfer)
    return transfer


# --- sending ----------------------------------------------------------------------------------


def _start(order: Order, transfer: Transfer) -> None:
    """Commit to sending what is left of a share, if it can be sent now. Under the order's lock."""
    if transfer.state != State.WAITING or order.settled_minor is None:
        return
    if order.status == Order.Status.DISPUTED:
        # The bank holds the money: it is sent once the dispute is won.
        return
    account = _payable(order)
    if account is None:
        return
    left = transfer.share_minor - _gone_minor(order)
    _withhold(order, transfer, left)
    transfer.sent_minor = max(0, left - transfer.withheld_minor)
    amount = _as_settled(order, transfer.sent_minor) - _fee_minor(order)
    transfer.settled_minor, transfer.settled_currency = max(0, amount), order.settled_currency
    transfer.state = State.SENDING if amount > 0 else State.DROPPED
    transfer.save(
        update_fields=["state", "withheld_minor", "sent_minor", "settled_minor", "settled_currency"]
    )
    if transfer.state == State.DROPPED:
        # What is left of it, Stripe's fee takes, where the seller bears that.
        _post_sent(order, transfer)
        _reverse(order, transfer, cause=f"dropped:{transfer.pk}")
        return
    commands.give(
        Command.Kind.TRANSFER,
        {
            "amount": transfer.settled_minor,
            "currency": order.settled_currency.lower(),
            "destination": account.stripe_id,
            # Without one, our balance at Stripe has to cover it: the buyer paid elsewhere.
            **({"source_transaction": order.charge} if order.charge else {}),
            "transfer_group": str(order.pk),
            "metadata": {"order": str(order.pk), "licet": str(transfer.pk)},
        },
        order=order,
        reference=f"{transfer.pk}:{_attempts(order, transfer)}",
    )


def _withhold(order: Order, transfer: Transfer, left_minor: int) -> None:
    """Let a share pay what its seller owes, once: in its currency, and in the one that it is sent
    in, at the rate that it is sent at."""
    if transfer.withheld_minor:
        return
    seller, settled = transfer.organization_id, order.settled_currency
    lock_debts(seller)
    owed = owed_minor(seller, livemode=order.livemode, currency=transfer.currency)
    first = max(0, min(left_minor, owed))
    second = paid = 0
    if settled != transfer.currency and left_minor > first:
        owed = owed_minor(seller, livemode=order.livemode, currency=settled)
        whole = _as_settled(order, left_minor - first)
        paid = max(0, min(whole, owed))
        second = min(left_minor - first, _as_presented(order, paid))
        if paid == whole:
            second = left_minor - first
    transfer.withheld_minor = first + second
    if first or paid:
        journal.post(
            order,
            journal.WITHHELD,
            [
                Line(Code.SELLER_PAYABLE, first + second, seller),
                Line(Code.SELLER_RECEIVABLE, -first, seller),
                Line(Code.CURRENCY_EXCHANGE, -second),
                Line(Code.CURRENCY_EXCHANGE, paid, currency=settled),
                Line(Code.SELLER_RECEIVABLE, -paid, seller, currency=settled),
            ],
        )


def _payable(order: Order) -> ConnectedAccount | None:
    """The account of an order's seller, if it can be paid now."""
    account = Account.objects.filter(
        organization=order.seller_id,
        livemode=order.livemode,
        contributor=None,
        state=Account.State.ACTIVE,
    ).first()
    return account if account is not None and is_cleared(account) else None


def is_cleared(account: ConnectedAccount) -> bool:
    """Whether nobody refused to pay it; in live mode somebody has to have cleared it."""
    if account.livemode:
        return account.clearance == Account.Clearance.CLEARED
    return account.clearance != Account.Clearance.REFUSED


def _attempts(order: Order, transfer: Transfer) -> int:
    return Command.objects.filter(
        order=order, kind=Command.Kind.TRANSFER, reference__startswith=f"{transfer.pk}:"
    ).count()


def _gone_minor(order: Order) -> int:
    """What of the seller's share went back to the buyer, or was lost to its bank."""
    return settlements.part(order, order.refunded_minor + order.lost_minor).seller_minor


def _as_settled(order: Order, amount_minor: int) -> int:
    """An amount of an order in the currency that its payment came to, at the rate it came at."""
    assert order.settled_minor is not None
    if order.settled_currency == order.currency:
        return amount_minor
    return round_half_even(amount_minor * order.settled_minor, order.paid_minor)


def _as_presented(order: Order, settled_minor: int) -> int:
    """An amount in the currency that a payment came to, in that of its order, at the same rate."""
    assert order.settled_minor is not None
    if order.settled_currency == order.currency:
        return settled_minor
    return round_half_even(settled_minor * order.paid_minor, order.settled_minor)


def _fee_minor(order: Order) -> int:
    """What comes off for Stripe's fee, where the seller bears it."""
    assert order.settled_fee_minor is not None
    return order.settled_fee_minor if settlements.stripe_fees_borne_by_seller(order) else 0


def call(command: Command) -> TransferFacts:
    """Have Stripe make a transfer of any kind, unless its payee was refused since it was begun.

    That may be hours ago; also of what was paid back meanwhile nothing is sent. Raises
    PaymentProviderRefused, with `HELD_BACK` then, and PaymentProviderUnavailable.
    """
    why = _held_back(command)
    if not why:
        return stripe_gateway.transfer(command.params, key=str(command.pk))
    # An earlier attempt may have arrived, whose answer was lost.
    found = find(command)
    if found is None:
        raise PaymentProviderRefused(why, provider_code=HELD_BACK)
    return found


def _held_back(command: Command) -> str:
    """Why a share is not sent now; "" where nothing speaks against it."""
    with system("see what speaks against sending a share"):
        if Account.objects.filter(
            stripe_id=command.params["destination"], clearance=Account.Clearance.REFUSED
        ).exists():
            return "This market does not pay the seller."
        if Order.objects.filter(pk=command.order_id, status__in=_NOT_SENT).exists():
            return "The payment is disputed, or went back."
    return ""


def find(command: Command) -> TransferFacts | None:
    """The transfer that such a call made, of which we have no answer."""
    params = command.params
    return stripe_gateway.find_transfer(params["transfer_group"], params["metadata"]["licet"])


def _keep_sent(command: Command, result: TransferFacts) -> str:
    order, transfer = _subject(command)
    transfer.state, transfer.stripe_id = State.SENT, result.id
    transfer.sent_at = timezone.now()
    transfer.save(update_fields=["state", "stripe_id", "sent_at"])
    events.record(
        "transfer.paid",
        to=[transfer.organization_id],
        livemode=transfer.livemode,
        subject=transfer,
        order=str(order.pk),
    )
    _post_sent(order, transfer)
    if result.settled is not None:
        journal.settle_plain(order, result.settled)
    # What went back to the buyer meanwhile is taken back from here.
    _reverse(order, transfer, cause=f"sent:{transfer.pk}")
    bear_exchange(order)
    return result.id


def _post_sent(order: Order, transfer: Transfer) -> None:
    """Book that a share is owed no more: sent, less what came off for Stripe's fee."""
    if not transfer.sent_minor:
        return
    whole = _as_settled(order, transfer.sent_minor)
    fee = whole - transfer.settled_minor
    journal.post(
        order,
        journal.TRANSFER,
        [
            Line(Code.SELLER_PAYABLE, transfer.sent_minor, transfer.organization_id),
            Line(Code.CURRENCY_EXCHANGE, -transfer.sent_minor),
            Line(Code.CURRENCY_EXCHANGE, whole, currency=order.settled_currency),
            Line(Code.STRIPE_FEES, -fee, currency=order.settled_currency),
            Line(Code.STRIPE_CLEARING, -transfer.settled_minor, currency=order.settled_currency),
        ],
    )


def _refuse_sent(command: Command, why: str, code: str) -> None:
    """An account that lost its capability waits for it; any other refusal waits for people."""
    order, transfer = _subject(command)
    if code == HELD_BACK:
        transfer.state = State.WAITING
    elif code in ACCOUNT_REFUSALS and _attempts(order, transfer) < ATTEMPTS_MAX:
        transfer.state = State.WAITING
        restrict(order.seller_id, livemode=order.livemode)
    else:
        transfer.state = State.REFUSED
    transfer.refusal = why[:1000]
    transfer.save(update_fields=["state", "refusal"])
    # More may have gone back meanwhile than is left beside what paid a debt.
    _reverse(order, transfer, cause=f"refused:{command.reference}")
    bear_exchange(order)


def _subject(command: Command) -> tuple[Order, Transfer]:
    order = command.order
    assert order is not None
    return order, Transfer.objects.get(pk=command.reference.partition(":")[0])


# --- taking back ------------------------------------------------------------------------------


def _reverse(order: Order, transfer: Transfer, cause: str) -> None:
    """Take back so much that the seller keeps its share of what the market keeps.

    Of what arrived, in proportion; what paid a debt, never arrived, or was taken back for the
    exchange of currencies, is owed. What was not sent yet is kept back first: `_start` sends so
    much less.
    """
    is_unsent = transfer.state in {State.WAITING, State.REFUSED}
    made = transfer.reversals.exclude(cause__startswith=_EXCHANGE)
    before = made.aggregate(sum=Sum("amount_minor"))["sum"] or 0
    kept = transfer.withheld_minor + (0 if is_unsent else transfer.sent_minor)
    gone_before = transfer.share_minor - kept
    back = _gone_minor(order) - gone_before - before
    if back <= 0:
        return
    tried = made.filter(settled_minor__gt=0).aggregate(
        sum=Sum("amount_minor"), settled=Sum("settled_minor")
    )
    arrived = transfer.sent_minor if transfer.state == State.SENT else 0
    taken = max(0, min(back, arrived - before))
    # The last part takes what is left: reversals in parts never drift.
    target = round_half_even(
        transfer.settled_minor * ((tried["sum"] or 0) + taken), max(arrived, 1)
    )
    settled = target - (tried["settled"] or 0)
    if settled <= 0:
        taken = settled = 0
    # What the seller bore of an exchange is not there any more.
    there = min(settled, _left_at_stripe(transfer))
    first = min(taken, round_half_even(taken * there, max(settled, 1)))
    parts = [
        (first, there, True),
        (taken - first, settled - there, False),
        (back - taken, 0, False),
    ]
    names = iter([cause, f"{cause}:withheld", f"{cause}:never"])
    for amount, minor, is_there in parts:
        if amount > 0:
            _take(
                order,
                transfer,
                next(names),
                amount_minor=amount,
                settled_minor=minor,
                is_there=is_there,
            )


def _bear(order: Order, transfer: Transfer) -> None:
    """Book what the seller bears of an exchange and did not bear yet, and have it back."""
    came, settled = journal.came_minor(order)
    borne, count = journal.borne(order)
    loss = _as_settled(order, came) - settled - borne
    if not loss:
        return
    currency = order.settled_currency
    journal.post(
        order,
        journal.EXCHANGE_LOSS if loss > 0 else journal.EXCHANGE_GAIN,
        [
            Line(Code.SELLER_PAYABLE, loss, transfer.organization_id, currency=currency),
            Line(Code.CURRENCY_EXCHANGE, -loss, currency=currency),
        ],
        reference=str(count + 1),
    )
    if loss < 0:
        # It is in our balance at Stripe, in the currency that `remittances` sends it in.
        return
    cause = f"{_EXCHANGE}{count + 1}"
    taken = min(loss, _left_at_stripe(transfer))
    for minor, named, is_there in (
        (taken, cause, True),
        (loss - taken, f"{cause}:owed", False),
    ):
        if minor:
            amount = max(1, _as_presented(order, minor))
            _take(
                order,
                transfer,
                named,
                amount_minor=amount,
                settled_minor=minor,
                is_there=is_there,
            )


def _left_at_stripe(transfer: Transfer) -> int:
    """What no reversal took back of a transfer, or takes back now, in the currency of both."""
    if transfer.state != State.SENT:
        return 0
    sending = transfer.reversals.filter(state=TransferReversal.State.SENDING)
    taken = transfer.reversed_minor + (sending.aggregate(sum=Sum("settled_minor"))["sum"] or 0)
    # What was taken ahead by hand is there for what is to be taken.
    return transfer.settled_minor - taken + journal.ahead_minor(transfer.order_id)


def _take(
    order: Order,
    transfer: Transfer,
    cause: str,
    *,
    amount_minor: int,
    settled_minor: int,
    is_there: bool = True,
) -> None:
    """Take a part of a transfer back if it is there, and have it owed else."""
    reversal = TransferReversal(
        organization_id=transfer.organization_id,
        livemode=transfer.livemode,
        transfer=transfer,
        cause=cause,
        amount_minor=amount_minor,
        settled_minor=settled_minor,
    )
    if is_there and settled_minor:
        _give_reversal(order, transfer, reversal)
    else:
        _owe(order, reversal)


def _give_reversal(order: Order, transfer: Transfer, reversal: TransferReversal) -> None:
    """Commit to a call for a reversal; to another one where what the last one found was gone."""
    reference = str(reversal.pk)
    if reversal._state.adding:
        reversal.save(force_insert=True)
    else:
        of_it = Command.objects.filter(order=order, kind=Command.Kind.REVERSE_TRANSFER)
        reference += f":{of_it.filter(reference__startswith=reference).count() + 1}"
    commands.give(
        Command.Kind.REVERSE_TRANSFER,
        {
            "transfer": transfer.stripe_id,
            "amount": reversal.settled_minor,
            "metadata": {"order": str(order.pk), "licet": reference},
        },
        order=order,
        reference=reference,
    )


def _owe(order: Order, reversal: TransferReversal) -> None:
    """The seller owes what could not be taken back: from here on it has an age."""
    if _is_owed_as_sent(order, reversal):
        lines = _came_back(order, reversal, to=Code.SELLER_RECEIVABLE)
    else:
        lines = [
            Line(Code.SELLER_RECEIVABLE, reversal.amount_minor, reversal.organization_id),
            Line(Code.SELLER_PAYABLE, -reversal.amount_minor, reversal.organization_id),
        ]
    reversal.state = TransferReversal.State.OWED
    if reversal._state.adding:
        reversal.save(force_insert=True)
    else:
        reversal.save(update_fields=["state"])
    journal.post(order, journal.OWED, lines, reference=str(reversal.pk))


def _is_owed_as_sent(order: Order, reversal: TransferReversal) -> bool:
    """Whether a debt is in the currency that was sent: what it comes to later is the seller's."""
    return bool(
        reversal.settled_minor
        and order.settled_currency != order.currency
        and settlements.exchange_borne_by_seller(order)
    )


def _is_of_exchange(reversal: TransferReversal) -> bool:
    """Whether it is of what the seller bears of an exchange: booked as it was settled."""
    return reversal.cause.startswith(_EXCHANGE)


class _TakenBack(NamedTuple):
    """What stands at Stripe for a reversal of ours: what others took back before, and our own."""

    by_others: tuple[TransferFacts, ...]
    ours: TransferFacts | None
    # Why Stripe refused the rest.
    refusal: str = ""


def _send_reversal(command: Command) -> _TakenBack:
    """Take a part of a transfer back, less what somebody took back at Stripe: a seller pays once.

    Raises PaymentProviderRefused, where that was nothing, and PaymentProviderUnavailable.
    """
    params = dict(command.params)
    transfer = params.pop("transfer")
    # With another amount, the key would not lead to what an earlier attempt made.
    found = _find_reversal(command) if command.attempts > 1 else None
    if found is not None:
        return found
    with system("see what a seller gave back ahead"):
        needed = params["amount"] - journal.ahead_minor(command.order_id)
    others = _by_others(command, needed)
    left = needed - sum(each.amount_minor for each in others)
    if left <= 0:
        return _TakenBack(others, None)
    try:
        ours = stripe_gateway.reverse_transfer(
            transfer, {**params, "amount": left}, key=str(command.pk)
        )
    except PaymentProviderRefused as refusal:
        if not others or refusal.data.get("provider_code") == stripe_gateway.KEY_WAS_USED:
            raise
        return _TakenBack(others, None, refusal.detail)
    return _TakenBack(others, ours)


def _by_others(command: Command, needed_minor: int) -> tuple[TransferFacts, ...]:
    """What somebody took back by hand, and is not counted yet: just as much, or the oldest until
    it is enough. The last one may be more than that."""
    if needed_minor <= 0:
        return ()
    made = stripe_gateway.reversals_by_others(command.params["transfer"])
    with system("see which reversals at Stripe are counted already"):
        left = _uncounted(command, [*reversed(made)])
    alike = next((each for each in left if each.amount_minor == needed_minor), None)
    if alike is not None:
        return (alike,)
    taken: list[TransferFacts] = []
    for each in left:
        if sum(one.amount_minor for one in taken) < needed_minor:
            taken.append(each)
    return tuple(taken)


def _uncounted(command: Command, made: Sequence[TransferFacts]) -> list[TransferFacts]:
    """Those of which neither a row of ours nor the journal knows."""
    rows = TransferReversal.objects.filter(stripe_id__in=[each.id for each in made])
    moved = [each.settled.transaction for each in made if each.settled is not None]
    booked = Journal.objects.filter(
        order=command.order_id, kind=journal.SETTLED, reference__in=moved
    )
    known = {
        *rows.values_list("stripe_id", flat=True),
        *booked.values_list("reference", flat=True),
    }
    return [
        each
        for each in made
        if each.id not in known and (each.settled is None or each.settled.transaction not in known)
    ]


def _find_reversal(command: Command) -> _TakenBack | None:
    params = command.params
    ours = stripe_gateway.find_reversal(params["transfer"], params["metadata"]["licet"])
    if ours is None:
        return None
    with system("see what a seller gave back ahead"):
        needed = params["amount"] - journal.ahead_minor(command.order_id)
    return _TakenBack(_by_others(command, needed - ours.amount_minor), ours)


def _keep_reversal(command: Command, result: _TakenBack) -> str:
    """Book what came back. Where it is not enough, the rest is asked for again, or owed."""
    order = command.order
    assert order is not None
    reversal = _reversal_of(command)
    transfer = reversal.transfer
    # Under the order's lock: another reversal may have counted it since it was looked for.
    found = [*result.by_others, *([result.ours] if result.ours else [])]
    made = _uncounted(command, found)
    came = sum(each.amount_minor for each in made)
    for each in made:
        if each.settled is not None:
            journal.settle_plain(order, each.settled)
    transfer.reversed_minor += came
    transfer.save(update_fields=["reversed_minor"])
    if came + journal.ahead_minor(order.pk) >= reversal.settled_minor:
        lines = _came_back(order, reversal, to=Code.STRIPE_CLEARING)
        reversal.stripe_id = made[-1].id if made else _name_of_ahead(order, transfer)
        reversal.state = TransferReversal.State.DONE
        reversal.save(update_fields=["state", "stripe_id"])
        journal.post(order, journal.REVERSAL, lines, reference=str(reversal.pk))
        more = came - reversal.settled_minor
        _move_ahead(order, reversal, more, Code.STRIPE_CLEARING, reference=str(reversal.pk))
        return str(reversal.stripe_id)
    came_by = f"{command.reference}:came"
    _move_ahead(order, reversal, came, Code.STRIPE_CLEARING, reference=came_by)
    if result.refusal:
        _owe_rest(order, reversal)
    else:
        # What was to be a part of it is part of another one.
        _give_reversal(order, transfer, reversal)
    return found[-1].id if found else str(transfer.stripe_id)


def _reversal_of(command: Command) -> TransferReversal:
    pk = command.reference.partition(":")[0]
    return TransferReversal.objects.select_related("transfer").get(pk=pk)


def _move_ahead(
    order: Order, reversal: TransferReversal, amount_minor: int, code: Code, *, reference: str
) -> None:
    """Book what a seller gave back ahead; below 0, what is used of it. As it was sent."""
    if not amount_minor:
        return
    seller, currency = reversal.organization_id, order.settled_currency
    whose = seller if code == Code.SELLER_RECEIVABLE else None
    journal.post(
        order,
        journal.AHEAD,
        [
            Line(code, amount_minor, whose, currency=currency),
            Line(Code.SELLER_PAYABLE, -amount_minor, seller, currency=currency),
        ],
        reference=reference,
    )


def _name_of_ahead(order: Order, transfer: Transfer) -> str:
    """Stripe's id of the reversal by hand that a row stands for a part of, and which part."""
    ahead = order.journals.filter(kind=journal.AHEAD).order_by("occurred_at", "pk")
    rows = transfer.reversals.filter(
        pk__in=[
            TransferReversal._meta.pk.to_python(each.partition(":")[0])
            for each in ahead.values_list("reference", flat=True)
        ]
    ).exclude(stripe_id=None)
    newest = rows.order_by("pk").last()
    first = (newest.stripe_id if newest else transfer.stripe_id) or ""
    first = first.partition(":")[0]
    return f"{first}:{transfer.reversals.filter(stripe_id__startswith=first).count() + 1}"


def _owe_rest(order: Order, reversal: TransferReversal) -> None:
    """Have a seller owe what could not be taken back, less what it gave back ahead."""
    _owe(order, reversal)
    ahead = min(journal.ahead_minor(order.pk), reversal.settled_minor)
    is_alike = order.currency == order.settled_currency or _is_owed_as_sent(order, reversal)
    if ahead > 0 and is_alike:
        of_it = f"{reversal.pk}:owed"
        _move_ahead(order, reversal, -ahead, Code.SELLER_RECEIVABLE, reference=of_it)


def _came_back(order: Order, reversal: TransferReversal, *, to: Code) -> list[Line]:
    """What a reversal moves that is about to be done, or owed as it was sent."""
    seller, currency = reversal.organization_id, order.settled_currency
    settled = reversal.settled_minor
    whose = seller if to == Code.SELLER_RECEIVABLE else None
    arrived = Line(to, settled, whose, currency=currency)
    if _is_of_exchange(reversal):
        return [arrived, Line(Code.SELLER_PAYABLE, -settled, seller, currency=currency)]
    booked = Q(state=TransferReversal.State.DONE)
    if _is_owed_as_sent(order, reversal):
        booked |= Q(state=TransferReversal.State.OWED, settled_minor__gt=0)
    shares = reversal.transfer.reversals.filter(booked).exclude(cause__startswith=_EXCHANGE)
    before = shares.aggregate(sum=Sum("amount_minor"))["sum"] or 0
    # The difference of two sums: in parts it comes to what was sent, and nothing stays behind.
    whole = _as_settled(order, before + reversal.amount_minor) - _as_settled(order, before)
    # Stripe keeps its fee: where the seller bears it, the seller owes that part.
    fee = whole - settled
    if settlements.stripe_fees_borne_by_seller(order):
        # In the order's currency, as every debt of a share.
        owed = _as_presented(order, fee)
        kept = [
            Line(Code.SELLER_RECEIVABLE, owed, seller),
            Line(Code.CURRENCY_EXCHANGE, -owed),
            Line(Code.CURRENCY_EXCHANGE, fee, currency=currency),
        ]
    else:
        kept = [Line(Code.STRIPE_FEES, fee, currency=currency)]
    return [
        Line(Code.SELLER_PAYABLE, -reversal.amount_minor, seller),
        Line(Code.CURRENCY_EXCHANGE, reversal.amount_minor),
        Line(Code.CURRENCY_EXCHANGE, -whole, currency=currency),
        *kept,
        arrived,
    ]


def _refuse_reversal(command: Command, why: str, code: str) -> None:
    """The seller's balance does not cover it: from here on the seller owes it."""
    order = command.order
    assert order is not None
    _owe_rest(order, _reversal_of(command))


SEND = Call(send=call, keep=_keep_sent, refuse=_refuse_sent, find=find, is_money=True)
REVERSE = Call(
    send=_send_reversal,
    keep=_keep_reversal,
    refuse=_refuse_reversal,
    find=_find_reversal,
    is_money=True,
)
