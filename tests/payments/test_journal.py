"""Double entry: what a sale, a refund and a fee post, in integers only."""

from __future__ import annotations

import ast
from fractions import Fraction
from pathlib import Path

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from marketplace import access
from marketplace.models import Organization
from marketplace.money import STRIPE_MAXIMUM_MINOR
from payments import fees, journal, settlements
from payments.models import Account, Journal, Order, Posting
from payments.stripe_facts import SettledFacts
from tests.payments.rows import make_offer_row, make_quote_row, paid_order_row
from tests.payments.test_constraints import broken_by

PAYMENTS = Path(journal.__file__).parent


@pytest.fixture
def order(archive: Organization, lab: Organization) -> Order:
    with access.system("test the journal"):
        quote = make_quote_row(
            lab,
            make_offer_row(archive),
            subtotal_minor=50_000,
            tax_minor=9_500,
            total_minor=59_500,
        )
        return paid_order_row(quote)


def balances(of: Order) -> dict[str, int]:
    found: dict[str, int] = {}
    for posting in Posting.objects.filter(journal__order=of).select_related("account"):
        code = posting.account.code
        found[code] = found.get(code, 0) + posting.amount_minor
    return found


def sale(order: Order) -> list[journal.Line]:
    return journal.sale(order, settlements.of(order))


def test_a_sale_owes_the_seller_its_contributors_the_market_and_the_tax_office(
    order: Order,
) -> None:
    shares = settlements.Shares(
        seller_minor=29_250, royalties_minor=19_500, fee_minor=1_250, tax_minor=9_500
    )

    with access.system("test the journal"):
        journal.post(order, journal.PAYMENT, journal.payment(order))
        journal.post(order, journal.SALE, journal.sale(order, shares))

        assert balances(order) == {
            "stripe_clearing": 59_500,
            "buyer_receivable": 0,
            "seller_payable": -29_250,
            "royalty_pool": -19_500,
            "market_fee": -1_250,
            "tax_payable": -9_500,
        }
        owed = Account.objects.get(code="seller_payable")
        assert (owed.organization_id, owed.currency, owed.livemode) == (
            order.seller_id,
            "USD",
            False,
        )


def test_a_line_of_nothing_is_left_out(order: Order) -> None:
    with access.system("test the journal"):
        posted = journal.post(order, journal.SALE, sale(order))

        codes = posted.postings.values_list("account__code", flat=True)
        assert sorted(codes) == ["buyer_receivable", "seller_payable", "tax_payable"]


def test_lines_on_one_account_are_one_posting(order: Order) -> None:
    lines = [journal.Line(Account.Code.STRIPE_CLEARING, amount) for amount in (5, -3, 2)]

    with access.system("test the journal"):
        posted = journal.post(order, "test", [*lines, journal.Line(Account.Code.MARKET_FEE, -4)])

        assert sorted(posted.postings.values_list("amount_minor", flat=True)) == [-4, 4]


def test_a_repeat_finds_the_first_journal(order: Order) -> None:
    with access.system("test the journal"):
        first = journal.post(order, journal.SALE, sale(order))
        second = journal.post(order, journal.SALE, sale(order))
        third = journal.post(order, journal.SALE, sale(order), reference="another")

        assert second.pk == first.pk != third.pk
        assert Journal.objects.count() == 2
        assert Posting.objects.count() == 6


def test_what_came_in_euros_and_is_settled_in_dollars_balances_in_both(order: Order) -> None:
    settled = SettledFacts("txn_1", "EUR", amount_minor=54_000, fee_minor=1_596)

    with access.system("test the journal"):
        journal.post(order, journal.PAYMENT, journal.payment(order))
        journal.settle(order, settled, order.paid_minor)
        connection.check_constraints()

        found = {
            (posting.account.code, posting.currency): posting.amount_minor
            for posting in Posting.objects.filter(journal__kind="settled")
        }
        assert found == {
            ("stripe_clearing", "USD"): -59_500,
            ("currency_exchange", "USD"): 59_500,
            ("currency_exchange", "EUR"): -54_000,
            ("stripe_fees", "EUR"): 1_596,
            ("stripe_balance", "EUR"): 52_404,
        }
        assert balances(order)["stripe_clearing"] == 0


def test_lines_that_do_not_balance_are_refused_at_the_commit(order: Order) -> None:
    lines = [journal.Line(Account.Code.STRIPE_CLEARING, 5)]

    with access.system("test the journal"):
        with transaction.atomic():
            journal.post(order, journal.SALE, lines)
            with pytest.raises(IntegrityError, match="does not balance"):
                connection.check_constraints()
            transaction.set_rollback(True)

        assert Journal.objects.count() == 0


def test_postings_on_no_account_are_refused(order: Order) -> None:
    """What a key held before a trigger did, for all rows of a statement together."""

    def post_two(account: int) -> None:
        made = Journal.objects.create(livemode=False, kind="test", reference="1")
        usual = Account.objects.create(livemode=False, code="bank", currency="USD")
        rows = [(usual.pk, 5), (account, -5)]
        Posting.objects.bulk_create(
            Posting(journal=made, account_id=id, currency="USD", amount_minor=amount)
            for id, amount in rows
        )

    with access.system("test the journal"):
        before = Account.objects.count()
        assert broken_by(lambda: post_two(0)) == "posting_currency_belongs"
        assert (Account.objects.count(), Posting.objects.count()) == (before, 0)


@given(
    st.integers(min_value=0, max_value=STRIPE_MAXIMUM_MINOR),
    st.integers(min_value=0, max_value=fees.BASIS_POINTS_IN_ONE),
)
def test_a_share_is_rounded_half_to_even(amount_minor: int, basis_points: int) -> None:
    exact = Fraction(amount_minor * basis_points, fees.BASIS_POINTS_IN_ONE)

    assert fees.share_minor(amount_minor, basis_points) == round(exact)


@pytest.mark.parametrize(
    ("amount_minor", "share"),
    [(100, 2), (20, 0), (60, 2), (140, 4), (180, 4), (99_999_999, 2_500_000)],
)
def test_some_shares_of_two_and_a_half_percent(amount_minor: int, share: int) -> None:
    assert fees.share_minor(amount_minor, 250) == share


def money_modules() -> list[Path]:
    # These handle seconds, bytes and paths, and no amounts.
    apart = {"simulator", "management", "migrations", "demo.py", "processes.py", "stripe_pace.py"}
    apart |= {"checkup.py", "demo_market.py", "queues.py"}
    return [
        path
        for path in sorted(PAYMENTS.rglob("*.py"))
        if not apart & set(path.relative_to(PAYMENTS).parts)
    ]


@pytest.mark.parametrize("path", money_modules(), ids=lambda path: path.name)
def test_money_code_has_no_float_and_no_division(path: Path) -> None:
    found = [
        f"{path.name}:{node.lineno}"
        for node in ast.walk(ast.parse(path.read_text()))
        if is_inexact(node)
    ]

    assert found == []


def is_inexact(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, float)
    if isinstance(node, ast.BinOp | ast.AugAssign):
        return isinstance(node.op, ast.Div)
    return isinstance(node, ast.Name) and node.id in {"float", "Decimal"}
