"""Double-entry money: what moved, between which accounts. Reversals are further journals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Sum

from marketplace.money import currency as known_currency
from payments.models import Account, Journal, Order, Posting
from payments.settlements import Shares, excess_minor
from payments.stripe_facts import SettledFacts

Code = Account.Code

# A sale posts no more lines than this: contributors are paid by a later job, from a pool.
LINES_MAX = 10

# Kinds of journals, and what the reference of each is.
PAYMENT = "payment"  # what came in
SALE = "sale"  # what it is for, once a license is given
VOIDED = "voided"  # that nobody will pay for it after all
SETTLED = "settled"  # what Stripe made of it: the id of its balance transaction
REFUND = "refund"  # the refund's id
REFUND_FAILED = "refund_failed"  # the refund's id
REFUND_PAID = "refund_paid"  # paid otherwise after it had failed: the refund's id
DISPUTE = "dispute"  # the dispute's id
DISPUTE_WON = "dispute_won"  # the dispute's id
DISPUTE_LOST = "dispute_lost"  # the dispute's id
APPEAL_WON = "appeal_won"  # the dispute's id
TRANSFER = "transfer"
WITHHELD = "withheld"
REVERSAL = "reversal"  # the reversal's id
OWED = "owed"  # the reversal's id; of no order: the journal's that it follows from
# What Stripe took for what went back beyond what it had brought, and the seller bears; or less.
EXCHANGE_LOSS = "exchange_loss"  # its number
EXCHANGE_GAIN = "exchange_gain"  # its number
# What a seller gave back ahead of what it had to, or what that is used for: the reversal's id.
AHEAD = "ahead"
# Of no order: the remittance's id. So is that of what it withheld.
REMITTANCE = "remittance"
# Of no order: the id of Stripe's balance transaction.
PAYOUT = "payout"  # between our balance there and our bank, either way
STRIPE_FEE = "stripe_fee"  # what Stripe takes beside the fee of a movement
# Those that record a balance transaction of Stripe's, each its own.
OF_STRIPE = (SETTLED, PAYOUT, STRIPE_FEE)
ROYALTIES = "royalties"  # the allocation's id
ROYALTY_PAYOUT = "royalty_payout"  # the payout's id, and how many were written before
ROYALTY_TRANSFER = "royalty_transfer"  # the payment's id
ROYALTY_RETURNED = "royalty_returned"  # the payment's id
ROYALTY_PAID_OUTSIDE = "royalty_paid_outside"  # the payment's id

# Until the transaction ends: as `snapshots` reads a million works.
PLANNED = "SET LOCAL work_mem = '128MB'; SET LOCAL jit = off;"


class Key(NamedTuple):
    """An account, by what it is for and whose it is."""

    code: str
    organization_id: UUID | None
    contributor_id: UUID | None
    currency: str


@dataclass(frozen=True, slots=True)
class Line:
    """An amount on one account: positive is a debit, negative a credit."""

    code: Account.Code
    amount_minor: int
    # Whose account; None for the market's own.
    organization_id: UUID | None = None
    # Where it is not that of the order.
    currency: str = ""


def post(order: Order, kind: str, lines: Sequence[Line], *, reference: str = "") -> Journal:
    """Record one movement of an order's money, once: a repeat returns the first journal.

    Runs in the transaction of what it records, under the order's lock. Lines on one account are
    one posting; what comes to 0 is left out.
    The database refuses a journal that does not balance in each of its currencies.
    """
    assert connection.in_atomic_block, "A journal commits with what it records."
    assert len(lines) <= LINES_MAX, "A journal has at most ten lines."
    posted = Journal.objects.filter(order_id=order.pk, kind=kind, reference=reference)
    if posted.exists():
        return posted.get()
    journal = Journal(
        organization_id=order.organization_id,
        livemode=order.livemode,
        kind=kind,
        order=order,
        reference=reference,
    )
    journal.save(force_insert=True)
    write(
        journal,
        [
            (
                Key(
                    line.code,
                    line.organization_id,
                    None,
                    known_currency(line.currency or order.currency).code,
                ),
                line.amount_minor,
            )
            for line in lines
        ],
    )
    return journal


def begin(organization_id: UUID, *, livemode: bool, kind: str, reference: str) -> Journal:
    """Open a journal about no single order; `write` and `post_owed` follow in the transaction.

    A repeat is refused by the database: whose verb it is asks first what was done already.
    """
    assert connection.in_atomic_block, "A journal commits with what it records."
    journal = Journal(
        organization_id=organization_id, livemode=livemode, kind=kind, reference=reference
    )
    journal.save(force_insert=True)
    return journal


def post_owed(
    journal: Journal, owed: str, values: Mapping[str, Any], *, organization_id: UUID, currency: str
) -> None:
    """Owe to contributors what a query selects, as (contributor_id, amount_minor), beside `write`.

    `values` are the query's. Accounts of others are not read: a part of a large journal costs what
    it holds, and not what there is.
    """
    names = {
        **values,
        "journal": journal.pk,
        "livemode": journal.livemode,
        "code": Code.CONTRIBUTOR_PAYABLE,
        "organization": organization_id,
        "currency": currency,
    }
    with connection.cursor() as cursor:
        cursor.execute(_OPEN_OWED.format(owed=owed), names)
        cursor.execute(_WRITE_OWED.format(owed=owed), names)


def settle(order: Order, settled: SettledFacts, presentment_minor: int) -> None:
    """Record what Stripe made of one movement: into our balance there, less its fee, once.

    `presentment_minor` is what moved in the order's currency, negative where it went out. What was
    under way at Stripe is back at 0 then.
    """
    left = settled.amount_minor - settled.fee_minor
    post(
        order,
        SETTLED,
        [
            Line(Code.STRIPE_CLEARING, -presentment_minor),
            Line(Code.CURRENCY_EXCHANGE, presentment_minor),
            Line(Code.CURRENCY_EXCHANGE, -settled.amount_minor, currency=settled.currency),
            Line(Code.STRIPE_FEES, settled.fee_minor, currency=settled.currency),
            Line(Code.STRIPE_BALANCE, left, currency=settled.currency),
        ],
        reference=settled.transaction,
    )


def settle_plain(order: Order, settled: SettledFacts) -> None:
    """The same for what moved in the currency that it is settled in: transfers and reversals."""
    post(
        order,
        SETTLED,
        [
            Line(Code.STRIPE_CLEARING, -settled.amount_minor, currency=settled.currency),
            Line(Code.STRIPE_FEES, settled.fee_minor, currency=settled.currency),
            Line(
                Code.STRIPE_BALANCE,
                settled.amount_minor - settled.fee_minor,
                currency=settled.currency,
            ),
        ],
        reference=settled.transaction,
    )


def settle_own(organization_id: UUID, settled: SettledFacts, *, livemode: bool) -> Journal:
    """The same for what moved of an organization's money, and is of no order. Once, as `post`."""
    posted = Journal.objects.filter(order=None, kind=SETTLED, reference=settled.transaction)
    if posted.exists():
        return posted.get()
    journal = begin(organization_id, livemode=livemode, kind=SETTLED, reference=settled.transaction)
    amount, fee = settled.amount_minor, settled.fee_minor
    moved = {
        Code.STRIPE_CLEARING: -amount,
        Code.STRIPE_FEES: fee,
        Code.STRIPE_BALANCE: amount - fee,
    }
    write(
        journal,
        [(Key(code, None, None, settled.currency), minor) for code, minor in moved.items()],
    )
    return journal


def post_own(kind: str, lines: Sequence[Line], *, reference: str, livemode: bool) -> Journal:
    """Record a movement of the market's own money, which belongs to no order. Once, as `post`."""
    assert connection.in_atomic_block, "A journal commits with what it records."
    posted = Journal.objects.filter(order=None, kind=kind, reference=reference).first()
    if posted is not None:
        return posted
    journal = Journal(livemode=livemode, kind=kind, reference=reference)
    journal.save(force_insert=True)
    write(
        journal,
        [
            (Key(line.code, None, None, known_currency(line.currency).code), line.amount_minor)
            for line in lines
        ],
    )
    return journal


def pay_out(settled: SettledFacts, *, livemode: bool) -> Journal:
    """Record what went from our balance at Stripe to our bank, or came from there."""
    lines = [
        Line(Code.BANK, -settled.amount_minor, currency=settled.currency),
        Line(Code.STRIPE_FEES, settled.fee_minor, currency=settled.currency),
        _balance_line(settled),
    ]
    return post_own(PAYOUT, lines, reference=settled.transaction, livemode=livemode)


def take_fee(settled: SettledFacts, *, livemode: bool) -> Journal:
    """Record what Stripe took, or gave back, for itself."""
    lines = [
        Line(
            Code.STRIPE_FEES,
            settled.fee_minor - settled.amount_minor,
            currency=settled.currency,
        ),
        _balance_line(settled),
    ]
    return post_own(STRIPE_FEE, lines, reference=settled.transaction, livemode=livemode)


def _balance_line(settled: SettledFacts) -> Line:
    return Line(
        Code.STRIPE_BALANCE,
        settled.amount_minor - settled.fee_minor,
        currency=settled.currency,
    )


def is_posted(order: Order, kind: str, *, reference: str = "") -> bool:
    """Whether a movement was recorded."""
    return Journal.objects.filter(order_id=order.pk, kind=kind, reference=reference).exists()


def owed_by_buyer_minor(order: Order) -> int:
    """What stands on the buyer's account of one order now: below 0, it is owed to the buyer."""
    found = Posting.objects.filter(journal__order=order, account__code=Code.BUYER_RECEIVABLE)
    return int(found.aggregate(sum=Sum("amount_minor"))["sum"] or 0)


def returned_minor(order: Order) -> int:
    """What the buyer's bank did not take of refunds, and the buyer has not got otherwise since.

    In the order's currency, under its lock.
    """
    gone = order.refunded_minor + order.lost_minor
    if is_posted(order, SALE):
        still = max(0, excess_minor(order) - gone)
    else:
        # Without a license all that was paid stands on the buyer's own account.
        still = order.paid_minor - gone
    return max(0, -owed_by_buyer_minor(order) - still)


def came_minor(order: Order) -> tuple[int, int]:
    """What is left at Stripe of what moved of an order: in its currency, and as it was settled.

    In the currency that its payment came to; what moved in a third one is left out.
    """
    found = Posting.objects.filter(
        journal__order=order, journal__kind=SETTLED, account__code=Code.CURRENCY_EXCHANGE
    ).values_list("journal_id", "currency", "amount_minor")
    moved: dict[UUID, dict[str, int]] = {}
    for journal_id, currency, amount in found:
        moved.setdefault(journal_id, {})[currency] = amount
    both = {order.currency, order.settled_currency}
    of_it = [sums for sums in moved.values() if set(sums) == both]
    return (
        sum(sums[order.currency] for sums in of_it),
        -sum(sums[order.settled_currency] for sums in of_it),
    )


def borne(order: Order) -> tuple[int, int]:
    """What its seller bears by now for the exchange of an order's currencies, in the one that its
    payment came to: below 0 a gain. And in how many movements."""
    found = Posting.objects.filter(
        journal__order=order,
        journal__kind__in=[EXCHANGE_LOSS, EXCHANGE_GAIN],
        account__code=Code.CURRENCY_EXCHANGE,
    ).values_list("amount_minor", flat=True)
    return -sum(found), len(found)


def ahead_minor(order_id: UUID | None) -> int:
    """What a seller gave back of an order's share by hand, and nothing that went back used yet."""
    found = Posting.objects.filter(
        journal__order=order_id, journal__kind=AHEAD, account__code=Code.SELLER_PAYABLE
    )
    return -int(found.aggregate(sum=Sum("amount_minor"))["sum"] or 0)


def balance_minor(
    code: Account.Code, *, organization_id: UUID | None, livemode: bool, currency: str
) -> int:
    """What stands on one account now: positive is a debit."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce(sum(posting.amount_minor), 0)
            FROM payments_account account
            JOIN payments_posting posting ON posting.account_id = account.id
            WHERE account.livemode = %s AND account.code = %s AND account.currency = %s
                AND account.organization_id IS NOT DISTINCT FROM %s
            """,
            [livemode, code, currency, organization_id],
        )
        return int(cursor.fetchone()[0])


# --- lines ------------------------------------------------------------------------------------


def payment(order: Order) -> list[Line]:
    """What came from the buyer. What stands on the buyer's account then is owed to it."""
    return [
        Line(came_to(order), order.paid_minor),
        Line(Code.BUYER_RECEIVABLE, -order.paid_minor, order.organization_id),
    ]


def came_to(order: Order) -> Account.Code:
    """Where an order's payment came to: Stripe, or the market's bank, of which Stripe only heard.

    What went to the bank is not in our balance at Stripe: a transfer of it has to be covered there.
    """
    is_outside = order.method == Order.Method.INVOICE and order.payment_intent is None
    return Code.BANK if is_outside else Code.STRIPE_CLEARING


def sale(order: Order, shares: Shares) -> list[Line]:
    """A license was given: the buyer owes its price, which is owed on to everybody else."""
    return [
        Line(Code.BUYER_RECEIVABLE, shares.total_minor, order.organization_id),
        *reversed_lines(shared(order, shares)),
    ]


def shared(order: Order, shares: Shares) -> list[Line]:
    """What goes back of a sale, taken from everybody who got a share."""
    return [
        Line(Code.SELLER_PAYABLE, shares.seller_minor, order.seller_id),
        Line(Code.ROYALTY_POOL, shares.royalties_minor, order.seller_id),
        Line(Code.MARKET_FEE, shares.fee_minor),
        Line(Code.TAX_PAYABLE, shares.tax_minor),
    ]


def reversed_lines(lines: Iterable[Line]) -> list[Line]:
    """The same movement backwards."""
    return [replace(line, amount_minor=-line.amount_minor) for line in lines]


def write(journal: Journal, lines: Sequence[tuple[Key, int]]) -> None:
    """Write the postings of a journal. Plain SQL: a query compiled by Django takes four times as
    long as running it, with every sale."""
    sums: dict[Key, int] = {}
    for key, amount in lines:
        sums[key] = sums.get(key, 0) + amount
    moved = [(key, amount) for key, amount in sums.items() if amount]
    accounts = _accounts(journal.livemode, {key for key, _amount in moved})
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO payments_posting (journal_id, account_id, currency, amount_minor)"
            " SELECT %s, * FROM unnest(%s::bigint[], %s::text[], %s::bigint[])",
            [
                journal.pk,
                [accounts[key] for key, _amount in moved],
                [key.currency for key, _amount in moved],
                [amount for _key, amount in moved],
            ],
        )


def _accounts(livemode: bool, keys: set[Key]) -> dict[Key, int]:
    """The accounts' ids, found by one query; what is missing is opened."""
    wanted = sorted(keys, key=str)
    columns = (
        [livemode] * len(wanted),
        [key.code for key in wanted],
        [key.organization_id for key in wanted],
        [key.contributor_id for key in wanted],
        [key.currency for key in wanted],
    )
    with connection.cursor() as cursor:
        cursor.execute(_FIND, columns)
        found = {Key(*row[1:]): int(row[0]) for row in cursor.fetchall()}
        if len(found) < len(wanted):
            # Somebody else may open the same one just now: it is found then.
            cursor.execute(_OPEN, columns)
            cursor.execute(_FIND, columns)
            found = {Key(*row[1:]): int(row[0]) for row in cursor.fetchall()}
    return found


_WANTED = """
unnest(%s::boolean[], %s::text[], %s::uuid[], %s::uuid[], %s::text[])
    AS wanted (livemode, code, organization_id, contributor_id, currency)
"""
_FIND = f"""
SELECT account.id, account.code, account.organization_id, account.contributor_id, account.currency
FROM {_WANTED} JOIN payments_account account ON account.livemode = wanted.livemode
    AND account.code = wanted.code AND account.currency = wanted.currency
    AND account.organization_id IS NOT DISTINCT FROM wanted.organization_id
    AND account.contributor_id IS NOT DISTINCT FROM wanted.contributor_id
"""
_OPEN = f"""
INSERT INTO payments_account (livemode, code, organization_id, contributor_id, currency)
SELECT livemode, code, organization_id, contributor_id, currency FROM {_WANTED}
ON CONFLICT DO NOTHING
"""

# One look by the whole key for each, and no join: before a large table is analyzed, joins of it are
# planned as if it held nothing.
_ACCOUNT_OWED = """
(
    SELECT id FROM payments_account
    WHERE livemode = %(livemode)s AND code = %(code)s::varchar
        AND organization_id = %(organization)s AND contributor_id = owed.contributor_id
        AND currency = %(currency)s::varchar
)
"""
_OPEN_OWED = f"""
INSERT INTO payments_account (livemode, code, organization_id, contributor_id, currency)
SELECT %(livemode)s, %(code)s::varchar, %(organization)s, contributor_id, %(currency)s::varchar
FROM ({{owed}}) owed WHERE {_ACCOUNT_OWED} IS NULL
ORDER BY contributor_id
ON CONFLICT DO NOTHING
"""
_WRITE_OWED = f"""
INSERT INTO payments_posting (journal_id, account_id, currency, amount_minor)
SELECT %(journal)s, {_ACCOUNT_OWED}, %(currency)s::varchar, -amount_minor
FROM ({{owed}}) owed ORDER BY 2
"""
