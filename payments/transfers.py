"""Transfers: a seller's share of a sale on its way to the seller, and back again.

Separate charges and transfers: https://docs.stripe.com/connect/separate-charges-and-transfers.
A refund or a dispute pulls nothing back by itself: each reversal is a call of ours, and where the
seller's balance does not cover it, the seller owes it, and later sales pay it.
"""

from __future__ import annotations

from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Exists, OuterRef, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit
from marketplace.access import Caller, system
from marketplace.errors import MissingScope, NotFound, PaymentProviderRefused
from marketplace.models import User
from marketplace.money import round_half_even
from payments import commands, journal, settlements, stripe_gateway
from payments.commands import Call
from payments.journal import Code, Line
from payments.models import Command, ConnectedAccount, Order, Transfer, TransferReversal
from payments.stripe_facts import TransferFacts

State = Transfer.State
Account = ConnectedAccount

# A transfer that an account refuses for its lack of capability is tried so often.
ATTEMPTS_MAX = 5
# How Stripe says that an account cannot be paid.
ACCOUNT_REFUSALS = frozenset({"insufficient_capabilities_for_transfer", "account_closed"})
# The `provider_code` of a refusal that is not Stripe's: the market sends nothing for now.
HELD_BACK = "held_back"
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
    """Let a share pay what its seller owes, once."""
    if transfer.withheld_minor:
        return
    lock_debts(transfer.organization_id)
    owed = owed_minor(transfer.organization_id, livemode=order.livemode, currency=transfer.currency)
    transfer.withheld_minor = max(0, min(left_minor, owed))
    if transfer.withheld_minor:
        journal.post(
            order,
            journal.WITHHELD,
            [
                Line(Code.SELLER_PAYABLE, transfer.withheld_minor, transfer.organization_id),
                Line(Code.SELLER_RECEIVABLE, -transfer.withheld_minor, transfer.organization_id),
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
            return _("This market does not pay the seller.")
        if Order.objects.filter(pk=command.order_id, status__in=_NOT_SENT).exists():
            return _("The payment is disputed, or went back.")
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
    _post_sent(order, transfer)
    if result.settled is not None:
        journal.settle_plain(order, result.settled)
    # What went back to the buyer meanwhile is taken back from here.
    _reverse(order, transfer, cause=f"sent:{transfer.pk}")
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


def _subject(command: Command) -> tuple[Order, Transfer]:
    order = command.order
    assert order is not None
    return order, Transfer.objects.get(pk=command.reference.partition(":")[0])


# --- taking back ------------------------------------------------------------------------------


def _reverse(order: Order, transfer: Transfer, cause: str) -> None:
    """Take back so much that the seller keeps its share of what the market keeps.

    Of what arrived, in proportion; what paid a debt, or never arrived, is owed again. What was not
    sent yet is kept back first: `_start` sends so much less.
    """
    is_unsent = transfer.state in {State.WAITING, State.REFUSED}
    before = transfer.reversals.aggregate(sum=Sum("amount_minor"), settled=Sum("settled_minor"))
    kept = transfer.withheld_minor + (0 if is_unsent else transfer.sent_minor)
    gone_before = transfer.share_minor - kept
    back = _gone_minor(order) - gone_before - (before["sum"] or 0)
    if back <= 0:
        return
    arrived = transfer.sent_minor if transfer.state == State.SENT else 0
    total = (before["sum"] or 0) + back
    # The last part takes what is left: reversals in parts never drift.
    target = round_half_even(transfer.settled_minor * min(total, arrived), max(arrived, 1))
    settled = target - (before["settled"] or 0)
    left = max(0, arrived - (before["sum"] or 0))
    taken = min(back, left)
    reversal = TransferReversal(
        organization_id=transfer.organization_id,
        livemode=transfer.livemode,
        transfer=transfer,
        cause=cause,
        amount_minor=taken or back,
        settled_minor=max(0, settled),
    )
    if taken and settled > 0:
        _give_reversal(order, transfer, reversal)
    else:
        _owe(order, reversal)
    if taken and back > taken:
        _owe(
            order,
            TransferReversal(
                organization_id=transfer.organization_id,
                livemode=transfer.livemode,
                transfer=transfer,
                cause=f"{cause}:withheld",
                amount_minor=back - taken,
                settled_minor=0,
            ),
        )


def _give_reversal(order: Order, transfer: Transfer, reversal: TransferReversal) -> None:
    reversal.save(force_insert=True)
    commands.give(
        Command.Kind.REVERSE_TRANSFER,
        {
            "transfer": transfer.stripe_id,
            "amount": reversal.settled_minor,
            "metadata": {"order": str(order.pk), "licet": str(reversal.pk)},
        },
        order=order,
        reference=str(reversal.pk),
    )


def _owe(order: Order, reversal: TransferReversal) -> None:
    """The seller owes what could not be taken back: from here on it has an age."""
    reversal.state = TransferReversal.State.OWED
    if reversal._state.adding:
        reversal.save(force_insert=True)
    else:
        reversal.save(update_fields=["state"])
    journal.post(
        order,
        journal.OWED,
        [
            Line(Code.SELLER_RECEIVABLE, reversal.amount_minor, reversal.organization_id),
            Line(Code.SELLER_PAYABLE, -reversal.amount_minor, reversal.organization_id),
        ],
        reference=str(reversal.pk),
    )


def _send_reversal(command: Command) -> TransferFacts:
    """Take a part of a transfer back, unless somebody did so at Stripe: a seller pays once."""
    params = dict(command.params)
    transfer = params.pop("transfer")
    found = _reversed_by_others(transfer, params["amount"])
    return found or stripe_gateway.reverse_transfer(transfer, params, key=str(command.pk))


def _reversed_by_others(transfer: str, amount_minor: int) -> TransferFacts | None:
    """What somebody took back by hand, just as much, and no row of ours counts yet."""
    made = stripe_gateway.reversals_by_others(transfer)
    with system("see which reversals at Stripe are counted already"):
        counted = set(
            TransferReversal.objects.filter(stripe_id__in=[each.id for each in made]).values_list(
                "stripe_id", flat=True
            )
        )
    alike = (each for each in made if each.amount_minor == amount_minor)
    return next((each for each in alike if each.id not in counted), None)


def _find_reversal(command: Command) -> TransferFacts | None:
    params = command.params
    return stripe_gateway.find_reversal(params["transfer"], params["metadata"]["licet"])


def _keep_reversal(command: Command, result: TransferFacts) -> str:
    order = command.order
    assert order is not None
    reversal = TransferReversal.objects.select_related("transfer").get(pk=command.reference)
    transfer, settled = reversal.transfer, reversal.settled_minor
    reversal.state, reversal.stripe_id = TransferReversal.State.DONE, result.id
    reversal.save(update_fields=["state", "stripe_id"])
    transfer.reversed_minor += settled
    transfer.save(update_fields=["reversed_minor"])
    whole = _as_settled(order, reversal.amount_minor)
    # Stripe keeps its fee: where the seller bears it, the seller owes that part.
    fee = whole - settled
    if settlements.stripe_fees_borne_by_seller(order):
        # In the order's currency, as every debt: in another one no later sale would pay it.
        owed = _as_presented(order, fee)
        kept = [
            Line(Code.SELLER_RECEIVABLE, owed, reversal.organization_id),
            Line(Code.CURRENCY_EXCHANGE, -owed),
            Line(Code.CURRENCY_EXCHANGE, fee, currency=order.settled_currency),
        ]
    else:
        kept = [Line(Code.STRIPE_FEES, fee, currency=order.settled_currency)]
    journal.post(
        order,
        journal.REVERSAL,
        [
            Line(Code.SELLER_PAYABLE, -reversal.amount_minor, reversal.organization_id),
            Line(Code.CURRENCY_EXCHANGE, reversal.amount_minor),
            Line(Code.CURRENCY_EXCHANGE, -whole, currency=order.settled_currency),
            *kept,
            Line(Code.STRIPE_CLEARING, settled, currency=order.settled_currency),
        ],
        reference=str(reversal.pk),
    )
    if result.settled is not None:
        journal.settle_plain(order, result.settled)
    return result.id


def _refuse_reversal(command: Command, why: str, code: str) -> None:
    """The seller's balance does not cover it: from here on the seller owes it."""
    order = command.order
    assert order is not None
    reversal = TransferReversal.objects.get(pk=command.reference)
    _owe(order, reversal)


SEND = Call(send=call, keep=_keep_sent, refuse=_refuse_sent, find=find, is_money=True)
REVERSE = Call(
    send=_send_reversal,
    keep=_keep_reversal,
    refuse=_refuse_reversal,
    find=_find_reversal,
    is_money=True,
)
