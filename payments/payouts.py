"""Payouts to contributors: in batches, in whole minor units, after advances were paid back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace import audit, idempotency, money
from marketplace.access import Caller, acting, system
from marketplace.errors import (
    InvalidInput,
    RoyaltyPaymentWrongState,
    RoyaltyPayoutChanged,
)
from marketplace.models import Contributor
from marketplace.typeid import TypeID
from payments import commands, journal, stripe_gateway, transfers
from payments.commands import Call
from payments.journal import Code, Key
from payments.models import (
    Command,
    ConnectedAccount,
    RoyaltyAdvance,
    RoyaltyPayment,
    RoyaltyPayout,
)
from payments.stripe_facts import TransferFacts

State = RoyaltyPayment.State

TRANSITIONS: dict[str, frozenset[str]] = {
    State.DUE: frozenset({State.SENDING, State.PAID}),
    State.SENDING: frozenset({State.PAID, State.RETURNED}),
    # Paid and returned are final: what came back is owed again, and part of a later payout.
}
PREVIEWED = 20


@dataclass(frozen=True, slots=True)
class Payable:
    """What one contributor would get now."""

    contributor: str
    amount_minor: int
    recouped_minor: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a payout would move now. Confirming it names these figures."""

    currency: str
    contributors: int
    paid_minor: int
    recouped_minor: int
    largest: list[Payable]


def advance(
    caller: Caller, contributor: str, *, amount_minor: int, currency: str, reference: str
) -> RoyaltyAdvance:
    """Record what was paid to a contributor ahead of royalties. Repeatable by its reference.

    What the contributor earns pays it back first. Raises NotFound, InvalidInput.
    """
    code = money.currency(currency, param="currency").code
    if not 0 < amount_minor <= money.STRIPE_MAXIMUM_MINOR:
        raise InvalidInput(_("Give an amount of 1 or more."), param="amount_minor")
    reference = _reference(reference)
    with acting(caller):
        _lock(caller)
        found = Contributor.objects.get_visible(caller, contributor)
        said = {"amount_minor": amount_minor, "currency": code}
        row, is_new = RoyaltyAdvance.objects.get_or_create(
            organization=caller.organization,
            livemode=caller.livemode,
            contributor=found,
            reference=reference,
            defaults={**said, "actor": caller.actor},
        )
        if {name: getattr(row, name) for name in said} != said:
            raise InvalidInput(
                _("Another advance has this reference. Give each its own."), param="reference"
            )
        if is_new:
            audit.record(caller, "royalty_advance.recorded", subject=row)
        idempotency.names(caller, row)
    return row


def preview(caller: Caller, *, currency: str) -> Preview:
    """Say who would be paid how much now. Writes nothing."""
    code = money.currency(currency, param="currency").code
    with acting(caller, writing=False), connection.cursor() as cursor:
        cursor.execute(journal.PLANNED)
        return _previewed(cursor, caller, code)


def confirm(
    caller: Caller, *, currency: str, contributors: int, paid_minor: int, recouped_minor: int
) -> RoyaltyPayout:
    """Owe to each contributor what a preview said, in one journal; the transfers follow.

    Raises RoyaltyPayoutChanged where that is not what would be paid now.
    """
    code = money.currency(currency, param="currency").code
    with system("a payout is posted among accounts of the market"), acting(caller):
        _lock(caller)
        with connection.cursor() as cursor:
            cursor.execute(journal.PLANNED)
            now = _previewed(cursor, caller, code)
            told = (contributors, paid_minor, recouped_minor)
            if not now.contributors or told != (
                now.contributors,
                now.paid_minor,
                now.recouped_minor,
            ):
                raise RoyaltyPayoutChanged(
                    _("What is to be paid has changed. Preview it again."),
                    contributors=now.contributors,
                    paid_minor=now.paid_minor,
                    recouped_minor=now.recouped_minor,
                )
            payout = RoyaltyPayout(
                organization=caller.organization,
                livemode=caller.livemode,
                currency=code,
                contributors=contributors,
                paid_minor=paid_minor,
                recouped_minor=recouped_minor,
                actor=caller.actor,
            )
            payout.save(force_insert=True)
            _pay(cursor, payout)
        audit.record(caller, "royalty_payout.confirmed", subject=payout, contributors=contributors)
        idempotency.names(caller, payout)
    return payout


def paid_outside(caller: Caller, payment: str, *, reference: str) -> RoyaltyPayment:
    """Record that the seller paid a contributor itself. Repeating it changes nothing.

    The market owes the amount to the seller then. Raises NotFound, RoyaltyPaymentWrongState.
    """
    reference = _reference(reference)
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
        cursor.execute(_SENDABLE, {"limit": limit})
        due = cursor.fetchall()
    for payment_id, account_id in due:
        with system("send royalties"):
            payment = RoyaltyPayment.objects.select_for_update().get(pk=payment_id)
            account = ConnectedAccount.objects.get(pk=account_id)
            if payment.state != State.DUE or not transfers.is_cleared(account):
                continue
            _move(payment, State.SENDING)
            payment.save(update_fields=["state"])
            commands.give(
                Command.Kind.ROYALTY_TRANSFER,
                {
                    "amount": payment.amount_minor,
                    "currency": payment.currency.lower(),
                    "destination": account.stripe_id,
                    "transfer_group": str(payment.payout_id),
                    "metadata": {"licet": str(payment.pk)},
                },
                account=account,
                reference=str(payment.pk),
            )
    return len(due)


# --- statements -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Statement:
    """What a contributor earned, lost again, paid back and was paid, in one period and currency."""

    contributor: str
    currency: str
    begins_at: datetime
    ends_at: datetime
    opening_micro: int
    accrued_micro: int
    recouped_minor: int
    paid_minor: int
    # Paid before, and back in this period: it is owed again.
    returned_minor: int
    closing_micro: int
    # Now, whatever the period: of disputed sales, or being shared out anew.
    held_micro: int
    advances_open_minor: int
    lines: list[Mapping[str, Any]]


# A statement with more lines is asked for in shorter periods.
LINES_MAX = 10_000


def find(caller: Caller, id: str) -> RoyaltyPayout:
    """A payout of the caller's. Raises NotFound."""
    with acting(caller, writing=False):
        return RoyaltyPayout.objects.get_visible(caller, id)


def statement(
    caller: Caller,
    contributor: str,
    *,
    currency: str,
    begins_at: datetime,
    ends_at: datetime,
) -> Statement:
    """A contributor's account over [begins_at, ends_at), line by line.

    Each line can be computed again from what it says (`royalty_shares.share`). Raises NotFound,
    InvalidInput.
    """
    with acting(caller, writing=False), connection.cursor() as cursor:
        found = Contributor.objects.get_visible(caller, contributor)
        code = money.currency(currency, param="currency").code
        if begins_at >= ends_at:
            raise InvalidInput(_("A period ends after it begins."), param="to")
        values = {
            "organization": caller.organization.pk,
            "livemode": caller.livemode,
            "currency": code,
            "contributor": found.pk,
            "begins_at": begins_at,
            "ends_at": ends_at,
            "limit": LINES_MAX + 1,
        }
        cursor.execute(_LINES, values)
        names = [column.name for column in cursor.description]
        lines = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        if len(lines) > LINES_MAX:
            raise InvalidInput(
                _("More than %(max)s lines: ask for a shorter period.") % {"max": f"{LINES_MAX:,}"},
                param="from",
            )
        cursor.execute(_SUMS, values)
        sums = dict(
            zip((column.name for column in cursor.description), cursor.fetchone(), strict=True)
        )
    micro = 1_000_000
    opening = sums["earned_before"] - micro * (sums["paid_before"] - sums["returned_before"])
    moved = sums["recouped"] + sums["paid"] - sums["returned"]
    return Statement(
        contributor=str(found.pk),
        currency=code,
        begins_at=begins_at,
        ends_at=ends_at,
        opening_micro=opening,
        accrued_micro=sums["earned"],
        recouped_minor=sums["recouped"],
        paid_minor=sums["paid"],
        returned_minor=sums["returned"],
        closing_micro=opening + sums["earned"] - micro * moved,
        held_micro=sums["held"],
        advances_open_minor=sums["advanced"] - sums["recouped_ever"],
        lines=[_shown(line) for line in lines],
    )


def _shown(line: dict[str, Any]) -> dict[str, Any]:
    for name, prefix in (("allocation", "ral"), ("order", "ord"), ("rule", "rrl"), ("tie", "ral")):
        line[name] = str(TypeID(prefix, line[name]))
    for name in ("cut_before_hash", "cut_after_hash"):
        line[name] = None if line[name] is None else bytes(line[name]).hex()
    for name in ("cut_before_remainder", "cut_after_remainder"):
        line[name] = line[name] or None
    return line


# --- paying -----------------------------------------------------------------------------------


def _previewed(cursor: Any, caller: Caller, currency: str) -> Preview:
    values = {
        "organization": caller.organization.pk,
        "livemode": caller.livemode,
        "currency": currency,
        "limit": PREVIEWED,
    }
    cursor.execute(
        "SELECT count(*), coalesce(sum(amount), 0)::bigint, coalesce(sum(recouped), 0)::bigint"
        f" FROM ({_PAYABLE}) payable",
        values,
    )
    contributors, paid, recouped = cursor.fetchone()
    cursor.execute(
        f"SELECT contributor_id, amount, recouped FROM ({_PAYABLE}) payable"
        " ORDER BY amount DESC, contributor_id LIMIT %(limit)s",
        values,
    )
    return Preview(
        currency=currency,
        contributors=contributors,
        paid_minor=paid,
        recouped_minor=recouped,
        largest=[
            Payable(str(TypeID("ctr", contributor)), amount, back)
            for contributor, amount, back in cursor.fetchall()
        ],
    )


def _pay(cursor: Any, payout: RoyaltyPayout) -> None:
    """Write a payment for each, and one journal of all."""
    values = {
        "organization": payout.organization_id,
        "livemode": payout.livemode,
        "currency": payout.currency,
        "payout": payout.pk,
        "now": payout.created_at,
        # Of UUIDv7: the instant, to the millisecond.
        "begin": payout.pk.hex[:12],
    }
    cursor.execute(_WRITE, values)
    posted = journal.begin(
        payout.organization_id,
        livemode=payout.livemode,
        kind=journal.ROYALTY_PAYOUT,
        reference=str(payout.pk),
    )
    owner = payout.organization_id
    journal.post_many(
        posted,
        [
            (Key(Code.ROYALTY_PAYABLE, owner, None, payout.currency), payout.paid_minor
             + payout.recouped_minor),
            # The seller advanced it: it is owed to the seller.
            (Key(Code.SELLER_PAYABLE, owner, None, payout.currency), -payout.recouped_minor),
        ],
        selected=(
            "SELECT 'contributor_payable', organization_id, contributor_id, currency,"
            " -amount_minor FROM payments_royaltypayment"
            " WHERE payout_id = %(payout)s AND amount_minor > 0",
            values,
        ),
    )  # fmt: skip


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


def _reference(text: str) -> str:
    text = text.strip()
    if not 0 < len(text) <= 200:
        raise InvalidInput(_("Name the payment, in up to 200 characters."), param="reference")
    return text


def _lock(caller: Caller) -> None:
    """Make payouts of one organization wait for each other: nobody is paid twice."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('payments.payouts' || %s, 0))",
            [f"{caller.organization.pk}{caller.livemode}"],
        )


def _send(command: Command) -> TransferFacts:
    return stripe_gateway.transfer(command.params, key=str(command.pk))


def _find(command: Command) -> TransferFacts | None:
    params = command.params
    return stripe_gateway.find_transfer(params["transfer_group"], params["metadata"]["licet"])


def _keep(command: Command, result: TransferFacts) -> str:
    payment = RoyaltyPayment.objects.select_for_update().get(pk=command.reference)
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
    settled = result.settled
    if settled is not None:
        posted = journal.begin(
            payment.organization_id,
            livemode=payment.livemode,
            kind=journal.SETTLED,
            reference=settled.transaction,
        )
        currency = settled.currency
        journal.write(
            posted,
            [
                (Key(Code.STRIPE_CLEARING, None, None, currency), -settled.amount_minor),
                (Key(Code.STRIPE_FEES, None, None, currency), settled.fee_minor),
                (
                    Key(Code.STRIPE_BALANCE, None, None, currency),
                    settled.amount_minor - settled.fee_minor,
                ),
            ],
        )
    return result.id


def _refuse(command: Command, why: str, code: str) -> None:
    """It is owed again, and part of the next payout."""
    payment = RoyaltyPayment.objects.select_for_update().get(pk=command.reference)
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


TRANSFER = Call(send=_send, keep=_keep, refuse=_refuse, find=_find, is_money=True)


# What was shared out of one organization's sales in one currency, and whether it is held: while
# the sale is disputed and its rule says so, and while a part of it is about to be taken back.
_SOURCES = """
SELECT allocation.id, allocation.done_at,
    coalesce((rule.minimum_minor ->> %(currency)s)::bigint, 1) AS minimum,
    sold.status = 'disputed' AND rule.holds_while_disputed OR EXISTS (
        SELECT 1 FROM payments_royaltyallocation other
        WHERE other.order_id = allocation.order_id AND other.state <> 'done'
    ) AS is_held
FROM payments_royaltyallocation allocation
JOIN payments_royaltyrule rule ON rule.id = allocation.rule_id
JOIN payments_order sold ON sold.id = allocation.order_id
WHERE allocation.organization_id = %(organization)s AND allocation.livemode = %(livemode)s
    AND allocation.currency = %(currency)s AND allocation.state = 'done'
"""
# Down to whole minor units only here; what is left over stays accrued. Of several rules that
# somebody earned by, the least minimum counts.
_PAYABLE = f"""
WITH source AS MATERIALIZED ({_SOURCES}),
earned AS (
    SELECT accrual.contributor_id, sum(accrual.amount_micro) AS micro, min(minimum) AS minimum
    FROM source JOIN payments_royaltyaccrual accrual ON accrual.allocation_id = source.id
    WHERE NOT is_held AND accrual.contributor_id IS NOT NULL
    GROUP BY accrual.contributor_id
),
paid AS (
    SELECT contributor_id, sum(recouped_minor) AS recouped,
        sum(recouped_minor + CASE state WHEN 'returned' THEN 0 ELSE amount_minor END) AS minor
    FROM payments_royaltypayment
    WHERE organization_id = %(organization)s AND livemode = %(livemode)s
        AND currency = %(currency)s
    GROUP BY contributor_id
),
advanced AS (
    SELECT contributor_id, sum(amount_minor) AS minor FROM payments_royaltyadvance
    WHERE organization_id = %(organization)s AND livemode = %(livemode)s
        AND currency = %(currency)s
    GROUP BY contributor_id
),
available AS (
    SELECT contributor_id, minimum,
        floor(micro / 1000000)::bigint - coalesce(paid.minor, 0)::bigint AS minor,
        (coalesce(advanced.minor, 0) - coalesce(paid.recouped, 0))::bigint AS advance
    FROM earned LEFT JOIN paid USING (contributor_id) LEFT JOIN advanced USING (contributor_id)
),
parted AS (
    SELECT contributor_id, least(minor, advance) AS recouped,
        CASE WHEN minor - least(minor, advance) >= minimum THEN minor - least(minor, advance)
        ELSE 0 END AS amount
    FROM available WHERE minor > 0
)
SELECT contributor_id, recouped, amount FROM parted WHERE recouped > 0 OR amount > 0
"""
_WRITE = f"""
INSERT INTO payments_royaltypayment (
    id, organization_id, livemode, payout_id, contributor_id, currency, amount_minor,
    recouped_minor, state, reference, refusal, created_at, settled_at
)
SELECT (%(begin)s || '7' || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid,
    %(organization)s, %(livemode)s, %(payout)s, contributor_id, %(currency)s,
    amount, recouped, CASE WHEN amount > 0 THEN 'due' ELSE 'paid' END, '', '', %(now)s,
    CASE WHEN amount = 0 THEN %(now)s END
FROM ({_PAYABLE}) payable
"""
_SENDABLE = """
SELECT payment.id, account.id
FROM payments_royaltypayment payment
JOIN payments_connectedaccount account ON account.organization_id = payment.organization_id
    AND account.livemode = payment.livemode AND account.contributor_id = payment.contributor_id
WHERE payment.state = 'due' AND account.state = 'active'
    AND account.clearance <> 'refused' AND (account.clearance = 'cleared' OR NOT account.livemode)
ORDER BY payment.id LIMIT %(limit)s
"""
_LINES = """
SELECT allocation.id AS allocation, allocation.order_id AS "order", allocation.cause,
    allocation.sold_at, allocation.done_at, rule.id AS rule, rule.version AS rule_version,
    rule.method, rule.unit, rule.basis_points,
    coalesce(allocation.sale_id, allocation.id) AS tie,
    allocation.kept_before_minor, allocation.pool_minor,
    coalesce(-advance.moved_minor, 0) AS recoups_minor, accrual.weight, base.total_weight,
    allocation.cut_before_remainder, allocation.cut_before_hash,
    allocation.cut_after_remainder, allocation.cut_after_hash, accrual.amount_micro
FROM payments_royaltyaccrual accrual
JOIN payments_royaltyallocation allocation ON allocation.id = accrual.allocation_id
JOIN payments_royaltyrule rule ON rule.id = allocation.rule_id
JOIN payments_royaltybase base ON base.id = allocation.base_id
LEFT JOIN payments_royaltyadvanceline advance
    ON advance.allocation_id = coalesce(allocation.sale_id, allocation.id)
WHERE accrual.contributor_id = %(contributor)s AND accrual.organization_id = %(organization)s
    AND accrual.livemode = %(livemode)s AND accrual.currency = %(currency)s
    AND allocation.done_at >= %(begins_at)s AND allocation.done_at < %(ends_at)s
ORDER BY allocation.done_at, accrual.id LIMIT %(limit)s
"""
_SUMS = f"""
WITH source AS (
    {_SOURCES} AND allocation.id IN (
        SELECT allocation_id FROM payments_royaltyaccrual WHERE contributor_id = %(contributor)s
    )
),
earned AS (
    SELECT accrual.amount_micro AS micro, source.done_at, source.is_held
    FROM payments_royaltyaccrual accrual JOIN source ON source.id = accrual.allocation_id
    WHERE accrual.contributor_id = %(contributor)s
),
payment AS (
    SELECT * FROM payments_royaltypayment
    WHERE contributor_id = %(contributor)s AND organization_id = %(organization)s
        AND livemode = %(livemode)s AND currency = %(currency)s
)
SELECT
    (SELECT coalesce(sum(micro), 0)::bigint FROM earned WHERE done_at < %(begins_at)s)
        AS earned_before,
    (SELECT coalesce(sum(micro), 0)::bigint FROM earned
     WHERE done_at >= %(begins_at)s AND done_at < %(ends_at)s) AS earned,
    (SELECT coalesce(sum(micro), 0)::bigint FROM earned WHERE is_held) AS held,
    (SELECT coalesce(sum(amount_minor + recouped_minor), 0)::bigint FROM payment
     WHERE created_at < %(begins_at)s) AS paid_before,
    (SELECT coalesce(sum(amount_minor), 0)::bigint FROM payment
     WHERE state = 'returned' AND settled_at < %(begins_at)s) AS returned_before,
    (SELECT coalesce(sum(amount_minor), 0)::bigint FROM payment
     WHERE created_at >= %(begins_at)s AND created_at < %(ends_at)s) AS paid,
    (SELECT coalesce(sum(recouped_minor), 0)::bigint FROM payment
     WHERE created_at >= %(begins_at)s AND created_at < %(ends_at)s) AS recouped,
    (SELECT coalesce(sum(amount_minor), 0)::bigint FROM payment WHERE state = 'returned'
        AND settled_at >= %(begins_at)s AND settled_at < %(ends_at)s) AS returned,
    (SELECT coalesce(sum(recouped_minor), 0)::bigint FROM payment) AS recouped_ever,
    (SELECT coalesce(sum(amount_minor), 0)::bigint FROM payments_royaltyadvance
     WHERE contributor_id = %(contributor)s AND organization_id = %(organization)s
        AND livemode = %(livemode)s AND currency = %(currency)s) AS advanced
"""
