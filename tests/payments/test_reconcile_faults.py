"""1,000 transactions, 20 of them not as they should be: all 20 are found, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from marketplace import access
from marketplace.errors import PaymentProviderRefused
from marketplace.models import Organization
from payments import balance_checks, journal, reconcile, stripe_gateway, sync
from payments.models import Mismatch, Order
from payments.stripe_facts import LineFacts, Page, SettledFacts
from tests.payments.buying import balances
from tests.payments.rows import make_offer_row, make_order_row, make_quote_row

pytestmark = pytest.mark.django_db

ORDERS, TRANSACTIONS, FAULTS = 400, 1_000, 20
CURRENCIES = ["USD", "EUR", "JPY"]
Fault = Callable[["Books", LineFacts, random.Random], str]


class Books:
    """Stripe's side as the gateway tells it: typed facts, without Stripe."""

    def __init__(self, lines: list[LineFacts]) -> None:
        self.lines = {line.transaction: line for line in lines}
        self.page_size = 100
        self.calls = 0

    def balance_lines(
        self, since: datetime, until: datetime, *, after: str = ""
    ) -> Page[LineFacts]:
        self.calls += 1
        within = [line for line in self.lines.values() if since <= line.created_at < until]
        within.sort(key=lambda line: (line.created_at, line.transaction), reverse=True)
        ids = [line.transaction for line in within]
        start = ids.index(after) + 1 if after else 0
        items = tuple(within[start : start + self.page_size])
        has_more = start + self.page_size < len(within)
        return Page(items, items[-1].transaction if has_more else "")

    def balance_line(self, transaction: str) -> LineFacts | None:
        self.calls += 1
        return self.lines.get(transaction)

    def payout_lines(self, payout: str) -> tuple[LineFacts, ...]:
        """Of a manual payout Stripe does not say what it took along; of "po_short" too little."""
        if payout != "po_short":
            raise PaymentProviderRefused("Only of automatic payouts.")
        return tuple(self.lines.values())

    def payment_of(self, kind: str, id: str) -> str:
        return ""

    def change(self, line: LineFacts, **fields: Any) -> str:
        self.lines[line.transaction] = replace(line, **fields)
        return line.transaction


def missing_in_journal(books: Books, line: LineFacts, chance: random.Random) -> str:
    extra = replace(line, transaction=f"txn_more_{line.transaction}", source="ch_elsewhere")
    books.lines[extra.transaction] = extra
    return extra.transaction


def missing_at_stripe(books: Books, line: LineFacts, chance: random.Random) -> str:
    del books.lines[line.transaction]
    return line.transaction


def amount_differs(books: Books, line: LineFacts, chance: random.Random) -> str:
    return books.change(line, amount_minor=line.amount_minor + chance.choice([-1, 1, 1_000]))


def sign_differs(books: Books, line: LineFacts, chance: random.Random) -> str:
    return books.change(line, amount_minor=-line.amount_minor)


def fee_differs(books: Books, line: LineFacts, chance: random.Random) -> str:
    return books.change(line, fee_minor=line.fee_minor + chance.choice([-1, 1, 30]))


def currency_differs(books: Books, line: LineFacts, chance: random.Random) -> str:
    others = [code for code in CURRENCIES if code != line.currency]
    return books.change(line, currency=chance.choice(others))


def unknown_type(books: Books, line: LineFacts, chance: random.Random) -> str:
    held = replace(line, transaction=f"txn_held_{line.transaction}", type="reserve_hold", source="")
    books.lines[held.transaction] = held
    return held.transaction


def booked_twice(books: Books, line: LineFacts, chance: random.Random) -> str:
    """By another order, as a wrong match would."""
    settled = SettledFacts(line.transaction, line.currency, line.amount_minor, line.fee_minor)
    entry = balance_checks.booked([line.transaction], livemode=False)[line.transaction]
    with access.system("book it for another order"):
        other = Order.objects.exclude(pk=entry.order_id).order_by("pk").first()
        assert other is not None
        journal.settle_plain(other, settled)
    return line.transaction


KINDS: dict[str, Fault] = {
    each.__name__: each
    for each in (
        missing_in_journal,
        missing_at_stripe,
        amount_differs,
        sign_differs,
        fee_differs,
        currency_differs,
        unknown_type,
        booked_twice,
    )
}


@pytest.fixture
def lines(archive: Organization, lab: Organization) -> list[LineFacts]:
    """400 orders with 1,000 transactions between them, all of them booked."""
    with access.system("book what happened"):
        offer = make_offer_row(archive)
        orders = [make_order_row(make_quote_row(lab, offer)) for _each in range(ORDERS)]
        began = timezone.now().replace(microsecond=0) - timedelta(hours=20)
        found = []
        for number in range(TRANSACTIONS):
            order, turn = orders[number % ORDERS], number // ORDERS
            amount = 50_000 + number if turn == 0 else -(1_000 + number)
            line = LineFacts(
                transaction=f"txn_{number:04}",
                type=("charge", "transfer", "refund")[turn],
                currency=CURRENCIES[number % ORDERS % 3],
                amount_minor=amount,
                fee_minor=1_480 + number if turn == 0 else 0,
                source=f"ch_{number}",
                created_at=(began + timedelta(seconds=60 * number)).astimezone(UTC),
            )
            settled = SettledFacts(line.transaction, line.currency, amount, line.fee_minor)
            if turn == 1:
                journal.settle_plain(order, settled)
            else:
                journal.settle(order, settled, amount)
            found.append(line)
    return found


@pytest.fixture
def books(lines: list[LineFacts], monkeypatch: pytest.MonkeyPatch) -> Books:
    books = Books(lines)
    for name in ("balance_lines", "balance_line", "payout_lines", "payment_of"):
        monkeypatch.setattr(stripe_gateway, name, getattr(books, name))
    monkeypatch.setattr(sync, "sync_order", lambda order: None)
    return books


def look() -> reconcile.Report:
    now = timezone.now()
    return reconcile.check_balance(
        since=now - timedelta(hours=21), until=now + timedelta(minutes=1)
    )


def found() -> dict[str, str]:
    with access.system("read what was found"):
        return dict(Mismatch.objects.filter(resolved_at=None).values_list("subject", "kind"))


@pytest.mark.oracle
def test_20_faults_in_1000_transactions_are_found_and_nothing_else(
    lines: list[LineFacts], books: Books
) -> None:
    clean = look()
    assert (clean.lines, clean.new, found()) == (TRANSACTIONS, 0, {})
    # Pages of what was listed; nothing is asked for one by one.
    assert books.calls <= 22 + TRANSACTIONS // 100

    for seed in range(5):
        chance = random.Random(seed)
        books.lines = {line.transaction: line for line in lines}
        with transaction.atomic():
            seeded = {}
            names = [*KINDS, *chance.choices(list(KINDS), k=FAULTS - len(KINDS))]
            for line, name in zip(chance.sample(lines, FAULTS), names, strict=True):
                seeded[KINDS[name](books, line, chance)] = name

            report = look()

            assert len(seeded) == FAULTS
            assert found() == seeded, f"seed {seed}"
            assert report.new == FAULTS
            # Seen again, they are the same rows; put right, they are gone.
            assert (look().new, len(found())) == (0, FAULTS)
            books.lines = {line.transaction: line for line in lines}
            gone = look().gone
            twice = sum(name == "booked_twice" for name in seeded.values())
            assert gone == FAULTS - twice
            assert set(found().values()) <= {"booked_twice"}
            transaction.set_rollback(True)


def test_payouts_are_booked_and_one_that_does_not_add_up_is_told(
    archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now().replace(microsecond=0)
    manual = LineFacts("txn_1", "payout", "USD", -5_000, 0, "po_manual", now)
    short = LineFacts("txn_2", "payout", "USD", -700, 0, "po_short", now)
    fee = LineFacts("txn_3", "stripe_fee", "USD", -90, 0, "", now)
    back = LineFacts("txn_4", "payout_failure", "USD", 5_000, 0, "po_manual", now)
    books = Books([manual, short, fee, back])
    for name in ("balance_lines", "balance_line", "payout_lines"):
        monkeypatch.setattr(stripe_gateway, name, getattr(books, name))

    report = look()

    # What "po_short" took along is all of these: -5,000 - 90 + 5,000.
    assert (report.booked, found()) == (4, {"txn_2": "payout_differs"})
    assert balances() == {"bank": 700, "stripe_balance": -790, "stripe_fees": 90}
    # Booked by now, it is told all the same, and nothing is booked again.
    again = look()
    assert (again.booked, again.gone, found()) == (0, 0, {"txn_2": "payout_differs"})
    assert balances()["bank"] == 700
