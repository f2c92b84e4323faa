"""Double-entry money: what moved, between which accounts. Reversals are further journals."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import connection

from marketplace.models import Organization
from marketplace.money import currency as known_currency
from payments import fees
from payments.models import Account, Journal, Order, Posting

# A sale posts no more lines than this: contributors are paid by a later job, from a pool.
LINES_MAX = 10

SALE = "sale"
SALE_UNGRANTABLE = "sale_ungrantable"
REFUND = "refund"


@dataclass(frozen=True, slots=True)
class Line:
    """An amount on one account: positive is a debit, negative a credit."""

    code: Account.Code
    amount_minor: int
    # Whose account; None for the market's own.
    organization_id: UUID | None = None


def post(order: Order, kind: str, lines: list[Line]) -> Journal:
    """Record one movement of an order's money, once: a repeat returns the first journal.

    Runs in the transaction of what it records, under the order's lock. Lines of 0 are left out.
    The database refuses a journal that does not balance.
    """
    assert connection.in_atomic_block, "A journal commits with what it records."
    assert len(lines) <= LINES_MAX, "A journal has at most ten lines."
    known_currency(order.currency)
    posted = Journal.objects.filter(order_id=order.pk, kind=kind)
    if posted.exists():
        return posted.get()
    journal = Journal(
        organization_id=order.organization_id, livemode=order.livemode, kind=kind, order=order
    )
    journal.save(force_insert=True)
    accounts = _accounts(order, lines)
    Posting.objects.bulk_create(
        Posting(
            journal=journal,
            account_id=accounts[line.code, line.organization_id],
            currency=order.currency,
            amount_minor=line.amount_minor,
        )
        for line in lines
        if line.amount_minor != 0
    )
    return journal


def sale(order: Order) -> list[Line]:
    """The lines of a granted sale: paid in by the buyer, owed to seller, market and tax office."""
    subtotal, tax = order.quote.subtotal_minor, order.quote.tax_minor
    fee = fees.market_fee_minor(subtotal)
    return [
        Line(Account.Code.STRIPE_CLEARING, order.total_minor),
        Line(Account.Code.SELLER_PAYABLE, -(subtotal - fee), order.seller_id),
        Line(Account.Code.MARKET_FEE, -fee),
        Line(Account.Code.TAX_PAYABLE, -tax),
    ]


def sale_ungrantable(order: Order) -> list[Line]:
    """The lines of money that came for nothing: all of it is owed back to the buyer."""
    return [
        Line(Account.Code.STRIPE_CLEARING, order.paid_minor),
        Line(Account.Code.BUYER_REFUNDABLE, -order.paid_minor, order.organization_id),
    ]


def reversed_lines(lines: list[Line]) -> list[Line]:
    """The same movement backwards."""
    return [Line(line.code, -line.amount_minor, line.organization_id) for line in lines]


def _accounts(order: Order, lines: list[Line]) -> dict[tuple[str, UUID | None], int]:
    """The keys of the lines' accounts, found by one query; what is missing is opened.

    Plain SQL: with every sale, compiling the query took four times as long as running it.
    """
    owners = [line.organization_id for line in lines if line.organization_id is not None]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT code, organization_id, id FROM payments_account
            WHERE livemode = %s AND currency = %s AND code = ANY(%s)
                AND (organization_id IS NULL OR organization_id = ANY(%s::uuid[]))
            """,
            [order.livemode, order.currency, [str(line.code) for line in lines], owners],
        )
        found: dict[tuple[str, UUID | None], int] = {
            (code, owner): pk for code, owner, pk in cursor.fetchall()
        }
    for line in lines:
        if line.amount_minor and (line.code, line.organization_id) not in found:
            found[line.code, line.organization_id] = _account(order, line).pk
    return found


def _account(order: Order, line: Line) -> Account:
    owner = None
    if line.organization_id is not None:
        owner = Organization(pk=line.organization_id)
    account, _is_new = Account.objects.get_or_create(
        livemode=order.livemode, code=line.code, organization=owner, currency=order.currency
    )
    return account
