"""What the journal says to a seller: what it is owed, what it owes, and every movement of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.utils.translation import gettext as _

from marketplace import money
from marketplace.access import Caller, system
from marketplace.errors import InvalidInput
from marketplace.typeid import TypeID
from payments.models import Account

# The accounts of a seller. What is owed to it is a credit.
_OWN = [Account.Code.SELLER_PAYABLE, Account.Code.SELLER_RECEIVABLE]
LINES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Balance:
    """How a seller stands in one currency. Every amount is 0 or more, but for corrections."""

    currency: str
    # Not sent yet: shares of sales, and what is owed beside them (`remittances`).
    owed_to_you_minor: int
    # What could not be taken back: later sales and remittances pay it.
    you_owe_minor: int


@dataclass(frozen=True, slots=True)
class Line:
    """One movement: positive raises what a seller is owed. `balance_minor`: how it stood then."""

    id: int
    occurred_at: datetime
    kind: str
    order: TypeID | None
    reference: str
    amount_minor: int
    balance_minor: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A seller's movements in one currency from an instant on, before another; and its sums."""

    currency: str
    begins_at: datetime
    ends_at: datetime
    opening_minor: int
    closing_minor: int
    lines: Sequence[Line]
    # There are more: ask for what follows on the last one.
    has_more: bool


def balances(caller: Caller) -> list[Balance]:
    """How the caller's organization stands as a seller, by currency."""
    with system("a seller reads what the journal says of it"), connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT account.currency,
                -coalesce(sum(posting.amount_minor) FILTER (WHERE account.code = %s), 0),
                coalesce(sum(posting.amount_minor) FILTER (WHERE account.code = %s), 0)
            FROM payments_account account
            JOIN payments_posting posting ON posting.account_id = account.id
            WHERE account.organization_id = %s AND account.livemode = %s AND account.code = ANY(%s)
            GROUP BY account.currency ORDER BY account.currency
            """,
            [*_OWN, caller.organization.pk, caller.livemode, [*_OWN]],
        )
        return [Balance(code, int(owed), int(owing)) for code, owed, owing in cursor.fetchall()]


def of(
    caller: Caller,
    *,
    currency: str,
    begins_at: datetime,
    ends_at: datetime,
    after: int = 0,
) -> Statement:
    """Every movement of what the caller is owed in a currency, in a half-open time.

    Opening + the lines' amounts = closing. With `after`, the id of a line, what follows on it.
    Raises InvalidInput.
    """
    money.currency(currency)
    if ends_at <= begins_at:
        raise InvalidInput(_("The end is after the beginning."), param="ends_at")
    of_it = [caller.organization.pk, caller.livemode, currency, [*_OWN]]
    with system("a seller reads what the journal says of it"), connection.cursor() as cursor:
        since, last = begins_at, 0
        if after:
            cursor.execute(f"SELECT at, id {_MOVED} AND id = %s", [*of_it, after])
            found = cursor.fetchone()
            if found is None:
                raise InvalidInput(_("No line of yours has this id."), param="after")
            since, last = found
        cursor.execute(
            f"SELECT -coalesce(sum(moved), 0) {_MOVED} AND (at, id) <= (%s, %s)",
            [*of_it, since, last],
        )
        opening = int(cursor.fetchone()[0])
        cursor.execute(
            f"SELECT id, at, kind, order_id, reference, -moved {_MOVED}"
            " AND (at, id) > (%s, %s) AND at < %s ORDER BY at, id LIMIT %s",
            [*of_it, since, last, ends_at, LINES_MAX + 1],
        )
        rows = cursor.fetchall()
    lines, balance = [], opening
    for id, at, kind, order, reference, moved in rows[:LINES_MAX]:
        balance += int(moved)
        named = None if order is None else TypeID("ord", order)
        lines.append(Line(id, at, kind, named, reference, int(moved), balance))
    return Statement(
        currency, begins_at, ends_at, opening, balance, lines, has_more=len(rows) > LINES_MAX
    )


_MOVED = """
FROM (
    SELECT posting.id, journal.occurred_at AS at, journal.kind, journal.order_id, journal.reference,
        posting.amount_minor AS moved
    FROM payments_account account
    JOIN payments_posting posting ON posting.account_id = account.id
    JOIN payments_journal journal ON journal.id = posting.journal_id
    WHERE account.organization_id = %s AND account.livemode = %s AND account.currency = %s
        AND account.code = ANY(%s)
) AS movement
WHERE true
"""
