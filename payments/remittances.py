"""Remittances: what a seller is owed beside its shares of sales, in one sum, its debts first.

Of each sale's own share there is a transfer (`transfers`). What the market owes a seller by
journals of royalties, by those of no order (royalties that paid back its advances, or that it
paid itself), and by what an exchange of currencies brought, is added up and sent from our balance
at Stripe, once a day at most. What went back of it after it was sent, the seller owes, as what a
transfer did not cover.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from django.utils import timezone

from marketplace import money
from marketplace.access import system
from payments import commands, journal, transfers
from payments.commands import Call
from payments.journal import Code, Key
from payments.models import Command, ConnectedAccount, Journal, Remittance
from payments.stripe_facts import TransferFacts

State = Remittance.State

TRANSITIONS: dict[str, frozenset[str]] = {
    State.SENDING: frozenset({State.SENT, State.RETURNED}),
    # Sent, returned and withheld are final: what came back is owed still.
}
# What comes within it goes together.
EVERY = timedelta(days=1)


class Due(NamedTuple):
    """What a seller is owed beside its sales, and what it owes, in one currency."""

    organization_id: UUID
    livemode: bool
    currency: str
    owed_minor: int
    debt_minor: int

    @property
    def withheld_minor(self) -> int:
        """What pays a debt."""
        return max(0, min(self.owed_minor, self.debt_minor))

    @property
    def amount_minor(self) -> int:
        """What is sent: nothing below the least that Stripe charges, which waits for more."""
        left = self.owed_minor - self.withheld_minor
        return left if left >= money.currency(self.currency).stripe_minimum_minor else 0


def start_due() -> int:
    """Commit to sending what sellers with an account that can be paid are owed. The worker's.

    Repeatable. Returns how many remittances were begun.
    """
    owe_back()
    with system("find what sellers are owed beside their sales"):
        found = [each for each in _due() if each.withheld_minor or each.amount_minor]
    started = 0
    for each in found:
        with system("send a seller what it is owed beside its sales"):
            started += _start(each.organization_id, each.livemode, each.currency)
    return started


def owe_back() -> int:
    """Have sellers owe what went back of what they were sent beside their sales.

    Such as what a refund undoes of an advance that a pool had paid back. From here on it has an
    age, and later shares pay it. Repeatable. Returns how many owe more now.
    """
    with system("find what sellers were sent too much beside their sales"):
        found = _overdrawn()
    owing = 0
    for organization_id, livemode, currency, *_amount in found:
        with system("have a seller owe what it was sent too much"):
            # Looked at anew, after whoever did the same, or moved the same debts.
            transfers.lock_debts(organization_id)
            for *_whose, minor, last in _overdrawn(organization_id, livemode, currency):
                posted = journal.begin(
                    organization_id,
                    livemode=livemode,
                    kind=journal.OWED,
                    reference=str(Journal._meta.pk.to_python(last)),
                )
                payable = Key(Code.SELLER_PAYABLE, organization_id, None, currency)
                receivable = payable._replace(code=Code.SELLER_RECEIVABLE)
                journal.write(posted, [(receivable, minor), (payable, -minor)])
                owing += 1
    return owing


def _overdrawn(
    organization_id: UUID | None = None, livemode: bool | None = None, currency: str | None = None
) -> list[tuple[UUID, bool, str, int, UUID]]:
    """Whose account beside its sales is below 0, in which currency, by how much, since which
    journal; of one seller, if named.

    One statement, as `_due`. What is being sent counts as owed until Stripe has answered.
    """
    values = {"organization": organization_id, "livemode": livemode, "currency": currency}
    with connection.cursor() as cursor:
        cursor.execute(_OVERDRAWN, values)
        return list(cursor.fetchall())


def _start(organization_id: UUID, livemode: bool, currency: str) -> bool:
    """Withhold and send what is owed now. Whether there was something."""
    # One after another, and after what a transfer of this seller withholds at the same time. What
    # is due is looked for anew: the other one may have sent it.
    transfers.lock_debts(organization_id)
    due = next(iter(_due(organization_id, livemode, currency)), None)
    if due is None or not (due.withheld_minor or due.amount_minor):
        return False
    now = timezone.now()
    remittance = Remittance(
        organization_id=organization_id,
        livemode=livemode,
        currency=currency,
        withheld_minor=due.withheld_minor,
        amount_minor=due.amount_minor,
        state=State.SENDING if due.amount_minor else State.WITHHELD,
        created_at=now,
        ended_at=None if due.amount_minor else now,
    )
    remittance.save(force_insert=True)
    if remittance.withheld_minor:
        _post(
            remittance,
            journal.WITHHELD,
            {
                _of_seller(remittance, Code.SELLER_PAYABLE): remittance.withheld_minor,
                _of_seller(remittance, Code.SELLER_RECEIVABLE): -remittance.withheld_minor,
            },
        )
    if remittance.amount_minor:
        _give(remittance)
    return True


def _give(remittance: Remittance) -> None:
    account = ConnectedAccount.objects.get(
        organization=remittance.organization_id, livemode=remittance.livemode, contributor=None
    )
    commands.give(
        Command.Kind.REMITTANCE,
        {
            "amount": remittance.amount_minor,
            "currency": remittance.currency.lower(),
            "destination": account.stripe_id,
            "transfer_group": str(remittance.pk),
            "metadata": {"licet": str(remittance.pk)},
        },
        account=account,
        reference=str(remittance.pk),
    )


def _due(
    organization_id: UUID | None = None, livemode: bool | None = None, currency: str | None = None
) -> list[Due]:
    """What is due to sellers who can be paid and were sent nothing for a while; to one, if named.

    One statement, and so one view of the journal and of what is under way: two would miss what
    ends between them, and send it again.
    """
    values = {
        "organization": organization_id,
        "livemode": livemode,
        "currency": currency,
        "since": timezone.now() - EVERY,
    }
    with connection.cursor() as cursor:
        cursor.execute(_DUE, values)
        return [Due(*row) for row in cursor.fetchall()]


def _keep(command: Command, result: TransferFacts) -> str:
    remittance = _end(command, State.SENT)
    remittance.stripe_id = result.id
    remittance.save(update_fields=["state", "stripe_id", "ended_at"])
    _post(
        remittance,
        journal.REMITTANCE,
        {
            _of_seller(remittance, Code.SELLER_PAYABLE): remittance.amount_minor,
            Key(Code.STRIPE_CLEARING, None, None, remittance.currency): -remittance.amount_minor,
        },
    )
    if result.settled is not None:
        journal.settle_own(remittance.organization_id, result.settled, livemode=remittance.livemode)
    return result.id


def _refuse(command: Command, why: str, code: str) -> None:
    """It is owed still: for lack of our balance, or of the account's capability, for a while."""
    remittance = _end(command, State.RETURNED)
    remittance.refusal = why[:1000]
    remittance.save(update_fields=["state", "refusal", "ended_at"])
    if code in transfers.ACCOUNT_REFUSALS:
        transfers.restrict(remittance.organization_id, livemode=remittance.livemode)


def _end(command: Command, state: State) -> Remittance:
    remittance = Remittance.objects.select_for_update().get(pk=command.reference)
    allowed = TRANSITIONS.get(remittance.state, frozenset())
    assert state in allowed, f"A remittance does not go from {remittance.state} to {state}."
    remittance.state, remittance.ended_at = state, timezone.now()
    return remittance


def _post(remittance: Remittance, kind: str, lines: dict[Key, int]) -> None:
    posted = journal.begin(
        remittance.organization_id,
        livemode=remittance.livemode,
        kind=kind,
        reference=str(remittance.pk),
    )
    journal.write(posted, list(lines.items()))


def _of_seller(remittance: Remittance, code: Code) -> Key:
    return Key(code, remittance.organization_id, None, remittance.currency)


SEND = Call(send=transfers.call, keep=_keep, refuse=_refuse, find=transfers.find, is_money=True)


# What an order's journals move is what its own transfer sends, but for what its contributors' pool
# paid back of an advance on the collection, and what an exchange of currencies brought.
_BESIDE = (
    "(journal.order_id IS NULL OR journal.kind IN"
    f" ('{journal.ROYALTIES}', '{journal.EXCHANGE_GAIN}'))"
)
_DUE = f"""
SELECT account.organization_id, account.livemode, account.currency,
    coalesce(-sum(posting.amount_minor) FILTER (
        WHERE account.code = 'seller_payable' AND {_BESIDE}), 0)::bigint AS owed,
    coalesce(sum(posting.amount_minor) FILTER (
        WHERE account.code = 'seller_receivable'), 0)::bigint AS debt
FROM payments_account account
JOIN payments_connectedaccount payee ON payee.organization_id = account.organization_id
    AND payee.livemode = account.livemode AND payee.contributor_id IS NULL
    AND payee.state = 'active' AND payee.clearance <> 'refused'
    AND (payee.clearance = 'cleared' OR NOT payee.livemode)
JOIN payments_posting posting ON posting.account_id = account.id
JOIN payments_journal journal ON journal.id = posting.journal_id
WHERE account.code IN ('seller_payable', 'seller_receivable')
    AND (%(organization)s::uuid IS NULL OR account.organization_id = %(organization)s
        AND account.livemode = %(livemode)s AND account.currency = %(currency)s)
    AND NOT EXISTS (
        SELECT 1 FROM payments_remittance earlier
        WHERE earlier.organization_id = account.organization_id
            AND earlier.livemode = account.livemode AND earlier.currency = account.currency
            AND (earlier.created_at > %(since)s OR earlier.state = 'sending')
    )
GROUP BY account.organization_id, account.livemode, account.currency
HAVING -sum(posting.amount_minor) FILTER (
    WHERE account.code = 'seller_payable' AND {_BESIDE}) > 0
ORDER BY account.organization_id, account.currency
"""
# Sellers without an account that can be paid owe, too. A journal of no order has its own reference:
# the one that it follows from is the newest, which no earlier one followed from.
_OVERDRAWN = f"""
SELECT account.organization_id, account.livemode, account.currency,
    sum(posting.amount_minor)::bigint, max(journal.id::text)::uuid
FROM payments_account account
JOIN payments_posting posting ON posting.account_id = account.id
JOIN payments_journal journal ON journal.id = posting.journal_id
WHERE account.code = 'seller_payable' AND {_BESIDE}
    AND (%(organization)s::uuid IS NULL OR account.organization_id = %(organization)s
        AND account.livemode = %(livemode)s AND account.currency = %(currency)s)
GROUP BY account.organization_id, account.livemode, account.currency
HAVING sum(posting.amount_minor) > 0
ORDER BY account.organization_id, account.currency
"""
