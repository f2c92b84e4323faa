"""Payouts of royalties, written by several at once, while their sales go on."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from marketplace import access
from marketplace.errors import InvalidInput, RoyaltyPayoutChanged, RoyaltyPayoutRunning
from marketplace.models import Organization
from payments import journal, payouts, royalties, royalty_payments
from payments.models import Journal, Order, RoyaltyBalance, RoyaltyPayment, RoyaltyPayout
from tests.make import make_offer
from tests.payments.buying import balances
from tests.payments.racing import at_once
from tests.payments.royalty_sales import give_back, make_works, person, sell, set_rule
from tests.people import caller_for

pytestmark = pytest.mark.django_db(transaction=True)
PEOPLE = [f"c{n}" for n in range(7)]
SALE = 100 * len(PEOPLE)


class Books:
    """A seller of works of seven people in equal parts, and what it pays them."""

    def __init__(self, seller: Organization, buyer: Organization) -> None:
        self.seller, self.buyer, self.caller = seller, buyer, caller_for(seller)
        collection = make_works(seller, dict.fromkeys(PEOPLE, 1))
        set_rule(seller, collection, basis_points=10_000)
        self.offer = make_offer(seller, collection=collection)

    def sold(self) -> Order:
        order = sell(self.buyer, self.offer, price_minor=SALE)
        royalties.allocate_due()
        return order

    def confirm(self) -> RoyaltyPayout:
        now = payouts.preview(self.caller, currency="USD")
        return payouts.confirm(
            self.caller,
            currency="USD",
            contributors=now.contributors,
            paid_minor=now.paid_minor,
            recouped_minor=now.recouped_minor,
        )

    def paid(self) -> dict[str, list[tuple[int, int]]]:
        """Each person's payments: what was paid, and what paid advances back."""
        found: dict[str, list[tuple[int, int]]] = {}
        with access.system("read in a test"):
            rows = RoyaltyPayment.objects.order_by("created_at").values_list(
                "contributor__external_id", "amount_minor", "recouped_minor"
            )
            for name, amount, recouped in rows:
                found.setdefault(name, []).append((amount, recouped))
        return found


@pytest.fixture
def books(archive: Organization, lab: Organization, monkeypatch: pytest.MonkeyPatch) -> Books:
    monkeypatch.setattr(payouts, "BATCH", 2)
    return Books(archive, lab)


def check_sums() -> None:
    """Each balance is what was counted less what was paid; the journal says the same."""
    with access.system("add up in a test"), connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT contributor_id, carried_micro, coalesce((
                SELECT sum(amount_micro) FROM payments_royaltyaccrual accrual
                JOIN payments_royaltycounted counted USING (allocation_id)
                WHERE accrual.contributor_id = balance.contributor_id
            ), 0) + 1000000 * (coalesce((
                SELECT sum(payment.amount_minor) FROM payments_royaltypayment payment
                JOIN payments_royaltycounted counted ON counted.payment_id = payment.id
                WHERE payment.contributor_id = balance.contributor_id
            ), 0) - coalesce((
                SELECT sum(amount_minor + recouped_minor) FROM payments_royaltypayment payment
                WHERE payment.contributor_id = balance.contributor_id
            ), 0))
            FROM payments_royaltybalance balance
            """
        )
        for contributor, carried, recomputed in cursor.fetchall():
            assert carried == recomputed, contributor
        sums = RoyaltyPayment.objects.values_list("amount_minor", "recouped_minor", "state")
        owed = sum(amount for amount, _recouped, state in sums if state == "due")
        back = sum(recouped for _amount, recouped, _state in sums)
    found = balances()
    assert found.get("contributor_payable", 0) == -owed
    assert found.get("seller_payable", 0) == -back


def drain() -> None:
    while payouts.write_due():
        pass


def test_workers_at_once_write_each_payment_once(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    books.sold()
    payout = books.confirm()

    results = at_once(*[drain] * 4)

    assert results == [None] * 4
    # They do not even run into the constraints that would keep them from it.
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == []
    assert books.paid() == {name: [(100, 0)] for name in PEOPLE}
    with access.system("count in a test"):
        payout.refresh_from_db()
        assert Journal.objects.filter(kind=journal.ROYALTY_PAYOUT).count() == 4
    assert (payout.state, payout.written) == ("done", 7)
    check_sums()


def dispute(_books: Books, order: Order) -> None:
    with access.system("dispute in a test"):
        Order.objects.filter(pk=order.pk).update(status="disputed", refusal="rights_taken")


def take_back(_books: Books, order: Order) -> None:
    give_back(order, SALE, cause="rfd_1")


def take_back_and_share_out(books: Books, order: Order) -> None:
    take_back(books, order)
    royalties.allocate_due()


def advance(books: Books, _order: Order) -> None:
    for name in PEOPLE:
        payouts.advance(
            books.caller,
            str(person(books.seller, name).pk),
            amount_minor=30,
            currency="USD",
            reference="SEPA 1",
        )


def sell_more(books: Books, _order: Order) -> None:
    books.sold()


# What happens meanwhile -> what each person is paid by the payout after it.
MEANWHILE: dict[Callable[[Books, Order], None], list[tuple[int, int]]] = {
    sell_more: [(100, 0)],
    advance: [(0, 0)],
    dispute: [(0, 0)],
    take_back: [(0, 0)],
    take_back_and_share_out: [(0, 0)],
}


@pytest.mark.oracle
@pytest.mark.parametrize("happens", MEANWHILE, ids=lambda act: act.__name__)
def test_what_happens_while_a_payout_is_written_is_a_later_ones(
    happens: Callable[[Books, Order], None], books: Books
) -> None:
    order = books.sold()
    payout = books.confirm()
    assert payouts.step(payout.pk)

    happens(books, order)
    drain()

    assert books.paid() == {name: [(100, 0)] for name in PEOPLE}
    check_sums()
    royalties.allocate_due()
    later = payouts.preview(books.caller, currency="USD")
    [(amount, recouped)] = MEANWHILE[happens]
    assert (later.paid_minor, later.recouped_minor) == (7 * amount, 7 * recouped)


def test_what_comes_back_while_a_payout_is_written_is_owed_by_the_next(books: Books) -> None:
    books.sold()
    books.confirm()
    drain()
    books.sold()
    payout = books.confirm()
    assert payouts.step(payout.pk)
    with access.system("a transfer comes back in a test"):
        early = RoyaltyPayment.objects.exclude(payout=payout)
        for payment in early:
            payment.state, payment.settled_at = "sending", None
            royalty_payments.give_back(payment, "No such account.")

    drain()

    assert books.paid() == {name: [(100, 0), (100, 0)] for name in PEOPLE}
    check_sums()
    books.confirm()
    drain()
    assert books.paid() == dict.fromkeys(PEOPLE, [(100, 0)] * 3)
    check_sums()


@pytest.mark.oracle
def test_sales_refunds_and_payouts_at_once_end_in_balance(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    stop = []

    def trade() -> None:
        for number in range(6):
            order = books.sold()
            if number % 2:
                give_back(order, SALE // 2, cause="rfd_1")
                royalties.allocate_due()
        stop.append(True)

    def pay() -> None:
        while not stop:
            pay_once(books)

    results = at_once(trade, pay, pay, drain_until(stop), drain_until(stop))
    drain()
    royalties.allocate_due()
    pay_once(books)
    drain()

    assert results == [None] * 5
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == []
    check_sums()
    for name, rows in books.paid().items():
        # Six sales of 100 each, half of three of them gone: less only where it was paid before.
        assert sum(amount for amount, _recouped in rows) >= 450, name
    with access.system("look in a test"):
        left = Counter(RoyaltyBalance.objects.values_list("carried_micro", flat=True))
        assert all(micro <= 0 for micro in left)
        assert not RoyaltyPayout.objects.filter(state="running").exists()


def pay_once(books: Books) -> None:
    # Others pay too, and what is to be paid changes all the time.
    with contextlib.suppress(InvalidInput, RoyaltyPayoutChanged, RoyaltyPayoutRunning):
        books.confirm()


def drain_until(stop: list[Any]) -> Callable[[], None]:
    def run() -> None:
        while not stop:
            payouts.write_due()

    return run
