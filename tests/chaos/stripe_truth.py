"""What should have come of each order: read from Stripe's own objects, not from our tables."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from licensing.models import Grant
from marketplace import access
from payments.models import Order
from tests.chaos.naive_handler import NaiveHandler
from tests.chaos.simulator_process import Stripe

# The bank has the money, or may get it.
OPEN = frozenset({"needs_response", "under_review"})
# https://docs.stripe.com/disputes/how-disputes-work#inquiries: no money moves.
HARMLESS = frozenset(
    {"warning_needs_response", "warning_under_review", "warning_closed", "prevented"}
)


@dataclass
class Truth:
    """One order, as Stripe has it."""

    sessions: int = 0
    payments: int = 0
    paid_minor: int = 0
    refunded_minor: int = 0
    lost_minor: int = 0
    held_minor: int = 0
    # How often Stripe holds something for one row of ours.
    made_for: Counter[str] = field(default_factory=Counter)

    @property
    def deserves_license(self) -> bool:
        gone = self.refunded_minor + self.lost_minor + self.held_minor
        return 0 < self.paid_minor > gone

    @property
    def twice(self) -> int:
        """Objects that are there more often than they should be."""
        made = sum(count - 1 for count in self.made_for.values())
        return max(0, self.sessions - 1) + max(0, self.payments - 1) + made


@dataclass(frozen=True, slots=True)
class Books:
    """Every order by Stripe's objects, and the sum of all movements on our balance there."""

    orders: dict[str, Truth]
    balance_minor: int


def read(stripe: Stripe) -> Books:
    """Ask Stripe for everything."""
    orders: dict[str, Truth] = defaultdict(Truth)
    order_of: dict[str, str] = {}
    for session in stripe.all("/v1/checkout/sessions"):
        orders[session["client_reference_id"]].sessions += 1
        order_of[session["payment_intent"] or ""] = session["client_reference_id"]
    for charge in stripe.all("/v1/charges"):
        if charge["paid"]:
            truth = orders[order_of[charge["payment_intent"]]]
            truth.payments += 1
            truth.paid_minor += charge["amount_captured"]
    for refund in stripe.all("/v1/refunds"):
        truth = orders[order_of[refund["payment_intent"]]]
        _note(truth, refund)
        if refund["status"] not in {"failed", "canceled"}:
            truth.refunded_minor += refund["amount"]
    for dispute in stripe.all("/v1/disputes"):
        truth = orders[order_of[dispute["payment_intent"]]]
        if dispute["status"] == "lost":
            truth.lost_minor += dispute["amount"]
        elif dispute["status"] in OPEN:
            truth.held_minor += dispute["amount"]
    for transfer in stripe.all("/v1/transfers"):
        truth = orders[transfer["transfer_group"]]
        _note(truth, transfer)
        for reversal in stripe.all(f"/v1/transfers/{transfer['id']}/reversals"):
            _note(truth, reversal)
    # What Stripe bills beside all payments is no order's.
    moved = sum(
        each["net"]
        for each in stripe.all("/v1/balance_transactions")
        if each["type"] != "stripe_fee"
    )
    return Books(dict(orders), moved)


def _note(truth: Truth, made: dict[str, Any]) -> None:
    ours = made["metadata"].get("licet")
    if ours:
        truth.made_for[ours] += 1


def mistakes_of_ours(books: Books) -> dict[str, int]:
    """What our tables say otherwise than Stripe, and what does not add up in them."""
    found = {"double": 0, "lost": 0, "wrongly_active": 0, "wrongly_inactive": 0}
    with access.system("compare with Stripe"):
        rows = {str(order.pk): order for order in Order.objects.all()}
        grants: dict[str, list[str]] = defaultdict(list)
        for made_by, status in Grant.objects.values_list("agreement__made_by", "status"):
            grants[made_by].append(status)
    for id, truth in books.orders.items():
        held, order = grants[id], rows[id]
        active = held.count("active")
        found["double"] += max(0, len(held) - 1) + truth.twice
        is_known = (order.paid_minor, order.refunded_minor, order.lost_minor) == (
            truth.paid_minor,
            min(truth.refunded_minor, truth.paid_minor - order.lost_minor),
            min(truth.lost_minor, truth.paid_minor - order.refunded_minor),
        )
        found["lost"] += not is_known or (truth.deserves_license and not held)
        found["wrongly_active"] += bool(active and not truth.deserves_license)
        found["wrongly_inactive"] += bool(held and not active and truth.deserves_license)
    return {**found, "unbalanced": _unbalanced(books)}


def mistakes_of(naive: NaiveHandler, books: Books) -> dict[str, int]:
    """The same of the naive handler."""
    found = {"double": 0, "lost": 0, "wrongly_active": 0, "wrongly_inactive": 0, "unbalanced": 0}
    for id, truth in books.orders.items():
        held, active = naive.grants[id], naive.active.get(id, False)
        found["double"] += max(0, held - 1)
        found["lost"] += truth.deserves_license and not held
        found["wrongly_active"] += active and not truth.deserves_license
        found["wrongly_inactive"] += bool(held and not active and truth.deserves_license)
        books_say = naive.paid[id] - naive.refunded[id]
        found["unbalanced"] += books_say != truth.paid_minor - truth.refunded_minor
    return found


def _unbalanced(books: Books) -> int:
    """Journals that do not add up, clearing accounts that are not even, and a wrong balance."""
    with access.system("add up"), connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM (SELECT journal_id FROM payments_posting"
            " GROUP BY journal_id, currency HAVING sum(amount_minor) <> 0) AS odd"
        )
        odd = int(cursor.fetchone()[0])
        cursor.execute(
            "SELECT journal.order_id, account.code, sum(posting.amount_minor)"
            " FROM payments_posting posting"
            " JOIN payments_journal journal ON journal.id = posting.journal_id"
            " JOIN payments_account account ON account.id = posting.account_id"
            " WHERE account.code = ANY(%s) GROUP BY 1, 2",
            [["buyer_receivable", "dispute_hold", "stripe_clearing", "currency_exchange"]],
        )
        left = {(row[0], row[1]): int(row[2]) for row in cursor.fetchall()}
        cursor.execute(
            "SELECT coalesce(sum(posting.amount_minor), 0) FROM payments_posting posting"
            " JOIN payments_account account ON account.id = posting.account_id"
            " WHERE account.code = 'stripe_balance'"
        )
        balance = int(cursor.fetchone()[0])
        granted = set(Order.objects.exclude(grant=None).values_list("pk", flat=True))
    for id, truth in books.orders.items():
        pk = Order._meta.pk.to_python(id)
        # While the bank has it, it stands there; and is owed to the buyer, if for no license.
        left[pk, "dispute_hold"] = left.get((pk, "dispute_hold"), 0) - truth.held_minor
        if truth.held_minor and pk not in granted:
            left[pk, "buyer_receivable"] = left.get((pk, "buyer_receivable"), 0) + truth.held_minor
    faults = [f"{order} has {amount} on {code}" for (order, code), amount in left.items() if amount]
    if balance != books.balance_minor:
        faults.append(f"{balance} on stripe_balance, {books.balance_minor} at Stripe")
    for fault in faults:
        print(fault, file=sys.stderr)
    return odd + len(faults)
